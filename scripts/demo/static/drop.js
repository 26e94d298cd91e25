// Drop and paste, as a site with a composer has them; what is dropped is read as react-dropzone does.

const zone = document.getElementById("zone");
for (const type of ["dragenter", "dragover"]) zone.addEventListener(type, (event) => event.preventDefault());

zone.addEventListener("drop", async (event) => {
  event.preventDefault();
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const files = items.map((item) => item.getAsFile());
  const handles = items.map((item) => item.getAsFileSystemHandle?.());
  await window.send(await Promise.all(handles.map(async (handle, i) => (handle ? (await handle).getFile() : files[i]))));
});

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length > 0) window.send(files);
});
