// One photo's way through the daemon, with answers that are late, lost or bad.

import assert from "node:assert/strict";
import { test } from "node:test";

import { runPageScripts } from "./stand_ins.js";

const { Photo, PhotoError } = await runPageScripts("page/photo.js");

/** A photo whose questions are answered by `script`: per name, a list of values or errors; the last one repeats. */
function photoWith(script, clock = {}) {
  const asked = [];
  const ask = async (name, payload) => {
    asked.push({ name, ...payload });
    const answers = script[name] ?? [null];
    const next = answers.length > 1 ? answers.shift() : answers[0];
    const value = typeof next === "function" ? await next() : next;
    if (value instanceof PhotoError) throw value;
    return value;
  };
  const states = [];
  const photo = new Photo(new File(["x"], "a.jpg"), ask, ({ state }) => states.push(state), { sleep: async () => {}, ...clock });
  return { photo, asked, states, names: () => asked.map(({ name }) => name) };
}

const lost = () => new PhotoError("lost");
const blob = new Blob(["protected"]);
const done = { state: "done", revision: 3 };
const running = { state: "running", stage: "masking", progress: 0.5, faces: 2, revision: 2 };
const result = { blob, summary: { status: "protected", faces: 2, hidden: 2, matched: 0, converged: 2 } };

test("sent, followed, fetched", async () => {
  const { photo, asked, states } = photoWith({ protect: [{ id: "7" }], follow: [running, done], result: [result] });
  await photo.run();
  assert.deepEqual(states, ["sending", "running", "fetching", "protected"]);
  assert.equal(photo.blob, blob);
  assert.deepEqual(
    asked.slice(1).map(({ name, job, seen }) => [name, job, seen]),
    [["follow", "7", null], ["follow", "7", 2], ["result", "7", undefined], ["cancel", "7", undefined]],
  );
});

test("what comes with an answer is not asked for again", async () => {
  const { photo, names, states } = photoWith({ protect: [{ id: "7", job: running }], follow: [{ ...done, result }] });
  await photo.run();
  assert.deepEqual([photo.state, photo.blob], ["protected", blob]);
  assert.deepEqual(names(), ["protect", "follow", "cancel"]);
  assert.deepEqual(states, ["sending", "running", "fetching", "protected"]);
});

test("an answer that is lost is asked for again, and the photo is not sent twice", async () => {
  const { photo, names } = photoWith({ protect: [{ id: "7" }], follow: [lost(), running, lost(), done], result: [lost(), result] });
  await photo.run();
  assert.equal(photo.state, "protected");
  assert.equal(names().filter((name) => name === "protect").length, 1);
});

test("a photo whose answer was lost goes under the same ticket, so that the background knows it", async () => {
  const { photo, asked } = photoWith({ protect: [lost(), { id: "7" }], follow: [done], result: [result] });
  await photo.run();
  const tickets = asked.filter(({ name }) => name === "protect").map(({ ticket }) => ticket);
  assert.equal(tickets.length, 2);
  assert.equal(tickets[0], tickets[1]);
});

test("a daemon that was started anew gets the photo again, by itself", async () => {
  const off = new PhotoError("daemon_off");
  const follow = [running, off, off, new PhotoError("not_found"), running, done];
  const { photo, names } = photoWith({ protect: [{ id: "7" }, { id: "8" }], follow, result: [result] });
  await photo.run();
  assert.equal(photo.state, "protected");
  assert.equal(names().filter((name) => name === "protect").length, 2);
});

test("a daemon that is off from the start is not waited for", async () => {
  const { photo, names } = photoWith({ protect: [new PhotoError("daemon_off")] });
  await photo.run();
  assert.deepEqual([photo.state, photo.error.code, names()], ["failed", "daemon_off", ["protect"]]);
});

test("a daemon that forgets every job is given up", async () => {
  const { photo } = photoWith({ protect: [{ id: "7" }], follow: [new PhotoError("not_found")] });
  await photo.run();
  assert.deepEqual([photo.state, photo.error.code], ["failed", "not_found"]);
});

test("a photo in the queue is looked at now and then, and its turn may be long in coming", async () => {
  const queued = { state: "queued", revision: 0, progress: 0 };
  let now = 0;
  const slept = [];
  const clock = { now: () => (now += 400_000), sleep: async (ms) => slept.push(ms) };
  const { photo, asked } = photoWith({ protect: [{ id: "7" }], follow: [queued, queued, queued, running, done], result: [result] }, clock);
  await photo.run();
  assert.equal(photo.state, "protected");
  assert.deepEqual(asked.filter(({ name }) => name === "follow").map(({ seen }) => seen), [null, null, null, null, 2]);
  assert.equal(slept.length, 3);
});

test("a clock that jumps, as after a sleep, is no stall", async () => {
  let now = 0;
  const jumps = [8e3, 7.2e6, -7.2e6, 8e3];
  const clock = { now: () => (now += (jumps.shift() ?? 0)) };
  const { photo } = photoWith({ protect: [{ id: "7" }], follow: [running, running, running, running, done], result: [result] }, clock);
  await photo.run();
  assert.equal(photo.state, "protected");
});

test("the person is asked which faces, and the daemon told which to leave out", async () => {
  const boxes = [[1, 2, 30, 40], [50, 2, 30, 40]];
  const looked = { state: "done", revision: 2, report: { status: "looked", found: boxes, found_frames: [4, 0] } };
  const { photo, asked, names } = photoWith({ protect: [{ id: "7" }, { id: "8" }], follow: [looked, done], result: [result] });
  await photo.run();
  assert.deepEqual([photo.state, photo.isOpen, photo.isFinal, photo.found, photo.frames], ["choosing", true, false, boxes, [4, 0]]);
  assert.deepEqual(names(), ["protect", "follow", "cancel"]);
  photo.choose([boxes[1]]);
  while (!photo.isFinal) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.equal(photo.state, "protected");
  assert.deepEqual(asked.filter(({ name }) => name === "protect").map(({ leaveOut }) => leaveOut), [null, [boxes[1]]]);
});

const settled = async (photo) => {
  while (!photo.isFinal && !photo.isOpen) await new Promise((resolve) => setTimeout(resolve, 1));
};

test("where the person looks first, a masked photo waits, and can be done again at another strength", async () => {
  const second = { ...result, blob: new Blob(["finer"]) };
  const { photo, asked } = photoWith({ protect: [{ id: "7" }, { id: "8" }], follow: [done], result: [result, second] }, { review: true });
  await photo.run();
  assert.deepEqual([photo.state, photo.isOpen, photo.isFinal, photo.blob], ["reviewing", true, false, blob]);
  photo.redo("balanced");
  assert.deepEqual([photo.isOpen, photo.blob], [false, null], "the first try can no longer go");
  await settled(photo);
  assert.deepEqual([photo.state, photo.blob], ["reviewing", second.blob]);
  assert.deepEqual(asked.filter(({ name }) => name === "protect").map(({ preset }) => preset), [null, "balanced"]);
  photo.accept();
  assert.deepEqual([photo.state, photo.isFinal], ["protected", true]);
});

test("a try that failed leaves nothing that could be accepted", async () => {
  const failed = { state: "failed", revision: 2, error: { code: "out_of_memory" } };
  const { photo } = photoWith({ protect: [{ id: "7" }, { id: "8" }, { id: "9" }], follow: [done, failed, done], result: [result] }, { review: true });
  await photo.run();
  photo.redo("fine");
  await settled(photo);
  photo.accept();
  assert.deepEqual([photo.state, photo.blob], ["failed", null]);
  await photo.run();
  assert.deepEqual([photo.state, photo.preset], ["reviewing", "fine"]);
});

test("of a masked photo that is left out, or whose original goes, nothing is told: recognisers judged another", async () => {
  for (const state of ["omitted", "original"]) {
    const { photo } = photoWith({ protect: [{ id: "7" }], follow: [{ ...done, report: { faces: [] } }], result: [result] }, { review: true });
    await photo.run();
    photo.decide(state);
    assert.deepEqual([photo.blob, photo.summary, photo.report], [null, null, null]);
  }
});

test("what PMask has not masked is not looked at", async () => {
  for (const [status, state] of [["no_face", "no_face"], ["already_protected", "protected"]]) {
    const answer = { blob: status === "no_face" ? null : blob, summary: { ...result.summary, status } };
    const { photo } = photoWith({ protect: [{ id: "7" }], follow: [done], result: [answer] }, { review: true });
    await photo.run();
    assert.equal(photo.state, state);
  }
});

test("patience has an end", async () => {
  const { photo } = photoWith({ protect: [lost()] });
  await photo.run();
  assert.deepEqual([photo.state, photo.error.code], ["failed", "lost"]);
});

test("a full queue is waited for", async () => {
  const { photo, states } = photoWith({ protect: [new PhotoError("queue_full"), { id: "7" }], follow: [done], result: [result] });
  await photo.run();
  assert.ok(states.includes("queued"));
  assert.equal(photo.state, "protected");
});

test("a job that failed is started anew by a retry", async () => {
  const failed = { state: "failed", revision: 2, error: { code: "out_of_memory", message: "2 GB" } };
  const { photo, names } = photoWith({ protect: [{ id: "7" }, { id: "8" }], follow: [failed, done], result: [result] });
  await photo.run();
  assert.deepEqual([photo.state, photo.error.code, photo.error.message], ["failed", "out_of_memory", "2 GB"]);
  await photo.run();
  assert.equal(photo.state, "protected");
  assert.equal(names().filter((name) => name === "protect").length, 2);
});

test("a job that never moves is given up", async () => {
  let now = 0;
  const { photo } = photoWith({ protect: [{ id: "7" }], follow: [running] }, { now: () => (now += 60_000) });
  await photo.run();
  assert.equal(photo.error.code, "timeout");
});

test("a result without bytes is no protected photo", async () => {
  for (const bad of [{ blob: null, summary: { status: "protected" } }, { blob: new Blob([]), summary: { status: "protected" } }]) {
    const { photo } = photoWith({ protect: [{ id: "7" }], follow: [done], result: [bad] });
    await photo.run();
    assert.equal(photo.state, "failed");
  }
});

test("the job's report is kept for its verdicts", async () => {
  const report = { faces: [{ verdicts: [] }] };
  const { photo } = photoWith({ protect: [{ id: "7" }], follow: [running, { ...done, report }], result: [result] });
  await photo.run();
  assert.deepEqual(photo.report, report);
});

test("a photo that was protected before counts as protected, its bytes are what goes", async () => {
  const before = { blob, summary: { status: "already_protected", faces: 0 } };
  const { photo } = photoWith({ protect: [{ id: "7" }], follow: [done], result: [before] });
  await photo.run();
  assert.deepEqual([photo.state, photo.blob], ["protected", blob]);
});

test("no face", async () => {
  const { photo } = photoWith({ protect: [{ id: "7" }], follow: [done], result: [{ blob: null, summary: { status: "no_face" } }] });
  await photo.run();
  assert.equal(photo.state, "no_face");
});

test("the person's word ends it: the daemon is told, and what comes later is dropped", async () => {
  let release;
  const late = new Promise((resolve) => (release = resolve));
  const { photo, names } = photoWith({ protect: [{ id: "7" }], follow: [() => late], result: [result] });
  const run = photo.run();
  await new Promise((resolve) => setTimeout(resolve, 5));
  photo.decide("original");
  release(done);
  await run;
  assert.equal(photo.state, "original");
  assert.deepEqual(names(), ["protect", "follow", "cancel"]);
  photo.decide("omitted");
  assert.equal(photo.state, "original");
});

test("a job that was made after the person had decided is cancelled", async () => {
  let release;
  const late = new Promise((resolve) => (release = resolve));
  const { photo, asked } = photoWith({ protect: [() => late] });
  const run = photo.run();
  photo.decide("omitted");
  release({ id: "9" });
  await run;
  assert.deepEqual(asked.at(-1), { name: "cancel", job: "9" });
});
