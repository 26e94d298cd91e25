// One photo's way through the daemon, as a small state machine. Knows neither the page nor the screen, so that it can be
// tested by itself. The service worker may be stopped between any two messages: each message stands alone, and the
// daemon's job id is all there is to remember.

(() => {
  "use strict";

  const LOST_PATIENCE = 6; // unanswered messages in a row; a stopped service worker costs one
  const RETRY_PAUSE_MS = 1000;
  const STALL_MS = 10 * 60 * 1000; // no new revision of the job for so long: something hangs

  class PhotoError extends Error {
    /** @param {string} code of PROTOCOL.md, or one of the extension's own @param {string} [message] */
    constructor(code, message = "") {
      super(message);
      this.code = code;
    }
  }

  /**
   * @typedef {"waiting"|"sending"|"queued"|"running"|"fetching"|"protected"|"no_face"|"original"|"omitted"|"failed"} State
   * protected, no_face, original and omitted are final; failed waits for the person.
   */

  class Photo {
    /**
     * @param {File} file
     * @param {(name: string, payload: object) => Promise<any>} ask a message to the background; rejects with a PhotoError
     * @param {(photo: Photo) => void} onChange
     * @param {{sleep?: (ms: number) => Promise<void>, now?: () => number}} [clock]
     */
    constructor(file, ask, onChange, clock = {}) {
      this.file = file;
      this.ask = ask;
      this.onChange = onChange;
      this.sleep = clock.sleep ?? ((ms) => new Promise((resolve) => setTimeout(resolve, ms)));
      this.now = clock.now ?? (() => Date.now());
      /** @type {State} */ this.state = "waiting";
      this.stage = null;
      this.progress = 0;
      this.faces = null;
      this.job = null;
      this.blob = null;
      this.summary = null; // of X-PMask-Report: {status, faces, hidden, converged, seconds, ssim, judged}
      this.report = null; // the job's own, once it is done
      this.error = null;
      this.attempt = 0; // answers to an earlier attempt, or to a photo that is final, are dropped
    }

    get isFinal() {
      return ["protected", "no_face", "original", "omitted"].includes(this.state);
    }

    /** Starts, or starts again after a failure. Resolves when the photo is final or failed. */
    async run() {
      const attempt = (this.attempt += 1);
      const live = () => this.attempt === attempt;
      this.#set({ state: "sending", stage: null, progress: 0, faces: null, error: null });
      try {
        if (!this.job) await this.#send(live);
        if (live()) await this.#follow(live);
        if (live()) await this.#fetch(live);
      } catch (error) {
        if (!live()) return;
        this.job = null;
        this.#set({ state: "failed", error: error instanceof PhotoError ? error : new PhotoError("unexpected", String(error)) });
      }
    }

    /** Fails without having been sent. */
    refuse(code) {
      this.#set({ state: "failed", error: new PhotoError(code) });
    }

    /** The person's word: upload it as it is, or leave it out. */
    decide(state) {
      if (this.isFinal) return;
      this.attempt += 1;
      if (this.job) this.ask("cancel", { job: this.job }).catch(() => {}); // the daemon forgets it by itself later
      this.#set({ state, error: null });
    }

    async #send(live) {
      for (;;) {
        try {
          const { id } = await this.#askPatiently("protect", { file: this.file }, live);
          if (live()) this.job = id;
          else this.ask("cancel", { job: id }).catch(() => {});
          return;
        } catch (error) {
          if (error.code !== "queue_full" || !live()) throw error;
          this.#set({ state: "queued" });
          await this.sleep(RETRY_PAUSE_MS * 2);
          if (!live()) return;
        }
      }
    }

    async #follow(live) {
      let seen = null;
      let changed = this.now();
      while (live()) {
        const job = await this.#askPatiently("follow", { job: this.job, seen }, live);
        if (!live()) return;
        if (job.revision !== seen) changed = this.now();
        if (this.now() - changed > STALL_MS) throw new PhotoError("timeout");
        seen = job.revision;
        this.report = job.report ?? null;
        if (job.state === "done") return;
        if (job.state === "failed") throw new PhotoError(job.error?.code ?? "engine_failed", job.error?.message);
        if (job.state === "cancelled") throw new PhotoError("cancelled");
        this.#set({ state: job.state, stage: job.stage, progress: job.progress, faces: job.faces });
      }
    }

    async #fetch(live) {
      this.#set({ state: "fetching", progress: 1 });
      const { blob, summary } = await this.#askPatiently("result", { job: this.job }, live);
      if (!live()) return;
      const state = summary?.status === "no_face" ? "no_face" : "protected";
      if (state === "protected" && !(blob instanceof Blob && blob.size > 0)) throw new PhotoError("engine_failed");
      this.#set({ state, blob, summary, faces: summary?.faces ?? null });
    }

    /** Asks again when the answer was lost, as it is when the browser stops the background under us. */
    async #askPatiently(name, payload, live) {
      for (let lost = 0; ; lost += 1) {
        try {
          return await this.ask(name, payload);
        } catch (error) {
          if (error.code !== "lost" || lost >= LOST_PATIENCE || !live()) throw error;
          await this.sleep(RETRY_PAUSE_MS);
        }
      }
    }

    #set(change) {
      Object.assign(this, change);
      this.onChange(this);
    }
  }

  globalThis.pmask = { ...globalThis.pmask, Photo, PhotoError };
})();
