export default async (main) => {
  style("dropzone/dist/dropzone.css");
  await script("dropzone/dist/dropzone-min.js");
  Dropzone.autoDiscover = false;
  const zone = put("div", { id: "zone", className: "dropzone" }, main);
  new Dropzone(zone, { url: "/pmask-demo/upload", paramName: "photo", createImageThumbnails: true });
};
