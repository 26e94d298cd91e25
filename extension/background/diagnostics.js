// What helps to find a fault, as a file that a person can read through and send: no photo, no file's or client's name, no
// token, no address of a page.

import { api } from "./api.js";
import * as daemon from "./daemon.js";
import { SETTINGS } from "./settings.js";

/** What it comes to, or the error's code. */
async function orCode(promise, pick = (value) => value) {
  try {
    return pick(await promise);
  } catch (error) {
    return { error: error.code ?? "unexpected" };
  }
}

/** @param {object} settings of store.read @param {object[]} results of store.readResults @param {string[][]} origins of the shipped sites */
export async function diagnostics(settings, results, origins) {
  const { hosts, sitesOff, daemon: mine, managed } = settings;
  const allowed = await Promise.all(origins.map((some) => api.permissions.contains({ origins: some })));
  const manifest = api.runtime.getManifest();
  return {
    product: "pmask",
    diagnostics: 1,
    made: new Date().toISOString(),
    extension: { version: manifest.version, protocol: daemon.PROTOCOL },
    browser: { agent: navigator.userAgent, language: api.i18n.getUILanguage(), cores: navigator.hardwareConcurrency },
    settings: {
      ...Object.fromEntries(Object.keys(SETTINGS).map((key) => [key, settings[key]])),
      hosts: hosts.length,
      sitesOff: sitesOff.filter((id) => !hosts.includes(id)),
      managed,
    },
    sitesWithoutPermission: allowed.filter((is) => !is).length,
    paired: mine !== null,
    health: await orCode(daemon.prove(mine), ({ version, protocol }) => ({ version, protocol })),
    server: await orCode(daemon.options(mine), ({ defaults, devices, limits, seconds_per_face, recognisers }) => ({
      defaults,
      devices,
      limits,
      seconds_per_face,
      recognisers: recognisers.map(({ name }) => name),
    })),
    results: results.map(({ site, photo, ...rest }) => rest),
  };
}
