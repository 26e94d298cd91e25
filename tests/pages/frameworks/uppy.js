export default async (main) => {
  style("uppy/dist/uppy.min.css");
  await script("uppy/dist/uppy.min.js");
  new Uppy.Uppy({ autoProceed: true })
    .use(Uppy.Dashboard, { inline: true, target: main, width: 500, height: 300, disableThumbnailGenerator: true })
    .use(Uppy.XHRUpload, { endpoint: "/pmask-demo/upload", fieldName: "photo" });
};
