// What the extension's own pages and its content scripts may ask of the background: name -> who may ask, and an async
// function. Nothing is kept in globals; the browser may stop the background between any two messages.

import { api } from "./api.js";
import * as daemon from "./daemon.js";
import { diagnostics } from "./diagnostics.js";
import { PMaskError } from "./errors.js";
import { syncScripts } from "./scripts.js";
import { checked, choicesOf, exported, imported, strengthsOf } from "./settings.js";
import { hostIn, isOn, ownSite, siteOf } from "./sites.js";
import * as store from "./store.js";
import * as tabs from "./tabs.js";

/** Sites of sites.json. @returns {Promise<import("./sites.js").Site[]>} */
const shippedSites = async () => (await fetch(api.runtime.getURL("sites.json"))).json();

/** Those, and the person's own. @returns {Promise<import("./sites.js").Site[]>} */
const allSites = async (settings) => [...(await shippedSites()), ...settings.hosts.map(ownSite)];

const siteOfSender = async (settings, sender) => siteOf(await allSites(settings), sender.url, sender.tab?.url, sender.origin);

/** Tells every open page that a switch was thrown; each then asks for its own state. */
export async function announce() {
  await tabs.showBadge();
  const open = await api.tabs.query({});
  await Promise.allSettled(open.map(({ id }) => api.tabs.sendMessage(id, { name: "state-changed" })));
}

/** Marks the pages that were open before the extension came, or came anew: their photos go up as they are. */
export async function markStale() {
  const url = (await allSites(await store.read())).flatMap(({ matches }) => matches);
  const open = await api.tabs.query({ url, discarded: false });
  await Promise.all(open.map(async ({ id }) => (await tabs.isStale(id)) && tabs.showStale(id)));
}

/** What works on photos in a page, in the order in which one builds on another. Pages without photos are spared it. */
export const DESK = [
  "page/photo.js", "page/pick.js", "page/card/words.js", "page/card/look.js", "page/card/view.js", "page/card/row.js", "page/card/place.js",
  "page/card/overlay.js", "page/desk.js",
]; // prettier-ignore

const paired = async () => (await store.read()).daemon;

/** A job's state; of one that is done, `result` too where it can be had, so that the page need not ask once more. */
async function followed(mine, id, seen) {
  const job = await daemon.followJob(mine, id, seen);
  if (job.state !== "done" || job.report?.status === "looked") return job;
  return { ...job, result: await daemon.jobResult(mine, id).catch(() => null) };
}

/** @type {Record<string, {from: "page" | "extension" | "both", run: (message: any, sender: any) => Promise<any>}>} */
export const MESSAGES = {
  // From content scripts.

  state: {
    from: "page",
    async run({ page, came }, sender) {
      const settings = await store.read();
      if (came) await tabs.pageCame(page, came, sender);
      const review = settings.review === "always" ? { strengths: strengthsOf(settings) } : null;
      return { on: isOn(settings, await siteOfSender(settings, sender)), originals: settings.originals, review };
    },
  },
  /** A photo may be about to come, or has come: the frame gets what works on it. */
  desk: {
    from: "page",
    async run(_message, sender) {
      const target = { tabId: sender.tab.id, frameIds: [sender.frameId] };
      await api.scripting.executeScript({ target, files: DESK, injectImmediately: true });
    },
  },
  /** The keys of all sentences: pages keep these, since they outlive an update. */
  words: {
    from: "page",
    run: async () => Object.keys(await (await fetch(api.runtime.getURL("_locales/en/messages.json"))).json()),
  },
  /** A file dialog was opened, or files are dragged over the page. */
  warm: {
    from: "page",
    async run(_message, sender) {
      const settings = await store.read();
      if (!isOn(settings, await siteOfSender(settings, sender))) return;
      await daemon.warm(settings.daemon, choicesOf(settings, []));
    },
  },
  /** What became of the photos in this frame, for the badge. */
  count: { from: "page", run: (tally, sender) => tabs.count(tally, sender) },
  openOptions: { from: "page", run: async () => api.runtime.openOptionsPage() },

  // From content scripts, and from the page that tries a first photo.

  protect: {
    from: "both",
    async run({ file, leaveOut, preset, ticket, page }, sender) {
      if (!(file instanceof Blob)) throw new PMaskError("bad_request");
      const [known, settings] = await Promise.all([tabs.jobOf(ticket), store.read()]);
      if (known) return { id: known };
      if (preset && !strengthsOf(settings)?.names.includes(preset)) throw new PMaskError("bad_option", preset);
      const { id } = await daemon.createJob(settings.daemon, file, choicesOf(settings, leaveOut, preset));
      const kept = tabs.addJob(id, ticket, page, sender);
      const job = await followed(settings.daemon, id, null).catch(() => null); // the page will ask
      await kept;
      return { id, job };
    },
  },
  follow: { from: "both", run: async ({ job, seen }) => followed(await paired(), job, seen) },
  result: { from: "both", run: async ({ job }) => daemon.jobResult(await paired(), job) },
  cancel: {
    from: "both",
    async run({ job }) {
      await tabs.dropJob(job);
      await daemon.cancelJob(await paired(), job);
    },
  },
  /**
   * A photo's end, for the popup and the diagnostics: X-PMask-Report, an error, or the person's own word. One that has failed
   * may end once more, under the same name that the page gave it, `photo`. The full report beside it is for who listens in a
   * page of the extension, as scripts/demo_run.py does.
   */
  ended: {
    from: "both",
    async run({ photo, summary, error, state }, sender) {
      const site = await siteOfSender(await store.read(), sender);
      const what = { photo, state, ...(summary && { summary }), ...(error && { code: error.code }) };
      await store.addResult({ ...what, site: site?.name ?? null, at: Date.now() });
    },
  },

  // From the popup, the options page and the welcome page.

  isStale: { from: "extension", run: ({ tab }) => tabs.isStale(tab) },
  overview: {
    from: "extension",
    async run({ url, tab }) {
      const settings = await store.read();
      const sites = await allSites(settings);
      const listed = sites.map((site) => ({ ...site, on: !settings.sitesOff.includes(site.id) }));
      const { daemon: mine, ...open } = settings;
      return {
        ...open,
        sites: listed,
        site: listed.find(({ id }) => id === siteOf(sites, url)?.id) ?? null,
        daemon: mine && { port: mine.port, client: mine.client }, // the token stays here
        results: await store.readResults(),
        tally: await tabs.tallyOf(tab),
      };
    },
  },
  /** The daemon's health, proven; rejects with what is wrong. */
  status: { from: "extension", run: async () => daemon.prove(await paired()) },
  /** Is there any daemon on this port, paired or not? */
  find: { from: "extension", run: ({ port }) => daemon.health(port) },
  /** The daemon's own figures and choices: GET /v1/options. */
  engine: { from: "extension", run: async () => daemon.options(await paired()) },
  /** Sets some of settings.js's keys. */
  set: {
    from: "extension",
    async run({ values }) {
      const { sitesOff, hosts, ...plain } = checked(values);
      if (sitesOff || hosts) throw new PMaskError("bad_option", "sites have messages of their own");
      await store.update(() => plain);
      await announce();
    },
  },
  setSite: {
    from: "extension",
    async run({ site, on }) {
      await store.update(({ sitesOff }) => ({ sitesOff: [...sitesOff.filter((id) => id !== site), ...(on ? [] : [site])] }));
      await announce();
    },
  },
  pair: {
    from: "extension",
    async run({ code, port, client }) {
      if (!Number.isInteger(port) || port < 1 || port > 65535) throw new PMaskError("bad_option", `port ${port}`);
      const mine = await daemon.pair(port, code, client);
      await daemon.prove(mine);
      await store.update(() => ({ daemon: mine }));
      return { port: mine.port, client: mine.client };
    },
  },
  /** Forgets the daemon, and has it forget us if it is there. @returns {Promise<{revoked: boolean}>} */
  unpair: {
    from: "extension",
    async run() {
      const mine = await paired();
      const revoked = await daemon.leave(mine).then(() => true, () => false);
      await store.update(() => ({ daemon: null }));
      return { revoked };
    },
  },
  /** The page has asked the person for the permission before. */
  addHost: {
    from: "extension",
    async run({ host }) {
      if (hostIn(host) !== host) throw new PMaskError("bad_option", host);
      // Scripts would run twice there, and a permission that came with the extension cannot be given back.
      if (siteOf(await shippedSites(), `https://${host}/`)) throw new PMaskError("bad_option", `${host} is listed`);
      await store.update(({ hosts }) => ({ hosts: [...new Set([...hosts, host])].sort() }));
      await syncScripts((await store.read()).hosts);
    },
  },
  removeHost: {
    from: "extension",
    async run({ host }) {
      await store.update(({ hosts, sitesOff, managed }) => ({
        hosts: hosts.filter((other) => other !== host),
        ...(!managed.includes("sitesOff") && { sitesOff: sitesOff.filter((id) => id !== host) }),
      }));
      await syncScripts((await store.read()).hosts);
      await api.permissions.remove({ origins: [`https://${host}/*`] }).catch(() => {}); // not one of those that can be given back
    },
  },
  exportSettings: { from: "extension", run: async () => exported(await store.read()) },
  /** The page has asked the person for the permissions of the file's hosts before. */
  importSettings: {
    from: "extension",
    async run({ file }) {
      const values = imported(file);
      await store.update(({ managed }) => Object.fromEntries(Object.entries(values).filter(([key]) => !managed.includes(key))));
      await syncScripts((await store.read()).hosts);
      await announce();
    },
  },
  diagnostics: {
    from: "extension",
    async run() {
      const origins = (await shippedSites()).map(({ matches }) => matches);
      return diagnostics(await store.read(), await store.readResults(), origins);
    },
  },
};

/** May this sender ask that? Content scripts, which share a process with a page, may ask only what pages need. */
export function mayAsk(entry, sender, { id, base }) {
  if (sender.id !== id) return false;
  const isOurs = (sender.url ?? "").startsWith(base);
  if (isOurs) return entry.from !== "page";
  return entry.from !== "extension" && sender.tab !== undefined;
}

/** One message's answer: {value} or {error: {code, message}}. Never rejects. */
export async function answer(message, sender) {
  try {
    const entry = Object.hasOwn(MESSAGES, message?.name) ? MESSAGES[message.name] : null;
    const ours = { id: api.runtime.id, base: api.runtime.getURL("") };
    if (!entry || !mayAsk(entry, sender, ours)) throw new PMaskError("unexpected", "not allowed");
    return { value: (await entry.run(message, sender)) ?? null };
  } catch (error) {
    return { error: error instanceof PMaskError ? error.toJSON() : { code: "unexpected", message: String(error) } };
  }
}
