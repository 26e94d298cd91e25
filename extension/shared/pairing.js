// The form that pairs with the daemon, on the options page and on the welcome page.

import { DEFAULT_PORT } from "../background/daemon.js";
import { ask, errorWords, sayStatus, words } from "./ui.js";

const at = (id) => document.getElementById(id);

/** This browser's name in the daemon's list of clients. */
function clientName() {
  const brands = navigator.userAgentData?.brands?.map(({ brand }) => brand).filter((brand) => !/not/i.test(brand));
  const browser = brands?.find((brand) => brand !== "Chromium") ?? brands?.[0] ?? "Firefox";
  const system = navigator.userAgentData?.platform || navigator.platform;
  return `${browser}, ${system}`;
}

/** Pairs, and says in #pair-result how it went. */
export async function pair(code, port) {
  const result = at("pair-result");
  result.hidden = false;
  sayStatus(result, "busy", words("pair_busy"));
  try {
    await ask("pair", { code, port, client: clientName() });
    sayStatus(result, "good", words("pair_done"));
  } catch (error) {
    sayStatus(result, "bad", errorWords(error, "title"), errorWords(error, "cure"));
  }
}

/** Readies the form #pair with its fields #code and #port; `after` runs when the daemon has answered. */
export function readyPairing(after) {
  at("port").value = DEFAULT_PORT;
  at("pair").addEventListener("submit", async (event) => {
    event.preventDefault();
    await pair(at("code").value, at("port").valueAsNumber);
    await after();
  });
}
