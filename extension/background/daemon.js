// The only file that talks to the daemon; localserver/PROTOCOL.md describes what is said.

import { PMaskError } from "./errors.js";

export const DEFAULT_PORT = 28737;
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

/** Seconds that the daemon may hold a status answer. Firefox gives up on a message at 30 s, Chromium on an idle worker. */
export const WAIT_S = 8;
/** Seconds after which the daemon gives up a photo that nobody asks for, a tab having closed while it was sent or the browser
 * having ended. A page in the background asks once a minute. */
const PATIENCE_S = 180;

const SHORT_MS = 5_000;
const BODY_MS = 60_000; // a large photo over loopback while the processor is busy

/**
 * @typedef {{port: number, token: string, client: {id: string, name: string}}} Daemon a daemon that is paired
 */

/** The browser says no more than "Failed to fetch", or that the time is up. */
const unreachable = (error) => new PMaskError(error?.name === "TimeoutError" ? "timeout" : "daemon_off");

/** An answer's body. One that breaks off in its middle, as when the computer slept, is as good as none. */
async function bodyOf(response, kind = "json") {
  try {
    return await response[kind]();
  } catch (error) {
    throw error instanceof SyntaxError ? new PMaskError("not_pmask") : unreachable(error);
  }
}

/**
 * One request. Rejects with a PMaskError; answers of 400 and above carry the daemon's own code.
 *
 * @param {number} port
 * @param {string} route one of ROUTES
 * @param {{id?: string, query?: object, headers?: object, body?: BodyInit, token?: string, timeout?: number}} [how]
 * @returns {Promise<Response>}
 */
async function request(port, route, how = {}) {
  const [method, path] = route.split(" ");
  const url = new URL(path.replace("ID", encodeURIComponent(how.id ?? "")), `http://127.0.0.1:${port}`);
  for (const [name, value] of Object.entries(how.query ?? {})) url.searchParams.set(name, value);
  let response;
  try {
    response = await fetch(url, {
      method,
      headers: { ...how.headers, ...(how.token && { Authorization: `Bearer ${how.token}` }) },
      body: how.body,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(how.timeout ?? SHORT_MS),
    });
  } catch (error) {
    throw unreachable(error);
  }
  if (response.status < 400) return response;
  const { error } = await response.json().catch(() => ({}));
  if (typeof error?.code !== "string") throw new PMaskError("not_pmask", `HTTP status ${response.status}`);
  throw new PMaskError(error.code, String(error.message ?? ""), {
    retryAfter: Number(response.headers.get("Retry-After")) || undefined,
  });
}

const text = new TextEncoder();
const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * What a daemon that knows the token answers to a challenge (PROTOCOL.md, health).
 *
 * @param {string} token @param {string} challenge @param {number} port
 * @returns {Promise<string>} lowercase hex
 */
export async function proofOf(token, challenge, port) {
  const secret = await crypto.subtle.digest("SHA-256", text.encode(token));
  const key = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return hex(await crypto.subtle.sign("HMAC", key, text.encode(`pmask-proof-1\n${challenge}\n${port}`)));
}

function checkHealth(health) {
  if (health?.product !== "pmask") throw new PMaskError("not_pmask");
  if (health.protocol !== PROTOCOL) {
    throw new PMaskError("wrong_version", `protocol ${health.protocol}, version ${health.version}`);
  }
  return health;
}

/** What listens on the port, without a token. Rejects if it is not a PMask daemon of our protocol. */
export async function health(port) {
  const response = await request(port, ROUTES.health);
  return checkHealth(await bodyOf(response));
}

/** Challenges that no answer has come to yet. @type {Map<string, Promise<object>>} */
const proofs = new Map();

/**
 * Makes sure that the daemon we paired with, and not a program that took its port, is there. Before every request that
 * carries the token or a photo. Who asks while a challenge is under way hears its answer: that is no older than the answer
 * to a challenge of its own would be, and twenty photos at once ask for one proof, not for twenty.
 *
 * @param {Daemon | null} daemon
 * @returns {Promise<object>} its health
 */
export async function prove(daemon) {
  if (!daemon) throw new PMaskError("not_paired");
  const key = JSON.stringify([daemon.port, daemon.client.id, daemon.token]);
  if (!proofs.has(key)) proofs.set(key, challenged(daemon).finally(() => proofs.delete(key)));
  return proofs.get(key);
}

async function challenged(daemon) {
  const challenge = hex(crypto.getRandomValues(new Uint8Array(32)));
  const response = await request(daemon.port, ROUTES.health, { query: { client: daemon.client.id, challenge } });
  const answer = checkHealth(await bodyOf(response));
  // A daemon that has forgotten us gives no proof; it gets no token either.
  if (answer.proof === undefined) throw new PMaskError("unauthorised");
  if (answer.proof !== (await proofOf(daemon.token, challenge, daemon.port))) throw new PMaskError("impostor");
  return answer;
}

async function proven(daemon, route, how) {
  await prove(daemon);
  return request(daemon.port, route, { ...how, token: daemon.token });
}

/** Exchanges the code that `pmask-server pair` shows for a token. @returns {Promise<Daemon>} */
export async function pair(port, code, name) {
  await health(port);
  const body = JSON.stringify({ code, name });
  const response = await request(port, ROUTES.pair, { body, headers: { "Content-Type": "application/json" } });
  const { token, client } = await bodyOf(response);
  return { port, token, client: { id: client.id, name: client.name } };
}

/** @returns {Promise<object>} defaults, ranges, recognisers, devices, limits */
export async function options(daemon) {
  return bodyOf(await proven(daemon, ROUTES.options));
}

/** A photo may be about to come: the daemon loads what its options will need. */
export async function warm(daemon, choices) {
  await proven(daemon, ROUTES.warm, { headers: { "X-PMask-Options": JSON.stringify(choices) } });
}

/** @param {Daemon} daemon @param {Blob} photo @param {object} choices of PROTOCOL.md @returns {Promise<{id: string}>} */
export async function createJob(daemon, photo, choices) {
  const headers = { "Content-Type": "application/octet-stream", "X-PMask-Options": JSON.stringify(choices) };
  try {
    // Not read here: the browser sends it from where it lies.
    const how = { body: photo, headers, query: { patience: PATIENCE_S }, timeout: BODY_MS };
    return await bodyOf(await proven(daemon, ROUTES.create, how));
  } catch (error) {
    // "Failed to fetch" is also what a file is answered with that has changed or gone since it was chosen.
    if (error.code === "daemon_off" && !(await isReadable(photo))) throw new PMaskError("unreadable");
    throw error;
  }
}

/** A file that has gone either throws or seems to be empty. */
async function isReadable(photo) {
  try {
    return (await photo.slice(0, 1).arrayBuffer()).byteLength > 0;
  } catch {
    return false;
  }
}

/** The job's state, at once when `seen` is null or behind, and at the latest after WAIT_S seconds. */
export async function followJob(daemon, id, seen) {
  const query = seen === null ? {} : { wait: WAIT_S, seen };
  return bodyOf(await proven(daemon, ROUTES.follow, { id, query, timeout: WAIT_S * 1000 + SHORT_MS }));
}

/** Statuses with which the original is what to upload. "looked" is no leave: the faces were only to be found. */
const UNCHANGED = ["no_face", "left_out"];

/** @returns {Promise<{blob: Blob | null, summary: object}>} blob is null when the original is what to upload */
export async function jobResult(daemon, id) {
  const response = await proven(daemon, ROUTES.result, { id, timeout: BODY_MS });
  const summary = JSON.parse(response.headers.get("X-PMask-Report") ?? "null");
  const unchanged = response.status === 204 && UNCHANGED.includes(summary?.status);
  const isProtected = response.status === 200 && ["protected", "already_protected"].includes(summary?.status);
  // Neither: what came is not known to be protected.
  if (!unchanged && !isProtected) throw new PMaskError("engine_failed");
  return { blob: unchanged ? null : await bodyOf(response, "blob"), summary };
}

/** Has the daemon forget us: its list of clients is shorter by one, and the token opens nothing any more. */
export async function leave(daemon) {
  await proven(daemon, ROUTES.leave, {});
}

export async function cancelJob(daemon, id) {
  await proven(daemon, ROUTES.cancel, { id });
}
