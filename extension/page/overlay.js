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
      "extension_short", "close", "cancel", "leave_out", "upload_original", "upload_originals", "headline_failed_one",
      "headline_failed", "headline_pending_one", "headline_done", "state_sending", "result_original", "result_omitted",
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

  const FADE_AFTER_MS = 5000;
  const FADE_MS = 400;
  const NOTICE_MS = 6000;
  const THUMB_PX = 88; // twice its size on screen, for dense displays
  const NO_RETRY = ["folder", "reload"]; // trying again cannot help

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
    .card.fading { opacity: 0; transform: translateY(8px); }
    @keyframes rise { from { opacity: 0; transform: translateY(8px); } }
    @media (prefers-color-scheme: dark) {
      .card {
        --ink: #eef2f5; --quiet: #a5b1bc; --paper: #1b232c; --line: #33404c; --fill: #26313c;
        --accent: #2dd4bf; --accent-ink: #06231f; --good: #5eead4; --warn: #fbbf24; --bad: #fda29b;
        box-shadow: 0 12px 32px rgb(0 0 0 / .5);
      }
    }
    header { display: flex; align-items: center; gap: 10px; padding: 12px 8px 10px 14px; }
    header svg { width: 22px; height: 22px; flex: none; }
    h2 { flex: 1; margin: 0; font-size: 14px; font-weight: 650; overflow-wrap: anywhere; }
    ul { list-style: none; margin: 0; padding: 0; overflow-y: auto; }
    li { display: flex; gap: 12px; padding: 10px 14px 12px; border-top: 1px solid var(--line); }
    .thumb { width: 44px; height: 44px; flex: none; border-radius: 8px; background: var(--fill); object-fit: cover; }
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
    .actions { display: flex; flex-wrap: wrap; gap: 6px; margin-top: 10px; }
    button { font: inherit; font-size: 13px; font-weight: 550; min-height: 32px; padding: 4px 10px; white-space: nowrap; color: var(--ink);
      background: var(--fill); border: 1px solid var(--line); border-radius: 8px; cursor: pointer; }
    button:hover { border-color: var(--quiet); }
    button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
    button.main { color: var(--accent-ink); background: var(--accent); border-color: transparent; }
    button.plain { min-height: 24px; margin: 6px 0 -4px -8px; padding: 2px 8px; color: var(--quiet); background: none; border-color: transparent;
      font-weight: 450; text-decoration: underline; text-underline-offset: 2px; }
    button.close { width: 32px; padding: 0; font-size: 18px; line-height: 1; color: var(--quiet); background: none; border-color: transparent; }
    button.close:hover { color: var(--ink); background: var(--fill); }
    footer { padding: 10px 14px 12px; border-top: 1px solid var(--line); }
    footer .actions { margin: 0; }
    .notice { margin: 0; padding: 10px 14px; border-top: 1px solid var(--line); background: var(--fill); color: var(--ink);
      border-radius: 0 0 14px 14px; }
    .live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
    [hidden] { display: none !important; }
    @media (prefers-reduced-motion: reduce) {
      .card, .bar i { animation: none; transition: none; }
      .bar.waiting i { animation: none; transform: scaleX(.5); }
    }
    @media (forced-colors: active) { .bar i { background: Highlight; } }
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
    if (state !== "protected") return { text: words(`result_${state}`), tone: state === "original" ? "warn" : "plain" };
    const { status, faces, hidden } = summary;
    if (status === "already_protected") return { text: words("result_already"), tone: "good" };
    if (hidden < faces) return { text: words("result_partly", faces - hidden, faces), tone: "warn" };
    const text = faces === 1 ? words("result_protected_one") : words("result_protected", faces);
    return { text, tone: isWell(summary) ? "good" : "warn" };
  }

  /** No recogniser matches any face, neither one that the mask was made against nor one that only judged. */
  function isWell({ faces, hidden, judged }) {
    return hidden === faces && (!judged || judged.fooled === judged.recognisers);
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

  /** One photo's line in the card. */
  class Row {
    constructor(photo, single, choices) {
      this.photo = photo;
      this.single = single;
      this.choices = choices;
      this.said = "";
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
      this.#draw();
    }

    async #draw() {
      try {
        const size = { resizeHeight: THUMB_PX, resizeQuality: "medium" };
        const image = await createImageBitmap(this.photo.file, size);
        this.thumb.getContext("2d").drawImage(image, (THUMB_PX - image.width) / 2, 0);
        image.close();
      } catch {
        // A format that the browser cannot show; the empty tile stays.
      }
    }

    /** @param {boolean} repeats the row above says the same cure @returns {string | null} what to say aloud, if new */
    update(repeats) {
      const { photo } = this;
      const pending = !photo.isFinal && photo.state !== "failed";
      let text;
      let tone = "plain";
      if (pending) text = progressWords(photo);
      else if (photo.state === "failed") [text, tone] = [errorWords(photo.error, "title"), "bad"];
      else ({ text, tone } = resultOf(photo));

      this.element.className = tone;
      const mark = { good: "✓", warn: "!", bad: "!" }[tone];
      const found = pending && photo.faces ? (photo.faces === 1 ? words("faces_found_one") : words("faces_found", photo.faces)) : "";
      this.status.replaceChildren(
        ...(mark ? [h("span", { class: "mark", "aria-hidden": "true" }, mark)] : []),
        h("span", {}, found ? `${text} · ${found}` : text),
      );

      this.bar.hidden = !pending;
      const measured = photo.state === "running" && photo.progress > 0;
      this.bar.classList.toggle("waiting", !measured && photo.state !== "fetching");
      this.bar.firstChild.style.transform = measured || photo.state === "fetching" ? `scaleX(${photo.progress})` : "";
      if (measured) this.bar.setAttribute("aria-valuenow", Math.round(photo.progress * 100));
      else this.bar.removeAttribute("aria-valuenow");

      // The buttons are made anew only when they change, so that the focus stays where it is.
      const kind = pending ? "pending" : photo.state === "failed" ? `failed ${photo.attempt} ${photo.error.code} ${repeats}` : photo.state;
      if (kind !== this.kind) this.rest.replaceChildren(...(pending ? this.#pendingActions() : photo.state === "failed" ? this.#errorBlock(repeats) : this.#verdicts()));
      this.kind = kind;

      const spoken = `${photo.file.name}: ${[text, found].filter(Boolean).join(", ")}`;
      if (spoken === this.said) return null;
      this.said = spoken;
      return spoken;
    }

    #pendingActions() {
      return [this.#button("upload_original", "plain", "original")];
    }

    /** What recognisers say of the result: one sentence, and under it each one's own. */
    #verdicts() {
      const { state, summary, report } = this.photo;
      if (state !== "protected" || !summary.judged) return [];
      const faces = report?.faces ?? [];
      const lines = faces.flatMap(({ verdicts }, i) => verdicts.map((verdict) => h("p", {}, verdictWords(verdict, i, faces.length))));
      return [h("details", { class: "detail" }, h("summary", {}, judgedWords(summary.judged)), h("div", {}, ...lines))];
    }

    #errorBlock(repeats) {
      const { error } = this.photo;
      const block = repeats ? [] : [h("p", { class: "cure" }, errorWords(error, "cure"))];
      if (error.message && !repeats) block.push(h("p", { class: "detail" }, error.message));
      const retry = NO_RETRY.includes(error.code) ? [] : [this.#button("retry", "main", "retry")];
      const pair = PAIRING.includes(error.code) ? [this.#button("open_pairing", "main", "pair")] : [];
      block.push(
        h(
          "div",
          { class: "actions" },
          ...pair,
          ...retry,
          this.#button("upload_original", "", "original"),
          this.#button(this.single ? "cancel" : "leave_out", "", "omit"),
        ),
      );
      return block;
    }

    #button(key, look, choice) {
      return button(key, look, () => this.choices[choice](this.photo));
    }
  }

  const PAIRING = ["not_paired", "unauthorised", "forbidden_origin"];

  function button(key, look, act) {
    // A click that the page made up is not the person's.
    return h("button", { type: "button", class: look, click: (event) => event.isTrusted && act() }, words(key));
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

    /** Shows a pick. @param {{photos: Photo[]}} pick @param {Record<string, Function>} choices */
    show(pick, choices) {
      clearTimeout(this.#fading);
      this.#mount();
      const rows = pick.photos.map((photo) => new Row(photo, pick.photos.length === 1, choices));
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
      const news = shown.rows.map((row) => row.update(isRepeat(row.photo))).filter(Boolean);
      this.#showFooter();
      this.headline.textContent = this.#headline();
      if (news.length > 0) this.live.textContent = news.join(". ");
    }

    /** The pick is settled: its rows stay until they fade or are closed; a warning stays until it is closed. */
    finish(pick) {
      const shown = this.#picks.get(pick);
      if (!shown) return;
      shown.done = true;
      const { photos } = pick;
      if (photos.every(({ state }) => state === "omitted")) {
        this.#remove(pick);
        return;
      }
      if (this.#allDone() && this.#allWell()) this.#fadeSoon();
    }

    /** A sentence that goes away by itself. */
    notice(key) {
      this.#mount();
      if (this.#picks.size === 0) this.headline.textContent = words("extension_short");
      clearTimeout(this.#noticing);
      this.note.textContent = words(key);
      this.note.hidden = false;
      this.live.textContent = words(key);
      this.#noticing = setTimeout(() => {
        this.note.hidden = true;
        if (this.#picks.size === 0) this.#unmount();
      }, NOTICE_MS);
    }

    /** For many photos that failed: one button instead of many. */
    #showFooter() {
      const open = [...this.#picks].filter(([, { done }]) => !done);
      const failed = open.flatMap(([{ photos }, { choices }]) =>
        photos.filter(({ state }) => state === "failed").map((photo) => ({ photo, choices })),
      );
      const shownFor = failed.map(({ photo }) => `${photo.error.code} ${photo.attempt}`).join();
      if (this.footer.dataset.for === shownFor) return;
      this.footer.dataset.for = shownFor;
      this.footer.hidden = failed.length < 2;
      const all = (choice) => () => failed.forEach(({ photo, choices }) => choices[choice](photo));
      const canRetry = failed.some(({ photo }) => !NO_RETRY.includes(photo.error.code));
      this.footer.replaceChildren(
        h(
          "div",
          { class: "actions" },
          ...(canRetry ? [button("retry_all", "main", all("retry"))] : []),
          button("upload_originals", "", all("original")),
        ),
      );
    }

    #photos() {
      return [...this.#picks.keys()].flatMap((pick) => pick.photos);
    }

    #allDone() {
      return [...this.#picks.values()].every(({ done }) => done);
    }

    #allWell() {
      return this.#photos().every(({ state, summary }) => state !== "protected" || isWell(summary));
    }

    #headline() {
      const photos = this.#photos();
      const failed = photos.filter(({ state }) => state === "failed").length;
      if (failed > 0) return failed === 1 ? words("headline_failed_one") : words("headline_failed", failed);
      const pending = photos.filter((photo) => !photo.isFinal).length;
      if (pending > 0) return pending === 1 ? words("headline_pending_one") : words("headline_pending", pending);
      return words("headline_done");
    }

    #fadeSoon() {
      clearTimeout(this.#fading);
      this.#fading = setTimeout(() => {
        if (this.#card?.matches(":hover, :focus-within")) {
          this.#fadeSoon();
          return;
        }
        this.#card?.classList.add("fading");
        this.#fading = setTimeout(() => this.#unmount(), FADE_MS);
      }, FADE_AFTER_MS);
    }

    #remove(pick) {
      for (const row of this.#picks.get(pick).rows) row.element.remove();
      this.#picks.delete(pick);
      this.#showFooter();
      if (this.#picks.size === 0) this.#unmount();
      else this.headline.textContent = this.#headline();
    }

    /** Closing is cancelling: what is pending does not go. */
    #close() {
      for (const [pick, { choices, done }] of [...this.#picks]) {
        if (!done) choices.cancel();
        if (this.#picks.has(pick)) this.#remove(pick);
      }
      this.#unmount();
    }

    #unmount() {
      clearTimeout(this.#fading);
      this.#host?.remove();
      this.#host = null;
      this.#card = null;
      this.#picks.clear();
    }

    /** Builds the card, and puts it back when the page has thrown it out or has opened a dialog over it. */
    #mount() {
      const place = placeFor();
      if (!this.#host) {
        this.#build(place.ownerDocument);
      } else if (this.#host.parentNode === place) {
        this.#card.classList.remove("fading");
        return;
      }
      place.append(this.#host);
      this.#host.showPopover();
    }

    #build(ownerDocument) {
      this.#host = ownerDocument.createElement("div");
      this.#host.setAttribute("popover", "manual");
      const root = this.#host.attachShadow({ mode: "closed" });
      root.adoptedStyleSheets = [styleFor(ownerDocument)];
      this.headline = h("h2");
      this.list = h("ul");
      this.footer = h("footer", { hidden: "" });
      this.note = h("p", { class: "notice", hidden: "" });
      this.live = h("div", { class: "live", role: "status", "aria-live": "polite" });
      const close = h("button", { type: "button", class: "close", "aria-label": words("close"), title: words("close"), click: (event) => event.isTrusted && this.#close() }, "×");
      this.#card = h("section", { class: "card", role: "region", "aria-label": words("extension_short") }, h("header", {}, sign(), this.headline, close), this.list, this.footer, this.note, this.live);
      this.#card.addEventListener("keydown", (event) => {
        if (event.key === "Escape") this.#close();
      });
      // What happens in the card is no business of the page: it would close its own dialog on a click beside it.
      for (const type of ["click", "mousedown", "mouseup", "pointerdown", "pointerup", "keydown", "keyup", "keypress", "focusin", "focusout"]) {
        this.#card.addEventListener(type, (event) => event.stopPropagation());
      }
      root.append(this.#card);
    }
  }

  /** Where the card goes: in the outermost frame that we may touch, and in its open modal dialog, beside which all is inert. */
  function placeFor() {
    let view = window;
    try {
      while (view !== view.parent && view.parent.document.documentElement) view = view.parent;
    } catch {
      // The frame above is of another origin.
    }
    return [...view.document.querySelectorAll("dialog:modal")].at(-1) ?? view.document.documentElement;
  }

  function styleFor(ownerDocument) {
    const sheet = new ownerDocument.defaultView.CSSStyleSheet();
    sheet.replaceSync(STYLE);
    return sheet;
  }

  globalThis.pmask = { ...globalThis.pmask, Overlay };
})();
