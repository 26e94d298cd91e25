// One photo's way through the daemon, as a small state machine. Knows neither the page nor the screen, so that it can be
// tested by itself. The service worker may be stopped between any two messages: each message stands alone, and the
// daemon's job id is all there is to remember.

(() => {
  "use strict";

  const PATIENCE = 6; // unanswered messages in a row; a stopped service worker costs one, a daemon's restart a few
  const RETRY_PAUSE_MS = 1000;
  const QUEUE_PAUSE_MS = 2000; // between looks at a job whose turn has not come
  const STALL_MS = 10 * 60 * 1000; // no new revision of the job for so long: something hangs
  const MOST_STEP_MS = 30_000; // longer between two answers: the computer slept, or its clock was set
  const RESTARTS = 2; // of a job that the daemon has forgotten, since it was started anew

  class PhotoError extends Error {
    /** @param {string} code of PROTOCOL.md, or one of the extension's own @param {string} [message] */
    constructor(code, message = "") {
      super(message);
      this.code = code;
    }
  }

  /**
   * @typedef {"waiting"|"sending"|"queued"|"running"|"choosing"|"fetching"|"reviewing"|"protected"|"no_face"|"original"|"omitted"|"failed"} State
   * protected, no_face, original and omitted are final; choosing, reviewing and failed wait for the person.
   */

  class Photo {
    /**
     * @param {File} file
     * @param {(name: string, payload: object) => Promise<any>} ask a message to the background; rejects with a PhotoError
     * @param {(photo: Photo) => void} onChange
     * @param {{review?: boolean, sleep?: (ms: number) => Promise<void>, now?: () => number}} [how] review: a masked photo
     *   is final only once the person has accepted it
     */
    constructor(file, ask, onChange, how = {}) {
      this.file = file;
      this.ask = ask;
      this.onChange = onChange;
      this.review = how.review ?? false;
      this.sleep = how.sleep ?? ((ms) => new Promise((resolve) => setTimeout(resolve, ms)));
      this.now = how.now ?? (() => Date.now());
      /** @type {State} */ this.state = "waiting";
      this.stage = null;
      this.progress = 0;
      this.eta = null; // seconds
      this.faces = null; // how many
      this.found = null; // their boxes [x, y, width, height] in the upright photo, when the person is to choose
      this.frames = []; // of a film, the number of each box's frame
      this.leaveOut = null; // the boxes that the person has left out
      this.preset = null; // the strength that the person chose for this photo, or the settings' own
      this.job = null;
      this.told = null; // the job's first state, if it came with its id
      this.result = null; // {blob, summary}, if it came with the job's last state
      this.blob = null;
      this.summary = null; // of X-PMask-Report: {status, faces, hidden, matched, converged, seconds, ssim, bare, judged}
      this.report = null; // the job's own, once it is done
      this.error = null;
      this.attempt = 0; // answers to an earlier attempt, or to a photo that is final, are dropped
    }

    get isFinal() {
      return ["protected", "no_face", "original", "omitted"].includes(this.state);
    }

    /** Does it wait for the person? */
    get isOpen() {
      return ["failed", "choosing", "reviewing"].includes(this.state);
    }

    /** Starts, or starts again after a failure. Resolves when the photo is final or waits for the person. */
    async run() {
      const attempt = (this.attempt += 1);
      const live = () => this.attempt === attempt;
      try {
        for (let restarts = 0; ; restarts += 1) {
          this.#set({ state: "sending", stage: null, progress: 0, eta: null, faces: null, error: null });
          try {
            await this.#go(live, restarts > 0);
            return;
          } catch (error) {
            // The daemon is being stopped, or was started anew and knows nothing of the job; the photo is still here.
            if (!live() || !["cancelled", "not_found"].includes(error.code) || restarts === RESTARTS) throw error;
            this.job = null;
          }
        }
      } catch (error) {
        if (!live()) return;
        this.#forget();
        this.#set({ state: "failed", error: error instanceof PhotoError ? error : new PhotoError("unexpected", String(error)) });
      }
    }

    /** Fails without having been sent. */
    refuse(code) {
      this.#set({ state: "failed", error: new PhotoError(code) });
    }

    /** The person has chosen among the faces found. @param {number[][]} leaveOut boxes of those that stay as they are */
    choose(leaveOut) {
      if (this.state !== "choosing") return;
      this.leaveOut = leaveOut;
      this.run();
    }

    /** The person has looked at the protected photo, and it may go. */
    accept() {
      if (this.state === "reviewing") this.#set({ state: "protected" });
    }

    /** The person has looked at the protected photo, and it is to be done again. @param {string} preset */
    redo(preset) {
      if (this.state !== "reviewing") return;
      this.preset = preset;
      this.blob = this.summary = this.report = null; // the last try can no longer go
      this.run();
    }

    /** The person's word: upload it as it is, or leave it out. */
    decide(state) {
      if (this.isFinal) return;
      this.attempt += 1;
      this.#forget();
      this.#set({ state, error: null, blob: null, summary: null, report: null }); // a copy that does not go proves nothing
    }

    async #go(live, again) {
      if (!this.job) await this.#send(live, again);
      if (live()) await this.#follow(live);
      if (!live()) return;
      if (this.report?.status !== "looked") {
        await this.#fetch(live);
        return;
      }
      this.#forget();
      const { found, found_frames: frames = [] } = this.report;
      this.#set({ state: "choosing", found, frames, faces: found.length });
    }

    async #send(live, again) {
      const ticket = crypto.randomUUID(); // so that a photo whose answer was lost is not done twice
      for (;;) {
        try {
          const { id, job = null } = await this.#askPatiently("protect", this.#order(ticket), live, again);
          if (live()) [this.job, this.told] = [id, job];
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

    #order(ticket) {
      const { file, leaveOut, preset } = this;
      return { file, leaveOut, preset, ticket };
    }

    async #follow(live) {
      let seen = null;
      let idle = 0;
      let last = this.now();
      while (live()) {
        const job = this.told ?? (await this.#askPatiently("follow", { job: this.job, seen }, live));
        if (!live()) return;
        this.told = null;
        const moved = job.revision !== seen || job.state === "queued";
        idle = moved ? 0 : idle + Math.min(Math.max(this.now() - last, 0), MOST_STEP_MS);
        last = this.now();
        if (idle > STALL_MS) throw new PhotoError("timeout");
        this.report = job.report ?? null;
        this.result = job.result ?? null;
        if (job.state === "done") return;
        if (job.state === "failed") throw new PhotoError(job.error?.code ?? "engine_failed", job.error?.message);
        if (job.state === "cancelled") throw new PhotoError("cancelled");
        this.#set({ state: job.state, stage: job.stage, progress: job.progress, eta: job.eta_s ?? null, faces: job.faces });
        // Many that wait for their turn would hold all the connections that a browser allows, and starve the one at work.
        seen = job.state === "queued" ? null : job.revision;
        if (seen === null) await this.sleep(QUEUE_PAUSE_MS);
      }
    }

    async #fetch(live) {
      this.#set({ state: "fetching", progress: 1, eta: null });
      const { blob, summary } = this.result ?? (await this.#askPatiently("result", { job: this.job }, live));
      if (!live()) return;
      let state = { no_face: "no_face", left_out: "original" }[summary?.status] ?? "protected";
      if (state === "protected" && !(blob instanceof Blob && blob.size > 0)) throw new PhotoError("engine_failed");
      if (this.review && summary.status === "protected") state = "reviewing";
      this.#forget(true);
      this.#set({ state, blob, summary, faces: summary?.faces ?? null });
    }

    /** The daemon may drop the job, and its photo with it; without this it does so minutes later. */
    #forget(done = false) {
      if (this.job) this.ask("cancel", { job: this.job, done }).catch(() => {});
      this.job = this.told = this.result = null;
    }

    /**
     * Asks again when the answer was lost, as it is when the browser stops the background under us; and about a job that
     * is on its way, when the daemon is silent for a moment.
     */
    async #askPatiently(name, payload, live, underWay = true) {
      const passing = underWay ? ["lost", "daemon_off", "timeout"] : ["lost"];
      for (let failures = 0; ; failures += 1) {
        try {
          return await this.ask(name, payload);
        } catch (error) {
          if (!passing.includes(error.code) || failures >= PATIENCE || !live()) throw error;
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
