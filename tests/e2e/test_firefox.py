"""What only Firefox does in its own way; every route in it is in test_routes.py."""

from __future__ import annotations

import browser as browsers
import pytest
from stage import EXTENSION, FirefoxCard, mark, until

pytestmark = pytest.mark.skipif(
    browsers.find_browser("firefox") is None, reason="no Firefox on this machine (apt-get install firefox-esr)"
)


async def test_the_original_stays_while_the_daemon_is_off(daemon, demo, photos):
    """Fails closed, as in Chromium."""
    async with await browsers.launch("firefox", extension=EXTENSION, public_ports=[demo.port]) as browser:
        await daemon.pair(browser)
        await daemon.stop()
        page = await browser.open(demo.url("react"))
        await page.choose("document.getElementById('photo')", [photos["eileen.jpg"]])
        await demo.stays_empty(2)
        assert await page.evaluate("document.getElementById('photo').files.length") == 0


async def test_the_card_in_firefox(daemon, demo, photos, tmp_path):
    """Saved, the original once, and looked at first: each stands on parts that Firefox has its own ways with."""
    prefs = {"browser.download.folderList": 2, "browser.download.dir": str(tmp_path / "saved")}
    launched = browsers.launch("firefox", extension=EXTENSION, public_ports=[demo.port], prefs=prefs)
    original = photos["käthe.png"].read_bytes()
    async with await launched as browser:
        await daemon.pair(browser)
        page = await browser.open(demo.url("react"))
        await page.choose("document.getElementById('photo')", [photos["käthe.png"]])
        card = FirefoxCard(page)
        await card.wait_for("Upload the original this once")  # the last button that comes
        await card.press("Save protected copy")
        saved = tmp_path / "saved" / "käthe.protected.png"
        await until(lambda: saved.exists() and saved.stat().st_size == len(mark(original)))
        assert mark(original) == saved.read_bytes()
        await card.press("Upload the original this once")
        await card.wait_for("Choose the photo again")
        await page.set_files("document.getElementById('photo')", [photos["käthe.png"]])
        files = await demo.wait_for(2)
        assert [mark(original), original] == [demo.bytes_of(file) for file in files]

        options = await browser.open(browser.extension_url("options/options.html"))
        await options.evaluate(
            "browser.runtime.sendMessage({ name: 'set', values: { review: 'always' } }).then(() => true)"
        )
        page = await browser.open(demo.url("react"))
        await page.choose("document.getElementById('photo')", [photos["eileen.jpg"]])
        card = FirefoxCard(page)
        await card.wait_for("Hold to see the original")
        await card.press("Change less")
        await card.wait_for("Hide better")
        await card.press("Close the comparison")
        await card.press("Make small")
        await card.press("Make large")
        await card.press("Upload it")
        *_, file = await demo.wait_for(3)
        assert mark(photos["eileen.jpg"].read_bytes()) == demo.bytes_of(file)
