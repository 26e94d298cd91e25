export default async (main) => {
  await script("vue/dist/vue.global.prod.js");
  Vue.createApp({
    data: () => ({ names: [] }),
    methods: {
      take(files) {
        this.names = [...files].map(({ name }) => name);
        send([...files]);
      },
      drop(event) {
        this.take(event.dataTransfer.files);
      },
    },
    template: `<input id="pick" type="file" multiple @change="take($event.target.files)">
      <div id="zone" class="zone" tabindex="0" @dragover.prevent @drop.prevent="drop" @paste="take($event.clipboardData.files)">{{ names }}</div>`,
  }).mount(main);
};
