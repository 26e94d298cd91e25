// What a person, or their organisation, may set: each key with what it is at first and what it may be. Storage, import
// and managed_schema.json know no other keys.

import { PMaskError } from "./errors.js";
import { hostIn } from "./sites.js";

/**
 * Those of pmask/options.py. docs/protection.md has what they were measured to hide; the locales' preset_*_words quote the
 * lower of two figures, the PSR at rank 1 as delivered and behind the pipelines.
 */
export const PRESETS = Object.freeze({
  fine: { delta: 1, omega: 0.0085 },
  balanced: { delta: 1, omega: 0.0125 },
  strong: { delta: 1, omega: 0.017 },
});

export const RANGES = Object.freeze({ delta: [0.2, 3], omega: [0.004, 0.03] });

const oneOf = (...values) => (value) => values.includes(value);
const within = ([least, most]) => (value) => typeof value === "number" && value >= least && value <= most;
const texts = (value) => Array.isArray(value) && value.every((text) => typeof text === "string") && new Set(value).size === value.length;

/** An organisation's list, with each entry once. */
const once = (value) => (Array.isArray(value) ? [...new Set(value)] : value);

/** The same of hosts, however they are written, and without what is none. */
const hostsIn = (value) => (Array.isArray(value) ? once(value.map((host) => hostIn(String(host)))).filter(Boolean) : value);

/** @type {Record<string, {initial: any, valid: (value: any) => boolean, read?: (value: any) => any}>} read: before it is judged */
export const SETTINGS = Object.freeze({
  enabled: { initial: true, valid: oneOf(true, false) }, // everywhere
  sitesOff: { initial: [], valid: texts }, // ids of sites
  hosts: { initial: [], valid: (value) => texts(value) && value.every((host) => hostIn(host) === host), read: hostsIn }, // beside sites.json
  delta: { initial: PRESETS.strong.delta, valid: within(RANGES.delta) },
  omega: { initial: PRESETS.strong.omega, valid: within(RANGES.omega) },
  team: { initial: null, valid: (value) => value === null || (texts(value) && value.length > 0) }, // null: the daemon's own
  faces: { initial: "all", valid: oneOf("all", "ask") },
  review: { initial: "never", valid: oneOf("never", "always") }, // does the person look at each before the page has it?
  metadata: { initial: "no_location", valid: oneOf("no_location", "keep", "strip") }, // of EXIF
  originals: { initial: "ask", valid: oneOf("ask", "never") }, // may a photo go unprotected on the person's word?
});

export const INITIAL = Object.freeze(Object.fromEntries(Object.entries(SETTINGS).map(([key, { initial }]) => [key, initial])));

/** Throws bad_option unless every key is known and every value may be. @param {object} values @returns {object} the same */
export function checked(values) {
  for (const [key, value] of Object.entries(values)) {
    if (!Object.hasOwn(SETTINGS, key) || !SETTINGS[key].valid(value)) throw new PMaskError("bad_option", `${key} ${JSON.stringify(value)}`);
  }
  return values;
}

/** Those of the values that are known and may be; the rest is left out. @returns {object} */
export function usable(values) {
  const known = Object.entries(values ?? {}).filter(([key]) => Object.hasOwn(SETTINGS, key));
  const read = known.map(([key, value]) => [key, (SETTINGS[key].read ?? once)(value)]);
  return Object.fromEntries(read.filter(([key, value]) => SETTINGS[key].valid(value)));
}

/** The settings as a file for another browser; not the daemon, whose token stays here. @returns {object} */
export function exported(settings) {
  return { product: "pmask", settings: 1, values: Object.fromEntries(Object.keys(SETTINGS).map((key) => [key, settings[key]])) };
}

/** What such a file sets. Throws bad_settings when it is none of ours, or holds a value that may not be. */
export function imported(file) {
  if (file?.product !== "pmask" || file.settings !== 1 || typeof file.values !== "object" || !file.values) throw new PMaskError("bad_settings");
  try {
    return checked(file.values);
  } catch (error) {
    throw new PMaskError("bad_settings", error.message);
  }
}

/**
 * What a photo that is being looked at may be done with again: the presets from fine to strong, and the one nearest to the
 * person's own strength. No choice where the organisation has made it.
 *
 * @param {object} settings as the store reads them @returns {{names: string[], own: string} | null}
 */
export function strengthsOf({ omega, managed }) {
  if (managed.includes("delta") || managed.includes("omega")) return null;
  const names = Object.keys(PRESETS);
  const far = (name) => Math.abs(PRESETS[name].omega - omega);
  return { names, own: names.reduce((best, name) => (far(name) <= far(best) ? name : best)) };
}

/**
 * The daemon's options for a photo (PROTOCOL.md).
 *
 * @param {object} settings @param {number[][] | null} leaveOut
 * @param {string | null} [preset] one of PRESETS, in place of the person's own strength
 */
export function choicesOf({ delta, omega, team, faces, metadata }, leaveOut, preset = null) {
  return {
    ...(preset ? PRESETS[preset] : { delta, omega }),
    metadata,
    ...(team && { team }),
    ...(leaveOut?.length > 0 && { leave_out: leaveOut }),
    ...(faces === "ask" && !leaveOut && { look: true }),
  };
}
