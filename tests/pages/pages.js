// Shared by all test pages: how they send files, and small helpers.

/** Uploads files in one request, in order. */
window.send = (files, fields = {}) => {
  const form = new FormData();
  for (const file of files) form.append("photo", file);
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  return fetch("/pmask-demo/upload", { method: "POST", body: form });
};

/** An element with properties, appended to the page's main part unless told otherwise. */
window.put = (tag, properties = {}, parent = document.querySelector("main")) => {
  const element = Object.assign(document.createElement(tag), properties);
  parent?.append(element);
  return element;
};

window.fileInput = (properties = {}, parent) => put("input", { type: "file", multiple: true, id: "pick", ...properties }, parent);

/** A field that takes drops; `read` turns the event into files, in the event itself. */
window.dropZone = (read, parent) => {
  const zone = put("div", { id: "zone", className: "zone", tabIndex: 0, textContent: "Drop here" }, parent);
  for (const type of ["dragenter", "dragover"]) zone.addEventListener(type, (event) => event.preventDefault());
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    send(await read(event.dataTransfer));
  });
  return zone;
};

window.ready = () => (document.documentElement.dataset.ready = "1");
