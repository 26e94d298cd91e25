// Between the guard in the page's world and the rest of the extension. Every page pays for what stands here, so it is
// little: it gives the guard its line, stands in where the guard does not, asks whether PMask is on here at the first sign
// of a person, and fetches page/desk.js, which does the work, at the first sign of an upload. Runs isolated: the page can
// neither read nor call any of this.

(() => {
  "use strict";

  globalThis.pmask ??= {}; // page/desk.js's files meet there; until then it tells the popup that PMask is in this page

  const TRIES = 3; // to fetch the desk
  const PATIENCE_MS = 5000; // for one of them
  const PAUSE_MS = 500;
  /** Said when the extension was updated before this page ever needed it: then its words are gone as well. */
  const ORPHANED = "PMask was updated. Reload this page and choose the photo again.";
  /** As long as the background has not answered: on, and nothing goes without a look, or as the original. */
  const UNKNOWN = { on: true, originals: "unknown", review: { strengths: null } };

  /** Looked up when it is needed: an update of the extension may take it away, and pages without photos are spared it. */
  const api = () => globalThis.browser ?? globalThis.chrome;

  // As in page/core.js, which is in another world.
  const PHOTO_NAME =
    /\.(avifs?|bmp|dib|gif|hei[cf]s?|hif|ico|j2k|jfif|jp2|jpe|jpeg|jpg|jxl|pjp|pjpeg|png|ppm|psd|svg|tga|tif|tiff|webp)$/i;
  const OTHER_NAME =
    /\.(7z|avi|bz2|c|cfg|cpp|cs|css|csv|docx?|exe|gz|h|html?|ini|iso|java|js|json|log|md|mkv|mov|mp[34]|od[pst]|pdf|pptx?|py|rar|rs|sh|sql|tar|toml|ts|txt|wav|webm|xlsx?|xml|ya?ml|zip)$/i;
  const NO_TYPE = /^(application\/(octet-stream|x-(download|partial-download|trash)))?$/i;
  /** Nobody can look inside while the event waits, so what may be a photo is one here. */
  const mayBePhoto = ({ type, name }) =>
    /^image\//i.test(type) || PHOTO_NAME.test(name) || (NO_TYPE.test(type) && !OTHER_NAME.test(name));

  let line = null; // to the guard
  let desk = null; // a promise of what page/desk.js gives
  let known = UNKNOWN; // page/desk.js's State, as the background told it last
  let asked = 0; // questions for it, by number
  let heard = 0; // the last of them that was answered
  let answer = null; // a promise that ends with the last question
  let page = null; // this document's name towards the background, which cancels what a page leaves behind

  // The page can never lay hands on this target, which the guard and we know: whoever needs the line first rings there.
  // (No node: the first touch of `document` costs as much as all the rest here.)
  const bell = new EventTarget();

  const watchers = [];

  /** Has `watch` called, now and whenever document.open() has removed the window's listeners. */
  function watchWindow(watch) {
    watchers.push(watch);
    watch();
  }

  const watchAgain = () => watchers.forEach((watch) => watch());

  function openLine() {
    if (line) return;
    const { port1, port2 } = new MessageChannel();
    line = port1;
    bell.dispatchEvent(new MessageEvent("line", { ports: [port2] }));
  }

  /**
   * An answer counts whenever it comes, unless a later question's was here before.
   *
   * @param {number} [came] when this page came, for who cancels what stood here before
   */
  async function askState(came) {
    asked += 1;
    const number = asked;
    const { value } = await api().runtime.sendMessage({ name: "state", page, came });
    if (!value || number < heard) return;
    heard = number;
    known = value;
    line.postMessage({ name: "state", on: known.on });
  }

  const askQuietly = (came) => (answer = askState(came).catch(() => {}));

  /** The State, for which a background that was slow, or was stopped under the question, is asked again. */
  async function stateNow() {
    const first = asked; // an answer to this one, or to a later, is new enough
    for (let tries = 1; tries <= TRIES; tries += 1) {
      await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
      if (heard === asked) return known;
      if (tries > 1) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS)); // the background was stopped under us
      if (tries < TRIES) askQuietly(performance.timeOrigin);
    }
    return heard >= first ? known : UNKNOWN;
  }

  /** There is a person. From here on the state is kept up, so that off is off by the time that something is chosen. */
  function meet() {
    if (asked > 0) return;
    openLine();
    page = crypto.randomUUID();
    askQuietly(performance.timeOrigin);
    try {
      const { runtime } = api();
      runtime.onMessage.addListener((message, sender) => {
        if (sender.id !== runtime.id || message.name !== "state-changed") return;
        askQuietly();
        stateNow(); // a guard that is off asks no desk, which would ask again
      });
    } catch {
      // The extension was updated: unknown it stays.
    }
    const onShow = ({ persisted }) => persisted && askQuietly(Date.now());
    watchWindow(() => window.addEventListener("pageshow", onShow));
  }

  async function fetchDesk() {
    for (let tries = 1; ; tries += 1) {
      try {
        const patience = new Promise((_, reject) => setTimeout(reject, PATIENCE_MS, new Error("no answer")));
        await Promise.race([api().runtime.sendMessage({ name: "desk" }), patience]);
        return globalThis.pmask.desk({ api: api(), line, page, state: stateNow, watchWindow });
      } catch (error) {
        if (!api().runtime?.id || tries === TRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS)); // the background was stopped under us
      }
    }
  }

  /** The desk, which is fetched if need be. Where it cannot be had nothing passes, and the person is told. */
  function wake() {
    meet();
    desk ??= fetchDesk().catch((error) => {
      desk = null; // the next choice tries again
      line.onmessage = ({ data: { name, id } }) => {
        if (name === "photos") line.postMessage({ name: "settled", id, answers: null });
        if (name === "photos" || name.endsWith("-held")) say();
      };
      throw error;
    });
    return desk;
  }

  const wakeQuietly = () => wake().catch(() => {});

  /** A plain sentence, where the card itself is out of reach. */
  function say() {
    let said = ORPHANED;
    try {
      said = `${api().i18n.getMessage("error_lost_title")}. ${api().i18n.getMessage("error_lost_cure")}`;
    } catch {
      // The extension's API goes with it.
    }
    const host = document.createElement("div");
    host.popover = "manual";
    const card = document.createElement("section");
    card.className = "card";
    card.role = "region";
    card.ariaLive = "assertive";
    card.textContent = said;
    host.attachShadow({ mode: "closed" }).append(card);
    document.documentElement.append(host);
    host.showPopover();
    setTimeout(() => host.remove(), PATIENCE_MS * 2);
  }

  /** Where a photo's event must not reach the page: stopped, emptied, and said. */
  function block(event) {
    const input = event.composedPath()[0];
    const files = (event.dataTransfer ?? event.clipboardData ?? input).files;
    if (!files || ![...files].some(mayBePhoto) || !known.on) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    if (input.files) input.value = "";
    wake().then((there) => there.notice("guard_missing"), say);
  }

  const inRoot = (event) => event.isTrusted && block(event);

  const OPENERS = ["click", "drop", "input"];
  const ENTRIES = [...OPENERS, "dragenter", "keydown", "contextmenu"]; // what comes before a photo, in a closed root

  /** Shows the guard a closed root, by something in it: only `submitter` passes a node of such a root on as it is. */
  function showRoot(root) {
    const inside = [...root.children].find((node) => node instanceof HTMLElement);
    if (inside) bell.dispatchEvent(new SubmitEvent("root", { submitter: inside }));
  }

  /**
   * A closed root that no script has made (a clone's, or the parser's) is hidden from the guard, but not from us. What opens
   * its input, or comes before a drop or a paste, names its host. Where the guard stands, it stands in front of this. Each
   * letter that is typed there comes here: the browser drops listeners that it has already.
   */
  function watchClosed(event) {
    const [host] = event.composedPath();
    if (!(host instanceof HTMLElement)) return;
    const root = api().dom?.openOrClosedShadowRoot(host) ?? host.openOrClosedShadowRoot;
    if (!root || root.mode === "open") return;
    wakeQuietly();
    showRoot(root);
    for (const type of ["input", "change"]) root.addEventListener(type, inRoot, true);
    for (const type of ENTRIES) root.addEventListener(type, watchClosed, true); // roots in roots
  }

  const isPicker = (node) => (node.localName === "label" ? node.control : node)?.type === "file";

  /** A file dialog opens, files are dragged over the page, or somebody may be about to paste. */
  function isSign(event) {
    if (event.type === "click") return event.composedPath().some(isPicker);
    if (event.type === "dragenter") return event.dataTransfer?.types.includes("Files") === true;
    return event.type === "contextmenu" || (event.type === "keydown" && (event.ctrlKey || event.metaKey));
  }

  const SURE = ["click", "dragenter"]; // signs after which a photo comes more often than not
  const TAKEN = ["input", "change", "drop", "paste"]; // events by which photos reach a page

  function hear(event) {
    if (event.isTrusted) meet();
    const sign = isSign(event);
    if (sign) {
      if (event.isTrusted && SURE.includes(event.type)) wake().then((there) => there.warm(), () => {});
      else wakeQuietly();
    }
    if (sign || OPENERS.includes(event.type)) watchClosed(event);
    // Where the guard stands, photos' events never come here: it takes them first.
    if (!stands && event.isTrusted && TAKEN.includes(event.type)) block(event);
  }

  const onMove = ({ isTrusted }) => isTrusted && meet();

  watchWindow(() => {
    for (const type of [...TAKEN, "click", "dragenter", "keydown", "contextmenu"]) {
      window.addEventListener(type, hear, { capture: true, passive: !TAKEN.includes(type) });
    }
    window.addEventListener("pointermove", onMove, { capture: true, passive: true, once: true });
  });

  bell.addEventListener("ring", wakeQuietly);
  bell.addEventListener("reopened", watchAgain);
  // The guard, which ran just before, listens for this; no script of the page has run yet, so none can overhear it. It
  // prevents the event when all of its routes stand; a browser that lacks something they need gets no photo at all.
  const stands = !window.dispatchEvent(new FocusEvent("pmask-line", { cancelable: true, relatedTarget: bell }));
  // No guard tells us here that the document was opened anew; but then its children are.
  if (!stands) new MutationObserver(watchAgain).observe(document, { childList: true });
})();
