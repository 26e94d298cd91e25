// What node lacks of a browser's extension API, and a way to load the page's classic scripts.

import { readFile } from "node:fs/promises";
import vm from "node:vm";

const EXTENSION = new URL("../../extension/", import.meta.url);

/** Imports one of the extension's modules; node must be told that it is one. */
export async function load(path) {
  return import(await asModule(new URL(path, EXTENSION)));
}

const made = new Map();
async function asModule(url) {
  if (!made.has(url.href)) {
    let text = await readFile(url, "utf8");
    for (const [whole, name] of [...text.matchAll(/from "(\.[^"]+)"/g)]) {
      text = text.replaceAll(whole, `from "${await asModule(new URL(name, url))}"`);
    }
    made.set(url.href, `data:text/javascript;base64,${Buffer.from(text).toString("base64")}`);
  }
  return made.get(url.href);
}

/** Runs some of the page's scripts as the browser does, and gives what they left for the next. */
export async function runPageScripts(...paths) {
  const context = vm.createContext({ Blob, File, crypto, setTimeout, clearTimeout });
  for (const path of paths) vm.runInContext(await readFile(new URL(path, EXTENSION), "utf8"), context);
  return context.pmask;
}

/** The extension API's parts that the background uses, over a plain object as storage. */
export function fakeApi(manifest = {}) {
  const area = () => {
    const kept = {};
    return {
      kept,
      get: async (keys) => Object.fromEntries([keys].flat().filter((key) => key in kept).map((key) => [key, structuredClone(kept[key])])),
      set: async (values) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        Object.assign(kept, structuredClone(values));
      },
    };
  };
  const scripts = [];
  const managed = {};
  const badges = {};
  return {
    storage: { local: area(), session: area(), managed: { get: async () => managed } },
    managed, // what an organisation has set
    runtime: { id: "ours", getURL: (path) => `chrome-extension://ours/${path}`, getManifest: () => manifest },
    tabs: { query: async () => [] },
    badges, // tab -> the badge's text
    action: {
      setBadgeText: async ({ tabId, text }) => (badges[tabId ?? "all"] = text),
      setBadgeBackgroundColor: async () => {},
      setTitle: async () => {},
    },
    i18n: { getMessage: (key) => key, getUILanguage: () => "en" },
    permissions: { remove: async () => true, contains: async () => true },
    scripting: {
      scripts,
      executed: [], // what was put into pages
      async executeScript(script) {
        this.executed.push(script);
      },
      getRegisteredContentScripts: async () => [...scripts],
      registerContentScripts: async (more) => scripts.push(...more),
      unregisterContentScripts: async ({ ids }) => {
        for (const id of ids) scripts.splice(scripts.findIndex((script) => script.id === id), 1);
      },
    },
  };
}
