// The upload DOM of the sites that the extension looks after, rebuilt after what is publicly known of them. Not the sites'
// code. What is peculiar to each stands in cases.py as its quirk.

const IMAGES = "image/jpeg,image/png,image/webp,image/gif";
const VIDEOS = "video/mp4,video/quicktime";
const button = (onclick) => put("button", { id: "pick", type: "button", textContent: "Photo", onclick });
const editor = (more = {}) => put("div", { id: "paste", className: "zone", contentEditable: "true", ...more });

const SITES = {
  facebook() {
    // One input for photos among several, read from the root's listener, emptied at once; the text takes drops and pastes.
    const inputs = [`${IMAGES},image/heif,image/heic,video/*`, "image/*", "video/*"].map((accept) =>
      fileInput({ id: "", accept, hidden: true }),
    );
    button(() => inputs[0].click());
    const text = editor();
    document.addEventListener("change", ({ target }) => {
      const files = [...target.files];
      target.value = "";
      queueMicrotask(() => send(files));
    });
    const take = (event, transfer) => {
      if (transfer.files.length === 0) return;
      event.preventDefault();
      send([...transfer.files]);
    };
    text.addEventListener("paste", (event) => take(event, event.clipboardData));
  },
  instagram() {
    // The form stands in a modal dialog; the input forgets nothing, and the page reads it when the person goes on.
    const dialog = put("dialog");
    dialog.style.marginTop = 0; // in a window as small as the tests' it would come to lie under the card
    const form = put("form", { enctype: "multipart/form-data", method: "POST" }, dialog);
    const input = fileInput({ id: "", accept: `${IMAGES},image/heic,image/heif,${VIDEOS}` }, form);
    input.style.display = "none";
    put("button", { id: "pick", type: "button", textContent: "Select from computer", onclick: () => input.click() }, dialog);
    const next = put("button", { id: "post", textContent: "Next", type: "button", onclick: () => send(input.files) }, dialog);
    next.hidden = true;
    input.addEventListener("change", () => (next.hidden = false));
    dialog.showModal();
  },
  x() {
    // A hidden input that takes no focus; the composer listens on the document for drops and pastes.
    const input = fileInput({ id: "", accept: `${IMAGES},${VIDEOS}`, tabIndex: -1 });
    input.style.display = "none";
    input.addEventListener("change", () => send([...input.files]).then(() => (input.value = "")));
    button(() => input.click());
    editor();
    document.addEventListener("paste", (event) => {
      const files = [...event.clipboardData.items].flatMap((item) => item.getAsFile() ?? []);
      if (files.length > 0) event.preventDefault();
      if (files.length > 0) send(files);
    });
  },
  linkedin() {
    // The dialog lives in an open shadow root beside the page, and the input is made when the button is pressed.
    const root = put("div").attachShadow({ mode: "open" });
    const onclick = () => {
      const input = fileInput({ accept: `${IMAGES},${VIDEOS}`, hidden: true, id: "" }, root);
      input.addEventListener("change", () => send([...input.files]).then(() => input.remove()));
      input.click();
    };
    button(onclick);
  },
  reddit() {
    // Web components in one another; the inner one tells the outer by an event of its own.
    customElements.define("media-input", class extends HTMLElement {
      connectedCallback() {
        const input = fileInput({ accept: `${IMAGES},${VIDEOS}` }, this.attachShadow({ mode: "open" }));
        const tell = () => this.dispatchEvent(new CustomEvent("chosen", { detail: [...input.files], bubbles: true, composed: true }));
        input.addEventListener("change", tell);
      }
    });
    customElements.define("post-composer", class extends HTMLElement {
      connectedCallback() {
        put("media-input", {}, this.attachShadow({ mode: "open" }));
      }
    });
    const composer = put("post-composer", { id: "pick" });
    composer.style.display = "inline-block";
    composer.addEventListener("chosen", ({ detail }) => send(detail));
  },
  threads() {
    // Thumbnails are made from object URLs before anything is sent.
    const input = fileInput({ id: "", accept: `${IMAGES},image/heic,${VIDEOS}`, hidden: true });
    input.onchange = async () => {
      const files = [...input.files];
      await Promise.all(files.map((file) => put("img", { src: URL.createObjectURL(file) }).decode()));
      send(files);
    };
    button(() => input.click());
  },
  bluesky() {
    // The picker's input is put into the page, clicked by an event that is dispatched, and taken out at once.
    const onclick = () => {
      const input = Object.assign(document.createElement("input"), { type: "file", accept: IMAGES, multiple: true });
      input.style.display = "none";
      document.body.append(input);
      input.addEventListener("change", () => send([...input.files]));
      input.dispatchEvent(new MouseEvent("click"));
      input.remove();
    };
    button(onclick);
    const text = editor();
    text.addEventListener("paste", (event) => {
      event.preventDefault();
      send([...event.clipboardData.files]);
    });
  },
  pinterest() {
    // A transparent input covers the field: clicks and drops both land on it.
    const field = put("div", { className: "zone" });
    field.style.position = "relative";
    const input = fileInput({ className: "covering", accept: `${IMAGES},${VIDEOS}` }, field);
    input.addEventListener("change", () => send([...input.files]));
    field.addEventListener("dragover", (event) => event.preventDefault());
    field.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      send([...event.dataTransfer.files]);
    });
  },
  tiktok() {
    // The uploader stands in a frame; one input takes a video, another photos.
    const frame = put("iframe", { width: 320, height: 100 });
    const inside = frame.contentDocument;
    inside.body.innerHTML = '<input type="file" accept="video/*" hidden><input type="file" accept="image/*" multiple>';
    inside.addEventListener("change", ({ target }) => send([...target.files]));
  },
  tumblr() {
    // The input never enters the page; pictures that are pasted or dropped become blocks of the text.
    const onclick = () => {
      const input = Object.assign(document.createElement("input"), { type: "file", accept: "image/*", multiple: true });
      input.addEventListener("change", () => send([...input.files]), { once: true });
      input.click();
    };
    button(onclick);
    const text = editor();
    text.addEventListener("beforeinput", (event) => {
      if (event.inputType !== "insertFromPaste" || !event.dataTransfer?.files.length) return;
      event.preventDefault();
      send([...event.dataTransfer.files]);
    });
  },
  vk() {
    // Reads its input a moment after the event, and listens for drops on the window in the capture phase.
    const input = fileInput({ accept: `${IMAGES},image/heic`, name: "photo" });
    input.addEventListener("change", () => setTimeout(() => send([...input.files]), 50));
    put("div", { id: "zone", className: "zone" });
    addEventListener("dragover", (event) => event.preventDefault(), true);
    addEventListener("drop", (event) => {
      event.preventDefault();
      send([...event.dataTransfer.files]);
    }, true);
  },
  discord() {
    // An input with no accept over the button: any file may go. Drops are taken anywhere in the window.
    const holder = put("div", { className: "zone" });
    holder.style.position = "relative";
    const input = fileInput({ className: "covering", tabIndex: -1 }, holder);
    input.addEventListener("change", ({ currentTarget }) => {
      const files = [...currentTarget.files];
      currentTarget.value = null;
      send(files);
    });
    put("div", { id: "zone", className: "zone" });
    document.body.addEventListener("dragover", (event) => event.preventDefault());
    document.body.addEventListener("drop", (event) => {
      event.preventDefault();
      send([...event.dataTransfer.items].map((item) => item.getAsFile()));
    });
    editor().addEventListener("paste", (event) => event.clipboardData.files.length && send([...event.clipboardData.files]));
  },
  whatsapp() {
    // Photos are read into memory and encrypted there before they are sent: what is sent is only what was read.
    const input = fileInput({ id: "", accept: `image/*,${VIDEOS},video/3gpp`, hidden: true });
    input.addEventListener("change", async () => {
      const read = await Promise.all([...input.files].map((file) => file.arrayBuffer()));
      send(read.map((bytes, i) => new File([bytes], input.files[i].name, { type: input.files[i].type })));
    });
    button(() => input.click());
  },
};

SITES[location.search.slice(1)]();
ready();
