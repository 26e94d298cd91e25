// The page: what is on screen. The photos' way is photos.js, the daemon is daemon.js, sentences are words.js.

import * as daemon from "./daemon.js";
import { isPicture, Photo, Photos } from "./photos.js";
import { counted, cureWords, errorWords, heldWords, presetWords, stateWords, tallyWords, unreadWords, verdictWords, zoomWords } from "./words.js";
import { zip } from "./zip.js";

const $ = (id) => document.getElementById(id);
const OPEN_AT_MOST = 3; // photos whose before and after are shown unasked
const REDOES = [["finer", -1], ["stronger", 1]]; // buttons, and how many presets further they go
const THUMBNAIL_PX = 144; // twice its size on screen, for dense displays
const ZOOM = 2; // how many times the face's longer side is shown around it
const ZOOM_PX = 1200; // a side of that at most

/** @type {Map<Photo, HTMLElement>} */
const cards = new Map();
let made = 0; // cards so far
const photos = new Photos((photo) => {
  draw(photo);
  drawSummary();
}, drawHold);
/** @type {Record<string, {delta: number, omega: number}>} the daemon's, the finest first */
let presets = {};
let leftOut = 0;
let thumbnails = Promise.resolve();

// --- pairing

/** Pairs with the code in the address, if there is one; a pairing that holds stays, for photos may be under way with it. */
async function start() {
  const code = new URLSearchParams(location.hash.slice(1)).get("pair");
  if (code) history.replaceState(null, "", location.pathname); // in the address bar it would be used up, and confuse
  if (!code || daemon.isPaired()) await enter();
  if (code && !daemon.isPaired()) await pair(code);
}

async function pair(code) {
  $("pair-problem").textContent = "";
  try {
    await daemon.pair(code, `Page in ${browserName()}`);
  } catch (error) {
    ask(error);
    return;
  }
  $("code").value = "";
  await enter();
  $("choose-photos").focus();
}

/** Shows the photos' part if this tab is paired, or asks for a code. */
async function enter() {
  if (!daemon.isPaired()) return ask();
  try {
    drawOptions(await daemon.options());
  } catch (error) {
    return daemon.isPaired() ? trouble(errorWords(error)) : ask(error);
  }
  $("trouble").hidden = true;
  $("pairing").hidden = true;
  $("work").hidden = $("unpair").hidden = false;
}

/** Asks for a code. Photos that are listed stay, and go on afterwards. */
function ask(error = null) {
  $("pairing").hidden = false;
  $("unpair").hidden = true;
  if (cards.size === 0) $("work").hidden = true;
  if (error) $("pair-problem").textContent = `${errorWords(error).title}. ${errorWords(error).cure}`;
  $("code").focus();
}

function trouble({ title, cure }) {
  $("trouble").textContent = `${title}. ${cure}`;
  $("trouble").hidden = false;
}

function browserName() {
  const found = /(Firefox|Edg|OPR|Chrome|Safari)\//.exec(navigator.userAgent);
  return { Edg: "Edge", OPR: "Opera", Chrome: "Chromium" }[found?.[1]] ?? found?.[1] ?? "a browser";
}

// --- choices

function drawOptions({ defaults, presets: offered, uploads }) {
  if ($("upload").length > 0) return;
  presets = offered;
  for (const name of uploads) $("upload").add(new Option(name, name, false, name === defaults.upload));
  for (const [name, { delta, omega }] of Object.entries(presets)) {
    const initial = delta === defaults.delta && omega === defaults.omega;
    $("preset").add(new Option(presetWords(name).title, name, initial, initial));
  }
  showPreset();
}

function showPreset() {
  $("preset-words").textContent = presetWords($("preset").value).words;
}

/** The preset that changes faces so many steps more than this one, if there is one. */
function beside(preset, steps) {
  const names = Object.keys(presets);
  return names[names.indexOf(preset) + steps];
}

/** Does a photo again with the preset so many steps beside its own. */
function redo(photo, steps) {
  const preset = beside(photo.preset, steps);
  photos.retry(photo, preset, { ...photo.choices, ...presets[preset] });
}

// --- taking photos

/** @param {{file: File, path: string}[]} entries @param {boolean} all photos chosen one by one: let the daemon judge them */
function take(entries, all) {
  const wanted = all ? entries : entries.filter(({ file }) => isPicture(file));
  leftOut += entries.length - wanted.length;
  const preset = $("preset").value;
  for (const { file, path } of wanted) photos.add(new Photo(file, path, preset, { ...presets[preset], upload: $("upload").value }));
  drawSummary();
}

function chosen(input, all) {
  take([...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })), all);
  input.value = ""; // the same photo may be chosen again
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean); // before the first await
  $("trouble").hidden = true;
  if (entries.length === 0) return bare(transfer.files);
  let unread = 0;
  for (const entry of entries) {
    const files = await filesOf(entry);
    const there = files.filter(({ file }) => file !== null);
    take(there, entry.isFile);
    unread += files.length - there.length;
  }
  if (unread > 0) trouble(unreadWords(unread));
}

/** Files without a folder: pasted ones, or those of a page's picture. A picture's address alone is not fetched. */
function bare(files) {
  if (files.length === 0) return trouble({ title: "No photo came with that", cure: "Save the picture first, then drop the file." });
  take([...files].map((file) => ({ file, path: file.name })), true);
}

/** A dropped file, or all of a dropped folder's. @returns {Promise<{file: File | null, path: string}[]>} null: not readable */
async function filesOf(entry) {
  const path = entry.fullPath.slice(1);
  if (entry.isFile) return [{ file: await new Promise((done) => entry.file(done, () => done(null))), path }];
  const found = [];
  const reader = entry.createReader();
  for (;;) {
    // A reader gives a hundred at a time.
    const batch = await new Promise((done) => reader.readEntries(done, () => done(null)));
    if (batch === null) return [...found, { file: null, path }];
    if (batch.length === 0) return found;
    for (const inner of batch) found.push(...(await filesOf(inner)));
  }
}

// --- drawing

function draw(photo) {
  const card = cards.get(photo) ?? makeCard(photo);
  const part = (name) => card.querySelector(`.${name}`);
  const focused = document.activeElement; // asked before it is hidden: then it has lost the focus
  const { state } = photo;
  part("state").textContent = stateWords(photo);
  card.querySelector("progress").hidden = photo.ended;
  card.querySelector("progress").value = photo.progress;
  part("cancel").hidden = photo.ended;
  part("retry").hidden = !["failed", "cancelled"].includes(state);
  for (const [name, steps] of REDOES) part(name).hidden = photo.report?.status !== "protected" || !beside(photo.preset, steps);
  part("cure").textContent = cureWords(photo);
  card.dataset.state = state;
  if (state === "failed") card.classList.add("bad");
  else card.classList.remove("bad");
  if (state === "done" && !card.classList.contains("ready")) drawResult(photo, card, part);
  if (state !== "done" && card.classList.contains("ready")) dropResult(card, part);
  if (card.contains(focused) && !focused.checkVisibility()) card.focus({ preventScroll: true }); // else the page's top has it
}

function makeCard(photo) {
  const card = $("photo-template").content.firstElementChild.cloneNode(true);
  cards.set(photo, card);
  const name = Object.assign(card.querySelector(".name"), { textContent: photo.path, id: `photo-${(made += 1)}` });
  // Every photo has the same buttons: whoever hears them one by one is told whose they are.
  for (const part of card.querySelectorAll("button, a, summary, progress, input")) part.setAttribute("aria-describedby", name.id);
  card.querySelector(".cancel").addEventListener("click", () => photos.cancel(photo));
  card.querySelector(".download").addEventListener("click", () => (photo.saved = true));
  card.querySelector(".retry").addEventListener("click", () => photos.retry(photo));
  for (const [name, steps] of REDOES) card.querySelector(`.${name}`).addEventListener("click", () => redo(photo, steps));
  const view = card.querySelector(".view");
  view.addEventListener("toggle", () => (view.open && photo.result ? showPictures(photo, view) : hidePictures(view)));
  $("photos").append(card);
  // One after the other: a folder's photos decoded at once would fill the memory.
  thumbnails = thumbnails.then(() => drawThumbnail(photo, card.querySelector("canvas"))).catch(() => {});
  return card;
}

async function drawThumbnail(photo, canvas) {
  if (!canvas.isConnected) return; // cleared before its turn
  const bitmap = await createImageBitmap(photo.file, { resizeWidth: THUMBNAIL_PX, resizeQuality: "medium" });
  Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
}

function drawResult(photo, card, part) {
  const { report, result } = photo;
  card.classList.add("ready");
  card.classList.add(report.bare || report.faces.some((face) => face.matched) ? "warn" : "good");
  part("tally").textContent = tallyWords(report.judged);
  part("notes").replaceChildren(...report.warnings.map((text) => line(text)));
  drawVerdicts(report, part("verdicts"));
  if (result === null) return;
  const link = part("download");
  link.href = URL.createObjectURL(result);
  link.download = photo.copyName;
  link.hidden = false;
  const view = part("view");
  view.hidden = false;
  if (view.open) showPictures(photo, view);
  else if (!card.dataset.seen) view.open = cards.size <= OPEN_AT_MOST;
  card.dataset.seen = true; // done again, it stays as the person left it
}

/** The photo is done again: nothing that was made of it before is to be taken for the new copy. */
function dropResult(card, part) {
  card.classList.remove("ready", "warn", "good");
  part("tally").textContent = "";
  part("notes").replaceChildren();
  part("verdicts").querySelector("ul").replaceChildren();
  URL.revokeObjectURL(part("download").href);
  hidePictures(part("view"));
  for (const name of ["verdicts", "download", "view"]) part(name).hidden = true;
}

function drawVerdicts(report, details) {
  const list = details.querySelector("ul");
  report.faces.forEach((face, index) => {
    for (const { text, matches } of verdictWords(face.verdicts)) {
      const item = line(report.faces.length > 1 ? `Face ${index + 1}: ${text}` : text);
      item.classList.toggle("matches", matches);
      list.append(item);
    }
  });
  if (list.childElementCount === 0) return;
  details.hidden = false;
}

function line(text) {
  return Object.assign(document.createElement("li"), { textContent: text });
}

/** Loads both pictures, and only while they are looked at: a folder's photos at full size fill gigabytes. */
async function showPictures(photo, view) {
  const { file, result, report } = photo;
  const shown = Number(view.dataset.face ?? -1); // -1: the whole photo
  const face = report.faces[shown];
  const whole = [file, result];
  const blobs = face ? await Promise.all(whole.map((blob) => cutOut(blob, face.box))).catch(() => whole) : whole;
  if (!view.open || !view.isConnected || photo.result !== result) return; // closed, cleared or done again meanwhile
  hidePictures(view);
  const compare = view.querySelector(".compare");
  const slider = view.querySelector("input");
  const zoom = view.querySelector(".zoom");
  compare.hidden = false;
  view.querySelector(".unseen").hidden = true;
  for (const [when, blob] of [["before", blobs[0]], ["after", blobs[1]]]) {
    const image = view.querySelector(`.${when}`);
    image.alt = `${file.name}, ${when}`;
    image.onerror = () => {
      compare.hidden = true;
      view.querySelector(".unseen").hidden = false;
    };
    image.src = URL.createObjectURL(blob);
  }
  slider.oninput = () => compare.style.setProperty("--cut", `${slider.value}%`);
  const next = shown + 1 < report.faces.length ? shown + 1 : -1;
  zoom.textContent = zoomWords(next, report.faces.length);
  zoom.onclick = () => {
    view.dataset.face = next;
    showPictures(photo, view);
  };
}

/** The square of a picture around a face. @returns {Promise<Blob>} */
async function cutOut(blob, [x, y, wide, high]) {
  const image = await createImageBitmap(blob);
  const side = Math.round(Math.min(ZOOM * Math.max(wide, high), image.width, image.height));
  const left = Math.round(Math.min(Math.max(0, x + wide / 2 - side / 2), image.width - side));
  const top = Math.round(Math.min(Math.max(0, y + high / 2 - side / 2), image.height - side));
  const shown = Math.min(side, ZOOM_PX);
  const canvas = new OffscreenCanvas(shown, shown);
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(image, left, top, side, side, 0, 0, shown, shown);
  image.close();
  return canvas.convertToBlob();
}

function hidePictures(view) {
  for (const image of view.querySelectorAll("img")) {
    URL.revokeObjectURL(image.src);
    image.onerror = null;
    image.removeAttribute("src");
  }
}

function drawSummary() {
  const count = (...states) => photos.all.filter(({ state }) => states.includes(state)).length;
  const [done, failed, cancelled] = [count("done"), count("failed"), count("cancelled")];
  const under = photos.all.length - done - failed - cancelled;
  const parts = [`${done} of ${counted(photos.all.length, "photo")} done`];
  if (failed) parts.push(`${failed} failed`);
  if (cancelled) parts.push(`${cancelled} cancelled`);
  if (leftOut) parts.push(`${counted(leftOut, "other file")} left out`);
  const said = `${parts.join(", ")}.`;
  if ($("summary").textContent !== said) $("summary").textContent = said; // written anew, it may be read out anew
  $("bar").hidden = photos.all.length === 0 && leftOut === 0;
  $("cancel-all").hidden = under < 2;
  $("retry-all").hidden = failed < 2;
  $("download-all").hidden = done < 2 || under > 0;
}

/** What keeps all photos waiting; null: nothing any more. */
function drawHold(error) {
  if (error && !daemon.isPaired()) ask(error);
  $("hold").hidden = error === null || !daemon.isPaired();
  $("hold").textContent = error ? heldWords(error) : "";
}

// --- the list as a whole

async function downloadAll() {
  const names = new Set();
  const done = photos.all.filter(({ state }) => state === "done");
  const files = done.map((photo) => ({ name: unique(photo.path, names), data: photo.result ?? photo.file }));
  $("trouble").hidden = true;
  try {
    const { archive, unread } = await zip(files);
    if (unread > 0) trouble(unreadWords(unread));
    if (unread === files.length) return;
    save(archive, "pmask.zip");
    for (const photo of done) photo.saved = true;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    trouble(errorWords({ code: "archive" }));
  }
}

/** Two photos of one name keep both. */
function unique(path, taken) {
  let name = path;
  const same = () => name.toLowerCase(); // to Windows and macOS
  for (let number = 2; taken.has(same()); number++) name = path.replace(/(\.[^./]*)?$/, (suffix) => ` (${number})${suffix}`);
  taken.add(same());
  return name;
}

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may still be reading
}

function clear() {
  photos.clear();
  for (const card of cards.values()) {
    hidePictures(card.querySelector(".view"));
    URL.revokeObjectURL(card.querySelector(".download").href);
    card.remove();
  }
  cards.clear();
  leftOut = 0;
  $("trouble").hidden = true;
  drawSummary();
}

// --- what a person does

$("pair-form").addEventListener("submit", (event) => {
  event.preventDefault();
  pair($("code").value);
});
$("unpair").addEventListener("click", async () => {
  clear();
  await daemon.unpair();
  ask();
});
$("preset").addEventListener("change", showPreset);
for (const kind of ["photos", "folder"]) {
  $(`choose-${kind}`).addEventListener("click", () => {
    $(`${kind}-input`).click();
    daemon.warm();
  });
}
$("photos-input").addEventListener("change", (event) => chosen(event.target, true));
$("folder-input").addEventListener("change", (event) => chosen(event.target, false));
$("download-all").addEventListener("click", downloadAll);
$("cancel-all").addEventListener("click", () => photos.all.forEach((photo) => photos.cancel(photo)));
$("retry-all").addEventListener("click", () => photos.all.forEach((photo) => photo.state === "failed" && photos.retry(photo)));
$("clear").addEventListener("click", clear);

// Anywhere on the page: a photo that misses the frame must not replace the page.
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
addEventListener("dragenter", (event) => {
  if (!$("work").hidden && event.relatedTarget === null) daemon.warm(); // from outside the page
});
addEventListener("dragleave", () => $("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (!$("work").hidden) dropped(event.dataTransfer);
});
addEventListener("paste", ({ clipboardData }) => {
  if (!$("work").hidden && clipboardData.files.length > 0) bare(clipboardData.files);
});
addEventListener("hashchange", start); // the address with a code was pasted into this very tab
addEventListener("beforeunload", (event) => {
  if (photos.all.some(({ open }) => open)) event.preventDefault();
});

start();
