// What the options page and the popup share: words, messages to the background, how an error is said.

import { api } from "../background/api.js";
import { PMaskError } from "../background/errors.js";

/** A sentence of _locales. */
export const words = (key, ...values) => api.i18n.getMessage(key, values.map(String));

/** Fills in every element with data-i18n. */
export function fillIn(root = document) {
  document.documentElement.lang = api.i18n.getUILanguage();
  for (const element of root.querySelectorAll("[data-i18n]")) element.textContent = words(element.dataset.i18n);
}

/** One message to the background (background/messages.js). Rejects with a PMaskError. */
export async function ask(name, payload = {}) {
  const answer = await api.runtime.sendMessage({ ...payload, name });
  if (!answer) throw new PMaskError("lost");
  if (answer.error) throw new PMaskError(answer.error.code, answer.error.message);
  return answer.value;
}

/** An error's title or cure; unknown codes say what is said of the unexpected. */
export function errorWords(error, part) {
  return words(`error_${error.code}_${part}`) || words(`error_unexpected_${part}`);
}

/** Shows in `element` whether the daemon is there: a coloured dot, a sentence, and the cure when it is not. */
export async function showStatus(element, { quiet = false } = {}) {
  const say = (tone, title, cure = "") => {
    element.className = `status ${tone}`;
    const lines = [Object.assign(document.createElement("strong"), { textContent: title })];
    if (cure) lines.push(Object.assign(document.createElement("span"), { textContent: cure }));
    element.replaceChildren(...lines);
  };
  if (!quiet) say("busy", words("status_checking"));
  try {
    const { version } = await ask("status");
    say("good", words("status_good", version));
    return true;
  } catch (error) {
    say("bad", errorWords(error, "title"), errorWords(error, "cure"));
    return false;
  }
}

/** The last photo's result in words. @param {object | null} last of X-PMask-Report */
export function lastWords(last) {
  if (!last) return words("popup_none");
  if (last.status === "no_face") return words("result_no_face");
  if (last.status === "already_protected") return words("result_already");
  if (last.hidden < last.faces) return words("result_partly", last.faces - last.hidden, last.faces);
  return last.faces === 1 ? words("result_protected_one") : words("result_protected", last.faces);
}

/** What recognisers said of it, if they were asked: "4 of 4 recognisers no longer match it (also after Instagram), ..." */
export function judgedWords(judged) {
  if (!judged) return "";
  const { recognisers, fooled, unseen, upload } = judged;
  if (fooled < recognisers) return words("judged_some", recognisers - fooled, recognisers, upload);
  return words("judged_all", fooled, recognisers, upload, unseen);
}
