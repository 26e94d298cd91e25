"""Where routes are tried: a browser with the extension and one without, and a site that keeps all it is sent.

A *case* is one way in which files reach a page. It is played twice, without and with the extension, by input that the
browser takes for a person's.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import os
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import browser as browsers
import packages
import pytest
from aiohttp import web
from demo.server import FIELDS, RECEIVED, create_demo_app
from PIL import Image
from stage import EXTENSION, ROOT, Card, Daemon, FakeEngine, mark

PAGES = ROOT / "tests" / "pages"
PATIENCE_S = 40
SETTLE_S = 0.2
"""After the last expected byte: for one too many to arrive."""
RUN = 48
"""Bytes in a row that two files do not share by chance."""
PASTED = "käthe.png"
"""What is on the clipboard; browsers hand it on encoded anew."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way for files to reach a page, and what must come of it.

    page: under ``/pmask-demo/``. gesture: pick, drop, paste, click, press (after copying). then: selector of a button
    to press once the page has its files. words: of the notice, where the files are declined (in the browsers named, or
    in both). never: browser -> why it cannot be there. before: one of PRELOADS. quirk: of a site's page, for the table.
    """

    name: str
    page: str
    gesture: str = "pick"
    target: str = ""
    files: tuple[str, ...] = ("eileen.jpg",)
    arrive: int | None = None
    then: str | None = None
    words: str | dict[str, str] | None = None
    in_order: bool = True
    never: dict[str, str] = field(default_factory=dict)
    before: str | None = None
    quirk: str = ""

    @property
    def count(self) -> int:
        return self.arrive or len(self.files)

    def words_in(self, kind: str) -> str | None:
        return self.words.get(kind) if isinstance(self.words, dict) else self.words


class Site:
    """The demo site with the tests' own pages, and everything that it was sent."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.other: list[bytes] = []
        self.app = create_demo_app(folder)
        self.app.middlewares.append(self._keep)
        self.app.router.add_static("/pmask-demo/pages", PAGES)
        self.app.router.add_get(r"/pmask-demo/npm/{path:.+}", self._package)
        self.app.router.add_route("*", "/pmask-demo/sink", self._sink)
        self.app.router.add_get("/pmask-demo/nothing", self._nothing)
        self.port = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Site]:
        runner = web.AppRunner(self.app, shutdown_timeout=1)
        await runner.setup()
        listener = web.TCPSite(runner, "127.0.0.1", 0)
        await listener.start()
        self.port = listener._server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            await runner.cleanup()

    def url(self, page: str) -> str:
        return f"http://127.0.0.1:{self.port}/pmask-demo/{page}"

    def forget(self) -> None:
        for kept in (self.app[RECEIVED], self.app[FIELDS], self.other):
            kept.clear()

    @property
    def files(self) -> list[tuple[str, str, bytes]]:
        """Name, type and bytes of what came as files, in order; a bare body has no name."""
        named = [(file.name, file.type, (self.folder / file.sha256).read_bytes()) for file in self.app[RECEIVED]]
        bodies = [body for body in self.other if not body.startswith(b"/")]
        return named + ([("", "", b"".join(bodies))] if bodies else [])

    @property
    def fields(self) -> list[bytes]:
        return list(self.app[FIELDS])

    @property
    def everything(self) -> list[bytes]:
        """Every byte that came: files, fields, bodies, addresses."""
        return [data for _, _, data in self.files] + self.fields + self.other

    async def wait_for(self, count: int) -> None:
        """Until so many files are there, and a moment longer."""
        end = time.monotonic() + PATIENCE_S
        while len(self.files) < count:
            assert time.monotonic() < end, f"{len(self.files)} of {count} files arrived"
            await asyncio.sleep(0.03)
        size = -1
        while size != (size := sum(map(len, self.everything))):  # slices come one by one
            await asyncio.sleep(SETTLE_S)

    @web.middleware
    async def _keep(self, request, handler):
        if not re.match(r"/pmask-demo/(pages|npm|static|received)/", request.path):
            self.other.append(request.raw_path.encode())
        return await handler(request)

    async def _package(self, request):
        path = request.match_info["path"]
        key = next((key for key in packages.PACKAGES if path.startswith(f"{key}/")), None)
        if key is None:
            raise web.HTTPNotFound
        file = packages.fetched(key) / path.removeprefix(f"{key}/")
        if not file.is_file():
            raise web.HTTPNotFound
        kind = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css"}.get(file.suffix)
        return web.Response(body=file.read_bytes(), content_type=kind or "application/octet-stream")

    async def _nothing(self, request):
        return web.Response(status=204)

    async def _sink(self, request):
        self.other.append(await request.read())
        return web.Response(text="thanks")


def runs_of(data: bytes) -> set[bytes]:
    return {data[i : i + RUN] for i in range(len(data) - RUN + 1)}


def leaks(original: bytes, clean: bytes, bodies: list[bytes]) -> bool:
    """Are there RUN bytes in a row of ``original``, which ``clean`` lacks, in any body, plain or as base64?"""
    secret = runs_of(original) - runs_of(clean)
    seen = list(bodies)
    for body in bodies:
        for text in re.findall(rb"[A-Za-z0-9+/]{64,}", body):
            for start in range(4):
                part = text[start:]
                seen.append(base64.b64decode(part[: len(part) // 4 * 4]))
    return any(not secret.isdisjoint(runs_of(body)) for body in seen)


def is_marked(data: bytes) -> bool:
    """Does the picture carry the fake engine's corner, however it was encoded since?"""
    red, green, blue = Image.open(io.BytesIO(data)).convert("RGB").crop((2, 2, 18, 18)).resize((1, 1)).getpixel((0, 0))
    return red > 200 and green < 60 and blue > 200


@contextlib.contextmanager
def display() -> Iterator[str | None]:
    """An X display without a screen, for a clipboard that holds pictures; None where there is no Xvfb."""
    if shutil.which("Xvfb") is None:
        yield None
        return
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as pipe:
            yield f":{pipe.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


# A real handle of the browser's, with the real file behind it, where the dialog would give one. Before the guard, which
# then stands in front of it as in front of the browser's own.
PICKER = """
window.pickedHandles = [];
window.showOpenFilePicker = async function showOpenFilePicker() { return window.pickedHandles };
window.showDirectoryPicker = async function showDirectoryPicker() { return navigator.storage.getDirectory() };
"""
WRAPS_BEFORE = """
for (const [prototype, name] of [[EventTarget.prototype, "addEventListener"], [Event.prototype, "composedPath"],
    [HTMLElement.prototype, "click"], [DataTransferItemList.prototype, "add"]]) {
  const native = prototype[name];
  prototype[name] = function (...args) { return native.apply(this, args) };
}
"""
PRELOADS = {"picker": PICKER, "wraps": WRAPS_BEFORE}


class Arena:
    """Two browsers of one kind, the site and the daemon."""

    def __init__(self, kind: str, site: Site, daemon: Daemon, bare, guarded, photos: dict[str, Path]):
        self.kind = kind
        self.site = site
        self.daemon = daemon
        self.browsers = {False: bare, True: guarded}
        self.photos = photos
        self.seen: dict[str, str] = {}

    @contextlib.asynccontextmanager
    async def tab(self, page: str, *, guarded: bool, before: str | None = None):
        """A tab with a page that has told that it is ready; nothing of what other tabs sent is kept."""
        self.site.forget()
        tab = await self.browsers[guarded].open("about:blank")
        try:
            if before:
                await tab.preload(PRELOADS[before])
            await tab.goto(self.site.url(page))
            if page.startswith("pages/"):
                await tab.wait_for("document.documentElement.dataset.ready === '1'")
            yield tab
        finally:
            await tab.close()

    async def play(self, case: Case, tab) -> None:
        """The gesture of the case, as a person makes it."""
        files = [self.photos[name] for name in case.files]
        target = f"({case.target or 'document.getElementById(' + repr(TARGETS[case.gesture]) + ')'})"
        if case.before == "picker" and files[0].is_file():
            await self._lay_out(tab, files)
        if case.gesture == "pick":
            if self.kind == "firefox" and "cross-origin" in case.page:  # a process of its own, reached by its own name
                tab, target = await tab.frame(), "document.querySelector('input')"
            await tab.choose(target, files)
        elif case.gesture == "drop":
            await tab.drop(target, files)
        elif case.gesture == "paste":
            await tab.click(target)
            await tab.copy_image(self.photos[PASTED])
            await tab.paste()
        elif case.gesture == "click":
            await tab.click(target)
        elif case.gesture == "press":
            await tab.copy_image(self.photos[PASTED])
            await tab.click(target)
        if case.then:
            await tab.wait_for("document.querySelector('input[type=file]').files.length > 0")
            await tab.click(f"document.querySelector({case.then!r})")

    async def _lay_out(self, tab, files: list[Path]) -> None:
        for file in files:
            data = base64.b64encode(file.read_bytes()).decode()
            await tab.evaluate(
                "(async () => { const root = await navigator.storage.getDirectory();"
                f" const handle = await root.getFileHandle({file.name!r}, {{ create: true }});"
                " const out = await handle.createWritable();"
                f" await out.write(await (await fetch('data:;base64,{data}')).blob()); await out.close();"
                " window.pickedHandles.push(handle); return true })()"
            )

    async def originals(self, case: Case) -> list[tuple[str, str, bytes]]:
        """What the site gets without the extension: the proof that the page works, and what must not come later."""
        async with self.tab(case.page, guarded=False, before=case.before) as tab:
            await self.play(case, tab)
            await self.site.wait_for(case.count)
            return self.site.files

    async def card(self, tab) -> str:
        """The words on the card that the person sees."""
        if self.kind == "chromium":
            return await Card(tab).text()
        return await tab.beside(
            "const walk = (root) => { for (const node of root.querySelectorAll('*')) {"
            " const inner = node.openOrClosedShadowRoot; if (!inner) continue;"
            " const card = inner.querySelector('section.card'); if (card) return card.innerText;"
            " const deep = walk(inner); if (deep) return deep; } return ''; };"
            " return walk(content.document);"
        )

    async def wait_for_words(self, tab, words: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while words not in (said := await self.card(tab)):
            assert time.monotonic() < end, f"the card never said {words!r}; it says {said!r}"
            await asyncio.sleep(0.1)


TARGETS = {"pick": "pick", "click": "pick", "drop": "zone", "paste": "paste", "press": "paste"}


@contextlib.asynccontextmanager
async def arena_of(kind: str, folder: Path, photos: dict[str, Path]) -> AsyncIterator[Arena]:
    """An arena in this kind of browser. Skips where there is none.

    The site counts as public, so that the browser's local network access rules hold.
    """
    if browsers.find_browser(kind) is None:
        pytest.skip(f"no {kind} on this machine")
    (folder / "state").mkdir()
    daemon = Daemon(folder / "state", FakeEngine())
    await daemon.start()
    try:
        with display() as screen:
            async with Site(folder).running() as site:
                how = {"public_ports": [site.port], "system_access": True}
                if kind == "firefox" and screen:
                    how |= {"display": screen, "headless": False}
                bare, guarded = await asyncio.gather(
                    browsers.launch(kind, **how), browsers.launch(kind, extension=EXTENSION, **how)
                )
                async with bare, guarded:
                    await daemon.pair(guarded)
                    yield Arena(kind, site, daemon, bare, guarded, photos)
    finally:
        await daemon.stop()


async def judge(arena: Arena, case: Case) -> str:
    """Plays the case both ways and compares the bytes; returns what was seen, in words for the table."""
    originals = await arena.originals(case)
    told = arena.site.fields
    words = case.words_in(arena.kind)
    assert case.count == len(originals) or words
    async with arena.tab(case.page, guarded=True, before=case.before) as tab:
        await arena.play(case, tab)
        if words:
            await arena.wait_for_words(tab, words)
            await asyncio.sleep(SETTLE_S)
            assert [] == arena.site.files
            return f"declined: “{words}”"
        await arena.site.wait_for(case.count)
        received, everything = arena.site.files, arena.site.everything
        if case.page.startswith("pages/route"):
            assert told == arena.site.fields, "the page noticed: dates, or events, differ"
    key = None if case.in_order else (lambda file: file[0])
    originals, received = (
        sorted(originals, key=key) if key else originals,
        sorted(received, key=key) if key else received,
    )
    assert [file[:2] for file in originals] == [file[:2] for file in received], "names, types or their order differ"
    by_bytes = {path.read_bytes(): path for path in arena.photos.values() if path.is_file()}
    for (name, kind, original), (_, _, data) in zip(originals, received, strict=True):
        if name and not kind.startswith("image/") and not name.endswith(".heic"):
            assert original == data, f"{name} is no photo and must come as it is"
            continue
        clean = mark(original) if original in by_bytes else data
        if original in by_bytes:
            assert clean == data, f"{name or 'the body'} is not the daemon's file"
        elif name:
            assert is_marked(data), f"{name} was not protected"
        assert not leaks(original, clean, everything), f"bytes of the original {name} arrived"
    for name in case.files:
        source = arena.photos[name]
        if source.is_file() and source.suffix not in {".txt", ".mp4"}:
            assert not leaks(source.read_bytes(), mark(source.read_bytes()), everything), f"bytes of {name} arrived"
    return "protected"
