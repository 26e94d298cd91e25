"""What a browser, a computer and a person do in the middle of a photo: never an original by accident, never a lost
upload without a word, never work for nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import browser as browsers
import pytest
import pytest_asyncio
from stage import EXTENSION, PATIENCE_S, Card, FirefoxCard, mark, reload_extension, targets, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

INPUT = "document.getElementById('photo')"
SLOW = pytest.mark.skipif("PMASK_SLOW" not in os.environ, reason="takes more than a minute; set PMASK_SLOW=1")


@pytest_asyncio.fixture(loop_scope="module")
async def guarded(fresh):
    return fresh.browser


@pytest.fixture
def daemon(stage):
    return stage.daemon


@pytest.fixture
def demo(stage):
    return stage.demo


async def begin(browser, daemon, demo, photos, seconds=30):
    """A page on which a photo is being masked."""
    daemon.engine.seconds = seconds
    page = await browser.open(demo.url("react"))
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    return page


@contextlib.asynccontextmanager
async def answering(page, accept):
    """Answers the browser's question whether to leave the page; yields what it asked."""
    asked = []
    async with page._line.event("Page.javascriptDialogOpening", page.session) as opening:

        async def answer():
            asked.append((await opening)["type"])
            await page.call("Page.handleJavaScriptDialog", {"accept": accept})

        task = asyncio.create_task(answer())
        yield asked
        await asyncio.wait_for(task, 15)


async def workers(browser):
    return await targets(browser, "service_worker")


@pytest.mark.parametrize("seconds", [6, pytest.param(75, marks=SLOW)])
async def test_a_slow_photo_survives_the_service_worker(guarded, daemon, demo, photos, seconds):
    """Chromium stops a worker whenever it likes; the photo is then neither lost nor done twice."""
    page = await guarded.open(demo.url("react"))
    daemon.engine.seconds = seconds
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    for _ in range(2):
        for worker in await workers(guarded):
            await guarded.line.call("Target.closeTarget", {"targetId": worker})
        await asyncio.sleep(1.5)
    [file] = await demo.wait_for(1, timeout=seconds + 15)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)
    assert daemon.engine.started == 1


async def test_a_daemon_that_restarts_gets_the_photo_again(guarded, daemon, demo, photos):
    """Its jobs live in memory only; the photo is still in the page, and nobody need pick it anew."""
    page = await guarded.open(demo.url("react"))
    daemon.engine.seconds = 30
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    daemon.engine.seconds = 0
    await daemon.stop()
    await asyncio.sleep(2)
    await demo.stays_empty(0)
    await daemon.start()
    [file] = await demo.wait_for(1)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)
    assert daemon.engine.started == 2


async def test_a_daemon_that_stays_away_is_said(guarded, daemon, demo, photos):
    """Patience has an end: the photo stays, and the card says what to do."""
    page = await begin(guarded, daemon, demo, photos)
    await daemon.stop()
    await Card(page).wait_for("not running", timeout=60)
    await demo.stays_empty(0)


async def test_a_closed_tab_leaves_no_work(guarded, daemon, demo, photos):
    """Nobody waits for its photos any more, neither for the one at work nor for those in the queue."""
    page = await begin(guarded, daemon, demo, photos)
    other = await guarded.open(demo.url("react"))
    await other.choose(INPUT, [photos["käthe.png"], photos["third.webp"]])
    await until(lambda: daemon.jobs() == 3)
    await other.close()
    await until(lambda: daemon.jobs() == 1)
    await page.close()
    await until(lambda: daemon.engine.cancelled == 1)
    await asyncio.sleep(1)
    assert daemon.engine.started == 1, "the queue held photos of a page that had gone"
    await demo.stays_empty(0)


@pytest.mark.parametrize("how", ["navigated", "reloaded"])
async def test_leaving_the_page_is_asked_about_and_ends_the_work(guarded, daemon, demo, photos, how):
    """The browser itself asks; whoever leaves nevertheless leaves neither work nor an upload behind."""
    page = await begin(guarded, daemon, demo, photos)
    async with answering(page, accept=True) as asked:
        go = page.goto(demo.url("drop")) if how == "navigated" else page.call("Page.reload")
        await go
    assert ["beforeunload"] == asked
    await until(lambda: daemon.engine.cancelled == 1)
    await demo.stays_empty(0.5)


async def test_staying_on_the_page_loses_nothing(guarded, daemon, demo, photos):
    """Asked, the person stays: the photo goes on. And without a photo nobody is asked."""
    page = await begin(guarded, daemon, demo, photos)
    async with answering(page, accept=False) as asked:
        await page.evaluate(f"void (location.href = {demo.url('drop')!r})")
    assert ["beforeunload"] == asked
    daemon.engine.hurry = 1
    [file] = await demo.wait_for(1)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)
    await page.goto(demo.url("drop"))


async def test_coming_back_to_a_page_says_what_became_of_its_photo(guarded, daemon, demo, photos):
    """The browser may keep a page that is left, and show it again as it was: its photo has been given up meanwhile."""
    page = await begin(guarded, daemon, demo, photos)
    async with answering(page, accept=True):
        await page.goto(demo.url("drop"))
    await until(lambda: daemon.engine.cancelled == 1)
    async with page._line.event("Page.frameNavigated", page.session) as came:
        await page.evaluate("history.back()")
        await asyncio.wait_for(came, 15)
    await page.wait_for(f"{INPUT} !== null")
    await Card(page).wait_for("You left this page before your photo was handed over to it")
    daemon.engine.seconds = 0
    await page.choose(INPUT, [photos["eileen.jpg"]])
    [file] = await demo.wait_for(1)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)


async def opened(browser, demo):
    """The demo's page, and a list with the number of the extension's own world in it."""
    page, worlds = await browser.open("about:blank"), []

    def note(message):
        if message.get("method") == "Runtime.executionContextCreated" and message.get("sessionId") == page.session:
            context = message["params"]["context"]
            worlds.extend([context["id"]] if context["name"].startswith("PMask") else [])

    page._line.listen(note)
    await page.goto(demo.url("react"))
    return page, worlds


async def test_a_closed_root_is_watched_once(guarded, demo):
    """It is shown anew by each letter typed there, and each listener more would run at every letter after it."""
    page, worlds = await opened(guarded, demo)
    await page.evaluate(
        "(() => { const made = document.createElement('template'); made.setHTMLUnsafe("
        "'<div id=host><template shadowrootmode=closed shadowrootclonable>"
        "<textarea style=width:100%></textarea></template></div>');"
        "document.body.prepend(made.content.cloneNode(true)) })()"
    )
    await page.click("document.getElementById('host')")
    for letter in "abc":
        await page.call("Input.insertText", {"text": letter})
    nodes = [(await page.call("DOM.getDocument", {"depth": -1, "pierce": True}))["root"]]
    while "host" not in (node := nodes.pop()).get("attributes", []):
        nodes += node.get("children", [])
    root = {"backendNodeId": node["shadowRoots"][0]["backendNodeId"], "executionContextId": worlds[0]}
    seen = (await page.call("DOM.resolveNode", root))["object"]["objectId"]
    found = await page.call("DOMDebugger.getEventListeners", {"objectId": seen})
    assert [listener["type"] for listener in found["listeners"]].count("input") == 2


@pytest.mark.parametrize("hours", [2, -2])
async def test_a_clock_that_jumps(guarded, daemon, demo, photos, hours):
    """After a laptop's sleep, or when the clock is set, hours seem to have passed since the daemon's last word."""
    page, worlds = await opened(guarded, demo)
    daemon.engine.seconds = 5
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("Hiding the signatures")
    [own] = worlds
    jump = f"const now = Date.now.bind(Date); Date.now = () => now() + {hours * 3_600_000}"
    await page.call("Runtime.evaluate", {"expression": jump, "contextId": own})
    [file] = await demo.wait_for(1)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)


@SLOW
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
async def test_a_browser_that_sleeps(guarded, daemon, demo, photos):
    """As when a laptop is closed: every process stands still for longer than any question may wait for its answer."""
    page = await begin(guarded, daemon, demo, photos, seconds=40)
    children = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
            children.setdefault(int(parent), []).append(int(folder.name))
    mine = [guarded._process.pid]
    for process in mine:
        mine += children.get(process, [])
    for kind in (signal.SIGSTOP, signal.SIGCONT):
        for process in mine:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, kind)
        await asyncio.sleep(25 if kind == signal.SIGSTOP else 0)
    assert len(mine) > 3
    [file] = await demo.wait_for(1, timeout=60)
    assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)
    await Card(page).wait_for("2 faces protected")


async def test_two_tabs_at_once(guarded, daemon, demo, photos):
    """Each page gets its own photo, and cancelling in one leaves the other alone."""
    daemon.engine.seconds = 60
    pages = [await guarded.open(demo.url("react")) for _ in range(3)]
    for page, name in zip(pages, ["eileen.jpg", "käthe.png", "third.webp"], strict=True):
        await page.choose(INPUT, [photos[name]])
    await Card(pages[1]).press("Cancel")
    await until(lambda: daemon.jobs() == 2)
    daemon.engine.hurry = 2
    files = await demo.wait_for(2)
    assert ["eileen.jpg", "third.webp"] == [file.name for file in files]
    assert [mark(photos[file.name].read_bytes()) for file in files] == [demo.bytes_of(file) for file in files]


@pytest.mark.parametrize("seconds", [0.2, pytest.param(4, marks=SLOW)])
async def test_twenty_photos_at_once(guarded, daemon, demo, photos, tmp_path, seconds):
    """A browser has six connections to a host: photos that wait for their turn must not starve the one at work."""
    daemon.engine.seconds = seconds
    names = [f"{i:02}.jpg" for i in range(20)]
    for name in names:
        (tmp_path / name).write_bytes(photos["eileen.jpg"].read_bytes())
    page = await guarded.open(demo.url("react"))
    await page.choose(INPUT, [tmp_path / name for name in names])
    await Card(page).wait_for("of 20 done")
    files = await demo.wait_for(20, timeout=20 * seconds + 60)
    assert names == [file.name for file in files]
    assert {mark(photos["eileen.jpg"].read_bytes())} == {demo.bytes_of(file) for file in files}
    assert daemon.engine.started == 20


@pytest.mark.skipif(browsers.find_browser("firefox") is None, reason="no Firefox on this machine")
@pytest.mark.parametrize("seconds", [6, pytest.param(75, marks=SLOW)])
async def test_firefox_stops_its_background_in_between(guarded, daemon, demo, photos, seconds):
    """Firefox suspends an idle background after 30 s, here after one; the photo is neither lost nor done twice."""
    prefs = {"extensions.background.idle.timeout": 1000}
    launched = browsers.launch("firefox", extension=EXTENSION, public_ports=[demo.port], prefs=prefs)
    async with await launched as browser:
        await daemon.pair(browser)
        daemon.engine.seconds = seconds
        page = await browser.open(demo.url("react"))
        await page.choose(INPUT, [photos["eileen.jpg"]])
        await FirefoxCard(page).wait_for("Hiding the signatures")
        [file] = await demo.wait_for(1, timeout=seconds + 30)
        assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)
        await FirefoxCard(page).wait_for("2 faces protected")
    assert daemon.engine.started == 1


@pytest.mark.skipif(browsers.find_browser("firefox") is None, reason="no Firefox on this machine")
async def test_firefox_a_closed_tab_leaves_no_work(guarded, daemon, demo, photos):
    """As in Chromium."""
    async with await browsers.launch("firefox", extension=EXTENSION, public_ports=[demo.port]) as browser:
        await daemon.pair(browser)
        daemon.engine.seconds = 30
        page = await browser.open(demo.url("react"))
        await page.choose(INPUT, [photos["eileen.jpg"]])
        await FirefoxCard(page).wait_for("Hiding the signatures")
        await page.close()
        await until(lambda: daemon.engine.cancelled == 1)
    await demo.stays_empty(0)


async def test_a_reloaded_extension_fails_closed(fresh, daemon, demo, photos):
    """After an update the open page's scripts are orphans: the photo stays, and the card says what to do."""
    async with await browsers.launch("chromium", extension=EXTENSION, public_ports=[demo.port]) as browser:
        await daemon.pair(browser)
        page = await browser.open(demo.url("react"))
        options = await browser.open(browser.extension_url("options/options.html"))
        await options.evaluate(
            "chrome.runtime.sendMessage({ name: 'set', values: { review: 'always' } }).then(() => true)"
        )
        other = await browser.open(demo.url("react"))
        await other.choose(INPUT, [photos["eileen.jpg"], photos["käthe.png"]])
        await Card(other).wait_for("Upload all that are ready")
        await reload_extension(browser, options)
        await page.choose(INPUT, [photos["eileen.jpg"]])
        await Card(page).wait_for("PMask was updated")
        await demo.stays_empty()
        # What was ready before can still go, and nothing has lost its words.
        await Card(other).press("Change less")
        said = await Card(other).wait_for("PMask was updated")
        assert "undefined" not in said, "what the browser says is for programmers"
        await Card(other).press("Leave out")
        await Card(other).press("Accept it")
        await demo.wait_for(1)
        await Card(other).wait_for("2 faces protected")
        buttons = "function () { return [...this.querySelectorAll('.actions button')].map((one) => one.textContent) }"
        assert ["Compare", "Save protected copy"] == (await Card(other).ask(buttons))[-3:-1]


async def test_the_card_stands_above_a_modal_dialog(guarded, daemon, demo, photos):
    """Beside an open <dialog> all is inert; a card whose buttons cannot be pressed would lock the photo in."""
    page = await guarded.open(demo.url("react"))
    await daemon.stop()
    await page.evaluate("(() => { const d = document.createElement('dialog'); document.body.append(d);"
                        "d.append(document.getElementById('root')); d.showModal() })()")  # fmt: skip
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("not running")
    await Card(page).press("Upload the original")
    await demo.wait_for(1)


async def test_the_card_goes_by_itself(guarded, demo, photos):
    """When all went well nothing is left to do."""
    page = await guarded.open(demo.url("react"))
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("2 faces protected")
    await page.press(5, 5)
    await Card(page).wait_gone()


@pytest.fixture
def broken(tmp_path):
    """A copy of the extension, to be broken."""
    return shutil.copytree(EXTENSION, tmp_path / "extension")


@contextlib.asynccontextmanager
async def chosen_with(extension, daemon, demo, photo):
    """The demo's page in a browser with this extension, where a photo was chosen."""
    async with await browsers.launch("chromium", extension=extension) as browser:
        await daemon.pair(browser)
        page = await browser.open(demo.url("react"))
        await page.choose(INPUT, [photo])
        yield page


async def test_a_guard_that_does_not_start_fails_closed(guarded, daemon, demo, photos, broken):
    """In a browser that lacks something the guard needs, photos stay back, with words; they do not slip by."""
    (broken / "page/core.js").write_text("throw new Error('as in a browser that is too old')")
    async with chosen_with(broken, daemon, demo, photos["eileen.jpg"]) as page:
        await Card(page).wait_for("could not take its place")
        await demo.stays_empty()


def break_state(broken, first):
    """The page's patience with the background ends after 0.3 s, and the background begins its answer with this."""
    for name, old, new in (
        ("page/bridge.js", "setTimeout(resolve, PATIENCE_MS)", "setTimeout(resolve, 300)"),
        ("background/messages.js", "if (came) await", f"{first};\n      if (came) await"),
    ):
        text = (broken / name).read_text()
        assert old in text
        (broken / name).write_text(text.replace(old, new))


async def test_a_background_that_was_slow_once_is_asked_again(guarded, daemon, demo, photos, broken):
    """As in a browser that starts with many tabs: what the person, or the organisation, wants holds all the same."""
    break_state(broken, "if (came && !globalThis.lost) await new Promise(() => (globalThis.lost = true))")
    async with await browsers.launch("chromium", extension=broken) as browser:
        await daemon.pair(browser)
        options = await browser.open(browser.extension_url("options/options.html"))
        await options.evaluate(
            "chrome.runtime.sendMessage({name: 'set', values: {review: 'always', originals: 'never'}}).then(() => true)"
        )
        page = await browser.open(demo.url("react"))
        await page.choose(INPUT, [photos["eileen.jpg"]])
        said = await Card(page).wait_for("Change less")  # which strengths there are only the background knows
        await demo.stays_empty(0.5)
        assert "Upload the original" not in said
        daemon.engine.seconds = 30
        await page.choose(INPUT, [photos["third.webp"]])
        assert "Upload the original" not in await Card(page).wait_for("Hiding the signatures")


async def test_a_background_that_is_always_slow_is_believed(guarded, daemon, demo, photos, broken):
    """Each answer comes when the next question is out; without one, each photo would wait for a look."""
    break_state(broken, "await new Promise((done) => setTimeout(done, 450))")
    async with chosen_with(broken, daemon, demo, photos["eileen.jpg"]):
        [file] = await demo.wait_for(1)
        assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)


async def test_a_switch_is_asked_for_again(guarded, daemon, demo, photos, broken):
    """The answer was lost after PMask was switched on: originals would pass for as long as the page is open."""
    break_state(broken, "if (!came && !globalThis.lost) await new Promise(() => (globalThis.lost = true))")
    async with await browsers.launch("chromium", extension=broken) as browser:
        await daemon.pair(browser)
        options = await browser.open(browser.extension_url("options/options.html"))
        await options.evaluate("chrome.runtime.sendMessage({name: 'set', values: {enabled: false}}).then(() => true)")
        page = await browser.open(demo.url("react"))
        await page.evaluate("window.told = []; addEventListener('paste', (event) => told.push(event.isTrusted))")
        await page.copy_image(photos["käthe.png"])

        async def pasted(trusted):
            end = time.monotonic() + PATIENCE_S
            while time.monotonic() < end:
                await page.evaluate("told.length = 0")
                await page.paste()
                await page.wait_for("told.length > 0")
                if await page.evaluate("told[0]") is trusted:
                    return True
            return False

        assert await pasted(trusted=True)
        await options.evaluate("chrome.runtime.sendMessage({name: 'set', values: {enabled: true}}).then(() => true)")
        assert await pasted(trusted=False), "a photo passed as the browser's own event, not as PMask's"


async def test_a_desk_that_does_not_come_fails_closed(guarded, daemon, demo, photos, broken):
    """What works on a photo is fetched when one is chosen. Where that fails the photo stays back, with words."""
    (broken / "page/desk.js").unlink()
    async with chosen_with(broken, daemon, demo, photos["eileen.jpg"]) as page:
        await Card(page).wait_for("The extension does not answer")
        await demo.stays_empty()
        # Nothing was left hanging: the input takes a file that is no photo.
        await page.choose(INPUT, [photos["notes.txt"]])
        await demo.wait_for(1)
