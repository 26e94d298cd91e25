// The work of a page on which a photo is chosen: holds a choice's photos until each is decided, shows them, and answers the
// guard. Comes into the page when page/bridge.js asks for it, after photo.js, pick.js and card/. Runs isolated: the
// page can neither read nor call any of this.

(() => {
  "use strict";

  const { Overlay, PhotoError, Pick, sortOut } = globalThis.pmask;
  const WARM_AGAIN_MS = 60_000;
  const COUNT_MS = 150; // between two counts for the badge
  const LATER_MS = 1500; // at most, for what can wait until the photos are handed over

  /**
   * @typedef {{on: boolean, originals: "ask" | "never" | "unknown", review: {strengths: {names: string[], own: string} | null} | null}} State
   *   of this page, from the background. review: each protected photo waits for the person, who may have it done again
   */

  /** Messages to the background from this document, whose name `page` is. */
  function talk(api, page) {
    /** One message. Rejects with a PhotoError: the background's, "lost" or "reload". */
    async function ask(name, payload = {}) {
      let answer;
      try {
        answer = await api.runtime.sendMessage({ ...payload, name, page });
      } catch {
        // After an update of the extension this script is an orphan; only a reload of the page helps.
        throw new PhotoError(api.runtime?.id ? "lost" : "reload"); // what else the browser says is for programmers
      }
      if (!answer) throw new PhotoError(api.runtime?.id ? "lost" : "reload");
      if (answer.error) throw new PhotoError(answer.error.code, answer.error.message);
      return answer.value;
    }

    /** A message whose answer does not matter. */
    const tell = (name, payload) => ask(name, payload).catch(() => {});

    // Beside twenty photos, sixty messages take longer than the photos do: some can wait.
    const outbox = []; // arguments of tell
    let sending = 0;
    function sendOutbox() {
      clearTimeout(sending);
      sending = 0;
      for (const message of outbox.splice(0)) tell(...message);
    }
    function later(name, payload) {
      outbox.push([name, payload]);
      sending ||= setTimeout(sendOutbox, LATER_MS);
    }

    /** `ask` for photos. A job whose result is here may be forgotten a little later. */
    async function askForPhoto(name, payload) {
      if (name !== "cancel" || !payload.done) return ask(name, payload);
      return later(name, payload);
    }

    return { ask, tell, later, sendOutbox, askForPhoto };
  }

  /** What the badge and the popup are told of this document's photos. */
  function counter(allPhotos, { tell, later }) {
    let done = 0; // photos protected in this document
    const known = new WeakMap(); // photo -> its name towards the popup, and the last end that was told
    function ended(photo) {
      const { state: end, error, summary, report, attempt } = photo;
      const told = `${end} ${attempt}`;
      const { id, told: before } = known.get(photo) ?? { id: crypto.randomUUID() };
      if ((!photo.isFinal && end !== "failed") || before === told) return;
      known.set(photo, { id, told });
      if (end === "protected") done += 1;
      const outcome = { photo: id, state: end, summary, report, error: error && { code: error.code, message: error.message } };
      (end === "failed" ? tell : later)("ended", outcome);
    }

    let counting = 0;
    let last = "";
    function tellCount() {
      clearTimeout(counting);
      counting = 0;
      const photos = allPhotos();
      const failed = photos.filter(({ isOpen }) => isOpen).length;
      const tally = { pending: photos.filter(({ isFinal, isOpen }) => !isFinal && !isOpen).length, failed, done };
      if (JSON.stringify(tally) === last) return;
      last = JSON.stringify(tally);
      tell("count", tally);
    }

    return {
      /** A photo has changed. */
      count(photo) {
        ended(photo);
        if (photo.isOpen) tellCount(); // it waits for the person
        else counting ||= setTimeout(tellCount, COUNT_MS);
      },
      /** The page is left, and the next one may never have reason to speak. */
      clear() {
        last = "";
        tell("count", { pending: 0, failed: 0, done: 0 });
      },
    };
  }

  async function digest(file) {
    const bytes = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  /**
   * @param {{api: object, line: MessagePort, page: string, state: () => Promise<State>, watchWindow: Function}} bridge
   *   `line` is the guard's; `page` this document's name towards the background; `watchWindow` has its callback listen to
   *   the window, now and whenever its listeners were removed
   * @returns {{notice: (key: string) => void, warm: () => void}}
   */
  function desk({ api, line, page, state, watchWindow }) {
    const overlay = new Overlay();
    const picks = new Map();
    const forgotten = new Set(); // ids that the guard gave up while the state was still being asked for
    const passes = new Set(); // digests of photos whose original may go once more, on the person's word
    const allPhotos = () => [...picks.values()].flatMap((pick) => pick.photos);
    const background = talk(api, page);
    const { ask, tell, sendOutbox, askForPhoto } = background;
    const { count, clear } = counter(allPhotos, background);

    /** May this photo go as it is, this once? One that cannot be read has no such pass, and fails later, with words. */
    const takePass = (photo) => digest(photo.file).then((digested) => passes.delete(digested), () => false);

    /** The browser asks before it leaves a page whose photo is still on its way: an upload must not get lost in silence. */
    const warn = (event) => event.preventDefault();
    const watchLeaving = () => {
      if (picks.size > 0) window.addEventListener("beforeunload", warn);
      else window.removeEventListener("beforeunload", warn);
    };

    async function begin(id, { photos, others }, folder, { originals, review }) {
      const where = location.href;
      const pick = new Pick(photos, askForPhoto, {
        changed(_, photo) {
          overlay.update(pick);
          count(photo);
        },
        settled(_, answers) {
          picks.delete(id);
          watchLeaving();
          overlay.stepAside();
          line.postMessage({ name: "settled", id, answers: answers && [...answers, ...others] });
          overlay.finish(pick);
          if (answers && location.href !== where) overlay.notice("moved_on"); // to another conversation, perhaps
        },
      }, { review: Boolean(review) });
      picks.set(id, pick);
      watchLeaving();
      const allowed = originals === "ask";
      const asIs = []; // photos whose original may go once more
      // Looked up only while there is a pass: hashing takes time.
      if (allowed && passes.size > 0) for (const photo of pick.photos) if (await takePass(photo)) asIs.push(photo);
      if (pick.isSettled) return; // given up in the meantime
      // The bytes first: while the daemon has them there is time for the card.
      if (!folder) for (const photo of pick.photos) if (!photo.isFinal && !asIs.includes(photo)) photo.run();
      overlay.show(pick, {
        retry: (photo) => photo.run(),
        choose: (photo, leaveOut) => photo.choose(leaveOut),
        accept: (photo) => photo.accept(),
        redo: (photo, preset) => photo.redo(preset),
        strengths: review?.strengths ?? null,
        omit: (photo) => photo.decide("omitted"),
        cancel: () => pick.cancel(),
        pair: () => tell("openOptions"),
        settings: () => tell("openOptions"),
        never: originals === "never",
        ...(allowed && {
          original: (photo) => photo.decide("original"),
          once: async (photo) => passes.add(await digest(photo.file)),
        }),
      });
      for (const photo of asIs) photo.decide("original");
      if (folder) for (const photo of pick.photos) if (!asIs.includes(photo)) photo.refuse("folder");
    }

    /** By the time that a photo has been chosen, the recognisers are loaded. */
    let warmed = -WARM_AGAIN_MS;
    async function warm() {
      if (!(await state()).on || performance.now() - warmed < WARM_AGAIN_MS) return;
      warmed = performance.now();
      tell("warm");
    }

    const messages = {
      async photos({ id, photos, folder }) {
        const [now, sorted] = await Promise.all([state(), sortOut(photos)]);
        if (forgotten.delete(id)) return;
        if (now.on && sorted.photos.length > 0) await begin(id, sorted, folder, now);
        else line.postMessage({ name: "settled", id, answers: photos.map(({ index }) => ({ index, use: "original" })) });
      },
      forget({ id }) {
        if (picks.has(id)) picks.get(id).cancel();
        else forgotten.add(id);
      },
      handed() {
        overlay.stepBack();
        if (picks.size === 0) sendOutbox();
      },
      "submit-held": () => overlay.notice(allPhotos().some(({ isOpen }) => isOpen) ? "submit_waits" : "submit_held"),
      "folder-held": () => overlay.notice("folder_held"),
      "field-gone": () => overlay.notice("field_gone"),
    };

    api.runtime.onMessage.addListener((message, sender) => {
      if (sender.id !== api.runtime.id) return;
      if (message.name === "focus-card") overlay.focus();
    });

    // A page that is left takes its photos with it, also into the browser's cache of pages, where nothing of it runs. Its
    // overlay may stand in the frame above.
    let lost = false;
    const onHide = () => {
      lost = picks.size > 0;
      for (const pick of [...picks.values()]) pick.cancel();
      overlay.leave();
      sendOutbox();
      clear();
    };
    const onShow = ({ persisted }) => {
      if (persisted && lost) overlay.notice("page_left");
    };
    watchWindow(() => {
      window.addEventListener("pagehide", onHide);
      window.addEventListener("pageshow", onShow);
      watchLeaving();
    });

    ask("words").then(globalThis.pmask.card.keepWords).catch(() => {});
    line.onmessage = ({ data }) => messages[data.name]?.(data);
    return { notice: (key) => overlay.notice(key), warm };
  }

  globalThis.pmask.desk = desk;
})();
