// The options page. options.html#pair=CODE&port=N pairs at once: that is how `scripts/run.py` spares a person the typing.
// No web page can open this address: it is not among the web-accessible resources.

import { api } from "../background/api.js";
import { DEFAULT_PORT } from "../background/daemon.js";
import { hostIn } from "../background/sites.js";
import { ask, errorWords, fillIn, showStatus, words } from "../shared/ui.js";

const STATUS_EVERY_MS = 5000;
const at = (id) => document.getElementById(id);

/** The strength in words: up to this delta, these words. */
const STRENGTHS = [
  [0.6, "strength_light"],
  [1.4, "strength_default"],
  [2.2, "strength_strong"],
  [Infinity, "strength_strongest"],
];

function showDelta(delta) {
  const [, key] = STRENGTHS.find(([most]) => delta <= most);
  at("delta-words").textContent = `${words(key)} (δ = ${delta.toFixed(1)})`;
}

function siteRow(site) {
  const name = document.createElement("span");
  name.textContent = site.name;
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: site.on });
  box.setAttribute("role", "switch");
  box.addEventListener("change", () => ask("setSite", { site: site.id, on: box.checked }));
  const label = Object.assign(document.createElement("label"), { className: "switch" });
  label.append(name, box);
  const row = document.createElement("li");
  row.append(label);
  if (site.own) {
    const remove = Object.assign(document.createElement("button"), { type: "button", className: "text", textContent: words("sites_remove") });
    remove.setAttribute("aria-label", words("sites_remove_named", site.name));
    remove.addEventListener("click", async () => {
      await ask("removeHost", { host: site.id });
      await show();
    });
    row.append(remove);
  }
  return row;
}

/** Shows the settings as they are now. */
async function show() {
  const { enabled, delta, sites, daemon } = await ask("overview", {});
  at("paired").hidden = !daemon;
  at("pair").hidden = Boolean(daemon);
  if (daemon) at("where").textContent = words("server_where", daemon.client.name, daemon.port);
  at("delta").value = delta;
  showDelta(delta);
  at("enabled").checked = enabled;
  at("sites").replaceChildren(...sites.map(siteRow));
}

function sayPairing(tone, title, cure = "") {
  const result = at("pair-result");
  result.hidden = false;
  result.className = `status ${tone}`;
  result.replaceChildren(
    Object.assign(document.createElement("strong"), { textContent: title }),
    ...(cure ? [Object.assign(document.createElement("span"), { textContent: cure })] : []),
  );
}

/** This browser's name in the daemon's list of clients. */
function clientName() {
  const brands = navigator.userAgentData?.brands?.map(({ brand }) => brand).filter((brand) => !/not/i.test(brand));
  const browser = brands?.find((brand) => brand !== "Chromium") ?? brands?.[0] ?? "Firefox";
  const system = navigator.userAgentData?.platform || navigator.platform;
  return `${browser}, ${system}`;
}

async function pair(code, port) {
  sayPairing("busy", words("pair_busy"));
  try {
    await ask("pair", { code, port, client: clientName() });
    sayPairing("good", words("pair_done"));
  } catch (error) {
    sayPairing("bad", errorWords(error, "title"), errorWords(error, "cure"));
  }
  await show();
  await showStatus(at("status"));
}

at("pair").addEventListener("submit", (event) => {
  event.preventDefault();
  pair(at("code").value, at("port").valueAsNumber);
});
at("check").addEventListener("click", () => showStatus(at("status")));
at("unpair").addEventListener("click", async () => {
  await ask("unpair");
  sayPairing("", words("server_unpaired"));
  await show();
  await showStatus(at("status"));
});
at("delta").addEventListener("input", () => showDelta(at("delta").valueAsNumber));
at("delta").addEventListener("change", () => ask("setDelta", { delta: at("delta").valueAsNumber }));
at("enabled").addEventListener("change", () => ask("setEnabled", { on: at("enabled").checked }));

at("own").addEventListener("submit", async (event) => {
  event.preventDefault();
  const result = at("own-result");
  const host = hostIn(at("host").value);
  result.hidden = false;
  if (!host) {
    result.textContent = words("own_bad");
    return;
  }
  // Asked for first, with nothing awaited before: Firefox wants it within the person's own action.
  const granted = await api.permissions.request({ origins: [`https://${host}/*`] }).catch(() => false);
  if (!granted) {
    result.textContent = words("own_refused");
    return;
  }
  await ask("addHost", { host });
  result.textContent = words("own_added", host);
  at("host").value = "";
  await show();
});

fillIn();
document.title = words("options_title");
at("port").value = DEFAULT_PORT;
const given = new URLSearchParams(location.hash.slice(1));
if (given.has("host")) at("host").value = given.get("host");
await show();
if (given.has("pair")) {
  history.replaceState(null, "", location.pathname); // a reload would spend the code twice
  await pair(given.get("pair"), Number(given.get("port") || DEFAULT_PORT));
} else {
  await showStatus(at("status"));
}
setInterval(() => {
  if (!document.hidden) showStatus(at("status"), { quiet: true });
}, STATUS_EVERY_MS);
