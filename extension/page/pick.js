// One choice of files by the person: settled as soon as every photo in it is final. Knows photos (photo.js), neither the
// page nor the screen.

(() => {
  "use strict";

  const { Photo } = globalThis.pmask;

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

  globalThis.pmask = { ...globalThis.pmask, Pick };
})();
