// The only file that talks to the daemon; localserver/PROTOCOL.md describes what is said.
//
// The token is kept for this tab alone (sessionStorage): another program that takes the daemon's port is this very
// origin to a browser, and could read what a tab of its own finds in localStorage.

export const PROTOCOL = 1;

/** Every route that is used here, as PROTOCOL.md writes it. */
export const ROUTES = {
  health: "GET /v1/health",
  pair: "POST /v1/pair",
  leave: "DELETE /v1/client",
  options: "GET /v1/options",
  warm: "POST /v1/warm",
  create: "POST /v1/jobs",
  follow: "GET /v1/jobs/ID",
  result: "GET /v1/jobs/ID/result",
  cancel: "DELETE /v1/jobs/ID",
};

const KEPT_AS = "pmask-pairing";
const WAIT_S = 2; // a browser opens six connections to a host for all its tabs: whatever else they ask waits for one
const SHORT_MS = 10_000;
const PATIENCE_S = 30; // after which the daemon gives up a photo that nobody asks for: of a closed tab, no word is sure to arrive
const BODY_MS = 90_000; // a large photo over loopback while the processor is busy
const UNPAIRED = ["not_paired", "unauthorised", "forbidden_origin"]; // answers that end a pairing

/** An expected failure: the daemon's code, or daemon_off, not_pmask, impostor, not_paired, wrong_version, timeout. */
export class DaemonError extends Error {
  /** @param {string} code @param {string} [message] for people @param {number} [retryAfter] seconds */
  constructor(code, message = "", retryAfter = undefined) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** What a daemon that knows the token answers to a challenge. @returns {Promise<string>} lowercase hex */
async function proofOf(token, challenge, port) {
  const text = new TextEncoder();
  const secret = await crypto.subtle.digest("SHA-256", text.encode(token));
  const key = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return hex(await crypto.subtle.sign("HMAC", key, text.encode(`pmask-proof-1\n${challenge}\n${port}`)));
}

function hex(bytes) {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One request. Rejects with a DaemonError, or with the signal's AbortError. */
async function request(route, how = {}) {
  const [method, path] = route.split(" ");
  const url = new URL(path.replace("ID", encodeURIComponent(how.id ?? "")), location.origin);
  for (const [name, value] of Object.entries(how.query ?? {})) url.searchParams.set(name, value);
  const timeout = AbortSignal.timeout(how.timeout ?? SHORT_MS);
  let response;
  try {
    response = await fetch(url, {
      method,
      headers: { ...how.headers, ...(how.token && { Authorization: `Bearer ${how.token}` }) },
      body: how.body,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: how.signal ? AbortSignal.any([how.signal, timeout]) : timeout,
    });
  } catch (error) {
    how.signal?.throwIfAborted();
    if (error?.name === "TimeoutError") throw new DaemonError("timeout");
    throw new DaemonError("daemon_off");
  }
  if (response.status < 400) return response;
  const { error } = await response.json().catch(() => ({}));
  if (typeof error?.code !== "string") throw new DaemonError("not_pmask");
  throw new DaemonError(error.code, String(error.message ?? ""), Number(response.headers.get("Retry-After")) || undefined);
}

async function health(query) {
  const answer = await (await request(ROUTES.health, { query })).json().catch(() => null);
  if (answer?.product !== "pmask") throw new DaemonError("not_pmask");
  if (answer.protocol !== PROTOCOL) throw new DaemonError("wrong_version");
  return answer;
}

let mostBytes = Infinity; // that the daemon takes

/** @returns {{token: string, id: string} | null} this tab's pairing */
function pairing() {
  return JSON.parse(sessionStorage.getItem(KEPT_AS) ?? "null");
}

export function isPaired() {
  return pairing() !== null;
}

/** Forgets this tab's pairing, unless it has another one by now. */
function forget(token) {
  if (pairing()?.token === token) sessionStorage.removeItem(KEPT_AS);
}

/** Exchanges the code that `pmask-server pair` shows for a token. */
export async function pair(code, name) {
  const headers = { "Content-Type": "application/json" };
  const response = await request(ROUTES.pair, { headers, body: JSON.stringify({ code, name }) });
  const { token, client } = await response.json();
  sessionStorage.setItem(KEPT_AS, JSON.stringify({ token, id: client.id }));
}

/** Ends this tab's pairing, at the daemon too if it is there. */
export async function unpair() {
  const own = pairing();
  await paired(ROUTES.leave).catch(() => {});
  forget(own?.token);
}

/** A request with the token, to whoever has proved that it knows it. A pairing that is not known any more is forgotten. */
async function paired(route, how = {}) {
  const own = pairing();
  if (own === null) throw new DaemonError("not_paired");
  try {
    await prove(own);
    return await request(route, { ...how, token: own.token });
  } catch (error) {
    if (UNPAIRED.includes(error.code)) forget(own.token);
    throw error;
  }
}

/**
 * Whoever listens on the port now must prove that it knows the token before it is sent: the daemon may have ended since
 * this page was loaded, and another program may have its port.
 */
async function prove({ token, id }) {
  const challenge = hex(crypto.getRandomValues(new Uint8Array(32)));
  const { proof } = await health({ client: id, challenge });
  if (proof === undefined) throw new DaemonError("not_paired");
  if (proof !== (await proofOf(token, challenge, location.port))) throw new DaemonError("impostor");
}

/** @returns {Promise<object>} defaults, ranges, recognisers, uploads, devices, limits */
export async function options() {
  const found = await (await paired(ROUTES.options)).json();
  mostBytes = found.limits.bytes;
  return found;
}

/** A photo is about to come: the recognisers may be loaded meanwhile. */
export async function warm() {
  await paired(ROUTES.warm).catch(() => {}); // the photo itself will meet whatever is wrong
}

/** @param {Blob} photo @param {object} choices of PROTOCOL.md @returns {Promise<string>} the job's id */
export async function createJob(photo, choices) {
  const headers = { "Content-Type": "application/octet-stream", "X-PMask-Options": JSON.stringify(choices) };
  if (photo.size > mostBytes) throw new DaemonError("too_many_bytes"); // a browser may be unable to read it at all
  const body = await photo.arrayBuffer(); // bare bytes: a File would lend the request its own type
  const query = { patience: PATIENCE_S };
  return (await (await paired(ROUTES.create, { headers, body, query, timeout: BODY_MS })).json()).id;
}

/** The job's state now; or after revision `seen` the next one, or the same one after WAIT_S seconds. */
export async function followJob(id, seen, signal) {
  const query = seen === null ? {} : { wait: WAIT_S, seen };
  return (await paired(ROUTES.follow, { id, query, signal, timeout: WAIT_S * 1000 + SHORT_MS })).json();
}

/** @returns {Promise<Blob | null>} the protected photo; null when the original is what to upload */
export async function jobResult(id, signal) {
  const response = await paired(ROUTES.result, { id, signal, timeout: BODY_MS });
  const { status } = JSON.parse(response.headers.get("X-PMask-Report") ?? "{}");
  if (response.status === 204 && status === "no_face") return null;
  if (response.status === 200 && status === "already_protected") return null;
  if (response.status === 200 && status === "protected") return response.blob();
  throw new DaemonError("engine_failed"); // what came is not known to be protected
}

export async function cancelJob(id) {
  await paired(ROUTES.cancel, { id });
}
