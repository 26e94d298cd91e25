"""Once with nothing faked: the daemon as a person starts it, the real masks, a real browser, the bytes at the site."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import os
import subprocess
import sys

import browser as browsers
import numpy as np
import pytest
from PIL import Image
from skimage import data
from stage import EXTENSION, ROOT, Card, Daemon, FakeEngine

START_S = 60
MASK_S = 300
FACE = (slice(20, 240), slice(130, 310))  # rows and columns of skimage's astronaut, with hair and margin
NOISE = 12  # grey levels that JPEG's own rounding may move a pixel outside the face

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pmask.protect") is None, reason="this checkout has no engine (pmask/protect.py)"
)


@contextlib.asynccontextmanager
async def running_daemon(home):
    """`pmask-server run` in a process of its own; yields its port."""
    port = Daemon(home, FakeEngine()).port
    environment = {**os.environ, "PMASK_HOME": str(home)}
    arguments = [sys.executable, "-m", "localserver", "run", "--port", str(port), "--device", "cpu"]
    process = subprocess.Popen(arguments, cwd=ROOT, env=environment)
    try:
        for _ in range(START_S * 10):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                break
            assert process.poll() is None, "the daemon did not start"
            await asyncio.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(20)


async def test_the_whole_way(demo, tmp_path_factory):
    """Picked, taken, masked, given back, uploaded: same format and size, changed where the face is and only there."""
    folder = tmp_path_factory.mktemp("real")
    photo = folder / "astronaut.png"
    original = data.astronaut()
    Image.fromarray(original).save(photo)
    async with running_daemon(folder / "home") as port:
        daemon = Daemon(folder / "home", FakeEngine())
        daemon.port = port
        launched = browsers.launch("chromium", extension=EXTENSION, public_ports=[demo.port])
        async with await launched as browser:
            await daemon.pair(browser)
            options = await browser.open(browser.extension_url("options/options.html"))
            await options.evaluate("chrome.runtime.sendMessage({name: 'setDelta', delta: 0.2})")  # the fastest mask
            page = await browser.open(demo.url("react"))
            await page.choose("document.getElementById('photo')", [photo])
            [file] = await demo.wait_for(1, timeout=MASK_S)
            said = await Card(page).wait_for("face")
    received = Image.open(io.BytesIO(demo.bytes_of(file)))
    assert (received.format, received.size, file.name, file.type) == ("PNG", (512, 512), "astronaut.png", "image/png")
    change = np.abs(np.asarray(received.convert("RGB"), dtype=int) - original).max(axis=2)
    assert change[FACE].max() > NOISE, "the face is as it was"
    change[FACE] = 0
    assert change.max() == 0, "a PNG's pixels beside the face must stay as they are"
    assert "1 face protected" in said or "1 of 1 faces only partly" in said
