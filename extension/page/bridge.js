// Between the guard in the page's world and the extension's background: holds a pick's photos until each is decided,
// shows them, and answers the guard. Runs isolated: the page can neither read nor call any of this.

(() => {
  "use strict";

  const api = globalThis.browser ?? globalThis.chrome;
  const { Overlay, Photo, PhotoError } = globalThis.pmask;
  const STATE_PATIENCE_MS = 5000;

  const { port1: line, port2: guardsEnd } = new MessageChannel();
  const overlay = new Overlay();
  const picks = new Map();
  const forgotten = new Set(); // ids that the guard gave up while the state was still being asked for

  /** One message to the background. Rejects with a PhotoError: the background's, "lost" or "reload". */
  async function ask(name, payload = {}) {
    let answer;
    try {
      answer = await api.runtime.sendMessage({ ...payload, name });
    } catch (error) {
      // After an update of the extension this script is an orphan; only a reload of the page helps.
      throw new PhotoError(api.runtime?.id ? "lost" : "reload", String(error?.message ?? error));
    }
    if (!answer) throw new PhotoError(api.runtime?.id ? "lost" : "reload");
    if (answer.error) throw new PhotoError(answer.error.code, answer.error.message);
    return answer.value;
  }

  let state = null; // a promise of whether PMask is on here
  let known = null; // what it resolved to last
  function refreshState() {
    state = (async () => {
      const patience = new Promise((resolve) => setTimeout(resolve, STATE_PATIENCE_MS, { on: true }));
      // Not knowing is on: fail closed.
      const { on } = await Promise.race([ask("state").catch(() => ({ on: true })), patience]);
      known = on;
      line.postMessage({ name: "state", on });
      return on;
    })();
  }

  /** One choice of files by the person: settled as soon as every photo in it is final. */
  class Pick {
    constructor(id, photos, folder) {
      this.id = id;
      this.folder = folder;
      this.entries = photos.map(({ index, file }) => ({ index, photo: new Photo(file, ask, () => this.#changed()) }));
      this.photos = this.entries.map((entry) => entry.photo);
      this.settled = false;
    }

    start() {
      overlay.show(this, {
        retry: (photo) => photo.run(),
        original: (photo) => photo.decide("original"),
        omit: (photo) => photo.decide("omitted"),
        cancel: () => this.cancel(),
        pair: () => ask("openOptions").catch(() => {}),
      });
      for (const photo of this.photos) {
        if (this.folder) photo.refuse("folder");
        else photo.run();
      }
    }

    cancel() {
      for (const photo of this.photos) photo.decide("omitted");
      this.#settle(null);
    }

    #changed() {
      overlay.update(this);
      if (this.photos.every((photo) => photo.isFinal)) {
        this.#settle(
          this.entries
            .filter(({ photo }) => photo.state !== "omitted")
            .map(({ index, photo }) =>
              photo.state === "protected" ? { index, use: "protected", blob: photo.blob } : { index, use: "original" },
            ),
        );
      }
    }

    #settle(answers) {
      if (this.settled) return;
      this.settled = true;
      picks.delete(this.id);
      line.postMessage({ name: "settled", id: this.id, answers });
      overlay.finish(this);
    }
  }

  /** Events by which photos reach a page, and the guard's route that takes each. */
  const ROUTE_OF = { input: "input", change: "input", drop: "drop", paste: "paste" };
  let standing = []; // routes that the guard has reported

  /**
   * Where the guard does not stand (a browser that lacks something it needs), nothing passes: it would pass unprotected.
   * Where it stands, photos' events never come here: it takes them first.
   */
  function block(event) {
    if (!event.isTrusted || standing.includes(ROUTE_OF[event.type])) return;
    const input = event.composedPath()[0];
    const files = (event.dataTransfer ?? event.clipboardData ?? input).files;
    if (!files || ![...files].some(({ type, name }) => type.startsWith("image/") || /\.(hei[cf]|jxl)$/i.test(name))) return;
    if (known === false) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    if (input.files) input.value = "";
    overlay.notice("guard_missing");
  }
  for (const type in ROUTE_OF) window.addEventListener(type, block, true);

  const messages = {
    ready({ routes }) {
      standing = routes;
    },
    async photos({ id, photos, folder }) {
      const on = await state;
      if (forgotten.delete(id)) return;
      if (!on) {
        line.postMessage({ name: "settled", id, answers: photos.map(({ index }) => ({ index, use: "original" })) });
        return;
      }
      const pick = new Pick(id, photos, folder);
      picks.set(id, pick);
      pick.start();
    },
    forget({ id }) {
      if (picks.has(id)) picks.get(id).cancel();
      else forgotten.add(id);
    },
    "submit-held": () => overlay.notice("submit_held"),
    "folder-held": () => overlay.notice("folder_held"),
  };

  line.onmessage = ({ data }) => messages[data.name]?.(data);
  api.runtime.onMessage.addListener((message, sender) => {
    if (sender.id === api.runtime.id && message.name === "state-changed") refreshState();
  });
  // A frame that goes away takes its photos with it; its overlay may stand in the frame above.
  window.addEventListener("pagehide", (event) => {
    if (!event.persisted) for (const pick of [...picks.values()]) pick.cancel();
  });

  // The guard, which ran just before, listens for this; no script of the page has run yet, so none can overhear it.
  window.dispatchEvent(new MessageEvent("pmask-line", { ports: [guardsEnd] }));
  refreshState();
})();
