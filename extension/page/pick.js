// One choice of files by the person: which of them are photos, and settled as soon as every photo is final. Knows photos
// (photo.js), neither the page nor the screen.

(() => {
  "use strict";

  const { Photo } = globalThis.pmask;

  const HEAD = 32; // bytes
  // JPEG, PNG, GIF, BMP, WebP, TIFF and raw photos, HEIC and AVIF, JPEG XL, JPEG 2000, Photoshop.
  const HEADS =
    /^(\xff\xd8\xff|\x89PNG|GIF8|BM.{12}[\x0c-\x7c]\0{3}|RIFF.{4}WEBP|II[*+U]\0|IIR[OS]|MM\0[*+]|FUJIFILM|.{4}ftyp(avi[fs]|crx |hei[cmsx]|hev[cmsx]|mi[af][12f]|msf1)|\xff\n|\0{3}\fJXL |\0{3}\fjP  |\xffO\xffQ|8BPS)/s;

  /** Is a file whose name and type say nothing a photo, by its first bytes? One that cannot be read may be. */
  async function looksLikePhoto(file) {
    try {
      const head = new Uint8Array(await file.slice(0, HEAD).arrayBuffer());
      return HEADS.test(String.fromCharCode(...head));
    } catch {
      return true;
    }
  }

  /**
   * Tells photos from files that only may have been one, which go as they are.
   *
   * @param {{index: number, file: File, isSure: boolean}[]} files
   * @returns {Promise<{photos: object[], others: {index: number, use: "original"}[]}>}
   */
  async function sortOut(files) {
    const are = await Promise.all(files.map(({ file, isSure }) => isSure || looksLikePhoto(file)));
    const others = files.filter((_, i) => !are[i]);
    return { photos: files.filter((_, i) => are[i]), others: others.map(({ index }) => ({ index, use: "original" })) };
  }

  class Pick {
    /**
     * @param {{index: number, file: File}[]} files
     * @param {(name: string, payload: object) => Promise<any>} ask a message to the background
     * @param {{changed: (pick: Pick, photo: Photo) => void, settled: (pick: Pick, answers: object[] | null) => void}} hear
     *   settled: for each file that may go, {index, use: "protected", blob} or {index, use: "original"}; null: cancelled
     * @param {{review?: boolean}} [how] see Photo
     */
    constructor(files, ask, hear, how = {}) {
      this.hear = hear;
      this.entries = files.map(({ index, file }) => ({ index, photo: new Photo(file, ask, (photo) => this.#changed(photo), how) }));
      this.photos = this.entries.map(({ photo }) => photo);
      this.isSettled = false;
    }

    cancel() {
      if (this.isSettled) return;
      this.isSettled = true;
      for (const photo of this.photos) photo.decide("omitted");
      this.hear.settled(this, null);
    }

    #changed(photo) {
      this.hear.changed(this, photo);
      if (!this.photos.every(({ isFinal }) => isFinal)) return;
      this.#settle(
        this.entries
          .filter(({ photo: { state } }) => state !== "omitted")
          .map(({ index, photo: { state, blob } }) => (state === "protected" ? { index, use: "protected", blob } : { index, use: "original" })),
      );
    }

    #settle(answers) {
      if (this.isSettled) return;
      this.isSettled = true;
      this.hear.settled(this, answers);
    }
  }

  globalThis.pmask = { ...globalThis.pmask, Pick, sortOut };
})();
