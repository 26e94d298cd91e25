"""The packed extension, as a store would hand it out, in Firefox."""

from __future__ import annotations

import browser as browsers
import pytest
from browser_firefox import FIREFOX_UUID
from pack_extension import pack
from stage import EXTENSION

pytestmark = pytest.mark.skipif(
    browsers.find_browser("firefox") is None, reason="no Firefox on this machine (apt-get install firefox-esr)"
)


async def test_firefox_takes_the_archive(tmp_path):
    """An archive whose entries Firefox does not like is found by users."""
    target = tmp_path / "pmask.xpi"
    pack(EXTENSION, target)
    prefs = {"extensions.webextensions.uuids": f'{{"pmask@pmask.invalid": "{FIREFOX_UUID}"}}'}
    async with await browsers.launch("firefox", prefs=prefs) as browser:
        data = {"type": "archivePath", "path": str(target)}
        installed = await browser.line.call("webExtension.install", {"extensionData": data})
        assert "pmask@pmask.invalid" == installed["extension"]
        # The page that opens once it is installed: background, pages and words are all there.
        welcome = await browser.open(browser.extension_url("welcome/welcome.html"))
        await welcome.wait_for("document.querySelector('h1').textContent === 'Welcome to PMask'")
