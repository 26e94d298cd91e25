// The background's entry: listeners only, at top level, so that the browser can wake it for any of them.

import { api } from "./api.js";
import { announce, answer, markStale } from "./messages.js";
import { syncScripts } from "./scripts.js";
import * as store from "./store.js";
import { showBadge, tabGone } from "./tabs.js";

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
  if (reason === "install" && !(await store.read()).daemon) {
    await api.tabs.create({ url: api.runtime.getURL("welcome/welcome.html") });
  }
  await markStale();
});
api.runtime.onStartup.addListener(prepare);
api.tabs.onRemoved.addListener(tabGone);
store.onManagedChange(async () => {
  await prepare();
  await announce();
});
api.commands.onCommand.addListener(async (command) => {
  if (command !== "focus-card") return;
  const [tab] = await api.tabs.query({ active: true, lastFocusedWindow: true });
  if (tab) await api.tabs.sendMessage(tab.id, { name: "focus-card" }).catch(() => {}); // a page without PMask
});
