// Ways in which files reach a page, one function each; route.html?NAME runs one.

const FRAME_PAGE = "/pmask-demo/pages/frame.html";
const frame = (properties) => put("iframe", { id: "frame", ...properties });
const inputMarkup = '<input type="file" multiple style="width:280px;height:60px" onchange="parent.send(this.files)">';
const dropMarkup = `<!doctype html><html data-ready="1"><body style="margin:0"><div id="zone" style="height:150px">Drop here</div><script>
  const take = (event) => {
    event.preventDefault();
    const form = new FormData();
    for (const file of event.dataTransfer.files) form.append("photo", file);
    fetch("/pmask-demo/upload", { method: "POST", body: form });
  };
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", take, true);
</script>`;
const clone = (markup) => {
  const template = put("template");
  template.setHTMLUnsafe(markup);
  document.querySelector("main").append(template.content.cloneNode(true));
};
const loaded = (element) => new Promise((done) => element.addEventListener("load", done, { once: true }));
const readFile = (file, how) =>
  new Promise((done) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader[how](file);
  });

const ROUTES = {
  // Inputs.
  change: () => fileInput().addEventListener("change", (event) => send(event.target.files)),
  input: () => fileInput({ oninput: (event) => send(event.target.files) }),
  inline: () => fileInput().setAttribute("onchange", "send(this.files)"),
  capturing: () => document.addEventListener("change", (event) => send(event.target.files), { capture: true, once: !fileInput() }),
  async late() {
    document.addEventListener("change", (event) => send(event.target.files));
    await new Promise((done) => setTimeout(done, 300));
    document.querySelector("main").innerHTML = '<div><input id="pick" type="file" multiple></div>';
  },
  removed() {
    const input = fileInput();
    input.setAttribute("onchange", "send(this.files)");
    input.addEventListener("click", () => setTimeout(() => input.remove(), 0));
  },
  hidden() {
    const input = fileInput({ id: "hidden", hidden: true, onchange: () => send(input.files) });
    put("button", { id: "pick", textContent: "Choose", onclick: () => input.click() });
  },
  label() {
    fileInput({ id: "hidden", onchange: (event) => send(event.target.files) }).style.display = "none";
    put("label", { id: "pick", htmlFor: "hidden", textContent: "Choose" });
  },
  "show-picker"() {
    const input = fileInput({ id: "hidden", onchange: () => send(input.files) });
    input.style.display = "none";
    put("button", { id: "pick", textContent: "Choose", onclick: () => input.showPicker() });
  },
  detached() {
    const onclick = () => {
      const input = Object.assign(document.createElement("input"), { type: "file", multiple: true });
      input.onchange = () => send(input.files);
      input.click();
    };
    put("button", { id: "pick", textContent: "Choose", onclick });
  },
  "nested-shadow"() {
    const outer = put("div", { id: "pick" }).attachShadow({ mode: "closed" });
    const inner = put("div", {}, outer).attachShadow({ mode: "closed" });
    fileInput({}, inner).onchange = (event) => send(event.target.files);
  },
  "shadow-unsafe-html"() {
    const host = put("div");
    const markup = '<div id="pick"><template shadowrootmode="open"><input type="file" multiple></template></div>';
    host.setHTMLUnsafe(markup);
    host.firstChild.shadowRoot.addEventListener("change", (event) => send(event.target.files));
  },
  "shadow-cloned": () =>
    clone(
      '<div id="pick"><template shadowrootmode="closed" shadowrootclonable><input type="file" multiple onchange="send(this.files)"></template></div>',
    ),
  async "reopened-shadow-cloned"() {
    await loaded(window);
    document.open();
    document.write("<style>#pick { display: inline-block }</style><main></main>");
    document.close();
    ROUTES["shadow-cloned"]();
  },
  folder: () => fileInput({ webkitdirectory: true, onchange: (event) => send(event.target.files) }),
  mixed() {
    const input = fileInput({ onchange: () => send(input.files, { dates: [...input.files].map((file) => file.lastModified).join() }) });
  },

  // How a page reads what it got.
  raw: () => fileInput({ onchange: (event) => fetch("/pmask-demo/sink", { method: "PUT", body: event.target.files[0] }) }),
  slices() {
    const SLICE = 4096;
    const onchange = async ({ target }) => {
      const [file] = target.files;
      for (let start = 0; start < file.size; start += SLICE) {
        await fetch(`/pmask-demo/sink?at=${start}`, { method: "POST", body: file.slice(start, start + SLICE) });
      }
    };
    fileInput({ onchange });
  },
  "data-url"() {
    const onchange = async ({ target }) => {
      const body = JSON.stringify({ photo: await readFile(target.files[0], "readAsDataURL") });
      await fetch("/pmask-demo/sink", { method: "POST", body });
    };
    fileInput({ onchange });
  },
  stream() {
    const onchange = async ({ target: { files } }) => {
      const bytes = await new Response(files[0].stream()).arrayBuffer();
      send([new File([bytes], files[0].name, { type: files[0].type })]);
    };
    fileInput({ onchange });
  },
  worker() {
    const code = "onmessage = async ({ data }) => fetch(data.to, { method: 'POST', body: await data.file.arrayBuffer() })";
    const worker = new Worker(URL.createObjectURL(new Blob([code])));
    fileInput({ onchange: ({ target }) => worker.postMessage({ file: target.files[0], to: new URL("/pmask-demo/sink", location).href }) });
  },
  canvas() {
    const onchange = async ({ target }) => {
      const image = await createImageBitmap(target.files[0]);
      const canvas = new OffscreenCanvas(image.width, image.height);
      canvas.getContext("2d").drawImage(image, 0, 0);
      send([new File([await canvas.convertToBlob()], "drawn.png", { type: "image/png" })]);
    };
    fileInput({ onchange });
  },

  // Forms.
  form() {
    const form = put("form", { action: "/pmask-demo/upload", method: "post", enctype: "multipart/form-data" });
    fileInput({ name: "photo" }, form);
    put("button", { id: "post", textContent: "Post" }, form);
  },
  "form-submit"() {
    const form = put("form", { action: "/pmask-demo/upload", method: "post", enctype: "multipart/form-data" });
    fileInput({ name: "photo", onchange: () => form.submit() }, form);
  },
  "form-request-submit"() {
    const form = put("form", { action: "/pmask-demo/upload", method: "post", enctype: "multipart/form-data" });
    fileInput({ name: "photo", onchange: () => form.requestSubmit() }, form);
  },
  "form-elsewhere"() {
    put("form", { id: "form", action: "/pmask-demo/upload", method: "post", enctype: "multipart/form-data", target: "answer" });
    put("iframe", { name: "answer" });
    fileInput({ name: "photo" }).setAttribute("form", "form");
    put("button", { id: "post", textContent: "Post" }).setAttribute("form", "form");
  },
  "form-data"() {
    const form = put("form");
    fileInput({ name: "photo", onchange: () => fetch("/pmask-demo/upload", { method: "POST", body: new FormData(form) }) }, form);
  },
  "form-data-event"() {
    const form = put("form", { action: "/pmask-demo/upload", method: "post", enctype: "multipart/form-data", target: "answer" });
    put("iframe", { name: "answer" });
    const input = fileInput({}, form); // no name: the form alone would not send it
    form.addEventListener("formdata", ({ formData }) => [...input.files].forEach((file) => formData.append("photo", file)));
    put("button", { id: "post", textContent: "Post" }, form);
  },

  // Frames.
  "frame-same": () => loaded(frame({ src: FRAME_PAGE })),
  "frame-cross-origin": () => loaded(frame({ src: `http://localhost:${location.port}${FRAME_PAGE}` })),
  "frame-sandbox"() {
    const element = put("iframe", { id: "frame", sandbox: "allow-scripts" }, null);
    element.src = FRAME_PAGE;
    document.querySelector("main").append(element);
    return loaded(element);
  },
  "frame-nested": () => loaded(frame({ srcdoc: `<iframe id="inner" src="${FRAME_PAGE}" width="300" height="70"></iframe>` })),
  "frame-srcdoc": () => loaded(frame({ srcdoc: inputMarkup })),
  "frame-blank"() {
    const { document: inside } = frame().contentWindow;
    inside.body.innerHTML = inputMarkup;
  },
  "frame-written"() {
    const { document: inside } = frame().contentWindow;
    inside.open();
    inside.write(inputMarkup);
    inside.close();
  },
  "frame-javascript": () => frame({ src: `javascript:'${inputMarkup.replaceAll('"', "&quot;").replaceAll("&quot;", "\\x22")}'` }),
  "frame-written-closed"() {
    const { document: inside } = frame().contentWindow;
    inside.open();
    inside.write(`<div style="display:inline-block"><template shadowrootmode="closed">${inputMarkup}</template></div>`);
    inside.close();
  },
  "frame-written-scriptless"() {
    const { document: inside } = frame({ sandbox: "allow-same-origin allow-forms" }).contentWindow;
    inside.open();
    inside.write(inputMarkup);
    inside.close();
    const input = inside.querySelector("input");
    input.onchange = () => send(input.files);
  },
  "frame-written-abroad"() {
    const { contentDocument: inside } = frame();
    document.write.call(inside, inputMarkup);
    inside.close();
  },
  "frame-opened-abroad"() {
    const { contentDocument: inside } = frame();
    document.open.call(inside);
    inside.append(inside.createElement("html"));
    inside.documentElement.innerHTML = inputMarkup;
    inside.close();
  },
  // Frames with an address that never leave their first, empty document.
  "frame-void"() {
    frame({ src: "javascript:void 0" }).contentDocument.body.innerHTML = inputMarkup;
  },
  async "frame-void-late"() {
    const element = frame({ src: "javascript:void 0" });
    await new Promise((done) => setTimeout(done, 300));
    element.contentWindow.document.body.innerHTML = inputMarkup;
  },
  async "frame-fragment-late"() {
    const element = frame({ src: "about:blank#late" });
    await new Promise((done) => setTimeout(done, 300));
    element.contentWindow.document.body.innerHTML = inputMarkup;
  },
  async "frame-no-content"() {
    const element = frame({ src: "/pmask-demo/nothing" });
    await new Promise((done) => setTimeout(done, 300));
    element.contentDocument.body.innerHTML = inputMarkup;
  },
  "frame-stopped"() {
    const { contentDocument: inside } = frame({ src: FRAME_PAGE });
    inside.open();
    inside.write(inputMarkup);
    inside.close();
  },
  "frame-void-drop"() {
    const { contentDocument: inside } = frame({ src: "javascript:void 0" });
    inside.write(dropMarkup);
    inside.close();
  },
  "frame-void-detached"() {
    const { contentDocument: inside } = frame({ src: "javascript:void 0" });
    inside.body.innerHTML = "<button>Choose</button>";
    inside.querySelector("button").onclick = () => {
      const input = Object.assign(inside.createElement("input"), { type: "file" });
      input.addEventListener("change", () => send(input.files));
      input.click();
    };
  },
  "frame-void-closed"() {
    const { contentDocument: inside } = frame({ src: "javascript:void 0" });
    inside.body.innerHTML = "<div></div>";
    inside.querySelector("div").attachShadow({ mode: "closed" }).innerHTML = inputMarkup;
  },
  "frame-void-nested"() {
    const { contentDocument: outer } = frame({ src: "javascript:void 0" });
    outer.body.innerHTML = '<iframe src="javascript:void 0" width="300" height="100"></iframe>';
    const { contentDocument: inner } = outer.querySelector("iframe");
    inner.body.innerHTML = inputMarkup;
    inner.querySelector("input").onchange = (event) => send(event.target.files);
  },
  "frame-moved"() {
    // The input is made by the page and handed to a frame, whose window then hears the events.
    const { document: inside } = frame().contentWindow;
    const input = fileInput({ onchange: () => send(input.files) });
    input.style = "width:280px;height:60px";
    inside.body.append(input);
  },

  // Drops.
  "drop-files": () => dropZone((transfer) => [...transfer.files]),
  "drop-items": () => dropZone((transfer) => [...transfer.items].filter(({ kind }) => kind === "file").map((item) => item.getAsFile())),
  "drop-entries": () =>
    dropZone((transfer) => {
      const entries = [...transfer.items].map((item) => item.webkitGetAsEntry());
      return Promise.all(entries.map((entry) => new Promise((done, fail) => entry.file(done, fail))));
    }),
  "drop-handles": () =>
    dropZone(async (transfer) => {
      const handles = await Promise.all([...transfer.items].map((item) => item.getAsFileSystemHandle()));
      if (!handles.every((handle) => handle instanceof FileSystemFileHandle && handle.kind === "file")) return [];
      return Promise.all(handles.map((handle) => handle.getFile()));
    }),
  "drop-on-input": () => fileInput({ id: "zone", onchange: (event) => send(event.target.files) }),
  "drop-over-input"() {
    // The input lies over the zone, and the page reads the drop itself, as sites with a transparent input do.
    const zone = dropZone((transfer) => [...transfer.files]);
    fileInput({ id: "hidden" }, zone).style = "width:100%;height:100%;opacity:0";
  },
  "drop-closed-shadow"() {
    const host = put("div", { id: "zone", className: "zone" });
    dropZone((transfer) => [...transfer.files], host.attachShadow({ mode: "closed" })).style.height = "80px";
  },
  "drop-cloned-shadow": () =>
    clone(
      '<div id="zone"><template shadowrootmode="closed" shadowrootclonable>' +
        '<div class="zone" style="height:80px" ondragenter="event.preventDefault()" ondragover="event.preventDefault()" ' +
        'ondrop="event.preventDefault(); send(event.dataTransfer.files)"></div></template></div>',
    ),
  "drop-window"() {
    put("div", { id: "zone", className: "zone" });
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      send([...event.dataTransfer.files]);
    }, true);
  },
  async "drop-written"() {
    await loaded(window);
    document.write(dropMarkup);
  },
  "drop-written-frame"() {
    const { contentDocument: inside } = frame();
    inside.write(dropMarkup);
    inside.close();
  },
  "drop-frame": () => loaded(frame({ src: FRAME_PAGE })),
  "drop-transfer"() {
    // What was dropped goes into an input by a DataTransfer of the page's own, and from there into a form.
    const form = put("form");
    const input = fileInput({ name: "photo", hidden: true }, form);
    input.addEventListener("change", () => fetch("/pmask-demo/upload", { method: "POST", body: new FormData(form) }));
    const zone = dropZone(() => []);
    zone.addEventListener("drop", (event) => {
      event.stopImmediatePropagation();
      event.preventDefault();
      const transfer = new DataTransfer();
      for (const file of event.dataTransfer.files) transfer.items.add(file);
      input.files = transfer.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    }, true);
  },
  "drop-folder": () =>
    dropZone(async (transfer) => {
      const reader = transfer.items[0].webkitGetAsEntry().createReader();
      const entries = await new Promise((done) => reader.readEntries(done));
      return Promise.all(entries.map((entry) => new Promise((done) => entry.file(done))));
    }),
  "drop-worker"() {
    const code =
      "onmessage = async ({ data }) => { const file = data.handle ? await data.handle.getFile() : data.file;" +
      " fetch(data.to, { method: 'POST', body: await file.arrayBuffer() }) }";
    const worker = new Worker(URL.createObjectURL(new Blob([code])));
    const to = new URL("/pmask-demo/sink", location).href;
    const zone = dropZone(() => []);
    zone.addEventListener("drop", async (event) => {
      event.stopImmediatePropagation();
      event.preventDefault();
      const [item] = event.dataTransfer.items;
      const file = item.getAsFile();
      const handle = await item.getAsFileSystemHandle?.();
      try {
        worker.postMessage(handle ? { handle, to } : { file, to });
      } catch {
        worker.postMessage({ file, to }); // a stand-in cannot be cloned
      }
    }, true);
  },

  // Clipboard.
  paste() {
    put("div", { id: "paste", className: "zone", tabIndex: 0 });
    document.addEventListener("paste", (event) => send([...event.clipboardData.files]));
  },
  "paste-items"() {
    const read = (event) => {
      event.preventDefault();
      send([...event.clipboardData.items].filter(({ kind }) => kind === "file").map((item) => item.getAsFile()));
    };
    put("textarea", { id: "paste" }).addEventListener("paste", read);
  },
  "paste-editable"() {
    // Nobody listens: the browser itself puts the picture into the text, and the page saves the text.
    const editor = put("div", { id: "paste", className: "zone", contentEditable: "true" });
    editor.addEventListener("input", async () => {
      const image = editor.querySelector("img");
      if (image) send([new File([await (await fetch(image.src)).blob()], "pasted.png", { type: "image/png" })]);
    });
  },
  "paste-closed-shadow"() {
    const host = put("div", { id: "paste", className: "zone" });
    const field = put("div", { tabIndex: 0 }, host.attachShadow({ mode: "closed" }));
    field.style.height = "80px";
    field.addEventListener("paste", (event) => send([...event.clipboardData.files]));
  },
  "paste-cloned-shadow": () =>
    clone(
      '<div id="paste" class="zone"><template shadowrootmode="closed" shadowrootclonable>' +
        '<div tabindex="0" style="height:80px" onpaste="send(event.clipboardData.files)"></div></template></div>',
    ),
  "clipboard-read"() {
    const onclick = async () => {
      const [item] = await navigator.clipboard.read();
      send([new File([await item.getType("image/png")], "read.png", { type: "image/png" })]);
    };
    put("button", { id: "paste", textContent: "Paste", onclick });
  },

  "frame-void-clipboard"() {
    const { contentWindow: view } = frame({ src: "javascript:void 0" });
    view.document.body.innerHTML = "<button>Paste</button>";
    view.document.querySelector("button").onclick = async () => {
      const [item] = await view.navigator.clipboard.read();
      send([new File([await item.getType("image/png")], "read.png", { type: "image/png" })]);
    };
  },

  // The file picker's own function. The test puts `pickedHandles` there, since no tool can press its dialog.
  "open-picker"() {
    const onclick = async () => {
      const handles = await showOpenFilePicker({ multiple: true });
      if (!handles.every((handle) => handle instanceof FileSystemFileHandle && handle.kind === "file" && handle.name)) return;
      send(await Promise.all(handles.map((handle) => handle.getFile())));
    };
    put("button", { id: "pick", textContent: "Choose", onclick });
  },
  "directory-picker"() {
    const onclick = async () => {
      const files = [];
      for await (const handle of (await showDirectoryPicker()).values()) files.push(await handle.getFile());
      send(files);
    };
    put("button", { id: "pick", textContent: "Choose", onclick });
  },

  // Pages that meddle with what the guard stands on.
  "wraps-after"() {
    const wrap = (prototype, name) => {
      const native = prototype[name];
      prototype[name] = function (...args) {
        return native.apply(this, args);
      };
    };
    wrap(EventTarget.prototype, "addEventListener");
    wrap(EventTarget.prototype, "dispatchEvent");
    wrap(HTMLElement.prototype, "click");
    wrap(Element.prototype, "attachShadow");
    wrap(DataTransferItemList.prototype, "add");
    const files = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "files");
    Object.defineProperty(HTMLInputElement.prototype, "files", {
      ...files,
      get() {
        return files.get.call(this);
      },
    });
    const root = put("div", { id: "pick" }).attachShadow({ mode: "open" });
    const input = fileInput({ id: "inner" }, root);
    input.addEventListener("change", () => send(input.files));
  },
  "wraps-before": () => fileInput().addEventListener("change", (event) => send(event.target.files)), // see PRELOADS
  "checks-native"() {
    const looks = (named, name = named.name) => {
      const text = Function.prototype.toString.call(named).replaceAll(/\s+/g, " ");
      const bare = name.replace(/^[gs]et /, ""); // Firefox prints no "get"
      return [name, bare].some((one) => text === `function ${one}() { [native code] }`) && `${named}`.replaceAll(/\s+/g, " ") === text && !("prototype" in named);
    };
    const onchange = Object.getOwnPropertyDescriptor(HTMLElement.prototype, "onchange");
    const honest =
      [
        EventTarget.prototype.addEventListener, EventTarget.prototype.dispatchEvent, Element.prototype.attachShadow,
        HTMLElement.prototype.click, HTMLFormElement.prototype.submit, Document.prototype.write, Function.prototype.toString,
        DataTransferItem.prototype.webkitGetAsEntry,
      ].every((one) => looks(one)) && looks(onchange.set, "set onchange") && looks(onchange.get, "get onchange"); // prettier-ignore
    document.documentElement.dataset.honest = honest;
    fileInput({ onchange: (event) => honest && send(event.target.files) });
  },
  // Listeners in every order that a seed draws: where, for what, in which phase, and what each stops. What ran is sent along.
  fuzz(seed) {
    let state = Number(seed) * 2654435761 + 1;
    const draw = (list) => {
      state = (Math.imul(state ^ (state >>> 15), 2246822519) + 0x9e3779b9) >>> 0;
      return list[(state >>> 8) % list.length];
    };
    const holder = put("div");
    const input = fileInput({ id: "pick" }, draw([holder, null]) ?? undefined);
    const ran = [];
    for (let number = 0; number < 8; number += 1) {
      const target = draw([window, document, document.body, holder, input, input]);
      const deed = draw(["go on", "go on", "go on", "stopPropagation", "stopImmediatePropagation"]);
      const capture = draw([true, false]);
      const listener = (event) => {
        ran.push(`${number} ${event.type} ${event.eventPhase} ${input.files.length}`);
        event[deed]?.();
      };
      const type = draw(["input", "change"]);
      if (draw([0, 0, 0, 1]) && target !== window) target[`on${type}`] = listener;
      else target.addEventListener(type, listener, { capture, once: draw([false, false, true]) });
    }
    const poll = setInterval(() => {
      if (input.files.length === 0) return;
      clearInterval(poll);
      setTimeout(() => send([...input.files], { ran: ran.join("; ") || "none" }), 100);
    }, 20);
  },
  popup() {
    const onclick = () => {
      const opened = open("", "_blank", "width=400,height=300");
      opened.document.body.innerHTML = '<input id="pick" type="file" multiple onchange="opener.send(this.files)">';
      window.opened = opened;
    };
    put("button", { id: "open", textContent: "Open", onclick });
  },
};

const [route, ...options] = location.search.slice(1).split("&");
Promise.resolve(ROUTES[route](...options)).then(ready);
