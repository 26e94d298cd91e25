// The popup: the two switches, whether the daemon is there, and what became of the last photo.

import { api } from "../background/api.js";
import { hostIn } from "../background/sites.js";
import { ask, fillIn, judgedWords, lastWords, showStatus, words } from "../shared/ui.js";

const at = (id) => document.getElementById(id);

async function show() {
  const [tab] = await api.tabs.query({ active: true, currentWindow: true });
  const { enabled, site, last } = await ask("overview", { url: tab?.url });
  at("enabled").checked = enabled;
  at("site-switch").hidden = !site;
  at("other").hidden = Boolean(site);
  at("off-note").hidden = enabled && (!site || site.on);
  if (site) {
    at("site").textContent = site.name;
    at("site-on").checked = site.on;
    at("site-on").disabled = !enabled;
    at("site-on").onchange = () => ask("setSite", { site: site.id, on: at("site-on").checked }).then(show);
  }
  const host = tab?.url?.startsWith("https:") ? hostIn(tab.url) : null;
  at("add").hidden = Boolean(site) || !host;
  if (host) {
    at("add").textContent = words("popup_add", host);
    at("add").onclick = () => openOptions(`#host=${encodeURIComponent(host)}`);
  }
  at("last").textContent = lastWords(last);
  at("judged").textContent = judgedWords(last?.judged);
}

async function openOptions(hash = "") {
  if (hash) await api.tabs.create({ url: api.runtime.getURL(`options/options.html${hash}`) });
  else await api.runtime.openOptionsPage();
  window.close();
}

at("enabled").addEventListener("change", () => ask("setEnabled", { on: at("enabled").checked }).then(show));
at("options").addEventListener("click", () => openOptions());

fillIn();
await show();
await showStatus(at("status"));
