"""The local page, in both browsers as a person uses it; the daemon is real, only its engine marks instead of masks."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import shutil
import zipfile

import browser as browsers
import pytest
from aiohttp import web
from stage import PATIENCE_S, FakeEngine, mark, until

from localserver.errors import NotFound, QueueFull
from localserver.jobs import Job, JobQueue
from pmask.errors import OutOfMemory
from pmask.options import PRESETS
from pmask.report import BARE, Verdict

PHOTOS, FOLDER = "document.getElementById('photos-input')", "document.getElementById('folder-input')"
DONE = "[...document.querySelectorAll('.photo')].filter(card => card.dataset.state === 'done').length"


class Engine(FakeEngine):
    """Marks photos, with verdicts as whole as the real engine's."""

    async def protect(self, data, options, on_progress, cancel):
        result = await super().protect(data, options, on_progress, cancel)
        for number, face in enumerate(result.report["faces"]):
            face["verdicts"] = [
                Verdict(
                    recogniser=name, in_team=team, upload=upload, angle=angle, threshold=60.0, nearest_other=70.0
                ).to_json()
                for name, team in (("sface", True), ("dlib", False))
                for upload, angle in ((BARE, 99.0), ("instagram", 40.0 if number < self.matched else 88.0))
            ]
        result.report["warnings"] = ["the gallery is not there"]
        return result


@pytest.fixture
def engine(daemon):
    daemon.engine = Engine()
    return daemon.engine


@pytest.fixture
async def running(engine, daemon):
    """The daemon with this file's engine."""
    await daemon.stop()
    await daemon.start()
    return daemon


@pytest.fixture(params=["chromium", "firefox"])
async def browser(request, tmp_path):
    if browsers.find_browser(request.param) is None:
        pytest.skip(f"no {request.param} on this machine")
    downloads = tmp_path / "downloads"
    prefs = {"browser.download.dir": str(downloads), "browser.download.folderList": 2}
    async with await browsers.launch(request.param, prefs=prefs) as browser:
        browser.kind, browser.downloads = request.param, downloads
        if request.param == "chromium":
            how = {"behavior": "allow", "downloadPath": str(downloads)}
            await browser.line.call("Browser.setDownloadBehavior", how)
        yield browser


@pytest.fixture
async def page(browser, running):
    """The page, paired by the address that `pmask-server pair` prints."""
    return await open_paired(browser, running)


async def open_paired(browser, daemon):
    """One more tab of the page, with a pairing of its own."""
    page = await browser.open(f"http://127.0.0.1:{daemon.port}/#pair={daemon.clients.new_code()}")
    await page.wait_for("!document.getElementById('work').hidden")
    return page


async def said(page, words: str) -> None:
    """Waits until the page says this."""
    await page.wait_for(f"document.body.innerText.includes({json.dumps(words)})", PATIENCE_S)


async def download(browser, page, press: str, name: str):
    """Presses, and returns the file's bytes once the browser has saved it."""
    await page.click(press)
    for _ in range(PATIENCE_S * 20):
        path = browser.downloads / name
        if path.exists() and path.stat().st_size and not list(browser.downloads.glob("*.part")):
            return path.read_bytes()
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} was not saved; there is {sorted(browser.downloads.glob('*'))}")


def button(words: str) -> str:
    return f"[...document.querySelectorAll('button, a')].find(b => b.textContent === {json.dumps(words)} && !b.hidden)"


async def type_text(browser, page, text: str) -> None:
    """Real key presses, into whatever has the focus."""
    if browser.kind == "chromium":
        for key in text:
            named = {"\t": ("Tab", 9, None), "\n": ("Enter", 13, "\r"), " ": (" ", 32, " ")}.get(
                key, (key, ord(key), key)
            )
            down = {"type": "keyDown", "key": named[0], "windowsVirtualKeyCode": named[1]}
            await page.call("Input.dispatchKeyEvent", {**down, **({"text": named[2]} if named[2] else {})})
            await page.call("Input.dispatchKeyEvent", {**down, "type": "keyUp"})
        return
    keys = [{"\t": "\ue004", "\n": "\ue007"}.get(key, key) for key in text]
    actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
    source = {"type": "key", "id": "keyboard", "actions": actions}
    await browser.line.call("input.performActions", {"context": page.context, "actions": [source]})


async def choose_as_folder(page, files, parent):
    """What a folder input has once a person has chosen a folder."""
    chosen = [[str(path.relative_to(parent)), base64.b64encode(path.read_bytes()).decode()] for path in files]
    await page.evaluate(
        f"(() => {{ const transfer = new DataTransfer(); const places = new Map(); const input = {FOLDER};"
        f"for (const [place, data] of {json.dumps(chosen)}) {{"
        "const name = place.split('/').pop(); places.set(name, place);"
        "transfer.items.add(new File([Uint8Array.from(atob(data), c => c.charCodeAt(0))], name)); }"
        "Object.defineProperty(File.prototype, 'webkitRelativePath', {get() { return places.get(this.name); }});"
        "input.files = transfer.files; input.dispatchEvent(new Event('change')); return true; })()"
    )


async def test_a_photo_is_protected_shown_and_saved(browser, page, photos, engine):
    """The whole way of the page: picked, said in words, shown before and after, saved beside the original's name."""
    await page.choose(button("Choose photos"), [photos["eileen.jpg"]])
    await said(page, "2 faces protected")
    await said(
        page, "4 of 4 recognisers no longer match any face (also after Instagram); 2 of these never saw the mask."
    )
    await said(page, "the gallery is not there")
    assert await page.evaluate("document.querySelector('.photo').matches('.good:not(.warn)')")
    await page.evaluate("document.querySelector('.verdicts').open = true")
    await said(page, "Face 2: dlib, which never saw the mask, no longer matches it")
    await said(page, "(99°, 88°; a match is under 60°)")
    await page.wait_for("[...document.querySelectorAll('.pictures img')].every(i => i.naturalWidth === 300)")
    data = await download(browser, page, button("Download"), "eileen.protected.jpg")
    assert mark(photos["eileen.jpg"].read_bytes()) == data
    assert (1, 1) == (engine.warmed, engine.started)


async def test_the_slider_uncovers_the_original(browser, page, photos):
    """Both pictures lie on one another; what of the upper one is cut away is what the slider says."""
    await page.choose(button("Choose photos"), [photos["eileen.jpg"]])
    await page.wait_for("document.querySelector('.pictures .after')?.naturalWidth")
    await page.evaluate("document.querySelector('.compare input').focus()")
    cut = "getComputedStyle(document.querySelector('.pictures .after')).clipPath"
    assert "inset(0px 0px 0px 50%)" == await page.evaluate(cut)
    if browser.kind == "chromium":
        for kind in ("keyDown", "keyUp"):
            await page.call("Input.dispatchKeyEvent", {"type": kind, "key": "End", "windowsVirtualKeyCode": 35})
    else:
        await type_text(browser, page, "\ue010")  # End
    await page.wait_for(f"{cut} === 'inset(0px 0px 0px 100%)'")


async def test_each_face_in_large(browser, page, photos):
    """What a mask changes is in the face; a whole photo is shown too small to judge it. Both pictures stay alike."""
    await page.choose(button("Choose photos"), [photos["eileen.jpg"]])
    sizes = "[...document.querySelectorAll('.pictures img')].map((i) => i.naturalWidth).join()"
    await page.wait_for(f"{sizes} === '300,300'")
    for words, expected in (
        ("Look at face 1", "180,180"),
        ("Look at face 2", "180,180"),
        ("Look at the whole photo", "300,300"),
    ):
        before = await page.evaluate("document.querySelector('.pictures .after').src")
        await page.click(button(words))
        await page.wait_for(f"document.querySelector('.pictures .after').src !== {json.dumps(before)}")
        await page.wait_for(f"{sizes} === {json.dumps(expected)}")
    await page.click(button("Look at face 1"))
    await said(page, "Look at face 2")
    await page.click(button("Finer"))
    await said(page, "(balanced)")
    await page.wait_for(f"{sizes} === '180,180'")  # done again, it stays where the person looked


async def test_a_folder_is_protected_and_comes_back_as_one(browser, page, photos, tmp_path):
    """Sub-folders and names are kept, and what is no photo is counted: nobody has to look whether all are there."""
    folder = tmp_path / "holiday"
    (folder / "beach").mkdir(parents=True)
    shutil.copy(photos["eileen.jpg"], folder / "a.jpg")
    shutil.copy(photos["eileen.jpg"], folder / "beach" / "ä.jpg")
    (folder / "notes.txt").write_text("no photo")
    if browser.kind == "chromium":
        await page.set_files(FOLDER, [folder])
    else:  # whose protocol cannot choose a folder
        await choose_as_folder(page, [path for path in sorted(folder.rglob("*")) if path.is_file()], folder.parent)
    await page.wait_for(f"{DONE} === 2")
    await said(page, "2 of 2 photos done, 1 other file left out.")
    data = await download(browser, page, button("Download all"), "pmask.zip")
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    assert {"holiday/a.jpg", "holiday/beach/ä.jpg"} == set(archive.namelist())
    assert {mark(photos["eileen.jpg"].read_bytes())} == {archive.read(name) for name in archive.namelist()}


async def test_an_archive_goes_without_a_file_that_is_gone(browser, page, tmp_path, photos, engine):
    """A photo without a face is in it as the original, which somebody may have moved away: the others must come, also
    where Windows or macOS would take two names for one."""
    engine.faces = 0
    kept, gone, alike = tmp_path / "kept.jpg", tmp_path / "gone.jpg", tmp_path / "other" / "KEPT.JPG"
    alike.parent.mkdir()
    for path in (gone, kept, alike):
        shutil.copy(photos["eileen.jpg"], path)
    await page.set_files(PHOTOS, [gone, kept, alike])
    await page.wait_for(f"{DONE} === 3")
    gone.unlink()
    data = await download(browser, page, button("Download all"), "pmask.zip")
    await said(page, "1 file could not be read. What was moved or changed must be chosen again.")
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    assert ["kept.jpg", "KEPT (2).JPG"] == archive.namelist()


async def test_what_cannot_be_read_in_a_dropped_folder_is_said(page, photos):
    """A file or folder of somebody else's must not keep the rest of a folder back, nor be missing in silence."""
    data = base64.b64encode(photos["eileen.jpg"].read_bytes()).decode()
    await page.evaluate(
        f"(() => {{ const photo = new File([Uint8Array.from(atob('{data}'), c => c.charCodeAt(0))], 'a.jpg');"
        "const refuse = (_, no) => no(new DOMException('denied', 'NotReadableError'));"
        "const file = (fullPath, read) => ({ isFile: true, fullPath, file: read });"
        "const folder = (fullPath, readEntries) => ({ fullPath, createReader: () => ({ readEntries }) });"
        "const batches = [[file('/album/denied.jpg', refuse), folder('/album/theirs', refuse),"
        "file('/album/a.jpg', (yes) => yes(photo))], []];"
        "const album = folder('/album', (yes) => yes(batches.shift()));"
        "DataTransferItem.prototype.webkitGetAsEntry = () => album;"
        "const transfer = new DataTransfer(); transfer.items.add(photo);"
        "const how = {bubbles: true, cancelable: true, dataTransfer: transfer};"
        "document.body.dispatchEvent(new DragEvent('drop', how)); return true; })()"
    )
    await said(page, "2 files could not be read.")
    await said(page, "1 of 1 photo done.")
    assert "album/a.jpg" == await page.evaluate("document.querySelector('.photo .name').textContent")


async def test_dropped_photos_are_taken(browser, page, photos):
    """Dropped where a person sees a frame for it; in Firefox, whose protocol cannot drop files, by an event of ours."""
    if browser.kind == "chromium":
        box = await page.evaluate(
            "(() => { const {x, y, width, height} = document.getElementById('drop').getBoundingClientRect();"
            "return [x + width / 2, y + height / 2]; })()"
        )
        data = {"items": [], "files": [str(photos["eileen.jpg"]), str(photos["käthe.png"])], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            await page.call("Input.dispatchDragEvent", {"type": kind, "x": box[0], "y": box[1], "data": data})
    else:
        files = [[name, base64.b64encode(photos[name].read_bytes()).decode()] for name in ("eileen.jpg", "käthe.png")]
        await page.evaluate(
            f"(() => {{ const transfer = new DataTransfer(); for (const [name, data] of {json.dumps(files)})"
            "transfer.items.add(new File([Uint8Array.from(atob(data), c => c.charCodeAt(0))], name));"
            "const how = {bubbles: true, cancelable: true, dataTransfer: transfer};"
            "document.body.dispatchEvent(new DragEvent('drop', how)); return true; })()"
        )
    await page.wait_for(f"{DONE} === 2")
    await said(page, "käthe.png")


async def test_cancel_stops_the_work_and_trying_again_does_it(page, photos, engine):
    """A photo that nobody waits for must not keep the processor busy; the list still has it."""
    engine.seconds = 30
    await page.set_files(PHOTOS, [photos["eileen.jpg"]])
    await said(page, "Hiding the signatures, 2 faces")
    await page.click(button("Cancel"))
    await said(page, "Cancelled")
    await until(lambda: engine.cancelled)
    assert 1 == engine.cancelled
    engine.seconds = 0
    await page.click(button("Try again"))
    await said(page, "2 faces protected")


async def test_a_photo_that_waits_says_so_at_once(page, photos, engine, monkeypatch):
    """While another is at work nothing changes about it: an answer that waits for a change would say nothing."""
    engine.seconds = 300
    wait = Job.wait
    monkeypatch.setattr(Job, "wait", lambda self, seen, timeout: wait(self, seen, 300))
    await page.set_files(PHOTOS, [photos["eileen.jpg"], photos["käthe.png"]])
    await said(page, "Waiting for its turn")


async def test_progress_and_time_left_are_shown(page, photos, engine):
    """A mask takes its time: a person must see that something moves, and for how long."""
    engine.seconds = 20
    await page.set_files(PHOTOS, [photos["eileen.jpg"]])
    await said(page, " s left")
    assert 0 < await page.evaluate("document.querySelector('progress').value") < 1
    assert 0 < await page.evaluate("document.querySelector('progress').getBoundingClientRect().height")
    await page.click(button("Cancel"))


async def test_many_tabs_share_the_browsers_connections(browser, page, running, photos, engine):
    """A browser opens six to the daemon for all tabs together: six photos that are followed must leave some."""
    engine.seconds = 300
    pages = [page, *[await open_paired(browser, running) for _ in range(3)]]
    under_way = "document.querySelectorAll('.photo:is([data-state=queued], [data-state=running])').length === 2"
    for tab in pages:
        await tab.set_files(PHOTOS, [photos["eileen.jpg"], photos["käthe.png"]])
    for tab in pages:
        await tab.wait_for(under_way, PATIENCE_S)


async def test_a_daemon_that_is_busy_for_a_while_loses_no_photo(page, photos, engine):
    """No answer in time says nothing of the photo at work; only when none comes again and again, it is given up."""
    engine.seconds = 300
    await page.evaluate(
        "(() => { const timeout = AbortSignal.timeout; window.unanswered = 0; AbortSignal.timeout = (ms) =>"
        "window.unanswered > 0 && window.unanswered-- ? timeout.call(AbortSignal, 0) : timeout.call(AbortSignal, ms);"
        "return true; })()"
    )
    await page.set_files(PHOTOS, [photos["eileen.jpg"]])
    await said(page, "Hiding the signatures, 2 faces")
    await page.evaluate("window.unanswered = 2")
    await page.wait_for("window.unanswered === 0")
    shown = "document.querySelector('progress').value"
    before = await page.evaluate(shown)
    await page.wait_for(f"{shown} > {before}")
    await page.evaluate("window.unanswered = 1000")
    await said(page, "PMask's server does not answer")


async def test_failures_say_what_to_do(page, photos, engine):
    """Each photo by itself: one that fails holds no other up, and says why in words."""
    engine.error = OutOfMemory("the GPU's 2 GB are not enough")
    await page.set_files(PHOTOS, [photos["eileen.jpg"]])
    await said(page, "Not enough memory for this photo")
    engine.error = None
    await page.set_files(PHOTOS, [photos["notes.txt"], photos["eileen.jpg"]])
    await said(page, "This file is not a photo that PMask reads")
    await said(page, "1 of 3 photos done, 2 failed.")


async def test_a_full_queue_is_waited_for(page, photos, monkeypatch):
    """A folder is more than the daemon takes at once: what has no room now comes when there is some."""
    admit, refused = JobQueue.admit, []

    def full_once(self, *args):
        if not refused:
            refused.append(args)
            raise QueueFull("too many photos are waiting", retry_after=1)
        return admit(self, *args)

    monkeypatch.setattr(JobQueue, "admit", full_once)
    await page.set_files(PHOTOS, [photos["eileen.jpg"], photos["käthe.png"]])
    await page.wait_for(f"{DONE} === 2")
    assert 1 == len(refused)


async def test_a_photo_above_the_limit_is_not_even_read(page, photos, running):
    """A browser cannot read files of some sizes, and would be blamed for it."""
    await page.evaluate("Object.defineProperty(File.prototype, 'size', { get: () => 2 ** 32 }), true")
    await page.set_files(PHOTOS, [photos["eileen.jpg"]])
    await said(page, "This file is too large")


async def test_a_pasted_photo_is_taken_and_an_address_is_not(page, photos):
    """Where a page's picture is dragged in, some browsers give its address alone."""
    data = base64.b64encode(photos["eileen.jpg"].read_bytes()).decode()
    carried = (
        "(type, name, carry) => { const transfer = new DataTransfer(); carry(transfer); return dispatchEvent("
        "Object.defineProperty(new Event(type), name, { value: transfer })) }"
    )
    bytes_of = f"Uint8Array.from(atob('{data}'), c => c.charCodeAt(0))"
    await page.evaluate(
        f"({carried})('paste', 'clipboardData', to => to.items.add(new File([{bytes_of}], 'image.png')))"
    )
    await said(page, "1 of 1 photo done.")
    await page.evaluate(f"({carried})('drop', 'dataTransfer', to => to.setData('text/uri-list', 'https://a.example/'))")
    await said(page, "No photo came with that. Save the picture first, then drop the file.")


async def test_the_same_buttons_of_many_photos_are_told_apart(page, photos):
    """By whoever hears them one by one; and what is summed up is not read out again where nothing has changed."""
    await page.evaluate(
        "window.told = [], new MutationObserver(() => told.push(document.getElementById('summary').textContent))"
        ".observe(document.getElementById('summary'), { childList: true }), true"
    )
    await page.set_files(PHOTOS, [photos["eileen.jpg"], photos["käthe.png"]])
    await page.wait_for(f"{DONE} === 2")
    described = (
        "[...document.querySelectorAll('.finer')]"
        ".map(one => document.getElementById(one.getAttribute('aria-describedby')).textContent)"
    )
    assert ["eileen.jpg", "käthe.png"] == await page.evaluate(described)
    told = await page.evaluate("told")
    assert told == [words for number, words in enumerate(told) if words not in told[:number]]


async def test_photos_cancelled_while_the_queue_is_full_make_way(page, photos, monkeypatch):
    """What a person still wants must not wait until those would have been tried again."""
    admit, refused = JobQueue.admit, []

    def full_twice(self, *args):
        if len(refused) < 2:
            refused.append(args)
            raise QueueFull("too many photos are waiting", retry_after=3600)
        return admit(self, *args)

    monkeypatch.setattr(JobQueue, "admit", full_twice)
    await page.set_files(PHOTOS, [photos["eileen.jpg"], photos["käthe.png"]])
    await until(lambda: len(refused) == 2)
    await said(page, "Waiting: too many photos are waiting")
    await page.click(button("Cancel all"))
    await said(page, "0 of 2 photos done, 2 cancelled.")
    await page.set_files(PHOTOS, [photos["third.webp"]])
    await said(page, "1 of 3 photos done, 2 cancelled.")


async def test_a_recogniser_that_still_matches_is_named(page, photos, engine):
    """Good news only would be a lie: a face that is found again stands in the list, marked."""
    engine.matched = 1
    await page.set_files(PHOTOS, [photos["eileen.jpg"]])
    await said(page, "1 of 2 faces only partly hidden: a recogniser still matches")
    assert await page.evaluate("document.querySelector('.photo').matches('.warn:not(.good)')")
    marked = "[...document.querySelectorAll('.verdicts li.matches')].map(item => item.textContent)"
    expected = [
        "sface still matches it after Instagram",
        "dlib, which never saw the mask, still matches it after Instagram",
    ]
    assert [f"Face 1: {text} (99°, 40°; a match is under 60°)" for text in expected] == await page.evaluate(marked)


async def test_a_photo_is_done_again_finer_or_stronger(page, photos, engine):
    """Only the picture tells whether the change is too much, so the choice stands beside it; the old copy goes."""
    await page.choose(button("Choose photos"), [photos["eileen.jpg"]])
    await said(page, "2 faces protected (strong)")
    first = await page.evaluate("document.querySelector('.download').href")
    shown = (
        "[...document.querySelectorAll('.photo .buttons')].map(b => b.innerText.split(/\\s+/).filter(Boolean).join())"
    )
    assert ["Download,Finer"] == await page.evaluate(shown)
    for words, preset, buttons in (
        ("Finer", "balanced", "Download,Finer,Stronger"),
        ("Finer", "fine", "Download,Stronger"),
        ("Stronger", "balanced", "Download,Finer,Stronger"),
    ):
        await page.click(button(words))
        await said(page, f"2 faces protected ({preset})")
        assert [buttons] == await page.evaluate(shown)
    given = [(options.delta, options.omega) for options in engine.options]
    assert given == [tuple(PRESETS[name].values()) for name in ("strong", "balanced", "fine", "balanced")]
    assert first != await page.evaluate("document.querySelector('.download').href")
    await page.wait_for("[...document.querySelectorAll('.pictures img')].every(i => i.naturalWidth === 300)")
    assert 4 == await page.evaluate("document.querySelectorAll('.verdicts li').length"), "the old verdicts stayed"


async def test_what_fails_or_is_cancelled_the_second_time_leaves_the_first_result(page, photos, engine):
    """It is good, and somebody may want it; under its own mask's name, with the reason why there is no other."""
    await page.choose(button("Choose photos"), [photos["eileen.jpg"]])
    await said(page, "2 faces protected (strong)")
    engine.error = OutOfMemory("too large")
    await page.click(button("Finer"))
    await said(page, "Doing it again failed, so this is the former result. Not enough memory for this photo.")
    await said(page, "2 faces protected (strong)")
    for part in ("download", "finer", "view", "verdicts"):
        assert await page.evaluate(f"document.querySelector('.{part}').checkVisibility()"), part
    assert await page.evaluate("document.querySelector('.photo').matches('.good:not(.bad)')")
    engine.error, engine.seconds = None, 300
    await page.click(button("Finer"))
    await said(page, "Hiding the signatures")
    assert await page.evaluate("document.querySelector('.download').hidden")
    await page.click(button("Cancel"))
    await said(page, "2 faces protected (strong)")
    assert "" == await page.evaluate("document.querySelector('.cure').textContent")
    engine.seconds = 0
    await page.click(button("Finer"))
    await said(page, "2 faces protected (balanced)")


async def test_the_preset_of_the_next_photos(page, photos, engine):
    """What it changes and hides is said before a photo is chosen."""
    await page.evaluate("document.querySelector('#drop details').open = true")
    await said(page, "Faces may look slightly different")
    await page.evaluate(
        "(() => { const select = document.getElementById('preset'); select.value = 'fine';"
        "select.dispatchEvent(new Event('change')); return true; })()"
    )
    await said(page, "far less protection")
    await page.choose(button("Choose photos"), [photos["eileen.jpg"]])
    await said(page, "2 faces protected (fine)")
    assert [PRESETS["fine"]["omega"]] == [options.omega for options in engine.options]


async def test_what_was_cleared_is_not_drawn(page, photos):
    """A folder chosen by mistake must not keep the processor busy with small pictures that nobody will see."""
    await page.evaluate(
        "(() => { const decode = createImageBitmap; window.decoded = []; let go; const gate = new Promise(r => go = r);"
        "window.go = () => go() ?? true; window.createImageBitmap = async (file, how) => {"
        "decoded.push(file.name); await gate; return decode(file, how); }; return true; })()"
    )
    await page.set_files(PHOTOS, [photos["eileen.jpg"], photos["third.webp"]])
    await page.wait_for("decoded.length === 1")
    await page.click(button("Clear the list"))
    await page.evaluate("go()")
    await page.set_files(PHOTOS, [photos["käthe.png"]])
    await page.wait_for("document.querySelector('canvas').width > 1")
    assert ["eileen.jpg", "käthe.png"] == await page.evaluate("decoded")


async def test_no_face_means_nothing_to_download(page, photos, engine):
    """The original is what to upload then; a copy would only confuse."""
    engine.faces = 0
    await page.set_files(PHOTOS, [photos["eileen.jpg"]])
    await said(page, "No face found: the photo can be uploaded as it is")
    assert await page.evaluate("document.querySelector('.download').hidden")


async def test_a_copy_with_a_bare_face_is_not_praised(page, photos, engine):
    """Somebody was left out of it; whoever drops it here later may not know."""
    for bare, name, words in (
        (0, "eileen.jpg", "PMask protected this photo before: it can be uploaded as it is"),
        (1, "käthe.png", "PMask protected this photo before, but left 1 face bare"),
    ):
        engine.bare = bare
        await page.set_files(PHOTOS, [photos[name]])
        await said(page, words)
    tones = "[...document.querySelectorAll('.photo')].map(({ classList }) => classList.contains('warn'))"
    assert [False, True] == await page.evaluate(tones)


async def test_a_name_is_text_whatever_it_holds(page, photos, tmp_path, engine):
    """File names come from anywhere; none may become a part of the page."""
    evil = tmp_path / "<img src=x onerror=alert(1)>.jpg"
    shutil.copy(photos["eileen.jpg"], evil)
    await page.set_files(PHOTOS, [evil])
    await page.wait_for(f"{DONE} === 1")
    assert evil.name == await page.evaluate("document.querySelector('.photo .name').textContent")
    assert 0 == await page.evaluate("document.querySelectorAll('.photo .name *').length")


async def test_a_person_without_a_mouse_pairs_and_reaches_everything(browser, running):
    """The code has the focus; Tab goes through what can be done, in the order in which it is read."""
    page = await browser.open(f"http://127.0.0.1:{running.port}/")
    await page.wait_for("document.activeElement.id === 'code'")
    await type_text(browser, page, running.clients.new_code() + "\n")
    await page.wait_for("!document.getElementById('work').hidden")
    assert await page.evaluate("document.getElementById('pairing').hidden")
    reached = [await page.evaluate("document.activeElement.id")]
    for _ in range(2):
        await type_text(browser, page, "\t")
        reached.append(await page.evaluate("document.activeElement.id || document.activeElement.localName"))
    assert ["choose-photos", "choose-folder", "summary"] == reached


async def test_the_focus_stays_at_the_photo_whose_button_goes(browser, page, photos, engine):
    """Whoever works with keys and a screen reader would lose their place with each button that hides once pressed."""
    await page.set_files(PHOTOS, [photos["käthe.png"], photos["eileen.jpg"]])
    await page.wait_for(f"{DONE} === 2")
    name = "document.activeElement.closest('.photo')?.querySelector('.name').textContent"
    engine.seconds = 300
    for words, said_then in (("Finer", "Hiding the signatures"), ("Cancel", "2 of 2 photos done"), ("Finer", "Hiding")):
        await page.evaluate(f"{button(words)}.focus()")
        await type_text(browser, page, "\n")
        await said(page, said_then)
        assert "käthe.png" == await page.evaluate(name)
    await type_text(browser, page, "\t")
    assert "Cancel" == await page.evaluate("document.activeElement.textContent")


async def test_a_wrong_code_is_said_and_the_right_one_still_works(browser, running):
    """Typing errors happen."""
    page = await browser.open(f"http://127.0.0.1:{running.port}/#pair=AAAA2222")
    await said(page, "This code is wrong, used, or too old")
    assert "" == await page.evaluate("location.hash")
    await page.evaluate("document.getElementById('code').focus()")
    await type_text(browser, page, running.clients.new_code())
    await page.click(button("Pair"))
    await page.wait_for("!document.getElementById('work').hidden")


async def test_the_address_with_a_code_pasted_into_the_open_page_pairs_it(browser, running):
    """That loads nothing anew, so the page itself must look; and once it is paired, it stays what it is."""
    page = await browser.open(f"http://127.0.0.1:{running.port}/")
    await page.wait_for("!document.getElementById('pairing').hidden")
    await page.evaluate(f"location.hash = 'pair={running.clients.new_code()}'")
    await page.wait_for("!document.getElementById('work').hidden")
    assert "" == await page.evaluate("location.hash")
    paired = running.clients.paired()
    await page.evaluate(f"location.hash = 'pair={running.clients.new_code()}'")
    await page.wait_for("location.hash === ''")
    assert paired == running.clients.paired()
    running.clients.revoke(paired[0].id)
    await page.evaluate(f"location.hash = 'pair={running.clients.new_code()}'")
    await until(running.clients.paired)
    await page.wait_for("document.getElementById('pairing').hidden")
    assert 1 == len(running.clients.paired())


async def test_leaving_results_that_were_not_saved_is_asked_about(browser, page, photos, engine):
    """A reload, Back, or the address of `pmask-server pair` pasted into this tab would lose minutes of work."""
    asked = "!dispatchEvent(new Event('beforeunload', {cancelable: true}))"
    assert not await page.evaluate(asked)
    await page.set_files(PHOTOS, [photos["eileen.jpg"], photos["käthe.png"]])
    await said(page, "2 of 2 photos done.")
    assert await page.evaluate(asked)
    await download(browser, page, button("Download"), "eileen.protected.jpg")
    assert await page.evaluate(asked), "the other one is not saved"
    await download(browser, page, button("Download all"), "pmask.zip")
    assert not await page.evaluate(asked)
    engine.error = OutOfMemory("too large")
    await page.click(button("Finer"))
    await said(page, "Doing it again failed")
    assert not await page.evaluate(asked), "what there is was saved"
    engine.error, engine.faces = None, 0
    await page.set_files(PHOTOS, [photos["third.webp"]])
    await said(page, "3 of 3 photos done.")
    assert not await page.evaluate(asked), "an original is no result"


async def test_a_tab_that_is_closed_leaves_no_work_behind(browser, running, page, photos, engine):
    """Nobody waits for it, and the photos of the next tab would wait behind it. A browser may end the tab's process
    before any farewell is sent, as Firefox does every other time."""
    engine.seconds = 300
    await page.set_files(PHOTOS, [photos["eileen.jpg"], photos["käthe.png"]])
    await until(lambda: running.jobs() == 2)
    running.lose_patience(3)
    await asyncio.sleep(4)
    assert running.jobs() == 2, "the page is there, and asks"
    await page.close()
    await until(lambda: engine.cancelled and running.jobs() == 0)
    engine.seconds = 0
    other = await open_paired(browser, running)
    await other.set_files(PHOTOS, [photos["third.webp"]])
    await said(other, "2 faces protected")
    assert engine.cancelled == engine.started - 1


async def test_the_pairing_is_this_tabs(browser, page, running):
    """It outlives a reload, and no other tab has it: a program that takes the port later finds nothing lying about."""
    await page.goto(f"http://127.0.0.1:{running.port}/")
    await page.wait_for("!document.getElementById('work').hidden")
    assert [0, None] == await page.evaluate("[localStorage.length, document.cookie || null]")
    other = await browser.open(f"http://127.0.0.1:{running.port}/")
    await other.wait_for("!document.getElementById('pairing').hidden")
    assert await other.evaluate("document.getElementById('work').hidden")


async def test_a_tab_unpairs_itself(page, running):
    """On a computer that others use too: the token is worth nothing from then on, here and at the daemon."""
    await page.click(button("Unpair"))
    await page.wait_for("!document.getElementById('pairing').hidden")
    assert [] == running.clients.paired()
    assert 0 == await page.evaluate("sessionStorage.length")


async def test_a_revoked_tab_asks_for_a_code_and_keeps_its_photos(page, running, photos):
    """`pmask-server clients revoke` while the page is open: the photo stays, and a new code brings it on its way."""
    [client] = running.clients.paired()
    assert client.name.startswith("Page in ")
    assert running.clients.revoke(client.id)
    await page.set_files(PHOTOS, [photos["eileen.jpg"]])
    await said(page, "This tab is not paired")
    await page.evaluate(f"document.getElementById('code').value = '{running.clients.new_code()}'")
    await page.click(button("Pair"))
    await page.wait_for("document.getElementById('pairing').hidden")
    await said(page, "2 faces protected")


async def test_a_squatter_gets_no_photo(page, running, photos, engine):
    """The daemon ended, and another program has its port: it cannot prove that it knows the token, and gets neither."""
    running.clients.proof = lambda *_: "0" * 64
    await page.set_files(PHOTOS, [photos["eileen.jpg"]])
    await said(page, "The server could not prove who it is")
    assert 0 == engine.started


SQUATTER = {
    "/": (
        "text/html",
        "<script src='/page/page.js'></script><script>"
        "navigator.serviceWorker.register('/deep/worker.js', { scope: '/' })"
        ".then(() => navigator.serviceWorker.ready).then(() => document.title = 'ready');</script>",
    ),
    "/page/page.js": ("text/javascript", ""),
    "/deep/worker.js": (
        "text/javascript",
        "addEventListener('fetch', (event) => { if (event.request.mode === 'navigate') event.respondWith("
        "new Response('<title>squatter</title>', { headers: { 'Content-Type': 'text/html' } })); });",
    ),
}


async def squat(request):
    media_type, text = SQUATTER[request.path]
    headers = {"Service-Worker-Allowed": "/", "Cache-Control": "max-age=31536000, immutable"}
    return web.Response(text=text, content_type=media_type, headers=headers)


async def has_title(page, title: str) -> None:
    """Waits until the tab shows this page, however often it is loaded anew."""
    for _ in range(PATIENCE_S * 20):
        with contextlib.suppress(browsers.BrowserError):  # asked in the midst of a load
            if title == await page.evaluate("document.title"):
                return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the title was never {title!r}")


async def test_a_squatters_service_worker_goes(browser, running):
    """A program that had the port leaves one that answers for the page from then on, and its files in the cache: nobody
    would see the daemon's."""
    await running.stop()
    app = web.Application()
    for path in SQUATTER:
        app.router.add_get(path, squat)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", running.port).start()
    page = await browser.open(f"http://127.0.0.1:{running.port}/")
    await has_title(page, "ready")
    await runner.cleanup()
    page = await browser.open(f"http://127.0.0.1:{running.port}/#nobody-there")
    await has_title(page, "squatter")
    await running.start()
    page = await browser.open(f"http://127.0.0.1:{running.port}/#pair=AAAA2222")
    await has_title(page, "PMask on this computer")
    await open_paired(browser, running)


async def test_a_daemon_that_ends_loses_no_photo(page, running, photos, engine):
    """An update or a crash in the midst of a folder: nobody is asked for a click per photo, and what is done stays."""
    await page.set_files(PHOTOS, [photos["eileen.jpg"]])
    await said(page, "2 faces protected")
    engine.seconds = 300
    await page.set_files(PHOTOS, [photos[name] for name in ("käthe.png", "third.webp", "eileen.jpg", "phone.heic")])
    await said(page, "Hiding the signatures")
    await running.stop()
    await said(page, "PMask's server is not running. Start it with “pmask-server run”. The photos wait")
    await page.wait_for("document.querySelectorAll('.photo[data-state=waiting]').length === 4")
    engine.seconds = 0
    await running.start()
    await said(page, "5 of 5 photos done.")
    assert await page.evaluate("document.getElementById('hold').hidden")


async def test_a_photo_of_which_the_daemon_dies_is_given_up(page, photos, monkeypatch):
    """Its job is gone whenever it was at work: to send it for ever would keep all others back."""
    lost = set()

    def lose(self, client_id, job_id):
        lost.add(job_id)
        raise NotFound("no such job")

    monkeypatch.setattr(JobQueue, "get", lose)
    await page.set_files(PHOTOS, [photos["eileen.jpg"]])
    await said(page, "1 failed")
    await said(page, "PMask's server lost the photo")
    assert 3 == len(lost)


async def test_what_failed_is_tried_again_together(page, photos, engine):
    """A folder that failed for one reason would ask for a click a photo."""
    engine.error = OutOfMemory("too large")
    await page.set_files(PHOTOS, [photos["eileen.jpg"], photos["käthe.png"], photos["third.webp"]])
    await said(page, "0 of 3 photos done, 3 failed.")
    engine.error = None
    await page.click(button("Try all again"))
    await said(page, "3 of 3 photos done.")


async def test_the_browser_refuses_what_the_policy_forbids(page):
    """The policy is in force, not only sent: nothing inline, and no other host."""
    refused = await page.evaluate(
        "new Promise(done => { const seen = []; document.addEventListener('securitypolicyviolation', e => {"
        "seen.push(e.effectiveDirective); if (seen.length === 3) done(seen.sort()); });"
        "const style = document.createElement('style'); style.append('body { display: none }');"
        "document.body.append(style);"
        "const image = new Image(); image.src = 'http://127.0.0.2:9/x.png';"
        "fetch('http://127.0.0.2:9/').catch(() => {});"
        "setTimeout(() => done(seen.sort()), 3000); })"
    )
    assert ["connect-src", "img-src", "style-src-elem"] == refused
