"""What the extension costs, in a real Chromium on this machine, beside the figures that it is to reach.

    .venv/bin/python scripts/benchmark_extension.py [--rounds 5] [--extension OTHER/extension extension]

Prints Markdown. Uploads: the time from the choice of files until the page has them, with the extension, less the same
without it, less what the daemon takes when a plain program asks it for the same photos. The daemon's engine gives each
photo back at once. Pages: the time that the extension's scripts run while a page without uploads loads, from the
browser's own trace: in a tab of its own, with nothing compiled, and when it is loaded again in that tab. Machines are
noisy: compare figures of one run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import socket
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import browser as browsers
import numpy as np
from aiohttp import web
from browser_chromium import Chromium, ChromiumPage
from PIL import Image

from localserver.app import DOORMAN, create_app
from localserver.clients import Clients
from localserver.config import Config
from localserver.jobs import EngineStatus
from localserver.results import Result

EXTENSION = Path(__file__).parents[1] / "extension"
T = TypeVar("T")
LOADS = {"one photo of 5 MB": (1, 50.0), "20 photos, 100 MB together": (20, 300.0)}
"""Photos of 5 MB at once, and the milliseconds that may be added."""
DIALOG_S = 0.5
"""Much less than a person needs in a dialog."""
PAGE_MS = 1.0
PAGE = """<!doctype html><title>x</title><h1>A page without uploads</h1><p>Words.</p>"""
PICKER = """<!doctype html><title>x</title><input type="file" multiple>
<script>addEventListener("change", () => { window.there = Date.now() }, true)</script>"""
BLOCKING = {"touchstart", "touchmove", "wheel", "mousewheel", "scroll"}
CATEGORIES = ["devtools.timeline", "v8.execute", "disabled-by-default-devtools.timeline"]


class Echo:
    """An engine that needs no time: each photo back, one byte longer."""

    devices = None
    status = EngineStatus()

    def warm(self, *_: object) -> None:
        """Is warm."""

    async def protect(self, data: bytes, *_: object) -> Result:
        """The photo, and a report of one hidden face."""
        face = {"converged": True, "hidden": True, "matched": False, "ssim": 0.97, "verdicts": []}
        report = {"status": "protected", "faces": [face], "seconds": 0.0, "bare": 0, "judged": None}
        return Result(data=data + b"\0", report=report)

    async def close(self) -> None:
        """Nothing to end."""


def photos(folder: Path, count: int) -> list[Path]:
    """JPEG files of 5 MB, each unlike the others."""
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "JPEG", quality=95)
    data = out.getvalue()
    paths = [folder / f"{index}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        path.write_bytes(data + bytes([index]) * (5_000_000 - len(data)))
    return paths


async def serve(app: web.Application) -> tuple[web.AppRunner, int]:
    """Starts an application on loopback; its runner and port."""
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, int(runner.addresses[0][1])


def milliseconds(times: Sequence[float]) -> float:
    """The median, in milliseconds, of times in seconds."""
    return statistics.median(times) * 1000


async def until_there(page: ChromiumPage, url: str, files: list[Path]) -> float:
    """Seconds from the choice of files until the page has them. As with a person, the dialog was opened by a click."""
    await page.goto(url)
    await page.call("Page.setInterceptFileChooserDialog", {"enabled": True})
    await page.click("document.querySelector('input')")
    await asyncio.sleep(DIALOG_S)
    start = time.time()
    await page.set_files("document.querySelector('input')", files)
    there = await page.wait_for("window.there", timeout=120)
    return float(there) / 1000 - start


async def asked_directly(port: int, token: str, files: list[Path]) -> float:
    """Seconds that the daemon takes for these photos when a plain program asks, all at once."""
    address = f"http://127.0.0.1:{port}/v1/jobs"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as client:

        async def one(data: bytes) -> None:
            async with client.post(address, data=data) as answer:
                job = (await answer.json())["id"]
            async with client.get(f"{address}/{job}", params={"wait": 20, "seen": 0}) as answer:
                state = await answer.json()
            while state["state"] != "done":
                params = {"wait": 20, "seen": state["revision"]}
                async with client.get(f"{address}/{job}", params=params) as answer:
                    state = await answer.json()
            async with client.get(f"{address}/{job}/result") as answer:
                await answer.read()
            await (await client.delete(f"{address}/{job}")).read()

        data = [path.read_bytes() for path in files]
        start = time.perf_counter()
        await asyncio.gather(*map(one, data))
        return time.perf_counter() - start


async def rounds_of(count: int, work: Callable[[], Awaitable[T]]) -> list[T]:
    """What ``work`` measured each time, after one round that is not counted."""
    return [await work() for _ in range(count + 1)][1:]


async def script_time(browser: Chromium, url: str, again: bool = False) -> dict[str, float]:
    """Milliseconds of processor time for each of the extension's scripts while a page loads, by the browser's trace.

    again: the page was there before in this tab, so that the process has compiled the scripts."""
    events: list[dict[str, Any]] = []

    def keep(message: dict[str, Any]) -> None:
        if message.get("method") == "Tracing.dataCollected":
            events.extend(message["params"]["value"])

    browser.line.listen(keep)
    page = await browser.open(url if again else "about:blank")
    config = {"includedCategories": CATEGORIES}
    await browser.line.call("Tracing.start", {"traceConfig": config, "transferMode": "ReportEvents"})
    await page.goto(url)
    await asyncio.sleep(1)
    async with browser.line.event("Tracing.tracingComplete") as complete:
        await browser.line.call("Tracing.end")
        await complete
    await page.close()
    spent: dict[str, float] = {}
    for event in events:
        script = str(event.get("args", {}).get("data", {}).get("url", ""))
        # Compiling is part of EvaluateScript; FunctionCall is what listeners, timers and messages run.
        if event["name"] in {"EvaluateScript", "FunctionCall"} and "/page/" in script and "extension://" in script:
            name = script.split("/page/")[1] + (" later" if event["name"] == "FunctionCall" else "")
            spent[name] = spent.get(name, 0.0) + event.get("tdur", event.get("dur", 0)) / 1000
    return spent


async def listeners(page: ChromiumPage) -> set[str]:
    """The types of events that anyone listens to on the window or the document."""
    types: set[str] = set()
    for target in ("window", "document"):
        found = await page.call("Runtime.evaluate", {"expression": target})
        params = {"objectId": found["result"]["objectId"]}
        heard = await page.call("DOMDebugger.getEventListeners", params)
        types |= {one["type"] for one in heard["listeners"] if not one.get("passive")}
    return types


async def measure(rounds: int, extension: Path = EXTENSION) -> list[str]:
    """The lines of the report."""
    folder = Path(tempfile.mkdtemp(prefix="pmask-benchmark-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    clients = Clients(folder)
    config = Config(port=port, state_dir=folder, cache_bytes=0, free_memory=0)  # no answer from memory
    daemon = create_app(config, Echo(), clients)
    running = contextlib.AsyncExitStack()
    await running.enter_async_context(daemon[DOORMAN].serve(daemon, socket.create_server(("127.0.0.1", port))))
    pages = web.Application()

    async def page_of(request: web.Request) -> web.Response:
        return web.Response(text=PICKER if request.path.endswith("picker") else PAGE, content_type="text/html")

    pages.router.add_get("/pmask-demo/{name}", page_of)
    site, site_port = await serve(pages)
    url = f"http://127.0.0.1:{site_port}/pmask-demo/"
    lines = ["| upload | with | without | daemon alone | added | goal |", "|---|---|---|---|---|---|"]
    try:
        code = clients.new_code()
        async with aiohttp.ClientSession() as client:
            body = {"code": code, "name": "benchmark"}
            async with client.post(f"http://127.0.0.1:{port}/v1/pair", json=body) as answer:
                token = (await answer.json())["token"]
        bare = await browsers.launch("chromium")
        guarded = await browsers.launch("chromium", extension=extension, public_ports=[site_port])
        async with bare, guarded:
            address = guarded.extension_url(f"options/options.html#pair={clients.new_code()}&port={port}")
            options = await guarded.open(address)
            await options.wait_for("document.querySelector('#pair-result.good') !== null")
            await options.close()
            tabs: dict[str, Any] = {
                name: await one.open(url + "picker") for name, one in {"with": guarded, "without": bare}.items()
            }
            for name, (count, goal) in LOADS.items():
                files = photos(folder, count)
                taken = {}
                for how, tab in tabs.items():
                    taken[how] = milliseconds(await rounds_of(rounds, lambda: until_there(tab, url + "picker", files)))  # noqa: B023
                taken["daemon"] = milliseconds(await rounds_of(rounds, lambda: asked_directly(port, token, files)))  # noqa: B023
                added = taken["with"] - taken["without"] - taken["daemon"]
                figures = [f"{value:.0f} ms" for value in (*taken.values(), added)]
                lines.append(f"| {name} | {' | '.join(figures)} | under {goal:.0f} ms |")
            lines += await page_lines(guarded, bare, url + "page", rounds)
    finally:
        await site.cleanup()
        await running.aclose()
    return lines


async def page_lines(guarded: Any, bare: Any, url: str, rounds: int) -> list[str]:  # noqa: ANN401
    """What a page without uploads pays."""
    traces = await rounds_of(rounds, lambda: script_time(guarded, url))
    later = await rounds_of(rounds, lambda: script_time(guarded, url, again=True))
    names = sorted({name for trace in traces for name in trace})
    medians = {name: statistics.median(trace.get(name, 0.0) for trace in traces) for name in names}
    whole = statistics.median(sum(trace.values()) for trace in traces)
    lines = ["", "| script on a page without uploads | processor time |", "|---|---|"]
    lines += [f"| {name} | {medians[name]:.2f} ms |" for name in names]
    lines.append(f"| together (goal: under {PAGE_MS:g} ms) | {whole:.2f} ms |")
    whole_again = statistics.median(sum(trace.values()) for trace in later)
    lines.append(f"| together, when the page is loaded again | {whole_again:.2f} ms |")
    seen = {}
    for name, one in {"with": guarded, "without": bare}.items():
        page = await one.open(url)
        await asyncio.sleep(0.5)
        seen[name] = (await page.evaluate("document.documentElement.outerHTML"), await listeners(page))
        await page.close()
    same = seen["with"][0] == seen["without"][0]
    blocking = sorted(seen["with"][1] & BLOCKING)
    lines += ["", f"The document is {'untouched' if same else 'CHANGED'}; listeners that could block scrolling: "
              f"{', '.join(blocking) or 'none'} (listened to: {', '.join(sorted(seen['with'][1]))})."]  # fmt: skip
    return lines


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description="What PMask's extension costs.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--extension", type=Path, nargs="+", default=[EXTENSION], help="folders to compare")
    arguments = parser.parse_args()
    for extension in arguments.extension:
        lines = asyncio.run(measure(arguments.rounds, extension))
        print("\n".join([f"{extension}:", "", *lines, ""]), flush=True)


if __name__ == "__main__":
    main()
