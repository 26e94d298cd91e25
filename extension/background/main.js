// The background's entry: listeners only, at top level, so that the browser can wake it for any of them.

import { api } from "./api.js";
import { answer, showBadge } from "./messages.js";
import { syncScripts } from "./scripts.js";
import * as store from "./store.js";

api.runtime.onMessage.addListener((message, sender, respond) => {
  answer(message, sender).then(respond);
  return true; // the answer comes later
});

store.lock();

async function prepare() {
  await syncScripts((await store.read()).hosts);
  await showBadge();
}

api.runtime.onInstalled.addListener(async ({ reason }) => {
  await prepare();
  // A tab of its own: openOptionsPage() would take over one in which a program has just begun to pair.
  if (reason === "install" && !(await store.read()).daemon) {
    await api.tabs.create({ url: api.runtime.getURL("options/options.html") });
  }
});
api.runtime.onStartup.addListener(prepare);
