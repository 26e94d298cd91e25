// Compiled in the page, by Svelte's own compiler.
const SOURCE = `
<script>
  let files = $state();
  let names = $state("");
  const take = (list) => { names = [...list].map(({ name }) => name).join(); window.send([...list]); };
  $effect(() => { if (files?.length) take(files); });
</script>
<input id="pick" type="file" multiple bind:files />
<!-- svelte-ignore a11y_no_static_element_interactions, a11y_no_noninteractive_tabindex -->
<div id="zone" class="zone" tabindex="0" ondragover={(e) => e.preventDefault()}
  ondrop={(e) => { e.preventDefault(); take(e.dataTransfer.files); }} onpaste={(e) => take(e.clipboardData.files)}>{names}</div>
`;

export default async (main) => {
  await script("svelte/compiler/index.js");
  const { js } = svelte.compile(SOURCE, { generate: "client" });
  const address = URL.createObjectURL(new Blob([js.code], { type: "text/javascript" }));
  const [{ mount }, { default: Composer }] = await Promise.all([import("svelte"), import(address)]);
  mount(Composer, { target: main });
};
