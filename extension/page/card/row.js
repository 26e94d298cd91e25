// One photo's line in the card: its thumbnail, state and progress, and what the person may do about it.

(() => {
  "use strict";

  const { card } = globalThis.pmask;
  const { words, progressWords, resultOf, judgedWords, verdictWords, leftWords, facesWords, errorWords, cureWords } = card;
  const { h, button, bitmapOf, drawFrames, drawFace } = card;

  const THUMB_PX = 88; // twice its size on screen, for dense displays
  const THUMB_AFTER_MS = 300; // large photos take long to decode, and first they are to go out
  const TILE_PX = 112;
  const NO_RETRY = [
    "folder", "reload", "unreadable", "not_an_image", "unsupported_image", "broken_image", "too_many_bytes", "too_many_pixels",
  ]; // trying again cannot help
  const PAIRING = ["not_paired", "unauthorised", "forbidden_origin"];

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
    /** @param {Photo} photo @param {boolean} single the only one of its choice @param {(row: Row) => void} show in large */
    constructor(photo, single, choices, show) {
      this.photo = photo;
      this.single = single;
      this.choices = choices;
      this.show = show;
      this.said = "";
      this.isSettled = false;
      const nameId = `name-${(Row.#made += 1)}`;
      this.thumb = h("canvas", { class: "thumb", width: THUMB_PX, height: THUMB_PX, "aria-hidden": "true" });
      this.status = h("p", { class: "status" });
      this.bar = h("div", { class: "bar", role: "progressbar", "aria-label": photo.file.name, "aria-valuemin": 0, "aria-valuemax": 100 }, h("i"));
      this.rest = h("div", { role: "group", "aria-labelledby": nameId }); // else twenty buttons have one name
      this.element = h(
        "li",
        {},
        this.thumb,
        h("div", { class: "body" }, h("p", { class: "name", id: nameId, title: photo.file.name }, h("bdi", {}, photo.file.name)), this.status, this.bar, this.rest),
      );
      const later = new Promise((resolve) => setTimeout(resolve, THUMB_AFTER_MS));
      Row.#drawn = Row.#drawn.then(() => later).then(() => this.#draw());
    }

    static #made = 0;

    /** The thumbnails so far, one after another. */
    static #drawn = Promise.resolve();

    async #draw() {
      const image = await bitmapOf(this.photo.file, { resizeWidth: 2 * THUMB_PX, resizeQuality: "medium" });
      if (!image) return; // the empty tile stays
      const side = Math.min(image.width, image.height);
      const [x, y] = [(image.width - side) / 2, (image.height - side) / 2];
      this.thumb.getContext("2d").drawImage(image, x, y, side, side, 0, 0, THUMB_PX, THUMB_PX);
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
      const found = this.#moreWords(pending);
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

    /** Beside what a photo has come to: how many faces are found, or for what it waits. */
    #moreWords(pending) {
      const { state, faces, isFinal } = this.photo;
      if (state === "reviewing") return words("state_reviewing");
      if (pending) return faces ? facesWords(faces) : "";
      const waits = isFinal && state !== "omitted" && !this.single && !this.isSettled;
      return waits ? words("state_with_others") : "";
    }

    /** The page has been handed what it gets. */
    settle() {
      this.isSettled = true;
      this.update(false);
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
      const sentence = (verdict, face) => h("p", {}, verdictWords(verdict, summary.judged.upload, face, faces.length));
      const lines = faces.flatMap(({ verdicts }, i) => verdicts.map((verdict) => sentence(verdict, i)));
      const judged = h("details", { class: "detail" }, h("summary", {}, judgedWords(summary.judged)), h("div", {}, ...lines));
      return [judged, ...notes];
    }

    #doneActions() {
      const { photo } = this;
      this.compare = button("compare", "plain", () => this.show(this));
      const keep = button("save_copy", "plain", () => save(photo.blob, copyName(photo.file.name)));
      const once = this.isSettled && this.choices.once && photo.summary.status === "protected" ? [this.#once()] : [];
      return h("div", { class: "actions quiet" }, this.compare, keep, ...once);
    }

    /** The page waits for the person, who may also have the photo done again, with the next preset to either side. */
    #reviewActions() {
      const { photo, choices } = this;
      const { names, own } = choices.strengths ?? { names: [], own: null };
      const now = names.indexOf(photo.preset ?? own);
      const redo = (key, preset) => (now >= 0 && preset ? [button(key, "", () => choices.redo(photo, preset))] : []);
      const again = [...redo("review_less", names[now - 1]), ...redo("review_more", names[now + 1])];
      this.compare = button("compare", "plain", () => this.show(this));
      return [
        h("div", { class: "actions" }, button(this.single ? "review_go" : "review_take", "main", () => choices.accept(photo)), ...again),
        h("div", { class: "actions quiet" }, this.compare, this.#omit("plain"), ...this.#original("plain")),
      ];
    }

    /** The page has the protected photo by now; the original can only go when it is chosen again. */
    #once() {
      const once = button("original_once", "plain", async () => {
        await this.choices.once(this.photo);
        if (once.matches(":focus-visible")) this.compare.focus();
        once.replaceWith(h("p", { class: "hint", role: "status" }, words("original_once_hint")));
      });
      return once;
    }

    /** A tile for each face found, ticked: what is unticked stays as it is. Of a film each names its frame. */
    #faces() {
      const { photo } = this;
      const frames = photo.frames.map((number) => words("choose_frame", number + 1));
      const named = (i) => [words("choose_face", i + 1), ...frames.slice(i, i + 1)].join(", ");
      const boxes = photo.found.map((_box, i) => h("input", { type: "checkbox", checked: "", "aria-label": named(i) }));
      const tiles = photo.found.map(() => h("canvas", { width: TILE_PX, height: TILE_PX, "aria-hidden": "true" }));
      this.#drawFaces(tiles);
      const go = button("choose_go", "main", () => this.choices.choose(photo, photo.found.filter((_box, i) => !boxes[i].checked)));
      const refresh = () => {
        const ticked = boxes.filter(({ checked }) => checked).length;
        go.disabled = ticked === 0;
        go.textContent = [words("choose_go_none"), words("choose_go_one")][ticked] ?? words("choose_go", ticked);
      };
      refresh();
      const captions = frames.map((frame) => h("span", {}, frame));
      const labels = boxes.map((box, i) => h("label", {}, box, tiles[i], ...captions.slice(i, i + 1)));
      const grid = h("fieldset", { class: "faces", change: refresh }, ...labels);
      grid.setAttribute("aria-label", words("choose_lead"));
      return [grid, h("div", { class: "actions" }, go, this.#omit(""), ...this.#original(""))];
    }

    /** Draws each face found out of its own frame; a photo has one. */
    async #drawFaces(tiles) {
      const { file, found, frames, report } = this.photo;
      const draw = (image, number) => tiles.forEach((tile, i) => (frames[i] ?? 0) === number && drawFace(tile, image, found[i]));
      const first = await bitmapOf(file);
      if (first) draw(first, 0);
      first?.close();
      const later = new Set(frames.filter((number) => number > 0));
      if (later.size) await drawFrames(file, report.format, later, draw);
    }

    #errorBlock(repeats) {
      const { error } = this.photo;
      const block = repeats ? [] : [h("p", { class: "cure" }, cureWords(error, Boolean(this.choices.original)))];
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

  globalThis.pmask.card = { ...card, NO_RETRY, Row };
})();
