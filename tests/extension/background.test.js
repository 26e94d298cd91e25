// The background's logic: sites, who may ask what, settings, and the daemon's proof.

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { test } from "node:test";

import { fakeApi, load } from "./stand_ins.js";

const read = async (path) => JSON.parse(await readFile(new URL(`../../extension/${path}`, import.meta.url), "utf8"));
const manifest = await read("manifest.json");
const shipped = await read("sites.json");
const api = (globalThis.browser = fakeApi(manifest));
globalThis.navigator ??= { userAgent: "node", hardwareConcurrency: 2 };
const realFetch = globalThis.fetch;
globalThis.fetch = async (url, how) =>
  String(url).startsWith("chrome-extension:") ? { json: async () => shipped } : realFetch(url, how);

const { covers, hostIn, isOn, ownSite, siteOf } = await load("background/sites.js");
const { registrations } = await load("background/scripts.js");
const { MESSAGES, answer, mayAsk } = await load("background/messages.js");
const daemon = await load("background/daemon.js");
const store = await load("background/store.js");
const settings = await load("background/settings.js");
const tabs = await load("background/tabs.js");

test("a pattern covers its host, its subdomains where it says so, and no look-alike", () => {
  const cases = [
    ["https://*.x.com/*", "https://x.com/home", true],
    ["https://*.x.com/*", "https://mobile.x.com/", true],
    ["https://*.x.com/*", "https://notx.com/", false],
    ["https://*.x.com/*", "https://x.com.evil.example/", false],
    ["https://*.x.com/*", "http://x.com/", false],
    ["https://bsky.app/*", "https://evil.bsky.app/", false],
    ["http://127.0.0.1/pmask-demo/*", "http://127.0.0.1:8737/pmask-demo/react", true],
    ["http://127.0.0.1/pmask-demo/*", "http://127.0.0.1:8737/other", false],
  ];
  for (const [pattern, url, expected] of cases) assert.equal(covers(pattern, new URL(url)), expected, `${pattern} ${url}`);
});

test("a frame without an address belongs to the page around it", () => {
  assert.equal(siteOf(shipped, "about:blank", "https://www.instagram.com/p/1").id, "instagram");
  assert.equal(siteOf(shipped, undefined, "about:srcdoc", "https://twitter.com").id, "x");
  assert.equal(siteOf(shipped, "https://example.org/"), null);
});

test("off everywhere, off for one site, and on for a site that is not known", () => {
  const site = { id: "x" };
  assert.equal(isOn({ enabled: true, sitesOff: [] }, site), true);
  assert.equal(isOn({ enabled: true, sitesOff: ["x"] }, site), false);
  assert.equal(isOn({ enabled: false, sitesOff: [] }, site), false);
  assert.equal(isOn({ enabled: true, sitesOff: ["x"] }, null), true);
});

test("a host is found in what people paste", () => {
  assert.equal(hostIn(" https://Mastodon.social/@me "), "mastodon.social");
  assert.equal(hostIn("mastodon.social"), "mastodon.social");
  for (const bad of ["", "localhost", "*", "*.social", "me@host.example", "127.0.0.1", "two words.example"]) assert.equal(hostIn(bad), null, bad);
});

test("scripts on an own host are the manifest's", () => {
  const [main, isolated] = registrations(manifest, ["mastodon.social"]);
  assert.deepEqual([main.world, isolated.world], ["MAIN", "ISOLATED"]);
  assert.deepEqual(main.js, manifest.content_scripts[0].js);
  assert.deepEqual(main.matches, ownSite("mastodon.social").matches);
  assert.ok(main.matchOriginAsFallback && main.allFrames && main.runAt === "document_start");
});

test("a frame gets the desk, and nothing but that frame", async () => {
  assert.deepEqual(await answer({ name: "desk" }, { ...PAGE(7), frameId: 3 }), { value: null });
  const [{ target, files }] = api.scripting.executed.splice(0);
  assert.deepEqual(target, { tabId: 7, frameIds: [3] });
  assert.equal(files.at(-1), "page/desk.js");
  api.scripting.executeScript = async () => Promise.reject(new Error("Cannot access contents of the page"));
  assert.equal((await answer({ name: "desk" }, PAGE(7))).error.code, "unexpected", "the page must hear that it has none");
});

test("a page may ask what pages need, and nothing else", async () => {
  const ours = { id: "ours", base: "chrome-extension://ours/" };
  const page = { id: "ours", url: "https://x.com/", tab: { id: 1 } };
  const options = { id: "ours", url: "chrome-extension://ours/options/options.html", tab: { id: 2 } };
  for (const [name, entry] of Object.entries(MESSAGES)) {
    assert.equal(mayAsk(entry, page, ours), entry.from !== "extension", name);
    assert.equal(mayAsk(entry, options, ours), entry.from !== "page", name);
    assert.equal(mayAsk(entry, { ...page, id: "another" }, ours), false, name);
  }
  const fromPages = Object.keys(MESSAGES).filter((name) => MESSAGES[name].from !== "extension");
  assert.deepEqual(fromPages.sort(), ["cancel", "count", "desk", "ended", "follow", "openOptions", "protect", "result", "state", "warm", "words"]);
  assert.equal((await answer({ name: "unpair" }, page)).error.message, "not allowed");
  assert.equal((await answer({ name: "toString" }, options)).error.message, "not allowed");
  assert.equal((await answer(undefined, options)).error.message, "not allowed");
});

const OPTIONS = { id: "ours", url: "chrome-extension://ours/options/options.html" };
const ask = async (name, payload) => {
  const { value, error } = await answer({ ...payload, name }, OPTIONS);
  if (error) throw Object.assign(new Error(error.message), error);
  return value;
};

test("switches that are thrown at once both stay", async () => {
  await Promise.all([ask("setSite", { site: "x", on: false }), ask("setSite", { site: "vk", on: false })]);
  assert.deepEqual((await store.read()).sitesOff.sort(), ["vk", "x"]);
  await ask("setSite", { site: "x", on: true });
  assert.deepEqual((await store.read()).sitesOff, ["vk"]);
});

test("a setting that may not be is refused, and nothing is kept of it", async () => {
  const bad = [{ delta: 9 }, { omega: 0.5 }, { team: [] }, { faces: "some" }, { originals: "always" }, { enabled: 1 }, { daemon: null }, { toString: 1 }];
  for (const values of bad) await assert.rejects(ask("set", { values }), { code: "bad_option" }, JSON.stringify(values));
  await ask("set", { values: settings.PRESETS.fine });
  assert.equal((await store.read()).omega, settings.PRESETS.fine.omega);
  await ask("set", { values: settings.PRESETS.strong });
});

test("what the organisation has set is what counts, and cannot be changed", async (t) => {
  t.after(() => Object.keys(api.managed).forEach((key) => delete api.managed[key]));
  Object.assign(api.managed, { originals: "never", delta: "much", unknown: 1 });
  const { originals, delta, managed } = await store.read();
  assert.deepEqual([originals, delta, managed], ["never", 1, ["originals"]]);
  await assert.rejects(ask("set", { values: { originals: "ask" } }), { code: "managed" });
});

test("one host that an organisation wrote otherwise, twice or wrongly does not cost it the others", async (t) => {
  t.after(() => Object.keys(api.managed).forEach((key) => delete api.managed[key]));
  Object.assign(api.managed, { hosts: ["Mastodon.social", "https://ok.example/", "ok.example", "*", 7], sitesOff: ["x", "x"] });
  const { hosts, sitesOff, managed } = await store.read();
  assert.deepEqual([hosts, sitesOff, managed], [["mastodon.social", "ok.example"], ["x"], ["hosts", "sitesOff"]]);
});

test("settings go to a file and come back from it, without the daemon", async () => {
  await store.update(() => ({ daemon: { port: 1, token: "secret", client: { id: "c", name: "me" } }, sitesOff: ["x"], team: ["dlib"] }));
  const file = await ask("exportSettings");
  assert.ok(!JSON.stringify(file).includes("secret"));
  await store.update(() => ({ sitesOff: [], team: null, daemon: null }));
  await ask("importSettings", { file });
  const { sitesOff, team, daemon: mine } = await store.read();
  assert.deepEqual([sitesOff, team, mine], [["x"], ["dlib"], null]);
  await store.update(() => ({ sitesOff: [], team: null }));
  for (const bad of [null, {}, { ...file, product: "other" }, { ...file, values: { delta: -1 } }, { ...file, values: { daemon: {} } }]) {
    await assert.rejects(ask("importSettings", { file: bad }), { code: "bad_settings" });
  }
});

test("diagnostics hold no photo, name or token", async (t) => {
  t.after(() => store.update(() => ({ daemon: null, hosts: [], sitesOff: [] })));
  const mine = { port: 1, token: "secret-token", client: { id: "c", name: "Eve's laptop" } };
  await store.update(() => ({ daemon: mine, hosts: ["private.example"], sitesOff: ["private.example", "x"] }));
  await store.addResult({ state: "failed", code: "daemon_off", site: "Private", at: 1 });
  const text = JSON.stringify(await ask("diagnostics"));
  for (const word of ["secret-token", "Eve", "private.example", "Private"]) assert.ok(!text.includes(word), word);
  assert.deepEqual(JSON.parse(text).results[0], { state: "failed", code: "daemon_off", at: 1 });
  assert.deepEqual(JSON.parse(text).health, { error: "daemon_off" });
});

test("the daemon is told what was set: a look first when the person wants to be asked", () => {
  const plain = { delta: 1, omega: 0.017, team: null, faces: "all", metadata: "strip" };
  const sent = { delta: 1, omega: 0.017, metadata: "strip" };
  assert.deepEqual(settings.choicesOf(plain, null), sent);
  const asking = { ...plain, team: ["dlib"], faces: "ask" };
  assert.deepEqual(settings.choicesOf(asking, null), { ...sent, team: ["dlib"], look: true });
  assert.deepEqual(settings.choicesOf(asking, []), { ...sent, team: ["dlib"] });
  assert.deepEqual(settings.choicesOf(asking, [[1, 2, 3, 4]]), { ...sent, team: ["dlib"], leave_out: [[1, 2, 3, 4]] });
});

const later = () => Date.now() + 1; // than all that was done before
const PAGE = (tab, frame = 0) => ({ id: "ours", url: "https://x.com/", tab: { id: tab }, frameId: frame });

test("a photo that is looked at first may be done again at another preset, where the organisation leaves the choice", async (t) => {
  t.after(() => {
    delete api.managed.omega;
    return store.update(() => ({ review: "never", omega: settings.PRESETS.strong.omega }));
  });
  const state = async () => (await answer({ name: "state", page: "p" }, PAGE(1))).value;
  assert.equal((await state()).review, null);
  await ask("set", { values: { review: "always", omega: 0.012 } });
  assert.deepEqual((await state()).review, { strengths: { names: ["fine", "balanced", "strong"], own: "balanced" } });
  assert.equal(settings.choicesOf(await store.read(), null, "fine").omega, settings.PRESETS.fine.omega);
  assert.equal(settings.choicesOf(await store.read(), null).omega, 0.012);
  const code = async (preset) => (await answer({ name: "protect", file: new Blob(["x"]), preset, ticket: "t", page: "p" }, PAGE(1))).error.code;
  assert.equal(await code("toString"), "bad_option");
  assert.equal(await code("fine"), "not_paired");
  api.managed.omega = 0.017;
  assert.deepEqual((await state()).review, { strengths: null });
  assert.equal(await code("fine"), "bad_option");
});

test("the badge counts the photos of a tab, over its frames, and starts anew with the page", async () => {
  const say = (tally, sender) => answer({ name: "count", ...tally }, sender);
  await say({ pending: 1, failed: 0, done: 2 }, PAGE(7));
  assert.equal(api.badges[7], "…");
  await say({ pending: 0, failed: 1, done: 0 }, PAGE(7, 3));
  assert.equal(api.badges[7], "!");
  await say({ pending: 0, failed: 0, done: 2 }, PAGE(7));
  await say({ pending: 0, failed: 0, done: 1 }, PAGE(7, 3));
  assert.equal(api.badges[7], "3");
  await say({ pending: 0, failed: 0, done: 5 }, PAGE(8));
  await answer({ name: "state", page: "next", came: later() }, PAGE(7));
  assert.deepEqual(await tabs.tallyOf(7), { pending: 0, failed: 0, done: 0 });
  await say({ pending: -1, failed: "1", done: 1.5 }, PAGE(8));
  assert.deepEqual(await tabs.tallyOf(8), { pending: 0, failed: 0, done: 0 });
});

test("a host that was added though its site is listed can be removed", async (t) => {
  t.mock.method(api.permissions, "remove", async () => Promise.reject(new Error("You cannot remove required permissions.")));
  await store.update(() => ({ hosts: ["www.facebook.com"] }));
  await ask("removeHost", { host: "www.facebook.com" });
  assert.deepEqual((await store.read()).hosts, []);
});

test("own hosts are added and removed with their scripts", async () => {
  await ask("addHost", { host: "mastodon.social" });
  await ask("addHost", { host: "mastodon.social" });
  assert.deepEqual(api.scripting.scripts.map(({ id }) => id), ["MAIN:mastodon.social", "ISOLATED:mastodon.social"]);
  for (const host of ["*", "www.facebook.com"]) await assert.rejects(ask("addHost", { host }), { code: "bad_option" });
  await ask("removeHost", { host: "mastodon.social" });
  assert.deepEqual(api.scripting.scripts, []);
});

test("an own host can be removed where the organisation says which sites are off", async (t) => {
  t.after(() => delete api.managed.sitesOff);
  await ask("addHost", { host: "mastodon.social" });
  api.managed.sitesOff = ["x"];
  await ask("removeHost", { host: "mastodon.social" });
  assert.deepEqual((await store.read()).hosts, []);
});

/** A daemon that answers with `health`, and keeps what it was sent. */
async function serve(health, then = () => ({ status: 202, body: { id: "1" } })) {
  const requests = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://x");
    requests.push({ method: request.method, path: url.pathname, query: Object.fromEntries(url.searchParams), headers: request.headers });
    request.resume();
    const { status = 200, body, headers } = url.pathname === "/v1/health" ? { body: health(url.searchParams, server.address().port) } : then(request);
    response.writeHead(status, { "Content-Type": "application/json", ...headers });
    response.end(body === undefined ? undefined : JSON.stringify(body));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { requests, port: server.address().port, close: () => server.close() };
}

const TOKEN = "a-token";
const proof = (challenge, port) =>
  createHmac("sha256", createHash("sha256").update(TOKEN).digest()).update(`pmask-proof-1\n${challenge}\n${port}`).digest("hex");
const GOOD = (query, port) => ({ product: "pmask", version: "0.1.0", protocol: 1, proof: proof(query.get("challenge"), port) });

test("the proof is PROTOCOL.md's", async () => {
  assert.equal(await daemon.proofOf(TOKEN, "challenge-of-16-c", 28737), proof("challenge-of-16-c", 28737));
});

test("a proven daemon gets the token and the photo, with no cookie and nothing cached", async (t) => {
  const server = await serve(GOOD);
  t.after(server.close);
  const mine = { port: server.port, token: TOKEN, client: { id: "c" } };
  assert.deepEqual(await daemon.createJob(mine, new Blob(["photo"], { type: "image/png" }), { delta: 1 }), { id: "1" });
  const [health, job] = server.requests;
  assert.equal(health.headers.authorization, undefined);
  assert.deepEqual([job.method, job.path, job.headers.authorization], ["POST", "/v1/jobs", `Bearer ${TOKEN}`]);
  assert.deepEqual(job.query, { patience: "180" }, "a tab may close before the daemon's answer is here");
  assert.equal(job.headers["x-pmask-options"], '{"delta":1}');
});

test("requests at once share one proof; a later one gets its own", async (t) => {
  const server = await serve(GOOD);
  t.after(server.close);
  const mine = { port: server.port, token: TOKEN, client: { id: "c" } };
  const proofs = () => server.requests.filter(({ path }) => path === "/v1/health").length;
  await Promise.all([1, 2, 3].map(() => daemon.createJob(mine, new Blob(["photo"]), {})));
  assert.equal(proofs(), 1);
  await daemon.createJob(mine, new Blob(["photo"]), {});
  assert.equal(proofs(), 2);
  await assert.rejects(daemon.createJob({ ...mine, token: "another" }, new Blob(["photo"]), {}), { code: "impostor" });
});

test("a photo that is done at once comes back with its id, and only a protected one does", async (t) => {
  let report = { status: "protected", faces: [] };
  const server = await serve(GOOD, ({ method, url }) => {
    if (method === "POST") return { status: 202, body: { id: "7" } };
    if (url.endsWith("/result")) return { body: "bytes", headers: { "X-PMask-Report": JSON.stringify({ status: report.status }) } };
    return { body: { id: "7", state: "done", revision: 3, report } };
  });
  t.after(async () => {
    await tabs.tabGone(9);
    server.close();
    await store.update(() => ({ daemon: null }));
  });
  await store.update(() => ({ daemon: { port: server.port, token: TOKEN, client: { id: "c", name: "me" } } }));
  const protect = async (ticket) => (await answer({ name: "protect", file: new Blob(["photo"]), ticket, page: "a" }, PAGE(9))).value;
  const { id, job } = await protect("at once");
  assert.deepEqual([id, job.state, await job.result.blob.text(), job.result.summary], ["7", "done", '"bytes"', { status: "protected" }]);
  report = { status: "looked", faces: [] }; // no leave to upload anything
  assert.equal((await protect("looked")).job.result, undefined);
  report = { status: "nonsense", faces: [] }; // the page asks by itself, and hears what is wrong
  assert.equal((await protect("bad")).job.result, null);
});

test("photos of a page that has gone are cancelled, those of others are not", async (t) => {
  let made = 0;
  const server = await serve(GOOD, ({ method }) => (method === "POST" ? { status: 202, body: { id: `job${(made += 1)}` } } : { status: 204 }));
  t.after(async () => {
    server.close();
    await store.update(() => ({ daemon: null }));
  });
  await store.update(() => ({ daemon: { port: server.port, token: TOKEN, client: { id: "c", name: "me" } } }));
  const protect = (ticket, page, sender) => answer({ name: "protect", file: new Blob(["photo"]), ticket, page }, sender);
  const cancelled = () => server.requests.filter(({ method }) => method === "DELETE").map(({ path }) => path.split("/").at(-1));
  const [first, again] = [await protect("t1", "a", PAGE(1)), await protect("t1", "a", PAGE(1))];
  assert.deepEqual([first.value.id, again.value.id], ["job1", "job1"]);
  await protect("t2", "b", PAGE(1, 4));
  await protect("t3", "c", PAGE(2));
  await protect("t4", "d", PAGE(3));
  await answer({ name: "state", page: "e", came: later() }, PAGE(1, 4));
  assert.deepEqual(cancelled(), ["job2"]);
  await answer({ name: "state", page: "a", came: later() }, PAGE(1));
  assert.deepEqual(cancelled(), ["job2"]);
  await answer({ name: "state", page: "f", came: later() }, PAGE(1));
  assert.deepEqual(cancelled(), ["job2", "job1"]);
  await tabs.tabGone(2);
  assert.deepEqual(cancelled(), ["job2", "job1", "job3"]);
  await answer({ name: "cancel", job: "job4" }, PAGE(3));
  await tabs.tabGone(3);
  assert.deepEqual(cancelled(), ["job2", "job1", "job3", "job4"]);
});

test("a photo that was chosen in a frame stays when the page around it first hears of the person", async (t) => {
  const server = await serve(GOOD, () => ({ status: 202, body: { id: "job" } }));
  t.after(async () => {
    await tabs.tabGone(5);
    server.close();
    await store.update(() => ({ daemon: null }));
  });
  await store.update(() => ({ daemon: { port: server.port, token: TOKEN, client: { id: "c", name: "me" } } }));
  const came = Date.now();
  await answer({ name: "protect", file: new Blob(["photo"]), ticket: "t", page: "inner" }, PAGE(5, 4));
  await answer({ name: "count", pending: 1, failed: 0, done: 0 }, PAGE(5, 4));
  await answer({ name: "state", page: "outer", came }, PAGE(5));
  assert.deepEqual([await tabs.jobOf("t"), (await tabs.tallyOf(5)).pending], ["job", 1]);
  await answer({ name: "state", page: "next", came: later() }, PAGE(5));
  assert.deepEqual([await tabs.jobOf("t"), (await tabs.tallyOf(5)).pending], [null, 0]);
});

test("unpairing has the daemon forget us, if it is there", async (t) => {
  const server = await serve(GOOD, () => ({ status: 204 }));
  t.after(() => store.update(() => ({ daemon: null })));
  const mine = { port: server.port, token: TOKEN, client: { id: "c", name: "me" } };
  await store.update(() => ({ daemon: mine }));
  assert.deepEqual(await ask("unpair"), { revoked: true });
  assert.deepEqual(server.requests.map(({ method, path }) => `${method} ${path}`), ["GET /v1/health", "DELETE /v1/client"]);
  server.close();
  await store.update(() => ({ daemon: { ...mine, port: 1 } }));
  assert.deepEqual(await ask("unpair"), { revoked: false });
  assert.equal((await store.read()).daemon, null);
});

for (const [what, health, code] of [
  ["a wrong proof", () => ({ product: "pmask", protocol: 1, proof: "00" }), "impostor"],
  ["a proof for another port", (query) => ({ product: "pmask", protocol: 1, proof: proof(query.get("challenge"), 1) }), "impostor"],
  ["no proof", () => ({ product: "pmask", protocol: 1 }), "unauthorised"],
  ["another product", () => ({ product: "other" }), "not_pmask"],
  ["another protocol", (query, port) => ({ ...GOOD(query, port), protocol: 2 }), "wrong_version"],
]) {
  test(`${what} gets neither token nor photo`, async (t) => {
    const server = await serve(health);
    t.after(server.close);
    const mine = { port: server.port, token: TOKEN, client: { id: "c" } };
    await assert.rejects(daemon.createJob(mine, new Blob(["photo"]), {}), { code });
    assert.deepEqual(server.requests.map(({ path }) => path), ["/v1/health"]);
  });
}

test("an answer that breaks off in its middle is no answer, and no other program's", async () => {
  const server = createServer((_request, response) => {
    response.writeHead(200, { "Content-Type": "application/json", "Content-Length": 100 });
    response.write('{"product":');
    setTimeout(() => response.destroy(), 20);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  await assert.rejects(daemon.health(server.address().port), { code: "daemon_off" });
  server.close();
});

test("the daemon's own code comes through, and silence is daemon_off", async () => {
  const server = await serve(GOOD, () => ({ status: 429, body: { error: { code: "queue_full", message: "later" } }, headers: { "Retry-After": "3" } }));
  const mine = { port: server.port, token: TOKEN, client: { id: "c" } };
  await assert.rejects(daemon.createJob(mine, new Blob(["photo"]), {}), { code: "queue_full", message: "later", retryAfter: 3 });
  server.close();
  await new Promise((resolve) => setTimeout(resolve, 50));
  await assert.rejects(daemon.prove({ ...mine, port: 1 }), { code: "daemon_off" });
});

for (const status of ["protected", "already_protected"]) {
  test(`a result that is ${status} has bytes`, async (t) => {
    const headers = { "X-PMask-Report": JSON.stringify({ status }) };
    const server = await serve(GOOD, () => ({ status: 200, headers, body: "bytes" }));
    t.after(server.close);
    const { blob, summary } = await daemon.jobResult({ port: server.port, token: TOKEN, client: { id: "c" } }, "1");
    assert.deepEqual([JSON.parse(await blob.text()), summary], ["bytes", { status }]);
  });
}

for (const [what, status, report, expected] of [
  ["204 with a report is no face", 204, { status: "no_face", faces: 0 }, null],
  ["204 without one is a failure", 204, null, "engine_failed"],
  ["200 without one is a failure", 200, null, "engine_failed"],
  ["200 that says no face is a failure", 200, { status: "no_face" }, "engine_failed"],
]) {
  test(`a result: ${what}`, async (t) => {
    const headers = report ? { "X-PMask-Report": JSON.stringify(report) } : {};
    const server = await serve(GOOD, () => ({ status, headers, body: status === 204 ? undefined : "bytes" }));
    t.after(server.close);
    const result = daemon.jobResult({ port: server.port, token: TOKEN, client: { id: "c" } }, "1");
    if (expected) await assert.rejects(result, { code: expected });
    else assert.deepEqual(await result, { blob: null, summary: report });
  });
}
