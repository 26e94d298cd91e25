// What the options page and the popup share: words, messages to the background, how an error is said.

import { api } from "../background/api.js";
import { PMaskError } from "../background/errors.js";

/** A sentence of _locales. */
export const words = (key, ...values) => api.i18n.getMessage(key, values.map(String));

/** Fills in every element with data-i18n. */
export function fillIn(root = document) {
  document.documentElement.lang = words("language");
  for (const element of root.querySelectorAll("[data-i18n]")) element.textContent = words(element.dataset.i18n);
  for (const element of root.querySelectorAll("[data-i18n-label]")) element.setAttribute("aria-label", words(element.dataset.i18nLabel));
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

/**
 * A coloured dot, a sentence, and what helps. What is said already stays as it is: else a command that somebody is about to
 * copy would lose its selection every few seconds, and a screen reader would read it again and again.
 *
 * @param {"good" | "bad" | "busy" | ""} tone
 */
export function sayStatus(element, tone, title, cure = "") {
  if (element.className === `status ${tone}` && element.textContent === title + cure) return;
  element.className = `status ${tone}`;
  const lines = [make("strong", { textContent: title })];
  if (cure) lines.push(make("span", { textContent: cure }));
  element.replaceChildren(...lines);
}

/** What pairing mends: the daemon does not know this browser, or what has its port is none, or not the one we paired with. */
const PAIRING = ["not_paired", "unauthorised", "forbidden_origin", "impostor", "not_pmask"];
export const needsPairing = (error) => PAIRING.includes(error?.code);

/**
 * Shows in `element` whether the daemon is there, and the cure when it is not.
 *
 * @returns {Promise<PMaskError | null>} what is wrong
 */
export async function showStatus(element, { quiet = false } = {}) {
  if (!quiet) sayStatus(element, "busy", words("status_checking"));
  try {
    const { version } = await ask("status");
    sayStatus(element, "good", words("status_good", version));
    return null;
  } catch (error) {
    sayStatus(element, "bad", errorWords(error, "title"), errorWords(error, "cure"));
    return error;
  }
}

/** An element with properties and children. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A photo's end in words. @param {{state: string, code?: string, summary?: object}} result of store.addResult */
export function resultWords({ state, code, summary }) {
  if (state === "failed") return errorWords({ code }, "title");
  if (state !== "protected") return words(`result_${state}`);
  const { status, faces, matched, bare } = summary;
  if (bare) return words("result_already_bare");
  if (status === "already_protected") return words("result_already");
  if (matched) return matched === 1 ? words("result_partly_one", faces) : words("result_partly", matched, faces);
  return faces === 1 ? words("result_protected_one") : words("result_protected", faces);
}

/** Is it well, or something to look at? @returns {"good" | "plain" | "warn"} */
export function toneOf({ state, summary }) {
  if (state === "no_face" || state === "omitted") return "plain";
  return state === "protected" && !summary.matched && !summary.bare ? "good" : "warn";
}

/** Hands a text to the person as a file. */
export function saveText(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** What recognisers said of it, if they were asked: "4 of 4 recognisers no longer match it (also after Instagram), ..." */
export function judgedWords(judged) {
  if (!judged) return "";
  const { recognisers, fooled, unseen, upload } = judged;
  if (fooled === recognisers - 1) return words("judged_some_one", recognisers, upload);
  if (fooled < recognisers) return words("judged_some", recognisers - fooled, recognisers, upload);
  return words("judged_all", fooled, recognisers, upload, unseen);
}
