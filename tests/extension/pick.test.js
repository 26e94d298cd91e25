// Which files are photos: page/pick.js, by first bytes alone.

import assert from "node:assert/strict";
import { test } from "node:test";

import { runPageScripts } from "./stand_ins.js";

const { sortOut } = await runPageScripts("page/photo.js", "page/pick.js");
const unsure = (...heads) => heads.map((head, index) => ({ index, file: new Blob([Buffer.from(head, "latin1")]), isSure: false }));

test("photos are known by how they begin", async () => {
  const heads = [
    "\xff\xd8\xff\xe0", "\x89PNG\r\n\x1a\n", "GIF89a", "BM\x36\x10\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "RIFF\x10\x20\0\0WEBPVP8 ",
    "II*\0", "MM\0*", "\0\0\0\x18ftypheic", "\0\0\0\x20ftypavif", "\0\0\0\x18ftypmif1", "\xff\x0a\xfa", "\0\0\0\x0cJXL \r\n", "\0\0\0\x0cjP  \r\n",
  ]; // prettier-ignore
  const { photos, others } = await sortOut(unsure(...heads));
  assert.deepEqual([photos.length, others.length], [heads.length, 0]);
});

test("other files go as they are, in their places", async () => {
  const files = unsure("", "BMW drivers", "not a photo", "\0\0\0\x18ftypisom", "RIFF\x10\x20\0\0WAVE", "II. Of photos", "%PDF-1.7");
  files.splice(2, 0, { index: 7, file: new Blob(["any"]), isSure: true });
  const { photos, others } = await sortOut(files);
  assert.deepEqual([...photos], [files[2]]);
  assert.deepEqual(structuredClone([...others]), [0, 1, 2, 3, 4, 5, 6].map((index) => ({ index, use: "original" })));
});

test("a file that cannot be read is not let through", async () => {
  const file = { slice: () => ({ arrayBuffer: () => Promise.reject(new Error("gone")) }) };
  const { photos } = await sortOut([{ index: 0, file, isSure: false }]);
  assert.equal(photos.length, 1);
});
