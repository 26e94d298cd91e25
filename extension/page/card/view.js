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

  /**
   * Draws frames of a film, where the browser can tell them apart: not on pages without TLS, which have no ImageDecoder.
   * @param {string} format of the report @param {Iterable<number>} numbers counted from 0
   * @param {(image: VideoFrame, number: number) => void} draw
   */
  async function drawFrames(blob, format, numbers, draw) {
    let decoder;
    try {
      decoder = new ImageDecoder({ data: await blob.arrayBuffer(), type: `image/${format}`, preferAnimation: true });
      for (const frameIndex of numbers) {
        const { image } = await decoder.decode({ frameIndex });
        draw(image, frameIndex);
        image.close();
      }
    } catch {
      // what is not drawn is named in words
    } finally {
      decoder?.close();
    }
  }

  /** Draws the square around a box, with some room, into a canvas. */
  function drawFace(canvas, image, [x, y, width, height]) {
    const side = Math.max(width, height) * 1.35;
    canvas.getContext("2d").drawImage(image, x + width / 2 - side / 2, y + height / 2 - side / 2, side, side, 0, 0, canvas.width, canvas.height);
  }

  /** The part of a photo that a view shows: around a face, in the view's proportions, within the photo. */
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

  /** The part around a face, or the whole where there is none; larger than it is shown only costs memory. @returns {HTMLCanvasElement} */
  function cut(image, face) {
    const [x, y, wide, high] = windowAround(face, image);
    const scale = Math.min(VIEW_PX[0] / wide, VIEW_PX[1] / high, 1);
    const part = h("canvas", { width: Math.round(wide * scale), height: Math.round(high * scale) });
    part.getContext("2d").drawImage(image, x, y, wide, high, 0, 0, part.width, part.height);
    return part;
  }

  /**
   * One photo in large, before and after: the original shows while the person holds it. Of several faces one at a time, and
   * at the end the whole photo.
   */
  class View {
    #attempt = 0;
    #isPressed = false; // by mouse or finger
    #look = 0; // which of the parts is shown

    /** The row whose photo is shown, or is being decoded to be shown. @type {Row | null} */
    row = null;

    /** @param {() => boolean} isOneOfMany does the card show other photos too? */
    constructor(isOneOfMany) {
      this.isOneOfMany = isOneOfMany;
      this.canvas = h("canvas", { width: VIEW_PX[0], height: VIEW_PX[1], role: "img" });
      this.caption = h("figcaption");
      this.figure = h("figure", {}, this.canvas, this.caption);
      this.cannot = h("p", { class: "hint" }, words("compare_cannot"));
      this.steps = this.#makeSteps();
      this.hold = this.#makeHold();
      this.change = button("compare_change", "plain", () => this.row.choices.settings());
      this.leave = button("compare_close", "plain", () => this.close());
      const actions = h("div", { class: "actions" }, this.steps, this.hold, this.change, this.leave);
      this.element = h("div", { class: "view", hidden: "" }, this.figure, this.cannot, actions);
    }

    /** @param {Row} row @param {boolean} [isAsked] the person pressed its button: the keyboard comes along */
    async open(row, isAsked = false) {
      if (this.row !== row) this.close();
      const attempt = (this.#attempt += 1);
      const { photo } = row;
      const takesKeyboard = isAsked && row.compare.matches(":focus-visible");
      [this.row, this.isReview] = [row, photo.state === "reviewing"];
      const images = await Promise.all([bitmapOf(photo.file), bitmapOf(photo.blob)]);
      if (attempt === this.#attempt) this.#show(images, photo.report?.faces?.map(({ box }) => box) ?? []);
      for (const image of images) image?.close();
      if (attempt === this.#attempt && takesKeyboard) (this.hold.hidden ? this.leave : this.hold).focus();
    }

    close() {
      this.#attempt += 1;
      const hadKeyboard = this.element.matches(":has(:focus-visible)");
      this.element.hidden = true;
      this.row?.element.removeAttribute("aria-current");
      if (hadKeyboard) this.row?.compare?.focus();
      this.row = this.parts = null;
      this.isReview = false;
    }

    #show(images, faces) {
      const looks = faces.length > 1 ? [...faces, null] : [faces[0]];
      const isShown = !images.includes(null);
      this.parts = isShown ? images.map((image) => looks.map((face) => cut(image, face))) : null;
      this.figure.hidden = this.hold.hidden = !isShown;
      this.cannot.hidden = isShown;
      this.steps.hidden = !isShown || looks.length === 1;
      this.change.hidden = this.isReview; // its own buttons are nearer
      this.row.element.setAttribute("aria-current", "true");
      this.element.hidden = false;
      const { element } = this.row;
      element.parentNode.scrollTop = element.offsetTop - element.parentNode.offsetTop; // its buttons beside the picture
      if (isShown) this.#step(-this.#look);
    }

    #makeSteps() {
      this.which = h("span", { role: "status" });
      const step = (key, by, sign) => {
        const made = button(key, "plain step", () => this.#step(by));
        made.setAttribute("aria-label", made.textContent);
        made.textContent = sign;
        return made;
      };
      return h("div", { class: "steps" }, step("compare_previous", -1, "‹"), this.which, step("compare_next", 1, "›"));
    }

    #makeHold() {
      const hold = h("button", { type: "button", "aria-pressed": "false" }, words("compare_hold"));
      for (const target of [this.figure, hold]) {
        target.addEventListener("pointerdown", (event) => {
          target.setPointerCapture(event.pointerId);
          this.#isPressed = true;
          this.#turn(true);
        });
        const release = () => {
          this.#isPressed = false;
          this.#turn(false);
        };
        for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) target.addEventListener(type, release);
      }
      const isPress = ({ key }) => key === " " || key === "Enter";
      hold.addEventListener("keydown", (event) => {
        if (!isPress(event)) return;
        event.preventDefault();
        this.#turn(true);
      });
      hold.addEventListener("keyup", (event) => isPress(event) && this.#turn(false));
      // Pressing the picture takes the focus from the button; that press goes on.
      hold.addEventListener("blur", () => this.#isPressed || this.#turn(false));
      // A screen reader presses without holding.
      hold.addEventListener("click", (event) => event.detail === 0 && this.#turn(hold.ariaPressed !== "true"));
      return hold;
    }

    #step(by) {
      const count = this.parts[0].length;
      this.#look = (this.#look + by + count) % count;
      const isWhole = this.#look === count - 1;
      this.which.textContent = isWhole ? words("compare_whole") : words("compare_face", this.#look + 1, count - 1);
      this.#turn(false);
    }

    #turn(toOriginal) {
      const part = this.parts?.[toOriginal ? 0 : 1][this.#look];
      if (!part) return;
      const said = words(toOriginal ? "compare_original" : "compare_protected");
      const { name } = this.row.photo.file;
      [this.canvas.width, this.canvas.height] = [part.width, part.height];
      this.canvas.getContext("2d").drawImage(part, 0, 0);
      this.canvas.setAttribute("aria-label", `${name}: ${said}`);
      this.caption.textContent = this.isOneOfMany() ? `${said} · ${name}` : said;
      this.figure.classList.toggle("showing-original", toOriginal);
      this.hold.setAttribute("aria-pressed", toOriginal);
    }
  }

  globalThis.pmask.card = { ...card, bitmapOf, drawFrames, drawFace, View };
})();
