// Zone.js, the heart of Angular, wraps addEventListener, on-handlers and promises of every prototype it finds.
export default async (main) => {
  await script("zone.js/bundles/zone.umd.min.js");
  const input = fileInput({ hidden: true, id: "hidden" }, main);
  input.addEventListener("change", () => send([...input.files]));
  put("button", { id: "pick", textContent: "Choose", onclick: () => input.click() }, main);
  const zone = dropZone((transfer) => [...transfer.files], main);
  zone.onpaste = (event) => send([...event.clipboardData.files]);
};
