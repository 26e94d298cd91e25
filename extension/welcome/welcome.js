// The page that opens once, after the installation: is the daemon there, pair, and try it on a photo that goes nowhere.

import { api } from "../background/api.js";
import { ask, errorWords, fillIn, sayStatus, words } from "../shared/ui.js";
import { readyPairing } from "../shared/pairing.js";

const LOOK_EVERY_MS = 2000;
const FORGOTTEN = ["unauthorised", "forbidden_origin"]; // codes with which the daemon is there and only pairing is to do
const at = (id) => document.getElementById(id);
const { Overlay, PhotoError, Pick } = globalThis.pmask;
const overlay = new Overlay();

const mark = (step, isDone, isLater) => {
  at(step).classList.toggle("done", isDone);
  at(step).classList.toggle("later", isLater);
};

/** The daemon's health; `forgotten` is the error with which it does not know this browser any more. */
async function find(daemon, port) {
  if (!daemon) return { health: await ask("find", { port }) };
  try {
    return { health: await ask("status") };
  } catch (error) {
    if (!FORGOTTEN.includes(error.code)) throw error;
    return { health: await ask("find", { port: daemon.port }), forgotten: error };
  }
}

function sayPairing(tone, text) {
  at("pair-result").hidden = false;
  sayStatus(at("pair-result"), tone, text);
}

/** Looks which of the steps are done. */
async function look() {
  const { daemon } = await ask("overview", {});
  const port = at("port").valueAsNumber;
  if (!daemon && Number.isNaN(port)) return; // it is being typed
  let isPaired = false;
  try {
    const { health, forgotten } = await find(daemon, port);
    isPaired = daemon !== null && !forgotten;
    sayStatus(at("server"), "good", words("welcome_found", health.version));
    mark("step-server", true, false);
    // Not over what became of a code.
    if (forgotten && !at("pair-result").matches(".bad")) sayPairing("bad", errorWords(forgotten, "title"));
  } catch (error) {
    sayStatus(at("server"), "bad", errorWords(error, "title"), errorWords(error, "cure"));
    mark("step-server", false, false);
  }
  at("pair").hidden = isPaired;
  if (isPaired) sayPairing("good", words("pair_done"));
  mark("step-pair", isPaired, !isPaired && !at("step-server").classList.contains("done"));
  at("photo").disabled = !isPaired;
  at("step-try").classList.toggle("later", !isPaired);
}

/** As page/desk.js asks on a page. */
async function askAsPage(name, payload) {
  try {
    return await ask(name, { ...payload, page: "welcome" });
  } catch (error) {
    throw new PhotoError(error.code ?? "unexpected", error.message);
  }
}

function tryOn(file) {
  const pick = new Pick([{ index: 0, file }], askAsPage, {
    changed(_, photo) {
      overlay.update(pick);
      if (!photo.isFinal) return;
      const isDone = photo.state === "protected";
      mark("step-try", isDone, false);
      at("try-result").hidden = photo.state === "omitted";
      sayStatus(at("try-result"), isDone ? "good" : "", words(isDone ? "welcome_done" : `result_${photo.state}`));
    },
    settled: () => overlay.finish(pick),
  });
  at("try-result").hidden = true;
  overlay.show(pick, {
    retry: (photo) => photo.run(),
    choose: (photo, leaveOut) => photo.choose(leaveOut),
    omit: (photo) => photo.decide("omitted"),
    cancel: () => pick.cancel(),
    pair: () => at("code").focus(),
    settings: () => api.runtime.openOptionsPage(),
  });
  pick.photos[0].run();
}

at("photo").addEventListener("change", () => {
  const [file] = at("photo").files;
  at("photo").value = "";
  if (file) tryOn(file);
});
for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
  at("drop").addEventListener(type, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", type === "dragenter" || type === "dragover");
    const [file] = type === "drop" ? event.dataTransfer.files : [];
    if (file && !at("photo").disabled) tryOn(file);
  });
}

fillIn();
document.title = words("welcome_title");
readyPairing(look);
const { daemon } = await ask("overview", {});
if (daemon) at("port").value = daemon.port;
await look();
const lookIfSeen = () => {
  if (!document.hidden) look();
};
setInterval(lookIfSeen, LOOK_EVERY_MS);
document.addEventListener("visibilitychange", lookIfSeen);
