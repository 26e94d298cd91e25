"""Once with nothing faked: the daemon as a person starts it, the real masks, a real browser, the bytes at the site."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import subprocess
import sys

import browser as browsers
import numpy as np
import torch
from PIL import Image
from skimage import data
from stage import EXTENSION, ROOT, Card, Daemon, FakeEngine

from pmask.mask import angle, goal
from pmask.options import MaskOptions
from pmask.population import decoys
from pmask.protect import Protector
from pmask.views import View

START_S = 60
MASK_S = 300
FACE = (slice(20, 240), slice(130, 310))  # rows and columns of skimage's astronaut, with hair and margin
NOISE = 12  # grey levels that JPEG's own rounding may move a pixel outside the face


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


def angles_of(original, received):
    """For each of the default team, from nothing but the two pictures: nearest stranger, goal and angle, in radians."""
    protector, options = Protector(device="cpu"), MaskOptions()
    view = View(original, protector.detect(original)[0], torch.device("cpu"))
    others, goals, angles = {}, {}, {}
    for name in options.team:
        before, after = (protector.recogniser(name)(view.frame(rgb)) for rgb in (original, received))
        others[name] = float(angle(before, torch.from_numpy(decoys(name))).min())
        goals[name] = goal(others[name], options.delta)
        angles[name] = float(angle(before, after))
    return others, goals, angles


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
            page = await browser.open(demo.url("react"))
            await page.choose("document.getElementById('photo')", [photo])
            [file] = await demo.wait_for(1, timeout=MASK_S)
            said = await Card(page).wait_for("face")
            ended = "chrome.storage.session.get('results').then(({ results }) => results?.[0]?.summary)"
            last = await options.wait_for(ended)
    received = Image.open(io.BytesIO(demo.bytes_of(file)))
    assert (received.format, received.size, file.name, file.type) == ("PNG", (512, 512), "astronaut.png", "image/png")
    change = np.abs(np.asarray(received.convert("RGB"), dtype=int) - original).max(axis=2)
    assert change[FACE].max() > NOISE, "the face is as it was"
    change[FACE] = 0
    assert change.max() == 0, "a PNG's pixels beside the face must stay as they are"
    assert "1 face protected" in said
    others, goals, angles = angles_of(original, np.asarray(received.convert("RGB")))
    assert all(angles[name] > others[name] for name in angles), "somebody else looks more alike"
    assert all(angles[name] >= goals[name] for name in angles) == bool(last["converged"]), "the report is honest"
