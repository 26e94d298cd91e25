// Shared by the demo's pages: sends files as a site would, and shows what the server says that it received.

/** Uploads these files at once. @param {Iterable<File>} files */
window.send = async (files) => {
  const form = new FormData();
  for (const file of files) form.append("photo", file);
  const answer = await fetch("/pmask-demo/upload", { method: "POST", body: form });
  const received = (await answer.json()).files;
  document.getElementById("nothing").hidden = true;
  document.getElementById("received").prepend(...received.map(show));
};

function show({ name, type, size, sha256 }) {
  const element = (tag, text, ...children) => {
    const node = document.createElement(tag);
    node.textContent = text;
    node.append(...children);
    return node;
  };
  const item = document.createElement("li");
  if (type.startsWith("image/")) {
    const image = document.createElement("img");
    image.src = `/pmask-demo/received/${sha256}`;
    image.alt = name;
    item.append(image);
  }
  item.append(
    element("p", "", element("strong", name), ` ${type || "no type"}, ${(size / 1024).toFixed(0)} KB`),
    element("code", sha256.slice(0, 16)),
  );
  item.dataset.sha256 = sha256;
  return item;
}
