"""What the end-to-end tests play on: the daemon with a fake engine, what the demo site received, the card on screen."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from browser import Browser, Page
from demo.server import RECEIVED
from PIL import Image

from localserver.app import DOORMAN, QUEUE, create_app
from localserver.clients import Clients
from localserver.config import Config
from localserver.jobs import EngineStatus, JobQueue
from localserver.results import Result
from pmask.errors import Cancelled, PMaskError
from pmask.options import MaskOptions
from pmask.report import BARE, Progress, Verdict

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "extension"
PATIENCE_S = 40
# The middle of the button or checkbox named %s in a card, where it is to be seen and nothing lies over it.
PLACE = """function () {
  for (const button of this.querySelectorAll("button, input")) {
    if (![button.textContent, button.getAttribute("aria-label")].includes(%s) || !button.checkVisibility()) continue;
    button.scrollIntoView({ block: "nearest" });
    const { x, y, width, height } = button.getBoundingClientRect();
    const middle = [x + width / 2, y + height / 2];
    if (button.contains(this.getRootNode().elementFromPoint(...middle))) return middle;
  }
}"""


async def until(condition: Callable[[], object]):
    """Waits until the condition, or what it returns once awaited, holds; gives back what it was then."""
    end = time.monotonic() + PATIENCE_S
    while True:
        found = condition()
        if found := await found if inspect.isawaitable(found) else found:
            return found
        assert time.monotonic() < end, f"not so within {PATIENCE_S} s"
        await asyncio.sleep(0.05)


async def targets(browser: Browser, kind: str = "page") -> list[str]:
    """The ids of a Chromium's tabs, or of what else is of this kind."""
    found = (await browser.line.call("Target.getTargets"))["targetInfos"]
    return [target["targetId"] for target in found if target["type"] == kind]


async def reload_extension(browser: Browser, own: Page):
    """Reloads it, as an update does. Tabs of the extension, such as ``own``, close with that."""
    await own.evaluate("setTimeout(() => chrome.runtime.reload(), 50), null")

    async def has_gone():
        return own.target not in await targets(browser)

    await until(has_gone)


def mark(data: bytes) -> bytes:
    """What the fake engine makes of a photo: the same format and size, with a corner painted over."""
    image = Image.open(io.BytesIO(data))
    kind = image.format
    image.paste((255, 0, 255), (0, 0, 24, 24))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def box_of(face: int) -> list[float]:
    """Where the fake engine finds a face: x, y, width, height."""
    return [40.0 + 100 * face, 60.0, 80.0, 90.0]


@dataclass(kw_only=True)
class FakeEngine:
    """Marks photos at once, or after ``seconds``; or fails with ``error``; or finds no face; or only looks for them.

    matched: so many faces one of four recognisers still matches. To the team nobody is more alike than the person.
    bare: it has protected every photo before, and left out so many faces.
    frames: of a film, in which of its frames each face is.
    """

    faces: int = 2
    matched: int = 0
    bare: int | None = None
    frames: tuple[int, ...] = ()
    seconds: float = 0.0
    error: PMaskError | None = None
    options: list[MaskOptions] = field(default_factory=list)
    started: int = 0
    cancelled: int = 0
    devices = None
    status = EngineStatus()
    warmed: int = 0
    hurry: int = 0  # so many photos, in the order of their start, are done at once, however long they were to take

    def warm(self, options: MaskOptions) -> None:
        self.warmed += 1

    async def protect(
        self, data: bytes, options: MaskOptions, on_progress: Callable[[Progress], None], cancel: asyncio.Event
    ) -> Result:
        self.started += 1
        number = self.started
        self.options.append(options)
        end = time.monotonic() + self.seconds
        while (left := end - time.monotonic()) > 0 and number > self.hurry:
            on_progress(Progress(stage="masking", fraction=1 - min(1, left / (self.seconds or left)), faces=self.faces))
            try:
                await asyncio.wait_for(cancel.wait(), min(left, 0.5))
            except asyncio.TimeoutError:
                continue
            self.cancelled += 1
            raise Cancelled("cancelled")
        if self.error:
            raise self.error
        if self.bare is not None:
            report = {"status": "already_protected", "faces": [], "found": [], "seconds": 0.1, "judged": None}
            return Result(data=data, report=report | {"bare": self.bare})
        found = [box_of(i) for i in range(self.faces)]
        if options.look and found:
            kind = str(Image.open(io.BytesIO(data)).format).lower()
            report = {"status": "looked", "faces": [], "found": found, "seconds": 0.1, "bare": 0, "judged": None}
            return Result(data=b"", report=report | {"format": kind, "found_frames": list(self.frames)})
        verdicts = [
            verdict.to_json()
            for verdict in (
                Verdict(recogniser="sface", in_team=True, upload=BARE, angle=99.6, threshold=68.8, nearest_other=110),
                Verdict(recogniser="dlib", in_team=False, upload="instagram", angle=30, threshold=22, nearest_other=21),
            )
        ]
        face = {"converged": False, "ssim": 0.97, "verdicts": verdicts}
        kept = [box for box in found if tuple(box) not in options.leave_out]
        faces = [{**face, "box": box, "hidden": False, "matched": i < self.matched} for i, box in enumerate(kept)]
        status = "protected" if faces else "no_face"
        fooled = 3 if any(face["matched"] for face in faces) else 4
        judged = {"recognisers": 4, "fooled": fooled, "unseen": 2, "upload": "Instagram"} if faces else None
        report = {"status": status, "faces": faces, "found": found, "seconds": 0.1, "bare": 0, "judged": judged}
        return Result(data=mark(data) if faces else b"", report=report)

    async def close(self) -> None:
        pass


class Daemon:
    """The real daemon on a port of its own, with an engine of the test's choice; can be stopped and started."""

    def __init__(self, folder: Path, engine: FakeEngine):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.engine = engine
        self.clients = Clients(folder)
        self._folder = folder
        self._running = None
        self.queue: JobQueue

    async def start(self):
        # Tests send one photo again and again, and change what the engine makes of it.
        config = Config(port=self.port, state_dir=self._folder, cache_bytes=0, free_memory=0)
        app = create_app(config, self.engine, self.clients)
        self.queue = app[QUEUE]
        self._running = contextlib.AsyncExitStack()
        listener = socket.create_server(("127.0.0.1", self.port))
        await self._running.enter_async_context(app[DOORMAN].serve(app, listener))

    def jobs(self) -> int:
        """How many photos wait or are at work."""
        states = self.queue.gauges()["pmask_jobs"]
        return states["queued"] + states["running"]

    def lose_patience(self, seconds: float):
        """All jobs are given up after so many seconds that nobody asks for them."""
        for job in self.queue._jobs.values():
            job.patience = seconds
            self.queue.asked(job)

    async def stop(self):
        if self._running:
            running, self._running = self._running, None
            await running.aclose()

    async def pair_here(self, page):
        """Pairs as a person does: with the code typed into the page's form."""
        await page.evaluate(
            f"(() => {{ document.getElementById('code').value = {self.clients.new_code()!r};"
            f"document.getElementById('port').value = {self.port};"
            "document.getElementById('pair').requestSubmit() })()"
        )
        await page.wait_for("document.querySelector('#pair-result.good') !== null")

    async def pair(self, browser):
        """Pairs as ``scripts/run.py`` does: by the options page's address."""
        page = await browser.open(
            browser.extension_url(f"options/options.html#pair={self.clients.new_code()}&port={self.port}")
        )
        await page.wait_for("document.querySelector('#pair-result.good') !== null")
        await page.close()


class Demo:
    """The demo site, and what it received."""

    def __init__(self, app: web.Application, port: int, folder: Path):
        self.port = port
        self._app = app
        self._folder = folder

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/pmask-demo/{path}"

    @property
    def received(self):
        return self._app[RECEIVED]

    def bytes_of(self, file) -> bytes:
        return (self._folder / file.sha256).read_bytes()

    async def wait_for(self, count: int, timeout: float = PATIENCE_S):
        """The first ``count`` files, once they are there; fails if there are more."""
        end = time.monotonic() + timeout
        while len(self.received) < count:
            assert time.monotonic() < end, f"{len(self.received)} of {count} files arrived"
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
        assert count == len(self.received)
        return list(self.received)

    async def stays_empty(self, seconds: float = 1.0):
        await asyncio.sleep(seconds)
        assert self.received == []


@dataclass(kw_only=True)
class Stage:
    """A browser, a daemon and a demo site that several tests share. options: a page of the extension, to set things."""

    browser: Browser
    daemon: Daemon
    demo: Demo
    options: Page

    async def reset(self):
        """Closes all pages but one, starts the daemon anew, and forgets settings, results and uploads."""
        for target in await targets(self.browser):
            if target != self.options.target:
                await self.browser.line.call("Target.closeTarget", {"targetId": target})
        await self.daemon.stop()
        await self.daemon.start()
        self.daemon.engine.__init__()
        await self.options.goto(self.browser.extension_url("options/options.html"))
        forget = "Promise.all([chrome.storage.session.clear(), chrome.storage.local.clear()]).then(() => true)"
        await self.options.evaluate(forget)
        for client in self.daemon.clients.paired():
            self.daemon.clients.revoke(client.id)
        await self.daemon.pair(self.browser)
        self.demo.received.clear()

    async def put(self, **values):
        """Changes settings as the options page does."""
        message = f"{{name: 'set', values: {json.dumps(values)}}}"
        sent = await self.options.evaluate(f"chrome.runtime.sendMessage({message})")
        assert "error" not in sent, sent


class Card:
    """The overlay as the person sees it. Its closed root is open to DevTools only."""

    def __init__(self, page):
        self.page = page

    async def _section(self) -> str | None:
        """The card's remote object, wherever it stands."""
        document = await self.page.call("DOM.getDocument", {"depth": -1, "pierce": True})
        queue = [document["root"]]
        while queue:
            node = queue.pop()
            flat = node.get("attributes", [])
            attributes = dict(zip(flat[::2], flat[1::2], strict=True))
            if node["nodeName"] == "SECTION" and "card" in attributes.get("class", "").split():
                found = await self.page.call("DOM.resolveNode", {"backendNodeId": node["backendNodeId"]})
                return found["object"]["objectId"]
            queue += node.get("children", []) + node.get("shadowRoots", [])
            if "contentDocument" in node:
                queue.append(node["contentDocument"])
        return None

    async def ask(self, function: str):
        section = await self._section()
        if section is None:
            return None
        params = {"functionDeclaration": function, "objectId": section, "returnByValue": True}
        return (await self.page.call("Runtime.callFunctionOn", params))["result"].get("value")

    async def text(self) -> str:
        return await self.ask("function () { return this.checkVisibility() ? this.innerText : '' }") or ""

    async def wait_for(self, words: str, timeout: float = PATIENCE_S) -> str:
        end = time.monotonic() + timeout
        while words not in (text := await self.text()):
            assert time.monotonic() < end, f"the card never said {words!r}; it says {text!r}"
            await asyncio.sleep(0.05)
        return text

    async def wait_gone(self, timeout: float = PATIENCE_S):
        end = time.monotonic() + timeout
        while await self.ask("function () { return this.isConnected }"):
            assert time.monotonic() < end, "the card is still there"
            await asyncio.sleep(0.05)

    async def place(self, label: str) -> list[float]:
        """The middle of a button or checkbox of the card, once a press there meets it."""
        end = time.monotonic() + PATIENCE_S
        while not (place := await self.ask(PLACE % json.dumps(label))):
            assert time.monotonic() < end, f"no button {label!r} to press in {await self.text()!r}"
            await asyncio.sleep(0.05)
        return place

    async def press(self, label: str):
        """A real click on a button of the card, once it stands still and takes clicks: the card rises, grows with what
        it says, and lets clicks through to the page while files are handed over."""
        before = None
        while (place := await self.place(label)) != before:
            await asyncio.sleep(0.15)
            before = place
        await self.page.press(*place)


class FirefoxCard(Card):
    """The same in Firefox, whose closed roots WebDriver BiDi opens."""

    async def ask(self, function: str):
        target = {"context": self.page.context}
        options = {"includeShadowTree": "all", "maxDomDepth": 0}
        host = {"expression": "[...document.querySelectorAll('[popover]')].at(-1) ?? null", "target": target}
        line = self.page._line
        answer = await line.call("script.evaluate", {**host, "awaitPromise": False, "serializationOptions": options})
        root = answer["result"].get("value", {}).get("shadowRoot")
        if root is None:
            return None
        wrapped = f"(root) => JSON.stringify(({function}).call(root.querySelector('section')) ?? null)"
        call = {"functionDeclaration": wrapped, "arguments": [{"sharedId": root["sharedId"]}], "target": target}
        answer = await line.call("script.callFunction", {**call, "awaitPromise": True})
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])
