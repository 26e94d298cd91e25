"""Real browsers, the real demo site, the real daemon; only the engine behind the daemon is a fake in most tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from PIL import Image

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(HERE)]

import browser as browsers  # noqa: E402
from demo.server import create_demo_app  # noqa: E402
from stage import EXTENSION, Daemon, Demo, FakeEngine, Stage  # noqa: E402


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and browsers.find_browser("chromium") is None:
            item.add_marker(pytest.mark.skip(reason="no Chromium on this machine (apt-get install chromium)"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> dict[str, Path]:
    """skimage's astronaut, a photo by NASA in the public domain, and files that are no photos."""
    from skimage import data

    folder = tmp_path_factory.mktemp("photos")
    image = Image.fromarray(data.astronaut()).crop((100, 0, 400, 300))
    image.save(folder / "eileen.jpg", quality=90)
    image.save(folder / "käthe.png")
    image.rotate(90).save(folder / "third.webp")
    image.save(folder / "phone.heic", "HEIF")
    album = folder / "album"
    album.mkdir()
    for name in ("one.jpg", "two.jpg"):
        image.save(album / name)
    (folder / "notes.txt").write_text("not a photo")
    (folder / "clip.mp4").write_bytes(b"not a photo either")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 this only looks like one")
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
async def demo(tmp_path):
    app = create_demo_app(tmp_path)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield Demo(app, site._server.sockets[0].getsockname()[1], tmp_path)
    await runner.cleanup()


@pytest.fixture
async def daemon(tmp_path_factory):
    daemon = Daemon(tmp_path_factory.mktemp("state"), FakeEngine())
    await daemon.start()
    yield daemon
    await daemon.stop()


@pytest.fixture
async def guarded(daemon, demo):
    """A fresh Chromium with the extension, paired; the demo site counts as public, so loopback is as far as in life."""
    async with await browsers.launch("chromium", extension=EXTENSION, public_ports=[demo.port]) as browser:
        await daemon.pair(browser)
        yield browser


@pytest.fixture
async def unpaired(demo):
    async with await browsers.launch("chromium", extension=EXTENSION, public_ports=[demo.port]) as browser:
        yield browser


@pytest.fixture
async def bare(demo):
    """Chromium without the extension: what the site gets without us."""
    async with await browsers.launch("chromium") as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory):
    """One browser, daemon and demo site for a module whose tests leave nothing behind: starting a browser takes longer
    than most tests. Such a module is marked ``pytest.mark.asyncio(loop_scope="module")``."""
    folder = tmp_path_factory.mktemp("stage")
    app = create_demo_app(folder)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    demo = Demo(app, site._server.sockets[0].getsockname()[1], folder)
    daemon = Daemon(tmp_path_factory.mktemp("state"), FakeEngine())
    await daemon.start()
    async with await browsers.launch("chromium", extension=EXTENSION, public_ports=[demo.port]) as browser:
        options = await browser.open(browser.extension_url("options/options.html"))
        yield Stage(browser=browser, daemon=daemon, demo=demo, options=options)
    await daemon.stop()
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(stage):
    """The stage as a test finds it: paired, default settings, one page of the extension, nothing received."""
    await stage.reset()
    return stage
