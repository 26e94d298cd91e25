"""What a browser does to an extension in the middle of a photo."""

from __future__ import annotations

import asyncio
import os
import shutil

import browser as browsers
import pytest
from stage import EXTENSION, Card, mark

INPUT = "document.getElementById('photo')"


async def workers(browser):
    targets = (await browser.line.call("Target.getTargets"))["targetInfos"]
    return [target["targetId"] for target in targets if target["type"] == "service_worker"]


@pytest.mark.parametrize(
    "seconds",
    [
        6,
        pytest.param(75, marks=pytest.mark.skipif("PMASK_SLOW" not in os.environ, reason="75 s; set PMASK_SLOW=1")),
    ],
)
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


async def test_a_reloaded_extension_fails_closed(guarded, demo, photos):
    """After an update the open page's scripts are orphans: the photo stays, and the card says what to do."""
    page = await guarded.open(demo.url("react"))
    options = await guarded.open(guarded.extension_url("options/options.html"))
    await options.evaluate("setTimeout(() => chrome.runtime.reload(), 50)")
    await asyncio.sleep(1.5)
    await page.choose(INPUT, [photos["eileen.jpg"]])
    await Card(page).wait_for("PMask was updated")
    await demo.stays_empty()


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


async def test_a_guard_that_does_not_start_fails_closed(daemon, demo, photos, tmp_path):
    """In a browser that lacks something the guard needs, photos stay back, with words; they do not slip by."""
    broken = tmp_path / "extension"
    shutil.copytree(EXTENSION, broken)
    (broken / "page/core.js").write_text("throw new Error('as in a browser that is too old')")
    async with await browsers.launch("chromium", extension=broken) as browser:
        await daemon.pair(browser)
        page = await browser.open(demo.url("react"))
        await page.choose(INPUT, [photos["eileen.jpg"]])
        await Card(page).wait_for("could not take its place")
        await demo.stays_empty()
