// Pictures in the card, and one photo in large, before and after.

(() => {
  "use strict";

  const { card } = globalThis.pmask;
  const { words, h, button } = card;

  const VIEW_PX = [776, 520];
  const FACE_SHARE = 2.6; // the view around a face is so many times as wide as the face

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

  globalThis.pmask.card = { ...card, bitmapOf, drawFace, View };
})();
