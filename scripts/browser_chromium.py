"""Chromium for `browser.py`, over the DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from browser import ANSWER_TIMEOUT_S, START_TIMEOUT_S, Browser, BrowserError, Line, Page

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


def extension_id(manifest: dict[str, Any]) -> str:
    """Chromium's id of an extension whose manifest has a key: the key's hash, with the digits spelled a to p."""
    digest = sha256(base64.b64decode(manifest["key"])).hexdigest()[:32]
    return "".join(chr(ord("a") + int(digit, 16)) for digit in digest)


class Chromium(Browser):
    """Over the DevTools protocol."""

    goodbye = "Browser.close"

    async def start(self, headless: bool, public_ports: Sequence[int], prefs: dict[str, Any]) -> None:
        arguments = [f"--user-data-dir={self.profile}", "--remote-debugging-port=0", *CHROMIUM_FLAGS]
        if headless:
            arguments.append("--headless=new")
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            arguments.append("--no-sandbox")
        if self._extension:
            folder = str(self._extension.resolve())
            if "," in folder:  # the switch takes a list
                raise BrowserError(f"Chromium loads no extension from a path with a comma; Firefox does: {folder}")
            arguments.append(f"--load-extension={folder}")
        if public_ports:
            overrides = ",".join(f"127.0.0.1:{port}=public" for port in public_ports)
            arguments.append(f"--ip-address-space-overrides={overrides}")
        await self.spawn(*arguments, "about:blank")
        port, path = (await self.read_when_there(self.profile / "DevToolsActivePort")).split()
        await self.connect(f"ws://127.0.0.1:{port}{path}")

    async def open(self, url: str) -> Page:
        target = (await self.line.call("Target.createTarget", {"url": "about:blank"}))["targetId"]
        attached = await self.line.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        page = ChromiumPage(self.line, attached["sessionId"], target)
        for domain in ("Page", "Runtime", "DOM"):
            await page.call(f"{domain}.enable")
        # Frames of other sites live in processes of their own, and answer for themselves.
        await page.call("Target.setAutoAttach", {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": True})
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
        self._frames: list[str] = []
        line.listen(self._note)

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("sessionId") != self.session:
            return
        params = message.get("params", {})
        if message.get("method") == "Target.attachedToTarget" and params["targetInfo"]["type"] == "iframe":
            self._frames.append(params["sessionId"])
        if message.get("method") == "Target.detachedFromTarget" and params["sessionId"] in self._frames:
            self._frames.remove(params["sessionId"])

    async def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """One DevTools command to this tab."""
        return await self._line.call(method, params, self.session)

    async def goto(self, url: str) -> None:
        async with self._line.event("Page.loadEventFired", self.session) as loaded:
            answer = await self.call("Page.navigate", {"url": url})
            if answer.get("errorText") == "net::ERR_BLOCKED_BY_CLIENT" and url.startswith("chrome-extension:"):
                raise BrowserError("Chromium did not load the extension. It may be too old: see its manifest.json")
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
        sessions = [self.session, *self._frames]
        async with contextlib.AsyncExitStack() as stack:
            opened = {}
            for session in sessions:
                await self._line.call("Page.enable", None, session)
                await self._line.call("DOM.enable", None, session)
                await self._line.call("Page.setInterceptFileChooserDialog", {"enabled": True}, session)
                event = self._line.event("Page.fileChooserOpened", session)
                opened[await stack.enter_async_context(event)] = session
            await self.click(target)
            done, _ = await asyncio.wait(opened, timeout=ANSWER_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise BrowserError(f"no dialog opened for {target}")
            [first] = done
        await self._set_files({"backendNodeId": first.result()["backendNodeId"]}, files, opened[first])

    async def set_files(self, target: str, files: Sequence[Path]) -> None:
        element = await self._evaluate(target, by_value=False)
        await self._set_files({"objectId": element["objectId"]}, files)

    async def _set_files(self, node: dict[str, Any], files: Sequence[Path], session: str | None = None) -> None:
        params = {"files": [str(file.resolve()) for file in files], **node}
        await self._line.call("DOM.setFileInputFiles", params, session or self.session)

    async def preload(self, script: str) -> None:
        await self.call("Page.addScriptToEvaluateOnNewDocument", {"source": script})

    async def drop(self, target: str, files: Sequence[Path]) -> None:
        x, y = await self.middle_of(target)
        data = {"items": [], "files": [str(file.resolve()) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            await self.call("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})

    async def paste(self) -> None:
        await self.call("Page.bringToFront")
        key = {"key": "v", "code": "KeyV", "windowsVirtualKeyCode": 86, "modifiers": 2}
        await self.call("Input.dispatchKeyEvent", {"type": "keyDown", "commands": ["paste"], **key})
        await self.call("Input.dispatchKeyEvent", {"type": "keyUp", **key})

    async def copy_image(self, png: Path) -> None:
        permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
        await self._line.call("Browser.grantPermissions", {"permissions": permissions})
        await self.call("Page.bringToFront")
        await super().copy_image(png)

    async def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot"))["data"]))

    async def close(self) -> None:
        await self._line.call("Target.closeTarget", {"targetId": self.target})
