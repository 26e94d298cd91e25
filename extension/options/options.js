// The options page. options.html#pair=CODE&port=N pairs at once: that is how `scripts/run.py` spares a person the typing.
// No web page can open this address: it is not among the web-accessible resources.

import { api } from "../background/api.js";
import { DEFAULT_PORT } from "../background/daemon.js";
import { imported, PRESETS, RANGES } from "../background/settings.js";
import { hostIn, siteOf } from "../background/sites.js";
import { pair, readyPairing } from "../shared/pairing.js";
import { ask, errorWords, fillIn, make, needsPairing, saveText, sayStatus, showStatus, words } from "../shared/ui.js";

const STATUS_EVERY_MS = 5000;
const CHOICES = ["faces", "review", "metadata", "originals"]; // settings that are one of a few values
const at = (id) => document.getElementById(id);
const ssim = (omega) => (1 - 2 * omega).toFixed(3);

let settings = null; // as the background gave them last
let engine = null; // GET /v1/options, or null while the daemon is not there
let isUnknown = false; // to the daemon, although this browser is paired
let listed = ""; // the recognisers whose rows stand there

/** Sets some settings and shows what has come of it. */
async function set(values) {
  try {
    await ask("set", { values });
  } catch (error) {
    sayFiles("bad", errorWords(error, "title"), errorWords(error, "cure"));
  }
  await show();
}

function presetTile(name) {
  const { delta, omega } = PRESETS[name];
  const radio = make("input", { type: "radio", name: "preset", value: name });
  radio.addEventListener("change", () => set(PRESETS[name]));
  const title = make("strong", { textContent: words(`preset_${name}`) });
  const figures = make("span", { className: "figures", textContent: words("preset_figures", delta.toFixed(1), ssim(omega)) });
  return make("label", { className: "tile" }, radio, title, make("span", { textContent: words(`preset_${name}_words`) }), figures);
}

/** Tiles, like the rows below, are made once and then only ticked: one made anew would lose the keyboard's focus. */
function showStrength() {
  const { delta, omega } = settings;
  const [preset] = Object.keys(PRESETS).filter((name) => PRESETS[name].delta === delta && PRESETS[name].omega === omega);
  for (const radio of document.querySelectorAll("[name=preset]")) radio.checked = radio.value === preset;
  for (const [key, value] of Object.entries({ delta, omega })) {
    [at(key).min, at(key).max] = RANGES[key];
    at(key).value = value;
  }
  showSliders();
  if (!preset) at("own-strength").open = true;
}

function showSliders() {
  at("delta-words").textContent = `δ = ${at("delta").valueAsNumber.toFixed(1)}`;
  at("omega-words").textContent = `SSIM ≥ ${ssim(at("omega").valueAsNumber)}`;
  for (const key of ["delta", "omega"]) at(key).ariaValueText = at(`${key}-words`).textContent;
}

function costWords() {
  const seconds = engine?.seconds_per_face ?? null;
  if (!engine) return "";
  if (seconds === null) return words("cost_unknown");
  return words("cost", seconds < 10 ? seconds.toFixed(1) : Math.round(seconds));
}

function showCost() {
  const said = costWords();
  if (at("cost").textContent !== said) at("cost").textContent = said; // else a screen reader reads it every time
}

function teamRow({ name, network, training, licence }) {
  const box = make("input", { type: "checkbox", value: name });
  const about = network ? make("span", { className: "quiet small", textContent: [network, training, licence].filter(Boolean).join(" · ") }) : "";
  return make("label", { className: "choice" }, box, make("span", {}, make("strong", { textContent: name }), make("br"), about));
}

function showTeam() {
  at("team-off").hidden = engine !== null;
  at("team-default").hidden = engine === null || settings.team === null;
  const team = settings.team ?? engine?.defaults.team ?? [];
  const known = engine?.recognisers ?? team.map((name) => ({ name }));
  if (listed !== JSON.stringify(known)) at("team").replaceChildren(...known.map(teamRow));
  listed = JSON.stringify(known);
  for (const box of at("team").querySelectorAll("input")) box.checked = team.includes(box.value);
  at("team").disabled = engine === null || settings.managed.includes("team");
}

at("team").addEventListener("change", async () => {
  const team = [...at("team").querySelectorAll(":checked")].map(({ value }) => value);
  at("team-result").hidden = team.length > 0;
  at("team-result").textContent = words("team_empty");
  if (team.length === 0) showTeam();
  else await set({ team });
});
at("team-default").addEventListener("click", () => set({ team: null }));

function siteRow(site) {
  const name = make("span", { textContent: site.name });
  const box = make("input", { type: "checkbox", checked: site.on, disabled: settings.managed.includes("sitesOff") });
  box.setAttribute("role", "switch");
  box.addEventListener("change", () => ask("setSite", { site: site.id, on: box.checked }));
  const row = make("li", {}, make("label", { className: "switch" }, name, box));
  if (site.own && !settings.managed.includes("hosts")) {
    const remove = make("button", { type: "button", className: "text", textContent: words("sites_remove") });
    remove.setAttribute("aria-label", words("sites_remove_named", site.name));
    remove.addEventListener("click", async () => {
      await ask("removeHost", { host: site.id }).catch((error) => sayOwn(errorWords(error, "title")));
      await show();
      at("host").focus(); // the button has gone with its row
    });
    row.append(remove);
  }
  return row;
}

/** Shows the settings as they are now. */
async function show() {
  settings = await ask("overview", {});
  const { enabled, sites, daemon, managed } = settings;
  at("paired").hidden = !daemon;
  showPairing();
  if (daemon) at("where").textContent = words("server_where", daemon.client.name, daemon.port);
  showStrength();
  showTeam();
  for (const key of CHOICES) document.querySelector(`[name=${key}][value=${settings[key]}]`).checked = true;
  at("enabled").checked = enabled;
  at("sites").replaceChildren(...sites.map(siteRow));
  at("managed").hidden = managed.length === 0;
  at("own").hidden = managed.includes("hosts");
  for (const element of document.querySelectorAll("[data-setting]")) element.disabled = managed.includes(element.dataset.setting);
  for (const radio of document.querySelectorAll("[name=preset]")) radio.disabled = managed.includes("delta") || managed.includes("omega");
}

/** The form is also for who is paired with a daemon that has forgotten it. */
function showPairing() {
  at("pair").hidden = Boolean(settings.daemon) && !isUnknown;
  at("where").hidden = isUnknown;
}

/** Asks the daemon for its status, and for its figures when it is there. */
async function showServer(how) {
  const wrong = await showStatus(at("status"), how);
  isUnknown = needsPairing(wrong);
  showPairing();
  const before = engine;
  engine = wrong ? null : await ask("engine").catch(() => null);
  showCost();
  if (Boolean(before) !== Boolean(engine)) showTeam();
}

readyPairing(async () => {
  await show();
  await showServer();
});
at("check").addEventListener("click", () => showServer());
at("unpair").addEventListener("click", async () => {
  const { revoked } = await ask("unpair");
  at("pair-result").hidden = false;
  sayStatus(at("pair-result"), "", words(revoked ? "server_unpaired" : "server_unpaired_here"));
  await show();
  at("code").focus(); // the button has gone
  await showServer();
});
for (const key of ["delta", "omega"]) {
  at(key).addEventListener("input", showSliders);
  at(key).addEventListener("change", () => set({ [key]: at(key).valueAsNumber }));
}
for (const key of CHOICES) {
  for (const radio of document.querySelectorAll(`[name=${key}]`)) radio.addEventListener("change", () => set({ [key]: radio.value }));
}
at("enabled").addEventListener("change", () => set({ enabled: at("enabled").checked }));

/** What became of an own site. */
function sayOwn(text) {
  at("own-result").hidden = false;
  at("own-result").textContent = text;
}

async function addOwn(host) {
  if (!host) return words("own_bad");
  if (siteOf(settings.sites, `https://${host}/`)) return words("own_listed");
  // Asked for first, with nothing awaited before: Firefox wants it within the person's own action.
  const granted = await api.permissions.request({ origins: [`https://${host}/*`] }).catch(() => false);
  if (!granted) return words("own_refused");
  await ask("addHost", { host });
  at("host").value = "";
  await show();
  return words("own_added", host);
}

at("own").addEventListener("submit", async (event) => {
  event.preventDefault();
  sayOwn(await addOwn(hostIn(at("host").value)).catch((error) => errorWords(error, "title")));
});

function sayFiles(tone, title, cure) {
  at("files-result").hidden = false;
  sayStatus(at("files-result"), tone, title, cure);
}

at("export").addEventListener("click", async () => {
  saveText("pmask-settings.json", JSON.stringify(await ask("exportSettings"), null, 2));
  sayFiles("good", words("files_exported"));
});
at("diagnostics").addEventListener("click", async () => {
  saveText("pmask-diagnostics.json", JSON.stringify(await ask("diagnostics"), null, 2));
  sayFiles("good", words("files_diagnosed"));
});

let chosen = null; // a file of settings that has been read and checked

/** The question is over: it takes its buttons with it, the focus too. */
function endImport() {
  at("import-ask").hidden = true;
  at("import").focus();
}

at("import").addEventListener("click", () => at("import-file").click());
at("import-file").addEventListener("change", async () => {
  const [file] = at("import-file").files;
  at("import-file").value = "";
  if (!file) return;
  at("files-result").hidden = true;
  try {
    chosen = JSON.parse(await file.text());
    const { hosts = [] } = imported(chosen);
    at("import-words").textContent = hosts.length > 0 ? words("files_import_hosts", hosts.join(", ")) : words("files_import_ask");
    at("import-ask").hidden = false;
    at("import-go").focus();
  } catch {
    at("import-ask").hidden = true;
    sayFiles("bad", words("error_bad_settings_title"), words("error_bad_settings_cure"));
  }
});
at("import-go").addEventListener("click", async () => {
  const hosts = imported(chosen).hosts ?? [];
  // First, as above. What is refused is left out.
  const granted = hosts.length === 0 || (await api.permissions.request({ origins: hosts.map((host) => `https://${host}/*`) }).catch(() => false));
  try {
    await ask("importSettings", { file: granted ? chosen : { ...chosen, values: { ...chosen.values, hosts: settings.hosts } } });
    sayFiles("good", words("files_imported"), granted ? "" : words("own_refused"));
  } catch (error) {
    sayFiles("bad", errorWords(error, "title"), errorWords(error, "cure"));
  }
  endImport();
  await show();
});
at("import-cancel").addEventListener("click", endImport);

fillIn();
document.title = words("options_title");
at("presets").append(...["fine", "balanced", "strong"].map(presetTile));
const given = new URLSearchParams(location.hash.slice(1));
if (given.has("host")) at("host").value = given.get("host");
await show();
if (given.has("host")) {
  at("host").scrollIntoView({ block: "center" });
  at("host").focus();
}
if (settings.daemon) at("port").value = settings.daemon.port;
if (given.has("pair")) {
  history.replaceState(null, "", location.pathname); // a reload would spend the code twice
  await pair(given.get("pair"), Number(given.get("port") || DEFAULT_PORT));
  await show();
}
await showServer();
setInterval(() => {
  if (!document.hidden) showServer({ quiet: true });
}, STATUS_EVERY_MS);
