export default async (main) => {
  style("filepond/dist/filepond.min.css");
  await script("filepond/dist/filepond.min.js");
  const options = { allowMultiple: true, name: "photo", server: { process: "/pmask-demo/upload" } };
  await new Promise((oninit) => FilePond.create(fileInput({}, main), { ...options, oninit }));
  await new Promise((done) => setTimeout(done, 500)); // its label grows into place
};
