// What the page says, in one place.

const STAGES = {
  loading: "Loading the recognisers",
  decoding: "Reading the photo",
  detecting: "Looking for faces",
  masking: "Hiding the signatures",
  encoding: "Saving the photo",
  checking: "Checking the result",
};

const STATES = {
  waiting: "Waiting",
  sending: "Handing the photo to PMask",
  queued: "Waiting for its turn",
  fetching: "Getting the photo back",
  cancelled: "Cancelled",
};

const PAIR_AGAIN = "Run “pmask-server pair” in a terminal and type its code at the top of this page. (Its address would load the page anew, without these photos.)";
const CURES = {
  daemon_off: ["PMask's server is not running", "Start it with “pmask-server run”."],
  not_pmask: ["Another program answers on PMask's port", "It did not get the photo. Stop it, or give PMask's server another port."],
  impostor: ["The server could not prove who it is", "It did not get the photo. Stop the program that took PMask's port."],
  not_paired: ["This tab is not paired", PAIR_AGAIN],
  unauthorised: ["This tab is no longer paired", PAIR_AGAIN],
  wrong_version: ["The server is of another version than this page", "Reload this page."],
  timeout: ["PMask's server does not answer", "It may be overloaded. If that lasts, start it anew."],
  not_found: ["PMask's server lost the photo", "It was started anew, or this page was asleep. Try again."],
  bad_code: ["This code is wrong, used, or too old", "A code is good once and for two minutes. Make a new one with “pmask-server pair”."],
  too_many_attempts: ["Too many wrong codes", "Wait a minute, then make a new code with “pmask-server pair”."],
  out_of_memory: ["Not enough memory for this photo", "Close other programs, or choose a smaller photo."],
  not_an_image: ["This file is not a photo that PMask reads", "Choose another file."],
  unsupported_image: ["PMask cannot give this kind of image back as it came", "Save it as a JPEG, PNG or WebP photo first."],
  broken_image: ["This photo is damaged", "Save it anew in another program."],
  too_many_bytes: ["This file is too large", "Save the photo smaller and choose it again."],
  too_many_pixels: ["This photo has too many pixels", "Save the photo smaller and choose it again."],
  weights_unavailable: ["The recognisers are not on this computer yet", "Fetch them with “pmask models fetch”, then try again."],
  device_unavailable: ["The chosen processor is not there", "Choose another device in the server's settings and start it anew."],
  archive: ["The photos are too many for one archive", "Download them one by one."],
  unreadable: ["The browser could not read this file", "It may have been moved or changed. Choose it again."],
};
/** What the presets of pmask/options.py change and hide; the figures are docs/protection.md's. */
const PRESETS = {
  strong: ["Strong (recommended)", "99 of 100 searches did not find the person in our test. Faces may look slightly different, most of all in close-ups."],
  balanced: ["Balanced", "Less change, and enough for close-ups: 91 of 100 searches did not find the person (large faces: 98)."],
  fine: ["Fine", "Half the change, and far less protection: 58 of 100 searches did not find the person (large faces: 83)."],
};
const UNKNOWN = ["The photo could not be protected", "Try again. “pmask-server doctor” shows what is wrong."];

/** @param {number} count @param {string} one @param {string} [many] */
export function counted(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

/** @param {{code?: string, message?: string}} error @returns {{title: string, cure: string}} */
export function errorWords(error) {
  const [title, cure] = CURES[error.code] ?? UNKNOWN;
  return { title, cure: CURES[error.code] || !error.message ? cure : `${error.message}. ${cure}` };
}

/** What is said while photos wait for a daemon that is not there, or is not ours. */
export function heldWords(error) {
  const { title, cure } = errorWords(error);
  return `${title}. ${cure} The photos wait, and go on by themselves.`;
}

/** What is said where so many files could not be read. @returns {{title: string, cure: string}} */
export function unreadWords(count) {
  return { title: `${counted(count, "file")} could not be read`, cure: "What was moved or changed must be chosen again." };
}

function timeWords(seconds) {
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s left`;
  return `about ${Math.round(seconds / 60)} min left`;
}

/** @param {string} name of a preset @returns {{title: string, words: string}} */
export function presetWords(name) {
  const [title, words] = PRESETS[name] ?? [name, ""];
  return { title, words };
}

/** One line on where a photo is. @param {import("./photos.js").Photo} photo */
export function stateWords(photo) {
  if (photo.state === "failed") return errorWords(photo.error).title;
  if (photo.state === "done") return resultWords(photo);
  if (photo.state === "sending" && photo.held) return `Waiting: ${photo.held}`;
  if (photo.state !== "running") return STATES[photo.state];
  const faces = photo.faces ? counted(photo.faces, "face") : "";
  const left = photo.eta === null ? "" : timeWords(photo.eta);
  return [STAGES[photo.stage] ?? STATES.queued, faces, left].filter(Boolean).join(", ");
}

/** What to do about what went wrong with a photo, or "". @param {import("./photos.js").Photo} photo */
export function cureWords({ state, error }) {
  if (!error) return "";
  const { title, cure } = errorWords(error);
  return state === "done" ? `Doing it again failed, so this is the former result. ${title}. ${cure}` : cure;
}

function resultWords({ report, preset }) {
  if (report.status === "no_face") return "No face found: the photo can be uploaded as it is";
  if (report.bare) return `PMask protected this photo before, but left ${counted(report.bare, "face")} bare`;
  if (report.status === "already_protected") return "PMask protected this photo before: it can be uploaded as it is";
  const open = report.faces.filter((face) => face.matched).length;
  const faces = counted(report.faces.length, "face");
  const said = open ? `${open} of ${faces} only partly hidden: a recogniser still matches` : `${faces} protected`;
  return `${said} (${preset})`;
}

/** What the button says that shows a face (from 0) of so many in large, or (-1) the whole photo. */
export function zoomWords(face, faces) {
  if (face < 0) return "Look at the whole photo";
  return faces === 1 ? "Look at the face" : `Look at face ${face + 1}`;
}

/** One sentence on all recognisers, or "". */
export function tallyWords(judged) {
  if (!judged) return "";
  const after = judged.upload ? ` (also after ${judged.upload})` : "";
  return `${judged.fooled} of ${judged.recognisers} recognisers no longer match any face${after}; ${judged.unseen} of these never saw the mask.`;
}

/**
 * A line for each recogniser on one face: the worst verdict's sentence, and all angles.
 *
 * @param {object[]} verdicts of the report
 * @returns {{text: string, matches: boolean}[]}
 */
export function verdictWords(verdicts) {
  return Object.values(Object.groupBy(verdicts, (verdict) => verdict.recogniser)).map((own) => {
    const worst = own.find((verdict) => verdict.matches) ?? own[0];
    const angles = own.map((verdict) => `${verdict.angle.toFixed(0)}°`).join(", ");
    return { text: `${worst.sentence} (${angles}; a match is under ${worst.threshold.toFixed(0)}°)`, matches: worst.matches };
  });
}
