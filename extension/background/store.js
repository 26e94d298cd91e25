// The only file that touches storage. The token is in storage.local, never in sync, out of the content scripts' reach.

import { api } from "./api.js";

export const DEFAULTS = Object.freeze({
  enabled: true, // everywhere
  sitesOff: [], // ids of sites
  hosts: [], // the person's own, beside sites.json
  delta: 1.0, // the paper's, section 6
  daemon: null, // {port, token, client: {id, name}}
});

/** Content scripts run in the page's process; keep the token from it. Firefox knows no access level, and needs none here. */
export function lock() {
  return api.storage.local.setAccessLevel?.({ accessLevel: "TRUSTED_CONTEXTS" });
}

/** @returns {Promise<typeof DEFAULTS>} */
export async function read() {
  return { ...DEFAULTS, ...(await api.storage.local.get(Object.keys(DEFAULTS))) };
}

let last = Promise.resolve();

/**
 * Changes settings; `change` gets the current ones and returns the keys to set. One after the other, so that two
 * switches that are thrown at once both stay.
 */
export function update(change) {
  const next = last.then(async () => api.storage.local.set(await change(await read())));
  last = next.catch(() => {});
  return next;
}

/** What became of the last photo; kept in memory only, without its name. */
export async function readLast() {
  return (await api.storage.session.get("last")).last ?? null;
}

export function writeLast(last) {
  return api.storage.session.set({ last });
}
