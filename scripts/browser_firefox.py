"""Firefox for `browser.py`, over WebDriver BiDi."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from browser import ANSWER_TIMEOUT_S, POLL_S, START_TIMEOUT_S, Browser, BrowserError, Line, Page

# Any; given to Firefox so that the extension's address is known.
FIREFOX_UUID = "5b0f7c1e-6b1a-4c53-9a3e-0f2d3c4b5a69"
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


# A script beside the page, with Firefox's own rights. It stays there, so each answers to its own number only.
BESIDE = """
addMessageListener("test:$n", async ({ data }) => {
  try { sendAsyncMessage("test:$n:done", { value: await (async ({ files, ...data }) => { $body })(data) }); }
  catch (error) { sendAsyncMessage("test:$n:done", { error: `${error}` }); }
});
"""
_numbers = itertools.count(1)

# BiDi has no command for a drag of files. The transfer is made with the page's rights, since the page could not read
# one that was made with ours.
DROP = """
let view = content, { x, y } = data, target = view.document.elementFromPoint(x, y);
for (;;) {
  const inner = target.openOrClosedShadowRoot?.elementFromPoint(x, y);
  if (inner && inner !== target) target = inner;
  else if (target.contentDocument) {
    const box = target.getBoundingClientRect();
    x -= box.x; y -= box.y; view = target.contentWindow; target = view.document.elementFromPoint(x, y);
  } else break;
}
const theirs = new Cu.Sandbox(view, { sandboxPrototype: view, wantXrays: false });
theirs.files = Cu.cloneInto(files, theirs);
Cu.evalInSandbox("var transfer = new DataTransfer(); for (const file of files) transfer.items.add(file);", theirs);
for (const type of ["dragenter", "dragover", "drop"]) {
  const how = { bubbles: true, cancelable: true, composed: true, view, clientX: x, clientY: y };
  const event = new view.DragEvent(type, { ...how, dataTransfer: theirs.transfer });
  view.windowUtils.dispatchDOMEventViaPresShellForTesting(target, event);
}
"""


class Firefox(Browser):
    """Over WebDriver BiDi."""

    goodbye = "browser.close"

    async def start(self, headless: bool, public_ports: Sequence[int], prefs: dict[str, Any]) -> None:
        values = {**FIREFOX_PREFS, **prefs}
        if self._extension:
            values["extensions.webextensions.uuids"] = json.dumps({self._gecko_id(): FIREFOX_UUID})
        if public_ports:
            values["network.lna.address_space.public.override"] = ",".join(f"127.0.0.1:{port}" for port in public_ports)
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in values.items())
        (self.profile / "user.js").write_text("".join(lines), encoding="utf-8")
        head = ["--headless"] if headless else []
        if self.system_access:
            head.append("--remote-allow-system-access")
        await self.spawn(
            *head, "--no-remote", "--profile", str(self.profile), "--remote-debugging-port", "0", "about:blank"
        )
        server = json.loads(await self.read_when_there(self.profile / "WebDriverBiDiServer.json"))
        await self.connect(f"ws://{server['ws_host']}:{server['ws_port']}/session")
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
        """Firefox lets nobody navigate to an extension's page but one that is open; ours opens once it is installed."""
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
        if self._extension is None:
            raise BrowserError("no extension is loaded")
        manifest = json.loads((self._extension / "manifest.json").read_text(encoding="utf-8"))
        return str(manifest["browser_specific_settings"]["gecko"]["id"])


class FirefoxPage(Page):
    """A tab over WebDriver BiDi."""

    def __init__(self, line: Line, context: str) -> None:
        self._line = line
        self.context = context

    async def goto(self, url: str) -> None:
        await self._line.call("browsingContext.navigate", {"context": self.context, "url": url, "wait": "complete"})

    async def frame(self) -> FirefoxPage:
        """The page's first frame, of whatever site."""
        tree = await self._line.call("browsingContext.getTree", {"root": self.context})
        return FirefoxPage(self._line, tree["contexts"][0]["children"][0]["context"])

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

    async def preload(self, script: str) -> None:
        params = {"functionDeclaration": f"() => {{ {script} }}", "contexts": [self.context]}
        await self._line.call("script.addPreloadScript", params)

    async def drop(self, target: str, files: Sequence[Path]) -> None:
        x, y = await self.middle_of(target)
        await self.beside(DROP, {"x": x, "y": y}, files)

    async def beside(self, body: str, data: dict[str, Any] | None = None, files: Sequence[Path] = ()) -> Any:  # noqa: ANN401
        """Runs a function's body beside the page, with ``content`` (the window), ``data`` and ``files``.

        It is not the page's, and sees closed shadow roots. Needs system_access.
        """
        number = next(_numbers)
        script = "data:," + quote(BESIDE.replace("$n", str(number)).replace("$body", body))
        call = {"n": number, "url": await self.evaluate("location.href"), "data": data or {}, "script": script}
        call["paths"] = [str(file.resolve()) for file in files]
        tree = await self._line.call("browsingContext.getTree", {"moz:scope": "chrome"})
        window = next(c["context"] for c in tree["contexts"] if c["url"] == "chrome://browser/content/browser.xhtml")
        expression = f"""(async ({{ n, url, data, script, paths }}) => {{
          const {{ messageManager }} = gBrowser.browsers.findLast((tab) => tab.currentURI.spec === url);
          const files = await Promise.all(paths.map((path) => File.createFromFileName(path)));
          messageManager.loadFrameScript(script, false);
          return JSON.stringify(await new Promise((done) => {{
            messageManager.addMessageListener(`test:${{n}}:done`, (message) => done(message.data));
            messageManager.sendAsyncMessage(`test:${{n}}`, {{ ...data, files }});
          }}));
        }})({json.dumps(call)})"""
        params = {"expression": expression, "target": {"context": window}, "awaitPromise": True}
        answer = await self._line.call("script.evaluate", params)
        if answer["type"] == "exception":
            raise BrowserError(answer["exceptionDetails"]["text"])
        done = json.loads(answer["result"]["value"])
        if "error" in done:
            raise BrowserError(done["error"])
        return done.get("value")

    async def paste(self) -> None:
        control, presses = "\ue009", [("keyDown", "v"), ("keyUp", "v")]
        steps = [("keyDown", control), *presses, ("keyUp", control)]
        actions = [{"type": kind, "value": value} for kind, value in steps]
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        await self._line.call("input.performActions", {"context": self.context, "actions": [keyboard]})

    async def screenshot(self, path: Path) -> None:
        answer = await self._line.call("browsingContext.captureScreenshot", {"context": self.context})
        path.write_bytes(base64.b64decode(answer["data"]))

    async def close(self) -> None:
        await self._line.call("browsingContext.close", {"context": self.context})
