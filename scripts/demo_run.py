"""What `run.py` does once the environment is there: weights, daemon, demo site, browser, and one photo's way.

Nothing here is a part of PMask: it does what a person would do, with the same programs, and cleans up after itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import browser as browsers
import numpy as np
from aiohttp import web
from browser import Browser, BrowserError, Page
from demo.server import RECEIVED, create_demo_app
from PIL import Image
from run import has_display, parser
from setup_environment import ROOT
from steps import Failed, Step, print_anything, step

from pmask import images, store
from pmask.errors import PMaskError
from pmask.folders import cache_dir
from pmask.recognisers.specs import REGISTRY, YUNET
from pmask.report import tally_words, verdict_words

EXTENSION = ROOT / "extension"
OUT = ROOT / "out"
"""Everything that is written lies here; git ignores it."""
DEMO_PORT = 8737
DAEMON_START_S = 60.0
JOB_START_S = 60.0
"""Seconds from the pick until the daemon must have the photo."""
JOB_S = 1800.0
"""Seconds that a mask may take: a crowd in a large photo, on a slow processor."""
UPLOAD_S = 60.0
POLL_S = 0.3
AMPLIFIED = 4
"""The difference picture shows changes this many times as large, around grey."""

OTHERS_DAEMON = (
    "If the daemon on port {port} belongs to another user or was started with another PMASK_HOME, choose another port "
    "with --port."
)
INSTALL_BROWSER = (
    "Debian: sudo apt install chromium (or firefox-esr); macOS and Windows: https://www.mozilla.org/firefox/ "
    "or Chromium. Google's own Chrome cannot be started with an extension from a folder."
)


Pick = Callable[[str, Sequence[Path]], Awaitable[None]]
"""Puts files into the input that a JavaScript expression names."""


@dataclass
class Outcome:
    """What became of one photo. report: the daemon's own, pmask/report.py as JSON. seconds: from the pick on."""

    photo: Path
    data: bytes
    report: dict[str, Any]
    seconds: float
    upload_seconds: float | None = None
    files: list[Path] = field(default_factory=list)


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    print_anything()
    args = parser().parse_args(argv)
    try:
        OUT.mkdir(exist_ok=True)
        (OUT / "daemon.log").unlink(missing_ok=True)  # of the last time
        if args.photo:
            images.inspect_image(args.photo.read_bytes())  # rather now than after a browser was started
        fetch_weights()
        asyncio.run(_until_terminated(demonstrate(args)))
    except PMaskError as error:
        print(f"\n{args.photo or 'PMask'}: {error}", file=sys.stderr)
        return 1
    except (Failed, BrowserError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\nStopped.")
        return 130
    return 0


async def _until_terminated(work: Coroutine[Any, Any, None]) -> None:
    """Runs the work; a request to terminate ends it as Ctrl-C does, with its cleaning up."""
    task = asyncio.ensure_future(work)
    if os.name == "posix":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


def fetch_weights() -> None:
    """The weights of the face detector and of the registry's recognisers, who are the team or judge beside it, checked:
    the first photo should not wait for them. A file that has gone bad is fetched again."""
    files = [YUNET, *(file for spec in REGISTRY.values() for file in spec.files)]
    good = [store.verify(file) for file in files]
    if all(good):
        print(f"- Weights of {', '.join(REGISTRY)} and the face detector: checked, in {cache_dir()}")
        return
    for file, is_good in zip(files, good, strict=True):
        if not is_good:
            store.weight_path(file).unlink(missing_ok=True)
    with step(f"Fetching the weights of {', '.join(REGISTRY)} and the face detector") as one:
        store.fetch(files, one.say)


async def demonstrate(args: argparse.Namespace) -> None:
    """The demo, as the options have it."""
    found = None if args.no_browser else find_browser(args.browser)
    watching = not args.headless and found is not None and has_display()
    if not args.no_browser and found is None:
        print(f"- No {args.browser or 'browser'} that can load the extension was found. {INSTALL_BROWSER}")
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(running_daemon(args.port, args.device))
        if found is None:
            show(await protect_over_http(args.port, args.photo or sample_photo()))
            return
        demo = await stack.enter_async_context(running_demo())
        browser = await stack.enter_async_context(running_browser(found, headless=not watching))
        settings = await stack.enter_async_context(paired(browser, args.port))
        with step(f"Opening the demo page, {demo.url}"):
            page = await browser.open(demo.url)
        if args.photo or not watching:
            # Where a person watches, a dialog would stay open on the screen.
            pick = page.set_files if watching else page.choose
            show(await post_photo(settings, page, demo, args.photo or sample_photo(), pick))
        if watching:
            await settings.close()
            print(f"\nPick a photo with a face in the browser, at {demo.url}")
            print("Ctrl-C here, or closing the browser, ends it.", flush=True)
            with contextlib.suppress(asyncio.CancelledError):  # it is how a person ends this
                await browser.wait()
            print("\nStopping the browser, the demo site and the daemon.")


def find_browser(kind: browsers.Kind | None) -> browsers.Kind | None:
    """A kind of browser that is here and can be started with an extension from a folder, Chromium first."""
    kinds: tuple[browsers.Kind, ...] = (kind,) if kind else ("chromium", "firefox")
    for candidate in kinds:
        found = browsers.find_browser(candidate)
        if found is not None and browsers.loads_unpacked(found[1]):
            return candidate
    return None


# --- the daemon


@contextlib.asynccontextmanager
async def running_daemon(port: int, device: str) -> AsyncIterator[None]:
    """A PMask daemon on this port: the one that is there, or one of our own that ends with us."""
    if (version := await health(port)) is not None:
        with_device = "; it chose its device itself" if device != "auto" else ""
        print(f"- A PMask daemon (version {version}) already runs on port {port}: using it{with_device}")
        yield
        return
    with step(f"Starting the daemon on http://127.0.0.1:{port}"):
        with (OUT / "daemon.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "localserver", "run", "--port", str(port), "--device", device],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            end = time.monotonic() + DAEMON_START_S
            while await health(port) is None:
                if process.poll() is not None or time.monotonic() > end:
                    said = daemon_says()
                    other = re.search(r"already running on port (\d+)", said)
                    cure = f"\nTo use that one, add --port {other[1]}." if other else ""
                    raise Failed(f"The daemon did not start on port {port}; it says:\n{said}{cure}")
                await asyncio.sleep(0.1)
        except BaseException:
            stop(process)
            raise
    try:
        yield
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a child of ours, gently at first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def daemon_says() -> str:
    """The end of the daemon's log, where the daemon is our own."""
    log = OUT / "daemon.log"
    if not log.exists():
        return "  (it was not started here; see its own log)"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-15:])


async def health(port: int) -> str | None:
    """The version of the PMask daemon on this port; None if there is none."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http,
            http.get(f"http://127.0.0.1:{port}/v1/health") as answer,
        ):
            said = await answer.json(content_type=None)
    except (aiohttp.ClientError, asyncio.TimeoutError, ValueError, OSError):
        return None
    return str(said.get("version")) if isinstance(said, dict) and said.get("product") == "pmask" else None


async def localserver(*arguments: str) -> str:
    """Asks `pmask-server`; returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "localserver", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    if process.returncode != 0:
        raise Failed(f"`pmask-server {' '.join(arguments)}` failed: {err.decode(errors='replace').strip()}")
    return out.decode()


async def new_code(port: int) -> str:
    """A fresh pairing code."""
    return str(json.loads(await localserver("pair", "--json", "--port", str(port)))["code"])


async def revoke(client: str) -> None:
    """Makes the daemon forget what was paired for this demo only."""
    with contextlib.suppress(Failed):
        await localserver("clients", "revoke", client)


# --- the browser


@dataclass(frozen=True)
class Demo:
    """The demo site while it runs."""

    app: web.Application
    url: str
    folder: Path


@contextlib.asynccontextmanager
async def running_demo() -> AsyncIterator[Demo]:
    """The demo site, on its usual port or a free one."""
    folder = OUT / "demo-received"
    folder.mkdir(exist_ok=True)
    app = create_demo_app(folder)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", DEMO_PORT)
        try:
            await site.start()
        except OSError:  # taken
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Demo(app, f"http://127.0.0.1:{runner.addresses[0][1]}/pmask-demo/", folder)
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def running_browser(kind: browsers.Kind, *, headless: bool) -> AsyncIterator[Browser]:
    """A browser with the extension and a fresh profile."""
    # Not in the system's folder for temporary files, which a browser from a snap does not share with us.
    profile = Path(tempfile.mkdtemp(prefix="browser-profile-", dir=OUT))
    try:
        with step(f"Starting {kind.capitalize()} with the extension{', headless' if headless else ''}"):
            browser = await browsers.launch(kind, extension=EXTENSION, headless=headless, profile=profile)
        async with browser:
            yield browser
    finally:
        shutil.rmtree(profile, ignore_errors=True)


@contextlib.asynccontextmanager
async def paired(browser: Browser, port: int) -> AsyncIterator[Page]:
    """The extension's settings page, once it is paired with the daemon; unpaired at the end, with its profile."""
    with step("Pairing the extension with the daemon"):
        address = browser.extension_url(f"options/options.html#pair={await new_code(port)}&port={port}")
        settings = await browser.open(address)
        result = await settings.wait_for(
            "(() => { const said = document.getElementById('pair-result'); "
            "return /good|bad/.test(said.className) && [said.className, said.innerText]; })()"
        )
        if "good" not in result[0]:
            raise Failed(f"The extension could not be paired: {result[1]}\n{OTHERS_DAEMON.format(port=port)}")
        client = await settings.evaluate(
            "(globalThis.browser ?? chrome).runtime.sendMessage({name: 'overview'})"
            ".then(({value}) => value.daemon.client.id)"
        )
    try:
        yield settings
    finally:
        await revoke(client)


LISTEN = """(() => {
  globalThis.lastJob = globalThis.lastEnd = null;
  (globalThis.browser ?? chrome).runtime.onMessage.addListener((message) => {
    if (message?.job) globalThis.lastJob = message.job;
    if (message?.name === "ended") globalThis.lastEnd = message;
  });
  return true;
})()"""
"""The pages' messages to the extension's background reach its settings page too: they name the daemon's job, and tell
its end, after which the daemon has forgotten it."""

ASK_JOB = """(async () => {
  if (!globalThis.lastJob) return null;
  if (globalThis.lastEnd) {
    const { state, report, error } = globalThis.lastEnd;
    return { state: state === "failed" ? "failed" : "done", report, error };
  }
  const [daemon, store] = await Promise.all([import("/background/daemon.js"), import("/background/store.js")]);
  const forgotten = () => ({ state: "running", stage: "checking", progress: 1, faces: null });
  const job = await daemon.followJob((await store.read()).daemon, globalThis.lastJob, null).catch(forgotten);
  // Its end is told a moment later.
  return job.state === "running" || job.state === "queued" ? job : { ...job, state: "running" };
})()"""
"""The job's state as the daemon tells it to the extension: the report is in it once it is done."""


async def post_photo(settings: Page, page: Page, demo: Demo, photo: Path, pick: Pick) -> Outcome:
    """Picks the photo in the demo page as a person does, posts it, and returns what arrived."""
    before = len(demo.app[RECEIVED])
    try:
        with step(f"Picking {photo.name} in the page; the extension has the daemon protect it") as one:
            await settings.evaluate(LISTEN)
            began = time.monotonic()
            await pick("document.getElementById('photo')", [photo])
            await wait_until(lambda: settings.evaluate("globalThis.lastJob"), JOB_START_S, "the daemon got no photo")
            report = await follow(one, lambda: settings.evaluate(ASK_JOB))
            await page.wait_for("document.getElementById('photo').files.length === 1", UPLOAD_S)
        with step("Posting it"):
            posted = time.monotonic()
            await page.click("document.querySelector('form button')")
            await page.wait_for("document.querySelector('#received li') !== null", UPLOAD_S)
            ended = time.monotonic()
            picture = "document.querySelector('#received img')"
            await page.wait_for(f"{picture} === null || {picture}.complete", UPLOAD_S)
    finally:
        with contextlib.suppress(BrowserError, ConnectionError, OSError):
            await page.screenshot(OUT / "page.png")
    received = demo.app[RECEIVED][before]
    return Outcome(
        photo=photo,
        data=(demo.folder / received.sha256).read_bytes(),
        report=report,
        seconds=ended - began,
        upload_seconds=ended - posted,
        files=[OUT / "page.png", demo.folder / received.sha256],
    )


async def wait_until(ask: Callable[[], Coroutine[Any, Any, Any]], patience: float, otherwise: str) -> None:
    """Asks until the answer is true. Raises Failed when patience ends."""
    end = time.monotonic() + patience
    while not await ask():
        if time.monotonic() > end:
            raise Failed(
                f"After {patience:.0f} s {otherwise}; see {OUT / 'page.png'}. The daemon says:\n{daemon_says()}"
            )
        await asyncio.sleep(POLL_S)


async def follow(one: Step, ask: Callable[[], Coroutine[Any, Any, Any]]) -> dict[str, Any]:
    """Follows a job to its end; returns its report. Raises Failed if it failed."""
    end = time.monotonic() + JOB_S
    while time.monotonic() < end:
        job = await ask()
        if job["state"] == "done":
            one.detail = ""
            return dict(job["report"])
        if job["state"] in ("failed", "cancelled"):
            error = job["error"] or {"code": job["state"], "message": ""}
            what = f"The daemon could not protect the photo: {error['message']} ({error['code']})."
            raise Failed(f"{what} It says:\n{daemon_says()}")
        faces = "" if job["faces"] is None else f", faces: {job['faces']}"
        one.say(f"{job['stage'] or job['state']} {job['progress']:.0%}{faces}")
        await asyncio.sleep(POLL_S)
    raise Failed(f"The photo was not protected within {JOB_S / 60:.0f} minutes.")


# --- without a browser


async def protect_over_http(port: int, photo: Path) -> Outcome:
    """Gives the photo to the daemon as the extension would (localserver/PROTOCOL.md)."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:

        async def ask(method: str, path: str, **more: Any) -> Any:  # noqa: ANN401 (whatever JSON the daemon answers)
            async with http.request(method, path, **more) as answer:
                if answer.status >= 400:
                    error = (await answer.json())["error"]
                    raise Failed(f"The daemon on port {port} refused: {error['message']} ({error['code']})")
                return await answer.json() if answer.content_type == "application/json" else await answer.read()

        with step("Pairing with the daemon"):
            try:
                mine = await ask("POST", "/v1/pair", json={"code": await new_code(port), "name": "scripts/run.py"})
            except Failed as error:
                raise Failed(f"{error}\n{OTHERS_DAEMON.format(port=port)}") from None
        try:
            with step(f"Giving {photo.name} to the daemon") as one:
                token = {"Authorization": f"Bearer {mine['token']}"}
                original = photo.read_bytes()
                began = time.monotonic()
                job = (await ask("POST", "/v1/jobs", data=original, headers=token))["id"]
                report = await follow(one, lambda: ask("GET", f"/v1/jobs/{job}", headers=token))
                data = await ask("GET", f"/v1/jobs/{job}/result", headers=token)
                seconds = time.monotonic() - began
        finally:
            await revoke(mine["client"]["id"])
    result = OUT / f"{photo.stem}.protected{photo.suffix}"
    result.write_bytes(data or original)
    return Outcome(photo=photo, data=data or original, report=report, seconds=seconds, files=[result])


# --- the photo and what became of it


def sample_photo() -> Path:
    """skimage's astronaut: a NASA portrait in the public domain."""
    from skimage import data

    path = OUT / "astronaut.jpg"
    if not path.exists():
        Image.fromarray(data.astronaut()).save(path, quality=95)
    return path


def show(outcome: Outcome) -> None:
    """Prints what happened to the photo, and writes the pictures of it."""
    print("\n".join(["", *figures(outcome), "", *pictures(outcome)]), flush=True)


def figures(outcome: Outcome) -> list[str]:
    """What happened, in lines."""
    report = outcome.report
    faces = report["faces"]
    what = f"{outcome.photo.name}: {report['width']} x {report['height']} {report['format'].upper()}"
    if outcome.upload_seconds is None:
        took = f"{outcome.seconds:.1f} s from hand-over to result"
    else:
        took = f"{outcome.seconds:.1f} s from the pick to the site, {outcome.upload_seconds:.1f} s of them the upload"
    lines = [f"{what}; the mask {report['seconds']:.1f} s on {report['device']}; {took}"]
    if report["status"] == "already_protected":
        return [*lines, "PMask has protected this photo before, so it was passed on as it was, byte for byte."]
    if not faces:
        return [*lines, "No face was found, so the photo was passed on as it was, byte for byte."]
    lines += [
        "What each recogniser sees, in degrees from the face as it was: the photo before the mask, and after it; the",
        "goal; and the nearest other person. Beyond that one, it takes the face for someone else's.",
    ]
    for number, face in enumerate(faces, 1):
        x, y, width, height = (round(value) for value in face["box"])
        verdict = "only partly hidden" if face["matched"] else "protected"
        lines += [
            "",
            f"Face {number} at ({x}, {y}), {width} x {height} pixels: {verdict}. SSIM {face['ssim']:.3f}, "
            f"PSNR {face['psnr'] or math.inf:.1f} dB, {face['iterations']} iterations, {face['seconds']:.1f} s",
            f"  {'recogniser':<16}{'before':>9}{'after':>9}{'goal':>9}{'nearest other':>15}",
        ]
        for name, angles in face["distances"].items():
            shown = "".join(f"{angles[key]:>8.1f}°" for key in ("before", "after", "goal"))
            lines.append(f"  {name:<16}{shown}{angles['other']:>14.1f}°  {_verdict(angles)}")
        lines += [f"  {line}" for line in verdict_words(face["verdicts"])]
    if report["judged"]:
        lines += ["", f"{tally_words(report['judged'])}."]
    return [*lines, *(f"Note: {warning}" for warning in report["warnings"])]


def _verdict(angles: dict[str, float]) -> str:
    if angles["after"] >= angles["goal"]:
        return "goal reached"
    return "someone else, short of the goal" if angles["after"] > angles["other"] else "still nearer than anyone else"


def pictures(outcome: Outcome) -> list[str]:
    """Writes before, after and their difference; says in lines where they lie."""
    before = images.decode(outcome.photo.read_bytes()).rgb
    after = images.decode(outcome.data).rgb
    difference = np.clip(128 + AMPLIFIED * (after.astype(int) - before), 0, 255).astype(np.uint8)
    names = {"before.png": before, "after.png": after, "difference.png": difference}
    for name, rgb in names.items():
        Image.fromarray(rgb).save(OUT / name)
    written = [OUT / name for name in names] + outcome.files
    notes = {
        "before.png": "the photo",
        "after.png": "as it was posted",
        "difference.png": f"what the mask changed, {AMPLIFIED} times as strong, around grey",
        "page.png": "the demo page",
    }
    return ["Pictures:", *(f"  {path}  ({notes.get(path.name, 'the very file')})" for path in written)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
