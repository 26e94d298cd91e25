// An expected failure, with a stable code: the daemon's (PROTOCOL.md), or one of OWN_CODES.

/** Codes that the daemon does not know, since they are about reaching it, or about the page. */
export const OWN_CODES = [
  "daemon_off", // nothing listens on the port
  "not_pmask", // something else does
  "impostor", // it cannot prove that it knows our token
  "not_paired",
  "wrong_version",
  "timeout",
  "lost", // the browser stopped the background and no answer came
  "reload", // the extension was updated under an open page
  "folder",
  "unreadable", // the file has changed or gone since it was chosen
  "managed", // the organisation has set it
  "bad_settings", // a file to import is none of ours
  "unexpected",
];

export class PMaskError extends Error {
  /** @param {string} code @param {string} [message] for people @param {{retryAfter?: number}} [more] */
  constructor(code, message = "", more = {}) {
    super(message);
    this.code = code;
    this.retryAfter = more.retryAfter;
  }

  /** The plain form that crosses to another context. */
  toJSON() {
    return { code: this.code, message: this.message };
  }
}
