"""Drives a real Chromium or Firefox with nothing but aiohttp: for the end-to-end tests, and for ``scripts/run.py``.

Chromium (browser_chromium.py) speaks the DevTools protocol, Firefox (browser_firefox.py) WebDriver BiDi; both over one
websocket to a browser that is started here with a fresh profile. (Playwright cannot drive a distribution's Firefox.)
One small interface covers both::

    async with await launch("chromium", extension=Path("extension")) as browser:
        page = await browser.open("http://127.0.0.1:8737/pmask-demo/")
        await page.choose("document.querySelector('input')", [photo])
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import aiohttp

START_TIMEOUT_S = 40
ANSWER_TIMEOUT_S = 30
POLL_S = 0.05

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FIREFOX_NAMES = ("firefox-esr", "firefox")
USUAL_PLACES = {  # ~: the person's own folder
    "chromium": (
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "~/Applications/Chromium.app/Contents/MacOS/Chromium",
        r"~\AppData\Local\Chromium\Application\chrome.exe",
        r"C:\Program Files\Chromium\Application\chrome.exe",
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    ),
    "firefox": (
        "/Applications/Firefox.app/Contents/MacOS/firefox",
        "~/Applications/Firefox.app/Contents/MacOS/firefox",
        r"C:\Program Files\Mozilla Firefox\firefox.exe",
    ),
}

Kind = Literal["chromium", "firefox"]


class BrowserError(Exception):
    """The browser did not start, or refused a command."""


def find_browser(kind: Kind | None = None) -> tuple[Kind, Path] | None:
    """The browser on this machine, Chromium first; None where there is none (of that kind)."""
    for candidate, names in (("chromium", CHROMIUM_NAMES), ("firefox", FIREFOX_NAMES)):
        if kind not in (None, candidate):
            continue
        paths = [shutil.which(name) for name in names] + [
            os.path.expanduser(place) for place in USUAL_PLACES[candidate]
        ]
        for path in paths:
            if path and Path(path).exists():
                return candidate, Path(path)  # type: ignore[return-value]
    return None


def loads_unpacked(executable: Path) -> bool:
    """Can it be started with an unpacked extension? Google's own Chrome cannot; a person loads it by hand there."""
    return "google" not in str(executable).lower()


async def launch(
    kind: Kind = "chromium",
    *,
    extension: Path | None = None,
    headless: bool = True,
    public_ports: Sequence[int] = (),
    profile: Path | None = None,
    prefs: dict[str, Any] | None = None,
    display: str | None = None,
    system_access: bool = False,
) -> Browser:
    """Starts a browser. Raises BrowserError where there is none.

    extension: a folder with a manifest.json to load. profile: kept afterwards; by default a fresh one that is removed.
    public_ports: of 127.0.0.1, treated as if on the public internet, so that the browser's local network access rules
    are in force. prefs: more of Firefox's. display: the X display of a browser with windows. system_access: lets
    tests reach into Firefox itself, which `drop` needs there.
    """
    found = find_browser(kind)
    if found is None:
        raise BrowserError(f"no {kind} on this machine")
    # Imported here, since both build on this module.
    from browser_chromium import Chromium
    from browser_firefox import Firefox

    browser: Browser = (Chromium if kind == "chromium" else Firefox)(found[1], extension, profile)
    browser.display = display
    browser.system_access = system_access
    try:
        await browser.start(headless, public_ports, prefs or {})
    except BaseException:
        await browser.close()
        raise
    return browser


class Line:
    """The websocket to the browser: commands with their answers, and events. Both protocols frame them alike."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._listeners: list[Callable[[dict[str, Any]], None]] = []
        self._reader = asyncio.create_task(self._read())

    async def call(
        self, method: str, params: dict[str, Any] | None = None, session: str | None = None
    ) -> dict[str, Any]:
        """One command; returns its result."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params or {}}
        await self._socket.send_json({**message, "sessionId": session} if session else message)
        try:
            reply = await asyncio.wait_for(answer, ANSWER_TIMEOUT_S)
        except asyncio.TimeoutError:
            raise BrowserError(f"{method}: no answer") from None
        finally:
            del self._answers[number]
        if "error" in reply:
            raise BrowserError(f"{method}: {reply.get('message') or reply['error']}")
        return dict(reply["result"])

    @contextlib.asynccontextmanager
    async def event(self, method: str, session: str | None = None) -> AsyncIterator[asyncio.Future[dict[str, Any]]]:
        """Listens before what causes the event is done: await what this yields, afterwards."""
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def listener(message: dict[str, Any]) -> None:
            if message.get("method") == method and message.get("sessionId") == session and not future.done():
                future.set_result(message["params"])

        self._listeners.append(listener)
        try:
            yield future
        finally:
            self._listeners.remove(listener)
            future.cancel()

    def listen(self, listener: Callable[[dict[str, Any]], None]) -> None:
        """Has every message from the browser shown to ``listener``."""
        self._listeners.append(listener)

    async def _read(self) -> None:
        async for frame in self._socket:
            message = json.loads(frame.data)
            answer = self._answers.get(message.get("id", 0))
            if answer and not answer.done():
                answer.set_result(message)
            for listener in list(self._listeners):
                listener(message)

    async def close(self) -> None:
        """Hangs up."""
        await self._socket.close()
        await asyncio.gather(self._reader, return_exceptions=True)


class Page:
    """One tab. ``target`` is a JavaScript expression for an element."""

    async def goto(self, url: str) -> None:
        raise NotImplementedError

    async def evaluate(self, expression: str) -> Any:  # noqa: ANN401 (whatever JSON the page answers)
        """The expression's value, awaited if it is a promise."""
        raise NotImplementedError

    async def press(self, x: float, y: float) -> None:
        """A real click at a place of the viewport."""
        raise NotImplementedError

    async def choose(self, target: str, files: Sequence[Path]) -> None:
        """Clicks the element as a person does, and picks these files in the dialog that opens."""
        raise NotImplementedError

    async def set_files(self, target: str, files: Sequence[Path]) -> None:
        """Puts files into a file input; its events are as trusted as after the dialog."""
        raise NotImplementedError

    async def preload(self, script: str) -> None:
        """Has this script run in every page that is loaded from now on, before the page's own."""
        raise NotImplementedError

    async def drop(self, target: str, files: Sequence[Path]) -> None:
        """Drags files (or folders) over the element and lets go; the events are as trusted as a person's."""
        raise NotImplementedError

    async def paste(self) -> None:
        """Ctrl+V, into what has the focus."""
        raise NotImplementedError

    async def copy_image(self, png: Path) -> None:
        """Puts a picture on the clipboard, as "Copy image" does. The page must have the focus and a secure origin."""
        data = base64.b64encode(png.read_bytes()).decode()
        await self.evaluate(
            f"fetch('data:image/png;base64,{data}').then((r) => r.blob())"
            ".then((b) => navigator.clipboard.write([new ClipboardItem({ 'image/png': b })])).then(() => true)"
        )

    async def screenshot(self, path: Path) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def click(self, target: str) -> None:
        """A real click in the middle of the element, once it is to be seen."""
        await self.press(*await self.middle_of(target))

    async def middle_of(self, target: str) -> tuple[float, float]:
        """Where the element's middle is in the tab, once it is to be seen: hidden, it would be the tab's corner."""
        await self.wait_for(f"({target})?.getClientRects().length > 0")
        x, y = await self.evaluate(
            f"(() => {{ const e = {target}; e.scrollIntoView({{block: 'nearest'}}); let {{x, y, width, height}} = "
            "e.getBoundingClientRect(); x += width / 2; y += height / 2;"
            "for (let v = e.ownerDocument.defaultView; v !== window; v = v.parent) "
            "{ const f = v.frameElement.getBoundingClientRect(); x += f.x; y += f.y; } return [x, y]; })()"
        )
        return x, y

    async def wait_for(self, expression: str, timeout: float = 15) -> Any:  # noqa: ANN401
        """Waits until the expression is true, and returns its value."""
        end = asyncio.get_running_loop().time() + timeout
        while not (value := await self.evaluate(expression)):
            if asyncio.get_running_loop().time() > end:
                raise BrowserError(f"never true: {expression}")
            await asyncio.sleep(POLL_S)
        return value


class Browser:
    """A running browser; use it as a context manager."""

    goodbye: str
    """The protocol's command that ends it."""

    def __init__(self, executable: Path, extension: Path | None, profile: Path | None) -> None:
        self._executable = executable
        self._extension = extension
        self._own_profile = profile is None
        self.display: str | None = None
        self.system_access = False
        self.profile = profile or Path(tempfile.mkdtemp(prefix="pmask-browser-"))
        self._process: asyncio.subprocess.Process | None = None
        self._http: aiohttp.ClientSession | None = None
        self._line: Line | None = None

    async def start(self, headless: bool, public_ports: Sequence[int], prefs: dict[str, Any]) -> None:
        raise NotImplementedError

    async def open(self, url: str) -> Page:
        """A new tab, loaded."""
        raise NotImplementedError

    def extension_url(self, path: str) -> str:
        """The address of one of the extension's pages."""
        raise NotImplementedError

    @property
    def line(self) -> Line:
        """The protocol itself, for what this interface does not cover."""
        if self._line is None:
            raise BrowserError("the browser is not running")
        return self._line

    async def wait(self) -> None:
        """Until the person closes the browser."""
        if self._process:
            await self._process.wait()

    async def spawn(self, *arguments: str) -> None:
        log = (self.profile / "browser.log").open("wb")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                str(self._executable),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "DISPLAY": self.display} if self.display else None,
            )

    async def connect(self, url: str) -> None:
        self._http = aiohttp.ClientSession()
        self._line = Line(await self._http.ws_connect(url, max_msg_size=0, heartbeat=None))

    async def read_when_there(self, path: Path) -> str:
        end = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while asyncio.get_running_loop().time() < end:
            if self._process and self._process.returncode is not None:
                break
            if path.exists() and (text := path.read_text(encoding="utf-8")):
                return text
            await asyncio.sleep(POLL_S)
        log = (self.profile / "browser.log").read_text(encoding="utf-8", errors="replace")
        raise BrowserError(f"{self._executable} did not start: {log[-2000:]}")

    async def close(self) -> None:
        """Ends the browser and removes its profile, if it was a fresh one."""
        if self._line:
            with contextlib.suppress(BrowserError, ConnectionError):
                await self._line.call(self.goodbye)
            await self._line.close()
        if self._http:
            await self._http.close()
        if self._process and self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), 10)
            except asyncio.TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._own_profile:
            shutil.rmtree(self.profile, ignore_errors=True)

    async def __aenter__(self) -> Browser:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


if __name__ == "__main__":
    print(find_browser() or "no browser found", file=sys.stdout)
