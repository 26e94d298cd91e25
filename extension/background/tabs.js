// Which photos are under way in which tab: so that none keeps the daemon busy for a page that has gone, and for the badge.
// A page is named by a random id that its bridge made; frames of a tab each have their own.

import { api } from "./api.js";
import * as daemon from "./daemon.js";
import * as store from "./store.js";

const COLOURS = { failed: "#b42318", pending: "#0f766e", done: "#0f766e", off: "#6b7280" };

const placeOf = (sender) => ({ tab: sender.tab?.id ?? null, frame: sender.frameId ?? 0 });

/** The daemon's job that was made under this ticket, if its answer was lost on the way to the page. */
export async function jobOf(ticket) {
  const jobs = await store.readSession("jobs", {});
  return Object.keys(jobs).find((id) => ticket && jobs[id].ticket === ticket) ?? null;
}

export function addJob(id, ticket, page, sender) {
  return store.updateSession("jobs", {}, (jobs) => ({ ...jobs, [id]: { ticket, page, at: Date.now(), ...placeOf(sender) } }));
}

export function dropJob(id) {
  return store.updateSession("jobs", {}, ({ [id]: _gone, ...jobs }) => jobs);
}

/** Cancels the jobs whose page has gone. */
async function cancelJobs(isGone) {
  let gone = [];
  await store.updateSession("jobs", {}, (jobs) => {
    gone = Object.keys(jobs).filter((id) => isGone(jobs[id]));
    return Object.fromEntries(Object.entries(jobs).filter(([id]) => !gone.includes(id)));
  });
  if (gone.length === 0) return;
  const { daemon: mine } = await store.read();
  await Promise.allSettled(gone.map((id) => daemon.cancelJob(mine, id)));
}

/**
 * A page has come: what stood in its frame before, or in its tab if it is the outermost, has gone. We hear of it when the
 * person first turns to it, who may have chosen a photo in one of its frames by then.
 *
 * @param {number} came when, in milliseconds as Date.now()
 */
export async function pageCame(page, came, sender) {
  const { tab, frame } = placeOf(sender);
  if (tab === null || sender.documentLifecycle === "prerender") return;
  const isGone = (other, at) => other === frame || (frame === 0 && at < came);
  await store.updateSession("tabs", {}, (tabs) => {
    const others = Object.entries(tabs[tab] ?? {}).filter(([other, { at }]) => !isGone(Number(other), at));
    return { ...tabs, [tab]: Object.fromEntries(others) };
  });
  await cancelJobs((job) => job.tab === tab && job.page !== page && isGone(job.frame, job.at));
}

export async function tabGone(tab) {
  await store.updateSession("tabs", {}, ({ [tab]: _gone, ...tabs }) => tabs);
  await cancelJobs((job) => job.tab === tab);
}

/** What the photos of one tab have come to. @returns {Promise<{pending: number, failed: number, done: number}>} */
export async function tallyOf(tab) {
  const frames = Object.values((await store.readSession("tabs", {}))[tab] ?? {});
  const sum = (key) => frames.reduce((total, frame) => total + frame[key], 0);
  return { pending: sum("pending"), failed: sum("failed"), done: sum("done") };
}

/** A frame's photos, as page/desk.js counts them. */
export async function count({ pending, failed, done }, sender) {
  const { tab, frame } = placeOf(sender);
  if (tab === null) return;
  const tally = Object.fromEntries(Object.entries({ pending, failed, done }).map(([key, n]) => [key, Number.isInteger(n) && n >= 0 ? n : 0]));
  await store.updateSession("tabs", {}, (tabs) => ({ ...tabs, [tab]: { ...tabs[tab], [frame]: { ...tally, at: Date.now() } } }));
  await showTally(tab);
}

/** The badge's text, its colour and the title of a tally. */
export function badgeOf({ pending, failed, done }) {
  const name = api.i18n.getMessage("extension_short");
  const titled = (key, n) => `${name}: ${api.i18n.getMessage(key, [String(n)])}`;
  if (failed > 0) return { text: "!", color: COLOURS.failed, title: titled("badge_failed", failed) };
  if (pending > 0) return { text: "…", color: COLOURS.pending, title: titled("badge_pending", pending) };
  if (done > 0) return { text: String(done), color: COLOURS.done, title: titled("badge_done", done) };
  return { text: null, color: COLOURS.off, title: name };
}

const showTally = async (tabId) => showOn(tabId, badgeOf(await tallyOf(tabId)));

/** Is this tab's page without PMask, though PMask may be there? Only a reload brings it in. */
export async function isStale(tabId) {
  const isThere = () => globalThis.pmask !== undefined; // page/bridge.js
  try {
    const [{ result }] = await api.scripting.executeScript({ target: { tabId }, func: isThere, injectImmediately: true });
    return !result;
  } catch {
    return false; // a page of the browser's own, as where there is no network
  }
}

/** The browser takes this badge away with the page. */
export function showStale(tabId) {
  const title = `${api.i18n.getMessage("extension_short")}: ${api.i18n.getMessage("page_stale")}`;
  return showOn(tabId, { text: "!", color: COLOURS.failed, title });
}

async function showOn(tabId, { text, color, title }) {
  // The tab may have gone in between.
  await Promise.allSettled([
    api.action.setBadgeText({ tabId, text }),
    api.action.setBadgeBackgroundColor({ tabId, color }),
    api.action.setTitle({ tabId, title }),
  ]);
}

/** The badge of all tabs that have no tally of their own. */
export async function showBadge() {
  const { enabled } = await store.read();
  await api.action.setBadgeBackgroundColor({ color: COLOURS.off });
  await api.action.setBadgeTextColor?.({ color: "#ffffff" });
  await api.action.setBadgeText({ text: enabled ? "" : api.i18n.getMessage("badge_off") });
}
