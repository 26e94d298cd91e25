// jQuery File Upload listens on the document for drops and pastes.
export default async (main) => {
  await script("jquery/dist/jquery.min.js");
  await script("blueimp-file-upload/js/vendor/jquery.ui.widget.js");
  await script("blueimp-file-upload/js/jquery.iframe-transport.js");
  await script("blueimp-file-upload/js/jquery.fileupload.js");
  const input = fileInput({}, main);
  put("div", { id: "zone", className: "zone", tabIndex: 0 }, main);
  $(input).fileupload({ url: "/pmask-demo/upload", dataType: "json", paramName: "photo", pasteZone: $(document) });
};
