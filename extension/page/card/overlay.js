// What the person sees of a photo on its way: a small card. Built from elements and a constructed style sheet alone, so that
// it stands under any content security policy. Knows photos (photo.js) and the person's choices, not messages.

(() => {
  "use strict";

  const { FADE_MS, NO_RETRY, Place, Row, View, button, h, isPersons, leftWords, sign, words } = globalThis.pmask.card;

  const FADE_AFTER_MS = 6000;
  const NOTICE_MS = 7000;
  const ASIDE_MS = 300;

  class Overlay {
    #place = new Place(() => this.#build());
    #picks = new Map(); // pick -> {rows, choices}
    #fading = 0;
    #noticing = 0;

    /**
     * Shows a pick. Without `choices.original` the card offers no original.
     *
     * @param {{photos: Photo[]}} pick @param {Record<string, Function>} choices
     */
    show(pick, choices) {
      clearTimeout(this.#fading);
      this.#mount();
      this.#setSmall(false); // it has news
      const compare = (row) => this.view.open(row, true);
      const rows = pick.photos.map((photo) => new Row(photo, pick.photos.length === 1, choices, compare));
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
      this.#showReview();
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

    /**
     * A single photo that waits for the person's look is shown in large by itself; once it was looked at, it goes away, and
     * the next one comes.
     */
    #showReview() {
      if (this.view.isReview && this.view.row.photo.state !== "reviewing") this.view.close();
      if (this.view.isReview) return;
      const isNew = ([{ photos: [photo, ...more] }, { reviewed }]) =>
        more.length === 0 && photo.state === "reviewing" && reviewed !== photo.attempt;
      const [[pick, shown] = []] = [...this.#picks].filter(isNew);
      if (!pick) return;
      shown.reviewed = pick.photos[0].attempt;
      this.view.open(shown.rows[0]);
    }

    /** For many photos that failed, or wait to be looked at: one button instead of many. */
    #showFooter() {
      const [failed, ready] = [this.#those("failed"), this.#those("reviewing")];
      const buttons = []; // [words, look, choice, state of the photos that it is about]
      if (failed.length > 1) {
        if (failed.some(({ photo }) => !NO_RETRY.includes(photo.error.code))) buttons.push(["retry_all", "main", "retry", "failed"]);
        if (failed.every(({ choices }) => choices.original)) buttons.push(["upload_originals", "", "original", "failed"]);
      }
      if (ready.length > 1) buttons.push(["review_go_all", "main", "accept", "reviewing"]);
      // A button stays the same while more photos come to it: the keyboard, or a mouse button, may be on it.
      const kind = buttons.join();
      if (this.footer.dataset.kind === kind) return;
      this.footer.dataset.kind = kind;
      const all = (choice, state) => () => this.#those(state).forEach(({ photo, choices }) => choices[choice](photo));
      this.footer.hidden = buttons.length === 0;
      const made = buttons.map(([key, look, choice, state]) => button(key, look, all(choice, state)));
      this.footer.replaceChildren(h("div", { class: "actions" }, ...made));
    }

    /** The photos of unsettled picks that are in a state, each with its choices. */
    #those(wanted) {
      const open = [...this.#picks].filter(([, { done }]) => !done);
      return open.flatMap(([{ photos }, { choices }]) =>
        photos.filter(({ state }) => state === wanted).map((photo) => ({ photo, choices })),
      );
    }

    #photos() {
      return [...this.#picks.keys()].flatMap((pick) => pick.photos);
    }

    #allDone() {
      return [...this.#picks.values()].every(({ done }) => done);
    }

    #allWell() {
      return this.#photos().every(({ state, summary }) => state !== "protected" || !(summary.matched || summary.bare));
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
      if (this.view.row && pick.photos.includes(this.view.row.photo)) this.view.close();
      this.#picks.delete(pick);
      this.#showFooter();
      if (this.#picks.size === 0) this.#unmount();
      else this.#showHead();
    }

    /** Small, its head alone stays: it may lie on the very button of the page that the person looks for. */
    #setSmall(isSmall) {
      this.#card.classList.toggle("small", isSmall);
      this.size.textContent = isSmall ? "+" : "–";
      this.size.title = words(isSmall ? "card_large" : "card_small");
      this.size.setAttribute("aria-label", this.size.title);
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
      if (this.#place.isAbroad) this.#unmount();
    }

    #unmount() {
      clearTimeout(this.#fading);
      this.view?.close();
      this.#place.unmount();
      this.#picks.clear();
    }

    #mount() {
      this.#place.mount();
      this.#card.classList.remove("fading");
    }

    get #card() {
      return this.#place.card;
    }

    #build() {
      this.headline = h("h2");
      this.progress = h("p");
      this.view = new View(() => this.list.childElementCount > 1);
      this.list = h("ul");
      this.footer = h("footer", { hidden: "" });
      this.note = h("p", { class: "notice", hidden: "" });
      this.live = h("div", { class: "live", role: "status", "aria-live": "polite" });
      const shrink = () => this.#setSmall(!this.#card.matches(".small"));
      this.size = h("button", { type: "button", class: "close", click: (event) => isPersons(event) && shrink() });
      this.close = h("button", { type: "button", class: "close", click: (event) => isPersons(event) && this.#close() }, "×");
      const header = h("header", {}, sign(), h("div", {}, this.headline, this.progress), this.size, this.close);
      // No language of ours is written from right to left; the page's may be.
      const named = { role: "region", tabindex: -1, lang: words("language"), dir: "ltr", "aria-label": words("extension_short") };
      const section = h("section", { class: "card", ...named });
      section.append(header, this.view.element, this.list, this.footer, this.note, this.live);
      section.addEventListener("keydown", (event) => {
        if (event.key !== "Escape") return;
        event.preventDefault(); // it would close the page's dialog as well
        if (this.view.row) this.view.close();
        else this.#close();
      });
      return section;
    }
  }

  globalThis.pmask = { ...globalThis.pmask, Overlay };
})();
