// The only file that touches storage. The token is in storage.local, never in sync, out of the content scripts' reach.
// What is only of this session (results, jobs under way, counts) is in storage.session, in memory.

import { api } from "./api.js";
import { PMaskError } from "./errors.js";
import { INITIAL, usable } from "./settings.js";

const MOST_RESULTS = 20;

/** Content scripts run in the page's process; keep the token from it. Firefox knows no access level, and needs none here. */
export function lock() {
  return api.storage.local.setAccessLevel?.({ accessLevel: "TRUSTED_CONTEXTS" });
}

/** What the organisation has set; Firefox rejects where there is nothing. */
async function readManaged() {
  try {
    return usable(await api.storage.managed.get(null));
  } catch {
    return {};
  }
}

/**
 * All settings, and `daemon` ({port, token, client: {id, name}} or null), and `managed`, the keys that only the
 * organisation may set.
 */
export async function read() {
  const keys = [...Object.keys(INITIAL), "daemon"];
  const [own, managed] = await Promise.all([api.storage.local.get(keys), readManaged()]);
  return { daemon: null, ...INITIAL, ...own, ...managed, managed: Object.keys(managed) };
}

/** One change after the other, so that two that come at once both stay. */
function inTurn() {
  let last = Promise.resolve();
  return (change) => {
    const next = last.then(change);
    last = next.catch(() => {});
    return next;
  };
}
const localTurn = inTurn();
const sessionTurn = inTurn();

/** Changes settings; `change` gets the current ones and returns the keys to set. Rejects if one of them is managed. */
export function update(change) {
  return localTurn(async () => {
    const settings = await read();
    const values = await change(settings);
    const locked = Object.keys(values).find((key) => settings.managed.includes(key));
    if (locked) throw new PMaskError("managed", locked);
    await api.storage.local.set(values);
  });
}

/** Calls back when the organisation has changed a setting. */
export function onManagedChange(callback) {
  api.storage.onChanged.addListener((_changes, area) => {
    if (area === "managed") callback();
  });
}

/** Something of this session, or what stands for it. @param {"results" | "jobs" | "tabs"} key */
export async function readSession(key, otherwise) {
  return (await api.storage.session.get(key))[key] ?? otherwise;
}

/** Changes it; `change` gets the current value and returns the next one. */
export function updateSession(key, otherwise, change) {
  return sessionTurn(async () => api.storage.session.set({ [key]: change(await readSession(key, otherwise)) }));
}

/** What became of the last photos, newest first; without their names. */
export const readResults = () => readSession("results", []);

export function addResult(result) {
  return updateSession("results", [], (results) => [result, ...results].slice(0, MOST_RESULTS));
}
