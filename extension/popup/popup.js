// The popup: the two switches, this page's photos, whether the daemon is there, and what became of the last photos.

import { api } from "../background/api.js";
import { hostIn } from "../background/sites.js";
import { ask, fillIn, judgedWords, make, needsPairing, resultWords, showStatus, toneOf, words } from "../shared/ui.js";

const MOST_RESULTS = 5;
const at = (id) => document.getElementById(id);

/** How long ago, in the browser's language. */
function ago(then) {
  const minutes = Math.round((then - Date.now()) / 60_000);
  const format = new Intl.RelativeTimeFormat(words("language"), { numeric: "auto" });
  return minutes > -60 ? format.format(minutes, "minute") : format.format(Math.round(minutes / 60), "hour");
}

function resultRow(result) {
  const where = [result.site, ago(result.at)].filter(Boolean).join(" · ");
  return make(
    "li",
    { className: toneOf(result) },
    make("span", { textContent: resultWords(result) }),
    make("span", { className: "quiet small", textContent: where }),
  );
}

/** What the photos on this page have come to. */
function hereWords({ pending, failed, done }) {
  if (failed > 0) return words("badge_failed", failed);
  if (pending > 0) return words("badge_pending", pending);
  return done > 0 ? words("badge_done", done) : "";
}

async function show() {
  const [tab] = await api.tabs.query({ active: true, currentWindow: true });
  const { enabled, managed, site, results: ends, tally } = await ask("overview", { url: tab?.url, tab: tab?.id });
  at("enabled").checked = enabled;
  at("enabled").disabled = managed.includes("enabled");
  at("site-switch").hidden = !site;
  at("other").hidden = Boolean(site);
  at("off-note").hidden = enabled && (!site || site.on);
  if (site) {
    at("site").textContent = site.name;
    at("site-on").checked = site.on;
    at("site-on").disabled = !enabled || managed.includes("sitesOff");
    at("site-on").onchange = () => ask("setSite", { site: site.id, on: at("site-on").checked }).then(show);
    // The person may have taken the permission back in the browser's own settings.
    const origins = { origins: site.matches };
    at("unseen").hidden = await api.permissions.contains(origins);
    at("allow").onclick = () => api.permissions.request(origins).then(show);
    at("stale").hidden = !enabled || !site.on || !at("unseen").hidden || !(await ask("isStale", { tab: tab.id }));
    at("reload").onclick = () => api.tabs.reload(tab.id).then(() => window.close());
  }
  at("here").textContent = hereWords(tally);
  at("here").hidden = !at("here").textContent;
  const host = tab?.url?.startsWith("https:") ? hostIn(tab.url) : null;
  at("add").hidden = Boolean(site) || !host || managed.includes("hosts");
  if (host) {
    at("add").textContent = words("popup_add", host);
    at("add").onclick = () => openOptions(`#host=${encodeURIComponent(host)}`);
  }
  // The newest end of each: a photo that was tried again is one photo.
  const results = ends.filter(({ photo }, i) => !photo || ends.findIndex((other) => other.photo === photo) === i);
  at("none").hidden = results.length > 0;
  at("results").replaceChildren(...results.slice(0, MOST_RESULTS).map(resultRow));
  const [last] = results;
  at("judged").textContent = last?.state === "protected" ? judgedWords(last.summary.judged) : ""; // of what went, not of a mask that stayed
}

async function openOptions(hash = "") {
  if (hash) await api.tabs.create({ url: api.runtime.getURL(`options/options.html${hash}`) });
  else await api.runtime.openOptionsPage();
  window.close();
}

at("enabled").addEventListener("change", () => ask("set", { values: { enabled: at("enabled").checked } }).then(show));
at("options").addEventListener("click", () => openOptions());
at("pair").addEventListener("click", () => openOptions());

fillIn();
await show();
at("pair").hidden = !needsPairing(await showStatus(at("status")));
