// What the extension's own pages and its content scripts may ask of the background: name -> who may ask, and an async
// function. Nothing is kept in globals; the browser may stop the background between any two messages.

import { api } from "./api.js";
import * as daemon from "./daemon.js";
import { PMaskError } from "./errors.js";
import { syncScripts } from "./scripts.js";
import { hostIn, isOn, ownSite, siteOf } from "./sites.js";
import * as store from "./store.js";

/** Sites of sites.json, and the person's own. @returns {Promise<import("./sites.js").Site[]>} */
async function allSites(settings) {
  const shipped = await (await fetch(api.runtime.getURL("sites.json"))).json();
  return [...shipped, ...settings.hosts.map(ownSite)];
}

/** Tells every open page that a switch was thrown; each then asks for its own state. */
export async function announce() {
  await showBadge();
  const tabs = await api.tabs.query({});
  await Promise.allSettled(tabs.map(({ id }) => api.tabs.sendMessage(id, { name: "state-changed" })));
}

export async function showBadge() {
  const { enabled } = await store.read();
  await api.action.setBadgeBackgroundColor({ color: "#6b7280" });
  await api.action.setBadgeText({ text: enabled ? "" : api.i18n.getMessage("badge_off") });
}

const paired = async () => (await store.read()).daemon;

/** @type {Record<string, {from: "page" | "extension", run: (message: any, sender: any) => Promise<any>}>} */
export const MESSAGES = {
  // From content scripts.

  state: {
    from: "page",
    async run(_message, sender) {
      const settings = await store.read();
      const site = siteOf(await allSites(settings), sender.url, sender.tab?.url, sender.origin);
      return { on: isOn(settings, site) };
    },
  },
  protect: {
    from: "page",
    async run({ file }) {
      const { daemon: mine, delta } = await store.read();
      if (!(file instanceof Blob)) throw new PMaskError("bad_request");
      const { id } = await daemon.createJob(mine, file, { delta });
      return { id };
    },
  },
  follow: { from: "page", run: async ({ job, seen }) => daemon.followJob(await paired(), job, seen) },
  result: {
    from: "page",
    async run({ job }) {
      const result = await daemon.jobResult(await paired(), job);
      await store.writeLast({ ...result.summary, at: Date.now() });
      return result;
    },
  },
  cancel: { from: "page", run: async ({ job }) => daemon.cancelJob(await paired(), job) },
  openOptions: { from: "page", run: async () => api.runtime.openOptionsPage() },

  // From the popup and the options page.

  overview: {
    from: "extension",
    async run({ url }) {
      const settings = await store.read();
      const sites = await allSites(settings);
      const listed = sites.map((site) => ({ ...site, on: !settings.sitesOff.includes(site.id) }));
      const { enabled, delta, daemon: mine } = settings;
      return {
        enabled,
        delta,
        sites: listed,
        site: listed.find(({ id }) => id === siteOf(sites, url)?.id) ?? null,
        daemon: mine && { port: mine.port, client: mine.client }, // the token stays here
        last: await store.readLast(),
      };
    },
  },
  /** The daemon's health, proven; rejects with what is wrong. */
  status: { from: "extension", run: async () => daemon.prove(await paired()) },
  setEnabled: {
    from: "extension",
    async run({ on }) {
      await store.update(() => ({ enabled: on === true }));
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
  setDelta: {
    from: "extension",
    async run({ delta }) {
      if (!(delta >= 0.2 && delta <= 3)) throw new PMaskError("bad_option", `delta ${delta}`);
      await store.update(() => ({ delta }));
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
  /** Forgets the daemon here; the daemon's list of clients keeps a client whose token nobody has. */
  unpair: { from: "extension", run: () => store.update(() => ({ daemon: null })) },
  /** The page has asked the person for the permission before. */
  addHost: {
    from: "extension",
    async run({ host }) {
      if (hostIn(host) !== host) throw new PMaskError("bad_option", host);
      await store.update(({ hosts }) => ({ hosts: [...new Set([...hosts, host])].sort() }));
      await syncScripts((await store.read()).hosts);
    },
  },
  removeHost: {
    from: "extension",
    async run({ host }) {
      await store.update(({ hosts, sitesOff }) => ({
        hosts: hosts.filter((other) => other !== host),
        sitesOff: sitesOff.filter((id) => id !== host),
      }));
      await syncScripts((await store.read()).hosts);
      await api.permissions.remove({ origins: [`https://${host}/*`] });
    },
  },
};

/** May this sender ask that? Content scripts, which share a process with a page, may ask only what pages need. */
export function mayAsk(entry, sender, { id, base }) {
  if (sender.id !== id) return false;
  const isOurs = (sender.url ?? "").startsWith(base);
  return entry.from === "extension" ? isOurs : !isOurs && sender.tab !== undefined;
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
