// What the card says: sentences of _locales about a photo and its state. First of the card's files.

(() => {
  "use strict";

  const api = globalThis.browser ?? globalThis.chrome;

  const BARE = "bare"; // a verdict on the photo as it is delivered
  const KEPT = new Map(); // key -> its sentence, with HOLES for values
  const HOLES = ["\ue000", "\ue001", "\ue002", "\ue003"]; // for private use, so in no sentence

  /**
   * Keeps all sentences: when the extension is updated or removed under an open page its API is gone, and the card must
   * still say what is what and let the person choose.
   *
   * @param {string[]} keys
   */
  function keepWords(keys) {
    for (const key of keys) KEPT.set(key, api.i18n.getMessage(key, HOLES));
  }

  /** A sentence of _locales. */
  function words(key, ...values) {
    try {
      return api.i18n.getMessage(key, values.map(String));
    } catch {
      const fill = (said, hole, i) => said.replaceAll(hole, () => values[i]);
      return HOLES.reduce(fill, KEPT.get(key) ?? "");
    }
  }

  /** "PMask is loading its models", "Finding faces", ... */
  function progressWords(photo) {
    if (photo.state === "running") return words(`stage_${photo.stage ?? "loading"}`);
    return words(`state_${photo.state}`);
  }

  /** What became of a photo: its words, and good, warn or plain. */
  function resultOf({ state, summary }) {
    if (!["protected", "reviewing"].includes(state)) return { text: words(`result_${state}`), tone: state === "original" ? "warn" : "plain" };
    const { status, faces, matched, bare } = summary;
    if (bare) return { text: words("result_already_bare"), tone: "warn" };
    if (status === "already_protected") return { text: words("result_already"), tone: "good" };
    // by a recogniser that the mask was made against, or by one that only judged
    if (matched) return { text: matched === 1 ? words("result_partly_one", faces) : words("result_partly", matched, faces), tone: "warn" };
    return { text: faces === 1 ? words("result_protected_one") : words("result_protected", faces), tone: "good" };
  }

  /** "4 of 4 recognisers no longer match it (also after Instagram), ..." */
  function judgedWords({ recognisers, fooled, unseen, upload }) {
    if (fooled === recognisers - 1) return words("judged_some_one", recognisers, upload);
    if (fooled < recognisers) return words("judged_some", recognisers - fooled, recognisers, upload);
    return words("judged_all", fooled, recognisers, upload, unseen);
  }

  /** One recogniser on one face, and the figures behind it. @param {object} verdict of the job's report @param {string} upload its title */
  function verdictWords(verdict, upload, face, faces) {
    const { recogniser, in_team: isInTeam, matches, angle, threshold, nearest_other: stranger } = verdict;
    let said = words(matches ? "verdict_match" : "verdict_none", isInTeam ? recogniser : words("verdict_unseen", recogniser));
    if (verdict.upload !== BARE) said = words("verdict_after", said, upload);
    if (!matches && angle > stranger) said = words("verdict_stranger", said);
    said = words("judged_figures", said, Math.round(angle), Math.round(threshold));
    return faces === 1 ? said : words("judged_face", face + 1, said);
  }

  /** "about 20 s left", as coarse as it is known. @param {number | null} seconds */
  function leftWords(seconds) {
    if (seconds === null) return "";
    if (seconds < 8) return words("left_moment");
    if (seconds < 90) return words("left_seconds", Math.ceil(seconds / 5) * 5);
    return words("left_minutes", Math.round(seconds / 60));
  }

  const facesWords = (count) => (count === 1 ? words("faces_found_one") : words("faces_found", count));

  /** The code's own words, or those for anything unexpected. */
  function errorWords(error, part) {
    return words(`error_${error.code}_${part}`) || words(`error_unexpected_${part}`);
  }

  /** Cures that offer to upload the original, without that offer. */
  const WITHOUT_ORIGINAL = {
    not_an_image: "cure_other_file",
    unsupported_image: "cure_other_kind",
    broken_image: "cure_save_again",
    folder: "cure_one_by_one",
  };

  /** What helps. @param {boolean} offersOriginal may the original be uploaded? */
  function cureWords(error, offersOriginal) {
    const key = offersOriginal ? null : WITHOUT_ORIGINAL[error.code];
    return key ? words(key) : errorWords(error, "cure");
  }

  globalThis.pmask.card = { keepWords, words, progressWords, resultOf, judgedWords, verdictWords, leftWords, facesWords, errorWords, cureWords };
})();
