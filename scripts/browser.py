"""Drives a real Chromium or Firefox with nothing but aiohttp: for the end-to-end tests, and for ``scripts/run.py``.

Chromium speaks the DevTools protocol, Firefox WebDriver BiDi; both over one websocket to a browser that is started here
with a fresh profile. (Playwright cannot drive a distribution's Firefox.) One small interface covers both::

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
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import aiohttp

START_TIMEOUT_S = 40
ANSWER_TIMEOUT_S = 30
POLL_S = 0.05
FIREFOX_UUID = "5b0f7c1e-6b1a-4c53-9a3e-0f2d3c4b5a69"  # any; given to Firefox so that the extension's address is known

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FIREFOX_NAMES = ("firefox-esr", "firefox")
USUAL_PLACES = {
    "chromium": (
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        r"C:\Program Files\Chromium\Application\chrome.exe",
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    ),
    "firefox": (
        "/Applications/Firefox.app/Contents/MacOS/firefox",
        r"C:\Program Files\Mozilla Firefox\firefox.exe",
    ),
}

CHROMIUM_FLAGS = (
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--password-store=basic",
    # Branded Chrome ignores --load-extension since 137; Chromium still lets this switch bring it back.
    "--disable-features=DisableLoadExtensionCommandLineSwitch,MediaRouter,OptimizationHints,Translate",
)
FIREFOX_PREFS: dict[str, Any] = {
    "app.normandy.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "datareporting.healthreport.uploadEnabled": False,
    "extensions.update.enabled": False,
    "remote.prefs.recommended": True,
    "termsofuse.acceptedVersion": 999,
    "toolkit.telemetry.server": "",
}

Kind = Literal["chromium", "firefox"]


class BrowserError(Exception):
    """The browser did not start, or refused a command."""


def find_browser(kind: Kind | None = None) -> tuple[Kind, Path] | None:
    """The browser on this machine, Chromium first; None where there is none (of that kind)."""
    for candidate, names in (("chromium", CHROMIUM_NAMES), ("firefox", FIREFOX_NAMES)):
        if kind not in (None, candidate):
            continue
        paths = [shutil.which(name) for name in names] + list(USUAL_PLACES[candidate])
        for path in paths:
            if path and Path(path).exists():
                return candidate, Path(path)  # type: ignore[return-value]
    return None


def loads_unpacked(executable: Path) -> bool:
    """Can this browser be started with an unpacked extension? Google's own Chrome cannot; a person loads it by hand there."""
    return "google" not in str(executable).lower()


def extension_id(manifest: dict[str, Any]) -> str:
    """Chromium's id of an extension whose manifest has a key: the key's hash, with the digits spelled a to p."""
    digest = sha256(base64.b64decode(manifest["key"])).hexdigest()[:32]
    return "".join(chr(ord("a") + int(digit, 16)) for digit in digest)


async def launch(
    kind: Kind = "chromium",
    *,
    extension: Path | None = None,
    headless: bool = True,
    public_ports: Sequence[int] = (),
    profile: Path | None = None,
    prefs: dict[str, Any] | None = None,
) -> Browser:
    """Starts a browser. Raises BrowserError where there is none.

    extension: a folder with a manifest.json to load. profile: kept afterwards; by default a fresh one that is removed.
    public_ports: of 127.0.0.1, treated as if on the public internet, so that the browser's local network access rules
    are in force. prefs: more of Firefox's.
    """
    found = find_browser(kind)
    if found is None:
        raise BrowserError(f"no {kind} on this machine")
    browser: Browser = (Chromium if kind == "chromium" else Firefox)(found[1], extension, profile)
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

    async def screenshot(self, path: Path) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def click(self, target: str) -> None:
        """A real click in the middle of the element, once it is there."""
        await self.wait_for(f"({target}) != null")
        box = await self.evaluate(
            f"(() => {{ const e = {target}; e.scrollIntoView({{block: 'nearest'}}); let {{x, y, width, height}} = "
            "e.getBoundingClientRect(); x += width / 2; y += height / 2;"
            "for (let v = e.ownerDocument.defaultView; v !== window; v = v.parent) "
            "{ const f = v.frameElement.getBoundingClientRect(); x += f.x; y += f.y; } return [x, y]; })()"
        )
        await self.press(box[0], box[1])

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

    def __init__(self, executable: Path, extension: Path | None, profile: Path | None) -> None:
        self._executable = executable
        self._extension = extension
        self._own_profile = profile is None
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

    async def _spawn(self, *arguments: str) -> None:
        log = (self.profile / "browser.log").open("wb")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                str(self._executable), *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def _connect(self, url: str) -> None:
        self._http = aiohttp.ClientSession()
        self._line = Line(await self._http.ws_connect(url, max_msg_size=0, heartbeat=None))

    async def _read_when_there(self, path: Path) -> str:
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
                await self._line.call("Browser.close" if isinstance(self, Chromium) else "browser.close")
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


class Chromium(Browser):
    """Over the DevTools protocol."""

    async def start(self, headless: bool, public_ports: Sequence[int], prefs: dict[str, Any]) -> None:
        arguments = [f"--user-data-dir={self.profile}", "--remote-debugging-port=0", *CHROMIUM_FLAGS]
        if headless:
            arguments.append("--headless=new")
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            arguments.append("--no-sandbox")
        if self._extension:
            arguments.append(f"--load-extension={self._extension.resolve()}")
        if public_ports:
            overrides = ",".join(f"127.0.0.1:{port}=public" for port in public_ports)
            arguments.append(f"--ip-address-space-overrides={overrides}")
        await self._spawn(*arguments, "about:blank")
        port, path = (await self._read_when_there(self.profile / "DevToolsActivePort")).split()
        await self._connect(f"ws://127.0.0.1:{port}{path}")

    async def open(self, url: str) -> Page:
        target = (await self.line.call("Target.createTarget", {"url": "about:blank"}))["targetId"]
        attached = await self.line.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        page = ChromiumPage(self.line, attached["sessionId"], target)
        for domain in ("Page", "Runtime", "DOM"):
            await page.call(f"{domain}.enable")
        await page.goto(url)
        return page

    def extension_url(self, path: str) -> str:
        if self._extension is None:
            raise BrowserError("no extension is loaded")
        manifest = json.loads((self._extension / "manifest.json").read_text(encoding="utf-8"))
        return f"chrome-extension://{extension_id(manifest)}/{path}"


class ChromiumPage(Page):
    """A tab over the DevTools protocol."""

    def __init__(self, line: Line, session: str, target: str) -> None:
        self._line = line
        self.session = session
        self.target = target

    async def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """One DevTools command to this tab."""
        return await self._line.call(method, params, self.session)

    async def goto(self, url: str) -> None:
        async with self._line.event("Page.loadEventFired", self.session) as loaded:
            answer = await self.call("Page.navigate", {"url": url})
            if answer.get("errorText"):
                raise BrowserError(f"{url}: {answer['errorText']}")
            await asyncio.wait_for(loaded, START_TIMEOUT_S)

    async def evaluate(self, expression: str) -> Any:  # noqa: ANN401
        return (await self._evaluate(expression, by_value=True)).get("value")

    async def _evaluate(self, expression: str, by_value: bool) -> dict[str, Any]:
        params = {"expression": expression, "returnByValue": by_value, "awaitPromise": True, "userGesture": True}
        answer = await self.call("Runtime.evaluate", params)
        if details := answer.get("exceptionDetails"):
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return dict(answer["result"])

    async def press(self, x: float, y: float) -> None:
        await self.call("Page.bringToFront")  # a tab in the background takes seconds to notice a click
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            await self.call("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **button})

    async def choose(self, target: str, files: Sequence[Path]) -> None:
        await self.call("Page.setInterceptFileChooserDialog", {"enabled": True})
        async with self._line.event("Page.fileChooserOpened", self.session) as opened:
            await self.click(target)
            chooser = await asyncio.wait_for(opened, ANSWER_TIMEOUT_S)
        await self._set_files({"backendNodeId": chooser["backendNodeId"]}, files)

    async def set_files(self, target: str, files: Sequence[Path]) -> None:
        element = await self._evaluate(target, by_value=False)
        await self._set_files({"objectId": element["objectId"]}, files)

    async def _set_files(self, node: dict[str, Any], files: Sequence[Path]) -> None:
        await self.call("DOM.setFileInputFiles", {"files": [str(file.resolve()) for file in files], **node})

    async def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot"))["data"]))

    async def close(self) -> None:
        await self._line.call("Target.closeTarget", {"targetId": self.target})


class Firefox(Browser):
    """Over WebDriver BiDi."""

    async def start(self, headless: bool, public_ports: Sequence[int], prefs: dict[str, Any]) -> None:
        values = {**FIREFOX_PREFS, **prefs}
        if self._extension:
            values["extensions.webextensions.uuids"] = json.dumps({self._gecko_id(): FIREFOX_UUID})
        if public_ports:
            values["network.lna.address_space.public.override"] = ",".join(f"127.0.0.1:{port}" for port in public_ports)
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in values.items())
        (self.profile / "user.js").write_text("".join(lines), encoding="utf-8")
        head = ["--headless"] if headless else []
        await self._spawn(
            *head, "--no-remote", "--profile", str(self.profile), "--remote-debugging-port", "0", "about:blank"
        )
        server = json.loads(await self._read_when_there(self.profile / "WebDriverBiDiServer.json"))
        await self._connect(f"ws://{server['ws_host']}:{server['ws_port']}/session")
        await self.line.call(
            "session.new", {"capabilities": {"alwaysMatch": {"unhandledPromptBehavior": {"file": "ignore"}}}}
        )
        await self.line.call("session.subscribe", {"events": ["input.fileDialogOpened"]})
        if self._extension:
            data = {"type": "path", "path": str(self._extension.resolve())}
            await self.line.call("webExtension.install", {"extensionData": data})

    async def open(self, url: str) -> Page:
        if url.startswith("moz-extension:"):
            return await self._open_own(url)
        context = (await self.line.call("browsingContext.create", {"type": "tab"}))["context"]
        page = FirefoxPage(self.line, context)
        await page.goto(url)
        return page

    async def _open_own(self, url: str) -> Page:
        """Firefox refuses to navigate to an extension's page, but lets one that is open (ours, once installed) do so."""
        before = await self._own_pages()
        opener = FirefoxPage(self.line, before[0])
        await opener.evaluate(f"browser.tabs.create({{url: {json.dumps(url)}}}).then(() => true)")
        end = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while not (new := set(await self._own_pages()) - set(before)):
            if asyncio.get_running_loop().time() > end:
                raise BrowserError(f"{url} did not open")
            await asyncio.sleep(POLL_S)
        page = FirefoxPage(self.line, new.pop())
        await page.wait_for("document.readyState === 'complete'")
        return page

    async def _own_pages(self) -> list[str]:
        end = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while asyncio.get_running_loop().time() < end:
            tree = await self.line.call("browsingContext.getTree")
            if own := [tab["context"] for tab in tree["contexts"] if tab["url"].startswith("moz-extension:")]:
                return own
            await asyncio.sleep(POLL_S)
        raise BrowserError("no page of the extension is open")

    def extension_url(self, path: str) -> str:
        return f"moz-extension://{FIREFOX_UUID}/{path}"

    def _gecko_id(self) -> str:
        assert self._extension is not None
        manifest = json.loads((self._extension / "manifest.json").read_text(encoding="utf-8"))
        return str(manifest["browser_specific_settings"]["gecko"]["id"])


class FirefoxPage(Page):
    """A tab over WebDriver BiDi."""

    def __init__(self, line: Line, context: str) -> None:
        self._line = line
        self.context = context

    async def goto(self, url: str) -> None:
        await self._line.call("browsingContext.navigate", {"context": self.context, "url": url, "wait": "complete"})

    async def evaluate(self, expression: str) -> Any:  # noqa: ANN401
        # As JSON text, since BiDi's own serialisation of values is its own language.
        wrapped = f"(async () => JSON.stringify((await ({expression})) ?? null))()"
        return json.loads((await self._evaluate(wrapped))["value"])

    async def _evaluate(self, expression: str) -> dict[str, Any]:
        target = {"context": self.context}
        params = {"expression": expression, "target": target, "awaitPromise": True, "userActivation": True}
        answer = await self._line.call("script.evaluate", params)
        if answer["type"] == "exception":
            raise BrowserError(answer["exceptionDetails"]["text"])
        return dict(answer["result"])

    async def press(self, x: float, y: float) -> None:
        move = {"type": "pointerMove", "x": round(x), "y": round(y)}
        steps = [move, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": steps}
        await self._line.call("input.performActions", {"context": self.context, "actions": [mouse]})

    async def choose(self, target: str, files: Sequence[Path]) -> None:
        async with self._line.event("input.fileDialogOpened") as opened:
            await self.click(target)
            dialog = await asyncio.wait_for(opened, ANSWER_TIMEOUT_S)
        await self._set_files(dialog["context"], dialog["element"]["sharedId"], files)

    async def set_files(self, target: str, files: Sequence[Path]) -> None:
        await self._set_files(self.context, (await self._evaluate(target))["sharedId"], files)

    async def _set_files(self, context: str, shared_id: str, files: Sequence[Path]) -> None:
        element = {"sharedId": shared_id}
        paths = [str(file.resolve()) for file in files]
        await self._line.call("input.setFiles", {"context": context, "element": element, "files": paths})

    async def screenshot(self, path: Path) -> None:
        answer = await self._line.call("browsingContext.captureScreenshot", {"context": self.context})
        path.write_bytes(base64.b64decode(answer["data"]))

    async def close(self) -> None:
        await self._line.call("browsingContext.close", {"context": self.context})


if __name__ == "__main__":
    print(find_browser() or "no browser found", file=sys.stdout)
