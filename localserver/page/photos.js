// The photos of this page and their way through the daemon. Knows no document.

import * as daemon from "./daemon.js";

/** Photos at the daemon at once: one is being masked while the next is on its way. */
const AT_ONCE = 2;
const RETRY_S = 3;
/** Unanswered questions after which a photo at the daemon is given up: a machine may be busy, or have slept. */
const MOST_UNANSWERED = 3;
/** A daemon that was started anew knows nothing of a job, and one that ends cancels it. */
const LOST = ["not_found", "cancelled"];
/** Failures of the way to the daemon, not of the photo, which waits until the daemon is there again. */
const HELD = ["daemon_off", "not_pmask", "impostor", "not_paired", "unauthorised", "timeout", ...LOST];
const LOOK_S = 2;
/** Times that the daemon may lose one photo: it may be this photo of which it dies. */
const MOST_LOST = 3;
const ENDED = ["done", "failed", "cancelled"];
const PICTURE = /\.(avif|bmp|gif|heic|heif|jfif|jpe?g|mpo|png|tiff?|webp)$/i;

/** Whether a file of a folder is worth handing to the daemon, which has the last word. */
export function isPicture(file) {
  return file.type.startsWith("image/") ? file.type !== "image/svg+xml" : PICTURE.test(file.name);
}

/**
 * One photo. `state` is waiting, sending, queued, running, fetching, done, failed or cancelled; `result` is the protected
 * photo, null where the original is what to upload; `error` beside one says why doing the photo again failed; `path` is its
 * place in its folder.
 */
export class Photo {
  state = "waiting";
  stage = null;
  progress = 0;
  faces = null;
  eta = null;
  report = null;
  result = null;
  saved = false; // whether the person has that
  error = null;
  held = ""; // why the daemon has no room for it
  lost = 0; // times that the daemon had it and was gone
  former = null; // while it is done again: what was made of it before, and how
  stop = new AbortController();

  /** @param {File} file @param {string} path @param {string} preset its name @param {object} choices of PROTOCOL.md */
  constructor(file, path, preset, choices) {
    Object.assign(this, { file, path, preset, choices });
  }

  get ended() {
    return ENDED.includes(this.state);
  }

  /** Whether leaving the page would lose work. */
  get open() {
    return !this.ended || (this.result !== null && !this.saved);
  }

  /** The name of the copy: beside the original it must not be mistaken for it. */
  get copyName() {
    const dot = this.file.name.lastIndexOf(".");
    const at = dot > 0 ? dot : this.file.name.length;
    return `${this.file.name.slice(0, at)}.protected${this.file.name.slice(at)}`;
  }
}

/** All photos. */
export class Photos {
  #running = 0;
  #held = false;
  all = [];

  /**
   * @param {(photo: Photo) => void} onChange called at each change of one
   * @param {(error: daemon.DaemonError | null) => void} onHold called with what keeps all from the daemon, null once it is over
   */
  constructor(onChange, onHold) {
    Object.assign(this, { onChange, onHold });
  }

  add(photo) {
    this.all.push(photo);
    this.onChange(photo);
    this.#next();
  }

  cancel(photo) {
    if (photo.ended) return;
    photo.stop.abort();
    this.#giveUp(photo, { state: "cancelled" });
  }

  /** Does an ended photo once more, with these choices in place of its own. */
  retry(photo, preset = photo.preset, choices = photo.choices) {
    if (!photo.ended) return;
    photo.stop = new AbortController();
    const { report, result, saved, faces } = photo;
    photo.former = report && { report, result, saved, faces, preset: photo.preset, choices: photo.choices };
    const fresh = { stage: null, progress: 0, faces: null, eta: null, report: null, result: null, saved: false, error: null, lost: 0 };
    this.#set(photo, { ...fresh, preset, choices, state: "waiting" });
    this.#next();
  }

  clear() {
    for (const photo of this.all) this.cancel(photo);
    this.all = [];
  }

  /** Ends a photo without a new result. One that was done before is that again. */
  #giveUp(photo, values) {
    this.#set(photo, photo.former ? { error: null, ...values, ...photo.former, state: "done", former: null } : values);
  }

  #set(photo, values) {
    Object.assign(photo, values);
    this.onChange(photo);
  }

  #next() {
    while (!this.#held && this.#running < AT_ONCE) {
      const photo = this.all.find(({ state }) => state === "waiting");
      if (!photo) return;
      this.#running++;
      this.#set(photo, { state: "sending", held: "" });
      this.#protect(photo, photo.stop.signal).finally(() => {
        this.#running--;
        this.#next();
      });
    }
  }

  /** One photo's way. A photo that was cancelled, or is tried again, belongs to another signal: nothing is said of it. */
  async #protect(photo, signal) {
    const say = (values) => signal.aborted || this.#set(photo, values);
    let id = null;
    try {
      id = await this.#send(photo, signal);
      signal.throwIfAborted();
      const job = await this.#follow(id, say, signal);
      if (job.error) throw new daemon.DaemonError(job.error.code, job.error.message);
      say({ state: "fetching" });
      const result = await daemon.jobResult(id, signal);
      say({ state: "done", report: job.report, faces: job.report.faces.length, result, former: null });
    } catch (error) {
      if (id !== null || error.code === "timeout") photo.lost++;
      if (!signal.aborted && HELD.includes(error.code) && photo.lost < MOST_LOST) this.#wait(photo, error);
      else if (!signal.aborted) {
        this.#giveUp(photo, { state: "failed", error: error instanceof DOMException ? { code: "unreadable" } : error });
      }
    } finally {
      // What the daemon holds is no longer needed; when it cannot be told so, it forgets in minutes.
      if (id !== null) await daemon.cancelJob(id).catch(() => {});
    }
  }

  /** Puts a photo back, and sends none until the daemon has been found in order. */
  async #wait(photo, error) {
    this.#set(photo, { state: "waiting", stage: null, progress: 0, faces: null, eta: null });
    if (this.#held) return;
    this.#held = true;
    let said = LOST.includes(error.code) ? error.code : null; // of that, nobody need hear unless something else is found
    for (let wrong = error; wrong && this.all.some(({ state }) => state === "waiting"); ) {
      if (wrong.code !== said) this.onHold(wrong);
      said = wrong.code;
      await pause(LOOK_S);
      wrong = await daemon.options().then(() => null, (found) => found);
    }
    this.#held = false;
    this.onHold(null);
    this.#next();
  }

  /** Hands the photo over, again while the daemon has no room. Never cut short: a job without its id could not be cancelled. */
  async #send(photo, signal) {
    for (;;) {
      try {
        return await daemon.createJob(photo.file, photo.choices);
      } catch (error) {
        if (error.code !== "queue_full") throw error;
        if (!signal.aborted) this.#set(photo, { held: error.message });
        await pause(error.retryAfter ?? RETRY_S, signal);
      }
    }
  }

  async #follow(id, say, signal) {
    for (let seen = null; ; ) {
      const job = await stateOf(id, seen, signal);
      if (ENDED.includes(job.state)) return job;
      say({ state: job.state, stage: job.stage, progress: job.progress, faces: job.faces, eta: job.eta_s });
      seen = job.revision;
    }
  }
}

/** Lets so many seconds pass. Rejects as soon as a signal is aborted: nobody waits for a photo that was cancelled. */
function pause(seconds, signal = null) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    setTimeout(resolve, seconds * 1000);
  });
}

/** What followJob says, asked again when no answer came. */
async function stateOf(id, seen, signal) {
  for (let unanswered = 1; ; unanswered++) {
    try {
      return await daemon.followJob(id, seen, signal);
    } catch (error) {
      if (error.code !== "timeout" || unanswered === MOST_UNANSWERED) throw error;
    }
  }
}
