"""The demo itself, with a fast protector in the daemon: over HTTP, and in a real browser where there is one."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys

import browser as browsers
import demo_run
import numpy as np
import pytest
import run
from PIL import Image
from setup_environment import ROOT
from steps import Failed

from pmask.check import judges
from pmask.recognisers.specs import DEFAULT_TEAM, SPECS, YUNET

PROTECTOR = "painter:Painter"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "person.png"
    Image.new("RGB", (60, 40), (90, 120, 150)).save(path)
    return path


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """Runs the demo with options; its daemon paints instead of masking. Returns the folder of what it wrote."""
    monkeypatch.setattr(demo_run, "OUT", tmp_path / "out")
    monkeypatch.setattr(demo_run, "fetch_weights", lambda: None)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "scripts"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "out").mkdir()
    daemon = [sys.executable, "-m", "localserver", "run", "--port", str(port), "--protector", PROTECTOR]
    process = subprocess.Popen(daemon, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert "listens" in process.stdout.readline()

        def go(*arguments):
            assert 0 == demo_run.main(["--headless", "--port", str(port), *arguments])
            return tmp_path / "out"

        yield go
    finally:
        process.terminate()
        process.communicate(timeout=20)


def pixel(path):
    return np.asarray(Image.open(path).convert("RGB"))[0, 0].tolist()


def clients():
    listed = [sys.executable, "-m", "localserver", "clients", "list"]
    return subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def check(out, said):
    """The pictures show what the painter did, the figures say what it reported, and nothing stays paired."""
    assert [90, 120, 150] == pixel(out / "before.png")
    assert [100, 120, 150] == pixel(out / "after.png")
    assert [168, 128, 128] == pixel(out / "difference.png")
    assert "only partly hidden. SSIM 0.970, PSNR inf dB, 7 iterations" in said
    assert "sface                1.0°    80.0°    75.0°          60.0°  goal reached" in said
    assert "dlib                 0.5°    10.0°    40.0°          20.0°  still nearer than anyone else" in said
    assert "" == clients()


def test_without_a_browser(demo, photo, capsys):
    out = demo("--no-browser", "--photo", str(photo))
    said = capsys.readouterr().out
    check(out, said)
    assert (out / "person.protected.png").exists()
    assert "already runs" in said


@pytest.mark.parametrize("kind", ["chromium", "firefox"])
def test_in_a_browser(demo, photo, capsys, kind):
    """What the documented command does; nothing else would notice that a page's element was renamed."""
    if browsers.find_browser(kind) is None:
        pytest.skip(f"no {kind} on this machine")
    out = demo("--browser", kind, "--photo", str(photo))
    said = capsys.readouterr().out
    check(out, said)
    assert (out / "page.png").stat().st_size > 0
    assert "the upload" in said
    assert [] == list(out.glob("browser-profile-*"))


def test_a_file_that_is_no_photo_is_said_at_once(demo, tmp_path, capsys):
    broken = tmp_path / "notes.jpg"
    broken.write_text("not a photo")
    with contextlib.suppress(AssertionError):
        demo("--no-browser", "--photo", str(broken))
    assert f"{broken}: not an image that PMask can read" in capsys.readouterr().err


def test_the_daemon_that_does_not_start_says_why(tmp_path, monkeypatch, photo, capsys):
    """Another program on the port is the usual reason."""
    monkeypatch.setattr(demo_run, "OUT", tmp_path / "out")
    monkeypatch.setattr(demo_run, "fetch_weights", lambda: None)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert 1 == demo_run.main(["--no-browser", "--port", str(port), "--photo", str(photo)])
    assert f"Port {port} is taken by another program" in capsys.readouterr().err


def test_a_daemon_of_ones_own_on_another_port_can_be_used(tmp_path, monkeypatch, photo, capsys):
    """Only one runs for one account, so a second is refused; what to do is said."""
    monkeypatch.setattr(demo_run, "OUT", tmp_path / "out")
    monkeypatch.setattr(demo_run, "fetch_weights", lambda: None)
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])

    async def beside_another():
        demo_run.OUT.mkdir()
        async with demo_run.running_daemon(ports[0], "cpu"), demo_run.running_daemon(ports[1], "cpu"):
            pass

    with pytest.raises(Failed, match=f"add --port {ports[0]}"):
        asyncio.run(beside_another())


def test_a_folder_that_cannot_be_written_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "out").write_text("a file")
    monkeypatch.setattr(demo_run, "OUT", tmp_path / "out")
    assert 1 == demo_run.main(["--no-browser"])
    assert str(tmp_path / "out") in capsys.readouterr().err


def test_a_browser_in_the_persons_own_folder_is_found(tmp_path, monkeypatch):
    """Where Chromium installs itself on Windows, and whoever may not write to /Applications puts it on macOS."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    firefox = tmp_path / "Applications/Firefox.app/Contents/MacOS/firefox"
    firefox.parent.mkdir(parents=True)
    firefox.touch()
    assert ("firefox", firefox) == browsers.find_browser("firefox")


async def test_a_comma_in_the_path_of_the_extension_is_said(tmp_path):
    """Chromium takes a list there, and would start without the extension."""
    if browsers.find_browser("chromium") is None:
        pytest.skip("no chromium on this machine")
    with pytest.raises(browsers.BrowserError, match="path with a comma"):
        await browsers.launch("chromium", extension=tmp_path / "a,b")


def test_the_default_port_is_the_daemons():
    """run.py cannot ask the daemon: it runs before anything is installed."""
    from localserver.config import DEFAULT_PORT

    assert DEFAULT_PORT == run.DEFAULT_PORT


def test_the_first_photo_waits_for_no_weights(tmp_path, monkeypatch):
    """All that look at it, in the mask's making or afterwards, are fetched before it is picked."""
    monkeypatch.setenv("PMASK_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr(demo_run.store, "fetch", lambda files, say: asked.extend(files))
    demo_run.fetch_weights()
    needed = [file for name in (*DEFAULT_TEAM, *judges(DEFAULT_TEAM)) for file in SPECS[name].files]
    assert {YUNET, *needed} <= set(asked)
    assert judges(DEFAULT_TEAM)
