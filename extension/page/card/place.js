// Where the card stands in the page: in the top layer, in a closed shadow root that the page can neither read, style nor
// press, whatever the page does to it; and its share of the person's events.

(() => {
  "use strict";

  const { card } = globalThis.pmask;

  const api = globalThis.browser ?? globalThis.chrome;
  const KEEP_MS = 500;
  const ALONE = "dialog:modal, :fullscreen"; // beside one of these all is inert
  const POPPED = '[popover]:popover-open:not([popover="manual" i])'; // a press beside one of these closes it
  /**
   * Events in the card that are no business of the page: it would close its own dialog on a click beside it, call the keyboard
   * back, or stop what scrolls beside its dialog.
   */
  const OWN = [
    "click", "mousedown", "mouseup", "pointerdown", "pointerup", "touchstart", "touchend", "keydown", "keyup", "keypress", "focus", "focusin",
    "focusout", "change", "input", "wheel", "touchmove", "touchcancel", "dblclick", "auxclick", "contextmenu", "copy",
  ]; // prettier-ignore
  const PASSIVE = ["wheel", "touchmove"]; // the browser need not wait for us before it scrolls
  const HEARD = ["click", "pointerdown", "keydown", "keyup"]; // those to which the card itself listens

  class Place {
    #build;
    #host = null;
    #keeping = 0;
    #pressed = null; // the element in the card on which a mouse button went down last

    /** The card's element while it stands. @type {HTMLElement | null} */
    card = null;

    /** @param {() => HTMLElement} build makes the card each time that it comes into the page */
    constructor(build) {
      this.#build = build;
    }

    mount() {
      if (this.#host) this.#putBack();
      else {
        this.#stand(outermost());
        this.#keeping = setInterval(() => this.#keep(), KEEP_MS);
        this.#keep();
      }
    }

    unmount() {
      clearInterval(this.#keeping);
      if (this.#host) this.#watch(false);
      this.#host?.remove();
      this.#host = null;
      this.card = null;
    }

    /** Does it stand in the page of another frame, above this one? */
    get isAbroad() {
      return this.#host !== null && this.#host.ownerDocument !== document;
    }

    #stand(ownerDocument) {
      this.#host = ownerDocument.createElement("div");
      this.#host.setAttribute("popover", "manual");
      const root = this.#host.attachShadow({ mode: "closed" });
      root.adoptedStyleSheets = [styleFor(ownerDocument)];
      this.card = this.#build();
      for (const type of OWN) this.card.addEventListener(type, (event) => event.stopPropagation());
      root.append(this.card);
    }

    #keep() {
      this.#putBack();
      if (!this.card.matches(".aside") && !this.#takesClicks()) this.#raise();
    }

    /** Puts the card back when the page has thrown it out, hidden it or disabled it; and into what a press beside it would close. */
    #putBack() {
      const page = outermost();
      for (const { name } of [...this.#host.attributes]) if (name !== "popover") this.#host.removeAttribute(name);
      if (this.#host.popover !== "manual") this.#host.popover = "manual";
      const isAtHome = this.#host.ownerDocument === page && this.#host.parentNode?.matches?.(`:root, ${ALONE}, ${POPPED}`);
      const popped = innermostPopped(page);
      if (popped && !popped.contains(this.#host)) popped.append(this.#host);
      else if (!isAtHome) page.documentElement.append(this.#host);
      this.#watch(true); // document.open() has forgotten it; the browser drops repeats
      if (!this.#host.matches(":popover-open")) this.#host.showPopover();
    }

    /** Not where something lies over it, or where all else is inert. */
    #takesClicks() {
      const { x, y, width, height } = this.card.getBoundingClientRect();
      return this.#host.getRootNode().elementFromPoint(x + width / 2, y + height / 2) === this.#host;
    }

    /** Puts the card above whatever came over it, or into that beside which nothing can be pressed. */
    #raise() {
      const page = outermost();
      for (const place of [this.#host.parentNode, page.documentElement, ...allWithin(page, ALONE, shadowOf)]) {
        if (this.#host.parentNode !== place) place.append(this.#host);
        this.#host.hidePopover();
        this.#host.showPopover();
        if (this.#takesClicks()) return;
      }
    }

    /** In front of what the page has on its document: a focus trap stops every click beside its dialog. */
    #watch(watching) {
      const view = this.#host.ownerDocument.defaultView; // null: its frame has gone
      for (const type of OWN) {
        const how = { capture: true, passive: PASSIVE.includes(type) };
        view?.[watching ? "addEventListener" : "removeEventListener"](type, this.#take, how);
      }
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
      card.handed.add(likeness);
      if (!inner.dispatchEvent(likeness)) event.preventDefault();
    };

    /** What of the card an event is about; a click without a press is the keyboard's, or a screen reader's. */
    #innerOf({ type, clientX, clientY }) {
      const root = this.card.getRootNode();
      const isByFocus = clientX === undefined || (type === "click" && !this.#pressed);
      const inner = isByFocus ? root.activeElement : root.elementFromPoint(clientX, clientY);
      return this.card.contains(inner) ? inner : null;
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

  /** The page's open popover that closes with a press beside it; of nested ones the innermost. @returns {HTMLElement | undefined} */
  function innermostPopped(page) {
    const alone = [...page.querySelectorAll(ALONE)].at(-1);
    return allWithin(alone ?? page, POPPED, openRootOf).at(-1);
  }

  /** The elements that a selector names, also those in the shadow roots that `rootOf` finds. @param {Document | ShadowRoot} root */
  function allWithin(root, selector, rootOf) {
    const inner = [...root.querySelectorAll("*")].map(rootOf).filter(Boolean);
    return [...root.querySelectorAll(selector), ...inner.flatMap((one) => allWithin(one, selector, rootOf))];
  }

  /** An element's shadow root, if it is an open one: closed ones take too long to ask for twice a second. */
  const openRootOf = ({ shadowRoot }) => shadowRoot;

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
    sheet.replaceSync(card.STYLE);
    return sheet;
  }

  globalThis.pmask.card = { ...card, Place };
})();
