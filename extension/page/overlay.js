// What the person sees of a photo on its way: a small card in the top layer, in a closed shadow root that the page can
// neither read, style nor press. Built from elements and a constructed style sheet alone, so that it stands under any
// content security policy. Knows photos (photo.js) and the person's choices, not messages.

(() => {
  "use strict";

  const api = globalThis.browser ?? globalThis.chrome;

  /**
   * Words that are still needed when the extension was updated or removed under an open page: its API is gone then, and
   * the card must say so and let the person choose.
   */
  const KEPT = new Map(
    [
      "extension_short", "close", "close_done", "cancel", "leave_out", "upload_original", "upload_originals", "headline_failed_one",
      "headline_failed", "headline_pending_one", "headline_done", "state_sending", "result_original", "result_omitted",
      "headline_review_one", "headline_review", "review_go", "review_go_all", "state_reviewing", "review_less", "review_more",
      "error_reload_title", "error_reload_cure", "error_unexpected_title", "error_unexpected_cure",
    ].map((key) => [key, api.i18n.getMessage(key, ["…"])]),
  );

  /** A sentence of _locales. */
  function words(key, ...values) {
    try {
      return api.i18n.getMessage(key, values.map(String));
    } catch {
      return KEPT.get(key) ?? "";
    }
  }

  const FADE_AFTER_MS = 6000;
  const FADE_MS = 400;
  const NOTICE_MS = 7000;
  const KEEP_MS = 500;
  const THUMB_PX = 88; // twice its size on screen, for dense displays
  const THUMB_AFTER_MS = 300; // large photos take long to decode, and first they are to go out
  const TILE_PX = 112;
  const VIEW_PX = [776, 520];
  const FACE_SHARE = 2.6; // the view around a face is so many times as wide as the face
  const ASIDE_MS = 300;
  const ALONE = "dialog:modal, :fullscreen"; // beside one of these all is inert
  /** Events in the card that are no business of the page: it would close its own dialog on a click beside it, or call the keyboard back. */
  const OWN = [
    "click", "mousedown", "mouseup", "pointerdown", "pointerup", "touchstart", "touchend", "keydown", "keyup", "keypress", "focus", "focusin",
    "focusout", "change", "input",
  ]; // prettier-ignore
  const HEARD = ["click", "pointerdown", "keydown", "keyup"]; // those to which the card itself listens
  const NO_RETRY = ["folder", "reload", "unreadable"]; // trying again cannot help

  const STYLE = `
    :host {
      all: initial !important;
      position: fixed !important;
      inset: auto 16px 16px auto !important;
      z-index: 2147483647 !important;
      width: min(420px, calc(100vw - 32px)) !important;
      max-height: calc(100vh - 32px) !important;
      margin: 0 !important;
      padding: 0 !important;
      border: 0 !important;
      background: none !important;
      overflow: visible !important;
      pointer-events: none !important;
      color-scheme: light dark !important;
    }
    * { box-sizing: border-box; }
    .card {
      --ink: #16202b; --quiet: #55616e; --paper: #ffffff; --line: #dde3e8; --fill: #f2f5f7;
      --accent: #0f766e; --accent-ink: #ffffff; --good: #0f766e; --warn: #a15c07; --bad: #b42318;
      display: flex; flex-direction: column; max-height: calc(100vh - 32px);
      font: 14px/1.4 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
      color: var(--ink); background: var(--paper);
      border: 1px solid var(--line); border-radius: 14px;
      box-shadow: 0 1px 2px rgb(16 24 40 / .08), 0 12px 32px rgb(16 24 40 / .18);
      opacity: 1; transition: opacity ${FADE_MS}ms ease, transform ${FADE_MS}ms ease;
      animation: rise .25s ease;
    }
    .card { pointer-events: auto; }
    .card.aside { pointer-events: none; }
    .card.fading { opacity: 0; transform: translateY(8px); }
    @keyframes rise { from { opacity: 0; transform: translateY(8px); } }
    @media (prefers-color-scheme: dark) {
      .card {
        --ink: #eef2f5; --quiet: #a5b1bc; --paper: #1b232c; --line: #33404c; --fill: #26313c;
        --accent: #2dd4bf; --accent-ink: #06231f; --good: #5eead4; --warn: #fbbf24; --bad: #fda29b;
        box-shadow: 0 12px 32px rgb(0 0 0 / .5);
      }
    }
    .card:focus { outline: none; }
    .card:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
    header { display: flex; align-items: center; gap: 10px; padding: 12px 8px 10px 14px; }
    header svg { width: 22px; height: 22px; flex: none; }
    header > div { flex: 1; min-width: 0; }
    h2 { margin: 0; font-size: 14px; font-weight: 650; overflow-wrap: anywhere; }
    header p { margin: 0; color: var(--quiet); font-size: 12.5px; }
    ul { list-style: none; margin: 0; padding: 0; overflow-y: auto; }
    li { display: flex; gap: 12px; padding: 10px 14px 12px; border-top: 1px solid var(--line); }
    .thumb { display: block; width: 44px; height: 44px; flex: none; border-radius: 8px; background: var(--fill); object-fit: cover; }
    .body { flex: 1; min-width: 0; }
    .name { margin: 0; font-weight: 550; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
    .status { display: flex; gap: 6px; align-items: baseline; margin: 1px 0 0; color: var(--quiet); }
    .status .mark { font-weight: 700; }
    .good .status { color: var(--good); }
    .warn .status { color: var(--warn); }
    .bad .status { color: var(--bad); font-weight: 600; }
    .cure { margin: 4px 0 0; color: var(--ink); overflow-wrap: anywhere; }
    .detail { margin: 4px 0 0; color: var(--quiet); font-size: 12.5px; overflow-wrap: anywhere; }
    .detail summary { cursor: pointer; }
    .detail div { max-height: 150px; margin-top: 4px; overflow-y: auto; }
    .detail p { margin: 0 0 2px; }
    .bar { height: 5px; margin-top: 8px; border-radius: 3px; background: var(--line); overflow: hidden; }
    .bar i { display: block; height: 100%; width: 100%; border-radius: 3px; background: var(--accent);
      transform-origin: left; transform: scaleX(0); transition: transform .3s ease; }
    :host(:dir(rtl)) .bar i { transform-origin: right; }
    .bar.waiting i { transform: scaleX(.3); animation: slide 1.4s ease-in-out infinite; }
    @keyframes slide { from { translate: -30% 0; } to { translate: 110% 0; } }
    .actions { display: flex; flex-wrap: wrap; gap: 6px; margin-top: 10px; align-items: center; }
    .actions.quiet { gap: 2px; margin: 4px 0 -4px -8px; }
    .hint { margin: 6px 0 0; padding: 6px 9px; border-radius: 8px; background: var(--fill); font-size: 13px; }
    .faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(60px, 1fr)); gap: 8px; margin: 8px 0 0; padding: 0; border: 0; }
    .faces legend { padding: 0; margin-bottom: 6px; }
    .faces label { position: relative; display: block; cursor: pointer; }
    .faces canvas { display: block; width: 100%; aspect-ratio: 1; border-radius: 10px; background: var(--fill); opacity: .55;
      border: 3px solid transparent; transition: opacity .15s; }
    .faces input { position: absolute; inset: 6px auto auto 6px; width: 18px; height: 18px; margin: 0; accent-color: var(--accent); }
    .faces :checked + canvas { opacity: 1; border-color: var(--accent); }
    .faces :focus-visible + canvas { outline: 2px solid var(--ink); outline-offset: 1px; }
    .view { padding: 0 14px 12px; border-top: 1px solid var(--line); }
    .view figure { position: relative; margin: 12px 0 0; border-radius: 10px; overflow: hidden; background: var(--fill); cursor: pointer;
      touch-action: none; user-select: none; }
    .view canvas { display: block; width: 100%; height: auto; max-height: min(260px, 40vh); object-fit: contain; }
    .view figcaption { position: absolute; inset: 8px auto auto 8px; padding: 2px 9px; border-radius: 10px; font-size: 12px; font-weight: 600;
      color: #fff; background: rgb(15 60 56 / .85); }
    .view .showing-original figcaption { background: rgb(120 53 15 / .9); }
    button { font: inherit; font-size: 13px; font-weight: 550; min-height: 32px; padding: 4px 10px; white-space: nowrap; color: var(--ink);
      background: var(--fill); border: 1px solid var(--line); border-radius: 8px; cursor: pointer; }
    button:hover { border-color: var(--quiet); }
    button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
    button.main { color: var(--accent-ink); background: var(--accent); border-color: transparent; }
    button.plain { min-height: 28px; padding: 2px 8px; color: var(--quiet); background: none; border-color: transparent;
      font-weight: 450; text-decoration: underline; text-underline-offset: 2px; }
    button.close { width: 32px; padding: 0; font-size: 18px; line-height: 1; color: var(--quiet); background: none; border-color: transparent; }
    button.close:hover { color: var(--ink); background: var(--fill); }
    footer { padding: 10px 14px 12px; border-top: 1px solid var(--line); }
    footer .actions { margin: 0; }
    .notice { margin: 0; padding: 10px 14px; border-top: 1px solid var(--line); background: var(--fill); color: var(--ink);
      border-radius: 0 0 14px 14px; }
    .live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
    [hidden] { display: none !important; }
    /* a small frame of another origin: the card as a whole scrolls, for its list would have no room */
    @media (max-height: 220px) { .card { overflow-y: auto; } .card > * { flex: none; } ul { overflow: visible; } }
    @media (max-width: 380px) { li { gap: 9px; padding: 9px 10px 10px; } }
    @media (prefers-reduced-motion: reduce) {
      .card, .bar i, .faces canvas { animation: none; transition: none; }
      .bar.waiting i { animation: none; transform: scaleX(.5); }
    }
    @media (forced-colors: active) { .bar i { background: Highlight; } .faces :checked + canvas { border-color: Highlight; } }
  `;

  /** An element with properties; "class" and attributes by their names, children as nodes or text. */
  function h(tag, props = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(props)) {
      if (typeof value === "function") element.addEventListener(name, value);
      else if (value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  /** PMask's sign: a face in a frame whose corners are open. As icons/icon.svg. */
  function sign() {
    const make = (tag, attributes) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
      return node;
    };
    const svg = make("svg", { viewBox: "0 0 32 32", "aria-hidden": "true" });
    svg.append(
      make("rect", { width: 32, height: 32, rx: 8, fill: "#0f766e" }),
      make("path", { d: "M7 12V9.5A2.5 2.5 0 0 1 9.5 7H12M20 7h2.5A2.5 2.5 0 0 1 25 9.5V12M25 20v2.5a2.5 2.5 0 0 1-2.5 2.5H20M12 25H9.5A2.5 2.5 0 0 1 7 22.5V20", fill: "none", stroke: "#99f6e4", "stroke-width": 2, "stroke-linecap": "round" }),
      make("path", { d: "M8.5 13.5c2.5-1 5-1 7.5.6 2.5-1.6 5-1.6 7.5-.6 0 3.6-1.5 6-4 6-1.6 0-2.5-1.1-3.5-2.1-1 1-1.9 2.1-3.5 2.1-2.5 0-4-2.4-4-6Z", fill: "#fff" }),
      make("circle", { cx: 12.4, cy: 16, r: 1.4, fill: "#0f766e" }),
      make("circle", { cx: 19.6, cy: 16, r: 1.4, fill: "#0f766e" }),
    );
    return svg;
  }

  /** "PMask is loading its models", "Finding faces", ... */
  function progressWords(photo) {
    if (photo.state === "running") return words(`stage_${photo.stage ?? "loading"}`);
    return words(`state_${photo.state}`);
  }

  /** What became of a photo: its words, and good, warn or plain. */
  function resultOf({ state, summary }) {
    if (!["protected", "reviewing"].includes(state)) return { text: words(`result_${state}`), tone: state === "original" ? "warn" : "plain" };
    const { status, faces, matched } = summary;
    if (status === "already_protected") return { text: words("result_already"), tone: "good" };
    // by a recogniser that the mask was made against, or by one that only judged
    if (matched) return { text: words("result_partly", matched, faces), tone: "warn" };
    return { text: faces === 1 ? words("result_protected_one") : words("result_protected", faces), tone: "good" };
  }

  /** "4 of 4 recognisers no longer match it (also after Instagram), ..." */
  function judgedWords({ recognisers, fooled, unseen, upload }) {
    if (fooled < recognisers) return words("judged_some", recognisers - fooled, recognisers, upload);
    return words("judged_all", fooled, recognisers, upload, unseen);
  }

  /** One recogniser on one face: its sentence, and the figures behind it. */
  function verdictWords({ sentence, angle, threshold }, face, faces) {
    const said = words("judged_figures", sentence, Math.round(angle), Math.round(threshold));
    return faces === 1 ? said : words("judged_face", face + 1, said);
  }

  /** "about 20 s left", as coarse as it is known. @param {number | null} seconds */
  function leftWords(seconds) {
    if (seconds === null) return "";
    if (seconds < 8) return words("left_moment");
    if (seconds < 90) return words("left_seconds", Math.ceil(seconds / 5) * 5);
    return words("left_minutes", Math.round(seconds / 60));
  }

  const facesWords = (count) => (count === 1 ? words("faces_found_one") : words("faces_found", count));

  /** The picture in a file, or null where the browser cannot show its format. */
  async function bitmapOf(blob, options) {
    try {
      return await createImageBitmap(blob, options);
    } catch {
      return null;
    }
  }

  /** Draws the square around a box, with some room, into a canvas. */
  function drawFace(canvas, image, [x, y, width, height]) {
    const side = Math.max(width, height) * 1.35;
    canvas.getContext("2d").drawImage(image, x + width / 2 - side / 2, y + height / 2 - side / 2, side, side, 0, 0, canvas.width, canvas.height);
  }

  /** The part of a photo that a view shows: around its largest face, in the view's proportions, within the photo. */
  function windowAround(face, { width, height }) {
    const [across, down] = VIEW_PX;
    let wide = width;
    let high = height;
    if (face) {
      wide = Math.min(width, Math.max(face[2] * FACE_SHARE, (face[3] * FACE_SHARE * across) / down));
      high = Math.min(height, (wide * down) / across);
    }
    const x = face ? face[0] + face[2] / 2 - wide / 2 : 0;
    const y = face ? face[1] + face[3] / 2 - high / 2 : 0;
    return [Math.min(Math.max(x, 0), width - wide), Math.min(Math.max(y, 0), height - high), wide, high];
  }

  /** NAME.protected.EXT, as `pmask protect` names it. */
  function copyName(name) {
    const dot = name.lastIndexOf(".");
    return dot > 0 ? `${name.slice(0, dot)}.protected${name.slice(dot)}` : `${name}.protected`;
  }

  function save(blob, name) {
    const url = URL.createObjectURL(blob);
    h("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  /** One photo's line in the card. */
  class Row {
    constructor(photo, single, choices, show) {
      this.photo = photo;
      this.single = single;
      this.choices = choices;
      this.show = show;
      this.said = "";
      this.isSettled = false;
      this.thumb = h("canvas", { class: "thumb", width: THUMB_PX, height: THUMB_PX, "aria-hidden": "true" });
      this.status = h("p", { class: "status" });
      this.bar = h("div", { class: "bar", role: "progressbar", "aria-label": photo.file.name, "aria-valuemin": 0, "aria-valuemax": 100 }, h("i"));
      this.rest = h("div");
      this.element = h(
        "li",
        {},
        this.thumb,
        h("div", { class: "body" }, h("p", { class: "name", title: photo.file.name }, photo.file.name), this.status, this.bar, this.rest),
      );
      const later = new Promise((resolve) => setTimeout(resolve, THUMB_AFTER_MS));
      Row.#drawn = Row.#drawn.then(() => later).then(() => this.#draw());
    }

    /** The thumbnails so far, one after another. */
    static #drawn = Promise.resolve();

    async #draw() {
      const image = await bitmapOf(this.photo.file, { resizeHeight: THUMB_PX, resizeQuality: "medium" });
      if (!image) return; // the empty tile stays
      this.thumb.getContext("2d").drawImage(image, (THUMB_PX - image.width) / 2, 0);
      image.close();
    }

    /** @param {boolean} repeats the row above says the same cure @returns {string | null} what to say aloud, if new */
    update(repeats) {
      const { photo } = this;
      const pending = !photo.isFinal && !photo.isOpen;
      let text;
      let tone = "plain";
      if (pending) text = progressWords(photo);
      else if (photo.state === "choosing") text = words("choose_lead");
      else if (photo.state === "failed") [text, tone] = [errorWords(photo.error, "title"), "bad"];
      else ({ text, tone } = resultOf(photo));

      this.element.className = tone;
      const mark = { good: "✓", warn: "!", bad: "!" }[tone];
      const found = photo.state === "reviewing" ? words("state_reviewing") : pending && photo.faces ? facesWords(photo.faces) : "";
      const left = pending ? leftWords(photo.eta) : "";
      const line = [text, found, left].filter(Boolean).join(" · ");
      if (this.line !== line) {
        this.line = line;
        this.status.replaceChildren(...(mark ? [h("span", { class: "mark", "aria-hidden": "true" }, mark)] : []), h("span", {}, line));
      }

      this.bar.hidden = !pending;
      const measured = photo.state === "running" && photo.progress > 0;
      this.bar.classList.toggle("waiting", !measured && photo.state !== "fetching");
      this.bar.firstChild.style.transform = measured || photo.state === "fetching" ? `scaleX(${photo.progress})` : "";
      if (measured) this.bar.setAttribute("aria-valuenow", Math.round(photo.progress * 100));
      else this.bar.removeAttribute("aria-valuenow");

      // The buttons are made anew only when they change, so that the focus stays where it is.
      const kind = pending ? "pending" : photo.isOpen ? `${photo.state} ${photo.attempt} ${photo.error?.code} ${repeats}` : photo.state;
      if (kind !== this.kind) this.rest.replaceChildren(...this.#restOf(photo.state, repeats));
      this.kind = kind;

      const spoken = `${photo.file.name}: ${[text, found].filter(Boolean).join(", ")}`;
      if (spoken === this.said) return null;
      this.said = spoken;
      return spoken;
    }

    /** The page has been handed what it gets. */
    settle() {
      this.isSettled = true;
      if (this.photo.state === "protected") this.rest.replaceChildren(...this.#restOf("protected", false));
    }

    #restOf(state, repeats) {
      if (state === "failed") return this.#errorBlock(repeats);
      if (state === "choosing") return this.#faces();
      if (state === "reviewing") return [...this.#verdicts(), ...this.#reviewActions()];
      if (state === "protected") return [...this.#verdicts(), this.#doneActions()];
      if (this.photo.isFinal) return [];
      return [h("div", { class: "actions quiet" }, this.#omit("plain"), ...this.#original("plain"))];
    }

    /** What recognisers say of the result: one sentence, and under it each one's own. */
    #verdicts() {
      const { summary, report } = this.photo;
      const notes = (report?.warnings ?? []).map((note) => h("p", { class: "detail" }, note));
      if (!summary.judged) return notes;
      const faces = report?.faces ?? [];
      const lines = faces.flatMap(({ verdicts }, i) => verdicts.map((verdict) => h("p", {}, verdictWords(verdict, i, faces.length))));
      const judged = h("details", { class: "detail" }, h("summary", {}, judgedWords(summary.judged)), h("div", {}, ...lines));
      return [judged, ...notes];
    }

    #doneActions() {
      const { photo } = this;
      const compare = button("compare", "plain", () => this.show(photo));
      const keep = button("save_copy", "plain", () => save(photo.blob, copyName(photo.file.name)));
      const once = this.isSettled && this.choices.once && photo.summary.status === "protected" ? [this.#once()] : [];
      return h("div", { class: "actions quiet" }, compare, keep, ...once);
    }

    /** The page waits for the person, who may also have the photo done again, with the next preset to either side. */
    #reviewActions() {
      const { photo, choices } = this;
      const { names, own } = choices.strengths ?? { names: [], own: null };
      const now = names.indexOf(photo.preset ?? own);
      const redo = (key, preset) => (now >= 0 && preset ? [button(key, "", () => choices.redo(photo, preset))] : []);
      const again = [...redo("review_less", names[now - 1]), ...redo("review_more", names[now + 1])];
      const compare = button("compare", "plain", () => this.show(photo));
      return [
        h("div", { class: "actions" }, button("review_go", "main", () => choices.accept(photo)), ...again),
        h("div", { class: "actions quiet" }, compare, this.#omit("plain"), ...this.#original("plain")),
      ];
    }

    /** The page has the protected photo by now; the original can only go when it is chosen again. */
    #once() {
      const once = button("original_once", "plain", async () => {
        await this.choices.once(this.photo);
        once.replaceWith(h("p", { class: "hint", role: "status" }, words("original_once_hint")));
      });
      return once;
    }

    /** A tile for each face found, ticked: what is unticked stays as it is. */
    #faces() {
      const { photo } = this;
      const boxes = photo.found.map((_box, i) => h("input", { type: "checkbox", checked: "", "aria-label": words("choose_face", i + 1) }));
      const tiles = photo.found.map(() => h("canvas", { width: TILE_PX, height: TILE_PX, "aria-hidden": "true" }));
      bitmapOf(photo.file).then((image) => {
        if (image) tiles.forEach((tile, i) => drawFace(tile, image, photo.found[i]));
        image?.close();
      });
      const go = button("choose_go", "main", () => this.choices.choose(photo, photo.found.filter((_box, i) => !boxes[i].checked)));
      const refresh = () => {
        const ticked = boxes.filter(({ checked }) => checked).length;
        go.disabled = ticked === 0;
        go.textContent = ticked === 1 ? words("choose_go_one") : words("choose_go", ticked);
      };
      refresh();
      const grid = h("fieldset", { class: "faces", change: refresh }, ...boxes.map((box, i) => h("label", {}, box, tiles[i])));
      grid.setAttribute("aria-label", words("choose_lead"));
      return [grid, h("div", { class: "actions" }, go, this.#omit(""), ...this.#original(""))];
    }

    #errorBlock(repeats) {
      const { error } = this.photo;
      const block = repeats ? [] : [h("p", { class: "cure" }, errorWords(error, "cure"))];
      if (error.message && !repeats) block.push(h("p", { class: "detail" }, error.message));
      if (this.choices.never && !repeats) block.push(h("p", { class: "detail" }, words("originals_never")));
      const retry = NO_RETRY.includes(error.code) ? [] : [button("retry", "main", () => this.choices.retry(this.photo))];
      const pair = PAIRING.includes(error.code) ? [button("open_pairing", "main", () => this.choices.pair())] : [];
      block.push(h("div", { class: "actions" }, ...pair, ...retry, ...this.#original(""), this.#omit("")));
      return block;
    }

    #omit(look) {
      return button(this.single ? "cancel" : "leave_out", look, () => this.choices.omit(this.photo));
    }

    #original(look) {
      return this.choices.original ? [button("upload_original", look, () => this.choices.original(this.photo))] : [];
    }
  }

  /** One photo in large, before and after: the original shows while the person holds it. */
  class View {
    #attempt = 0;

    constructor(onClose) {
      this.canvas = h("canvas", { width: VIEW_PX[0], height: VIEW_PX[1], role: "img" });
      this.caption = h("figcaption");
      this.figure = h("figure", {}, this.canvas, this.caption);
      this.hold = h("button", { type: "button", "aria-pressed": "false" }, words("compare_hold"));
      const close = h("button", { type: "button", class: "plain", click: onClose }, words("compare_close"));
      this.change = button("compare_change", "plain", () => this.settings());
      this.element = h("div", { class: "view", hidden: "" }, this.figure, h("div", { class: "actions" }, this.hold, this.change, close));
      for (const target of [this.figure, this.hold]) {
        target.addEventListener("pointerdown", (event) => {
          target.setPointerCapture(event.pointerId);
          this.#turn(true);
        });
        for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) target.addEventListener(type, () => this.#turn(false));
      }
      const isPress = ({ key }) => key === " " || key === "Enter";
      this.hold.addEventListener("keydown", (event) => {
        if (!isPress(event)) return;
        event.preventDefault();
        this.#turn(true);
      });
      this.hold.addEventListener("keyup", (event) => isPress(event) && this.#turn(false));
      this.hold.addEventListener("blur", () => this.#turn(false));
      // A screen reader presses without holding.
      this.hold.addEventListener("click", (event) => event.detail === 0 && this.#turn(this.hold.ariaPressed !== "true"));
    }

    /** @param {Photo} photo @param {Function} settings opens them: a person may find the change too much, or too little */
    async open(photo, settings) {
      const attempt = (this.#attempt += 1);
      const images = await Promise.all([bitmapOf(photo.file), bitmapOf(photo.blob)]);
      if (attempt !== this.#attempt) return;
      [this.photo, this.settings] = [photo, settings];
      this.change.hidden = this.isReview = photo.state === "reviewing"; // its own buttons are nearer
      this.parts = images.map((image) => image && this.#cut(image, photo.report?.faces?.[0]?.box));
      this.canvas.hidden = images.includes(null);
      this.element.hidden = false;
      this.#turn(false);
      if (images.includes(null)) this.caption.textContent = words("compare_cannot");
      this.hold.hidden = images.includes(null);
    }

    close() {
      this.#attempt += 1;
      this.element.hidden = true;
      this.photo = this.parts = null;
    }

    #cut(image, face) {
      const [x, y, wide, high] = windowAround(face, image);
      const scale = Math.min(VIEW_PX[0] / wide, VIEW_PX[1] / high);
      const part = h("canvas", { width: Math.round(wide * scale), height: Math.round(high * scale) });
      part.getContext("2d").drawImage(image, x, y, wide, high, 0, 0, part.width, part.height);
      image.close();
      return part;
    }

    #turn(toOriginal) {
      const part = this.parts?.[toOriginal ? 0 : 1];
      if (!part) return;
      const said = words(toOriginal ? "compare_original" : "compare_protected");
      [this.canvas.width, this.canvas.height] = [part.width, part.height];
      this.canvas.getContext("2d").drawImage(part, 0, 0);
      this.canvas.setAttribute("aria-label", `${this.photo.file.name}: ${said}`);
      this.caption.textContent = said;
      this.figure.classList.toggle("showing-original", toOriginal);
      this.hold.setAttribute("aria-pressed", toOriginal);
    }
  }

  const PAIRING = ["not_paired", "unauthorised", "forbidden_origin"];

  const handed = new WeakSet(); // likenesses of the person's events, see Overlay

  /** A click that the page made up is not the person's. */
  const isPersons = (event) => event.isTrusted || handed.has(event);

  function button(key, look, act) {
    return h("button", { type: "button", class: look, click: (event) => isPersons(event) && act() }, words(key));
  }

  /** The code's own words, or those for anything unexpected. */
  function errorWords(error, part) {
    return words(`error_${error.code}_${part}`) || words(`error_unexpected_${part}`);
  }

  class Overlay {
    #host = null;
    #card = null;
    #picks = new Map(); // pick -> {rows, choices}
    #fading = 0;
    #noticing = 0;
    #keeping = 0;
    #pressed = null; // the element in the card on which a mouse button went down last

    /**
     * Shows a pick. Without `choices.original` the card offers no original.
     *
     * @param {{photos: Photo[]}} pick @param {Record<string, Function>} choices
     */
    show(pick, choices) {
      clearTimeout(this.#fading);
      this.#mount();
      const open = (photo) => this.view.open(photo, choices.settings);
      const rows = pick.photos.map((photo) => new Row(photo, pick.photos.length === 1, choices, open));
      this.#picks.set(pick, { rows, choices, done: false });
      this.list.append(...rows.map((row) => row.element));
      this.update(pick);
    }

    update(pick) {
      const shown = this.#picks.get(pick);
      if (!shown) return;
      this.#mount();
      const failed = pick.photos.filter(({ state }) => state === "failed");
      const isRepeat = (photo) => failed.find(({ error }) => error.code === photo.error?.code) !== photo;
      const hadKeyboard = this.#hasKeyboard();
      const news = shown.rows.map((row) => row.update(isRepeat(row.photo))).filter(Boolean);
      this.#showReview(pick, shown);
      this.#showFooter();
      this.#showHead();
      // The button that was pressed may be gone. The card, and not the next button: Enter held down would press that.
      if (hadKeyboard && !this.#hasKeyboard()) this.focus();
      if (news.length > 0) this.live.textContent = news.join(". ");
    }

    /** While files are handed over, the place under the card is the page's: it may look up what lies where they were dropped. */
    stepAside() {
      this.#card?.classList.add("aside");
      setTimeout(() => this.stepBack(), ASIDE_MS); // a page that is going away hands nothing over
    }

    stepBack() {
      this.#card?.classList.remove("aside");
    }

    /** The pick is settled: its rows stay until they fade or are closed; a warning stays until it is closed. */
    finish(pick) {
      const shown = this.#picks.get(pick);
      if (!shown) return;
      shown.done = true;
      const hadKeyboard = this.#hasKeyboard();
      for (const row of shown.rows) row.settle();
      if (pick.photos.every(({ state }) => state === "omitted")) this.#remove(pick);
      else this.#showHead();
      if (hadKeyboard && !this.#hasKeyboard()) this.focus();
      this.#fadeIfDone();
    }

    /** Puts the keyboard into the card, if there is one. */
    focus() {
      this.#card?.focus();
    }

    /** A sentence that goes away by itself. */
    notice(key) {
      this.#mount();
      if (this.#picks.size === 0) {
        this.#showHead();
        this.headline.textContent = words("extension_short");
      }
      clearTimeout(this.#noticing);
      this.note.textContent = words(key);
      this.note.hidden = false;
      this.live.textContent = words(key);
      this.#noticing = setTimeout(() => {
        this.note.hidden = true;
        if (this.#picks.size === 0) this.#unmount();
      }, NOTICE_MS);
    }

    /** A single photo that waits for the person's look is shown in large by itself; once it was looked at, it goes away. */
    #showReview({ photos }, shown) {
      if (this.view.isReview && photos.includes(this.view.photo) && this.view.photo.state !== "reviewing") this.view.close();
      const [photo] = photos;
      if (photos.length > 1 || photo.state !== "reviewing" || shown.reviewed === photo.attempt) return;
      shown.reviewed = photo.attempt;
      shown.rows[0].show(photo);
    }

    /** For many photos that failed, or wait to be looked at: one button instead of many. */
    #showFooter() {
      const open = [...this.#picks].filter(([, { done }]) => !done);
      const those = (wanted) =>
        open.flatMap(([{ photos }, { choices }]) => photos.filter(({ state }) => state === wanted).map((photo) => ({ photo, choices })));
      const [failed, ready] = [those("failed"), those("reviewing")];
      const shownFor = [...failed, ...ready].map(({ photo: { state, error, attempt } }) => `${state} ${error?.code} ${attempt}`).join();
      if (this.footer.dataset.for === shownFor) return;
      this.footer.dataset.for = shownFor;
      const all = (choice, some) => () => some.forEach(({ photo, choices }) => choices[choice](photo));
      const buttons = [];
      if (failed.length > 1) {
        if (failed.some(({ photo }) => !NO_RETRY.includes(photo.error.code))) buttons.push(button("retry_all", "main", all("retry", failed)));
        if (failed.every(({ choices }) => choices.original)) buttons.push(button("upload_originals", "", all("original", failed)));
      }
      if (ready.length > 1) buttons.push(button("review_go_all", "main", all("accept", ready)));
      this.footer.hidden = buttons.length === 0;
      this.footer.replaceChildren(h("div", { class: "actions" }, ...buttons));
    }

    #photos() {
      return [...this.#picks.keys()].flatMap((pick) => pick.photos);
    }

    #allDone() {
      return [...this.#picks.values()].every(({ done }) => done);
    }

    #allWell() {
      return this.#photos().every(({ state, summary }) => state !== "protected" || !summary.matched);
    }

    #showHead() {
      this.headline.textContent = this.#headline();
      this.progress.textContent = this.#progress();
      const label = words(this.#allDone() ? "close_done" : "close");
      this.close.setAttribute("aria-label", label);
      this.close.title = label;
    }

    /** For several photos: "3 of 20 done · about 4 min left". */
    #progress() {
      const photos = this.#photos();
      const ended = photos.filter(({ isFinal }) => isFinal);
      if (photos.length < 2 || ended.length === photos.length) return "";
      const etas = photos.filter(({ state }) => state === "running" || state === "queued").map(({ eta }) => eta);
      const left = etas.length > 0 && !etas.includes(null) ? Math.max(...etas) : null;
      return [words("progress_of", ended.length, photos.length), leftWords(left)].filter(Boolean).join(" · ");
    }

    #headline() {
      const photos = this.#photos();
      const failed = photos.filter(({ state }) => state === "failed").length;
      if (failed > 0) return failed === 1 ? words("headline_failed_one") : words("headline_failed", failed);
      if (photos.some(({ state }) => state === "choosing")) return words("headline_choosing");
      const pending = photos.filter(({ isFinal, isOpen }) => !isFinal && !isOpen).length;
      if (pending > 0) return pending === 1 ? words("headline_pending_one") : words("headline_pending", pending);
      const ready = photos.filter(({ state }) => state === "reviewing").length;
      if (ready > 0) return ready === 1 ? words("headline_review_one") : words("headline_review", ready);
      return words("headline_done");
    }

    /** Not after a click: a card that kept the focus for the mouse would not go by itself. */
    #hasKeyboard() {
      return this.#card?.matches(":focus-visible, :has(:focus-visible)") ?? false;
    }

    /** Is somebody reading, comparing, or about to press? */
    #isInUse() {
      return this.#card?.matches(":hover, :focus-within") || this.#card?.querySelector("details[open], .view:not([hidden]), .notice:not([hidden])");
    }

    /** Not while the person has something to do, or to be warned of. */
    #fadeIfDone() {
      if (this.#picks.size > 0 && this.#allDone() && this.#allWell()) this.#fadeSoon();
    }

    #fadeSoon() {
      clearTimeout(this.#fading);
      this.#fading = setTimeout(() => {
        if (this.#isInUse()) {
          this.#fadeSoon();
          return;
        }
        this.#card?.classList.add("fading");
        this.#fading = setTimeout(() => {
          if (!this.#isInUse()) {
            this.#unmount();
            return;
          }
          this.#card.classList.remove("fading");
          this.#fadeSoon();
        }, FADE_MS);
      }, FADE_AFTER_MS);
    }

    #remove(pick) {
      for (const row of this.#picks.get(pick).rows) row.element.remove();
      if (pick.photos.includes(this.view.photo)) this.view.close();
      this.#picks.delete(pick);
      this.#showFooter();
      if (this.#picks.size === 0) this.#unmount();
      else this.#showHead();
    }

    /** Closing is cancelling: what is pending does not go. */
    #close() {
      for (const [pick, { choices, done }] of [...this.#picks]) {
        if (!done) choices.cancel();
        if (this.#picks.has(pick)) this.#remove(pick);
      }
      this.#unmount();
    }

    /** This frame goes. In the frame above, the card would stand for ever, with buttons of which nobody hears. */
    leave() {
      if (this.#host && this.#host.ownerDocument !== document) this.#unmount();
    }

    #unmount() {
      clearTimeout(this.#fading);
      clearInterval(this.#keeping);
      this.view?.close();
      if (this.#host) this.#watch(false);
      this.#host?.remove();
      this.#host = null;
      this.#card = null;
      this.#picks.clear();
    }

    #mount() {
      if (this.#host) this.#putBack();
      else {
        this.#build(outermost());
        this.#keeping = setInterval(() => this.#keep(), KEEP_MS);
        this.#keep();
      }
      this.#card.classList.remove("fading");
    }

    #keep() {
      this.#putBack();
      if (!this.#card.matches(".aside") && !this.#takesClicks()) this.#raise();
    }

    /** Puts the card back when the page has thrown it out, hidden it or disabled it. */
    #putBack() {
      const page = outermost();
      for (const { name } of [...this.#host.attributes]) if (name !== "popover") this.#host.removeAttribute(name);
      if (this.#host.popover !== "manual") this.#host.popover = "manual";
      const isAtHome = this.#host.ownerDocument === page && this.#host.parentNode?.matches?.(`:root, ${ALONE}`);
      if (!isAtHome) page.documentElement.append(this.#host);
      this.#watch(true); // document.open() has forgotten it; the browser drops repeats
      if (!this.#host.matches(":popover-open")) this.#host.showPopover();
    }

    /** Not where something lies over it, or where all else is inert. */
    #takesClicks() {
      const { x, y, width, height } = this.#card.getBoundingClientRect();
      return this.#host.getRootNode().elementFromPoint(x + width / 2, y + height / 2) === this.#host;
    }

    /** Puts the card above whatever came over it, or into that beside which nothing can be pressed. */
    #raise() {
      const page = outermost();
      for (const place of [this.#host.parentNode, page.documentElement, ...thoseAlone(page)]) {
        if (this.#host.parentNode !== place) place.append(this.#host);
        this.#host.hidePopover();
        this.#host.showPopover();
        if (this.#takesClicks()) return;
      }
    }

    #build(ownerDocument) {
      this.#host = ownerDocument.createElement("div");
      this.#host.setAttribute("popover", "manual");
      const root = this.#host.attachShadow({ mode: "closed" });
      root.adoptedStyleSheets = [styleFor(ownerDocument)];
      this.headline = h("h2");
      this.progress = h("p");
      this.view = new View(() => this.view.close());
      this.list = h("ul");
      this.footer = h("footer", { hidden: "" });
      this.note = h("p", { class: "notice", hidden: "" });
      this.live = h("div", { class: "live", role: "status", "aria-live": "polite" });
      this.close = h("button", { type: "button", class: "close", click: (event) => isPersons(event) && this.#close() }, "×");
      const header = h("header", {}, sign(), h("div", {}, this.headline, this.progress), this.close);
      this.#card = h("section", { class: "card", role: "region", tabindex: -1, "aria-label": words("extension_short") });
      this.#card.append(header, this.view.element, this.list, this.footer, this.note, this.live);
      this.#card.addEventListener("keydown", (event) => {
        if (event.key !== "Escape") return;
        event.preventDefault(); // it would close the page's dialog as well
        this.#close();
      });
      for (const type of OWN) this.#card.addEventListener(type, (event) => event.stopPropagation());
      root.append(this.#card);
    }

    /** In front of what the page has on its document: a focus trap stops every click beside its dialog. */
    #watch(watching) {
      const view = this.#host.ownerDocument.defaultView; // null: its frame has gone
      for (const type of OWN) view?.[watching ? "addEventListener" : "removeEventListener"](type, this.#take, true);
    }

    /**
     * Ends an event in the card before the page has it, and hands the card its likeness. What the browser does by itself,
     * such as ticking a box, it still does. A host within a closed root of the page is not seen from here: its events come
     * to the card as they are.
     */
    #take = (event) => {
      if (!event.isTrusted || !event.composedPath().includes(this.#host)) return;
      event.stopImmediatePropagation();
      const inner = this.#innerOf(event);
      if (event.type === "mousedown") this.#pressed = inner;
      if (event.type === "keydown") this.#pressed = null;
      if (!inner || !HEARD.includes(event.type)) return;
      if (event.type === "click" && (inner.localName !== "button" || (this.#pressed ?? inner) !== inner)) return;
      const { detail, key, pointerId } = event;
      const likeness = new event.constructor(event.type, { bubbles: true, cancelable: true, detail, key, pointerId });
      handed.add(likeness);
      if (!inner.dispatchEvent(likeness)) event.preventDefault();
    };

    /** What of the card an event is about; a click without a press is the keyboard's, or a screen reader's. */
    #innerOf({ type, clientX, clientY }) {
      const root = this.#card.getRootNode();
      const isByFocus = clientX === undefined || (type === "click" && !this.#pressed);
      const inner = isByFocus ? root.activeElement : root.elementFromPoint(clientX, clientY);
      return this.#card.contains(inner) ? inner : null;
    }
  }

  /** The page in which the card stands: the outermost frame that we may touch. */
  function outermost() {
    let view = window;
    try {
      while (view !== view.parent && view.parent.document.documentElement) view = view.parent;
    } catch {
      // The frame above is of another origin.
    }
    return view.document;
  }

  /** The elements that are ALONE, also those in shadow roots. @param {Document | ShadowRoot} root */
  function thoseAlone(root) {
    const inner = [...root.querySelectorAll("*")].map(shadowOf).filter(Boolean);
    return [...root.querySelectorAll(ALONE), ...inner.flatMap(thoseAlone)];
  }

  /** An element's shadow root, also a closed one. */
  function shadowOf(element) {
    if (!api.dom) return element.openOrClosedShadowRoot; // Firefox
    try {
      return api.dom.openOrClosedShadowRoot(element);
    } catch {
      return null; // SVG, or the extension's API is gone
    }
  }

  function styleFor(ownerDocument) {
    const sheet = new ownerDocument.defaultView.CSSStyleSheet();
    sheet.replaceSync(STYLE);
    return sheet;
  }

  globalThis.pmask = { ...globalThis.pmask, Overlay };
})();
