"""`pmask-server doctor`: each finding is provoked, for what cannot be provoked would never be said."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

from localserver import cli, doctor, login_managers
from localserver.clients import Clients
from localserver.lock import single_instance
from pmask import store
from pmask.recognisers.specs import YUNET

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = "moz-extension://0f0e4c2b-1111-4222-8333-444455556666"
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes and signals")


ENGINE = doctor._engine


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A state folder, a cache and a port of the test's own. torch is loaded only where a test is about that."""
    for name in [name for name in os.environ if name.startswith(("PMASK_", "XDG_"))]:
        monkeypatch.delenv(name)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    state = tmp_path / "state"
    for name, value in {
        "HOME": tmp_path,
        "USERPROFILE": tmp_path,
        "PMASK_HOME": state,
        "PMASK_SERVER_PORT": port,
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(doctor, "_engine", lambda config: iter(()))
    return SimpleNamespace(port=port, state=state)


def found(subject: str, **how) -> doctor.Finding:
    """What is found about one subject."""
    [finding] = [one for one in doctor.examine(cli._probe, **how) if one.subject == subject]
    assert bool(finding.cure) == (finding.level != "ok"), "whatever is wrong has a cure"
    return finding


def said(subject: str, **how) -> tuple[str, str]:
    finding = found(subject, **how)
    return finding.level, finding.words


def test_settings(tmp_path, monkeypatch):
    """A typing error keeps the daemon from starting, at a login where nobody sees its message."""
    assert "ok" == found("Settings").level
    monkeypatch.setenv("PMASK_SERVER_DEVICE", "tpu")
    level, words = said("Settings")
    assert ("problem", True) == (level, "PMASK_SERVER_DEVICE" in words)
    monkeypatch.delenv("PMASK_SERVER_DEVICE")
    with monkeypatch.context() as unplugged:
        unplugged.setenv("PMASK_SERVER_GALLERY", str(tmp_path / "usb"))
        assert ("warning", f"the gallery {tmp_path / 'usb'} is not there") == said("Settings")
    (tmp_path / "own.toml").write_text("port = ")
    assert "problem" == found("Settings", config_file=tmp_path / "own.toml").level


def test_python(monkeypatch):
    """torch has no wheels for either: the installation fails in ways that do not say so."""
    assert "ok" == found("Python").level
    with monkeypatch.context() as newer:
        newer.setattr(doctor, "OLDEST_PYTHON", (99, 1))
        assert "is too old" in found("Python").words
        assert "Install Python 99.1 or newer" in found("Python").cure
    with monkeypatch.context() as narrow:
        narrow.setattr(sys, "maxsize", 2**31 - 1)
        finding = doctor._python()
    assert ("problem", True) == (finding.level, "32-bit" in finding.words)


def test_all_packages_are_looked_for():
    """As pyproject.toml names them, under the names by which they are imported."""
    named = [one for one in importlib.metadata.requires("pmask") if ";" not in one]
    imported = {"opencv-python-headless": "cv2", "pillow": "PIL"}
    names = [re.match(r"[\w-]+", one)[0] for one in named]
    assert {imported.get(name, name.replace("-", "_")) for name in names} == set(doctor._MODULES)


def test_packages(tmp_path, monkeypatch):
    """A half-finished upgrade leaves both kinds behind."""
    assert "ok" == found("Packages").level
    metadata = tmp_path / "pmask-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: pmask\nVersion: 9.9\nRequires-Dist: aiohttp>=999.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    level, words = said("Packages")
    assert ("problem", True) == (level, words.startswith("too old: aiohttp 3."))
    monkeypatch.setattr(doctor, "_MODULES", ("aiohttp", "no_such_module"))
    assert ("problem", "no_such_module is missing") == said("Packages")


def test_torch_that_does_not_load(tmp_path, monkeypatch):
    """The commonest of all: a torch that is there, but not for this machine."""
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    [finding] = ENGINE(doctor.Config())
    assert ("Recognition", "problem") == (finding.subject, finding.level)
    assert "libcudart.so.12" in finding.words


def test_torch_that_loads():
    """With the library's own imports, as the worker does."""
    loads, device = ENGINE(doctor.Config(device="cpu"))
    assert ("ok", "ok", "masks are made by the processor") == (loads.level, device.level, device.words)


@posix
def test_devices(tmp_path, monkeypatch):
    """A card that stays unused makes masks ten times slower, and a device that is not there makes none."""
    none = {"cuda": False, "mps": False}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "ok" == doctor._device("auto", none).level
    assert "masks are made by the NVIDIA card (CUDA)" == doctor._device("auto", {**none, "cuda": True}).words
    assert "the settings ask for cuda, but torch finds only cpu" == doctor._device("cuda", none).words
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    finding = doctor._device("auto", none)
    assert ("warning", True) == (finding.level, "torch cannot use it" in finding.words)


def test_weights(tmp_path, monkeypatch):
    """Missing ones are fetched in time; a damaged one would fail every photo."""
    monkeypatch.setenv("PMASK_CACHE", str(tmp_path / "cache"))
    level, words = said("Weights")
    assert ("warning", True) == (level, Path(YUNET.member).name in words)
    path = store.weight_path(YUNET)
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(YUNET.size))
    assert ("problem", f"not as published: {path}") == said("Weights")


@posix
def test_folders(home, tmp_path, monkeypatch):
    """Who is paired is nobody else's business; and what cannot be written cannot be paired."""
    assert ("ok", f"{home.state} (not made yet)") == said("State folder")
    home.state.mkdir(mode=0o755)
    assert ("problem", f"others may look into {home.state}") == said("State folder")
    home.state.chmod(0o700)
    assert ("ok", str(home.state)) == said("State folder")
    owner = os.getuid()
    with monkeypatch.context() as other:
        other.setattr(os, "getuid", lambda: owner + 1)
        assert ("problem", f"{home.state} belongs to somebody else") == said("State folder")
    (tmp_path / "file").touch()
    monkeypatch.setenv("PMASK_HOME", str(tmp_path / "file" / "state"))
    level, words = said("State folder")
    assert ("problem", f"{tmp_path / 'file'} cannot be written to (Not a directory)") == (level, words)


@pytest.mark.parametrize(("free", "level"), [(50, "problem"), (500, "warning"), (5000, "ok")])
def test_disks(monkeypatch, free, level):
    """A full disk shows first as pairings that do not last."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, free * 1024**2))
    for subject in ("Disk of the state folder", "Disk of the cache folder"):
        assert (level, f"{free:,} MB free") == said(subject)


def test_clocks(home):
    """A flat battery puts a laptop into 1970: every pairing code is too old there."""
    assert "ok" == found("Clock").level
    level, words = said("Clock", clock=lambda: 100_000.0)
    assert ("problem", True) == (level, words.startswith("it says 1970-01-0"))
    clients = Clients(home.state, clock=lambda: time.time() + 30 * 24 * 3600)
    clients.pair(clients.new_code(), "from next month", EXTENSION)
    assert "problem" == found("Clock").level


def test_a_lock_that_cannot_be_read(home):
    """As after `sudo pmask-server run`: the rest is looked at all the same, and says what to do."""
    (home.state / "daemon.lock").mkdir(parents=True)
    level, words = said("Daemon")
    assert ("problem", True) == (level, "cannot be read" in words)


def test_no_daemon():
    """What a person sees is an extension that finds nothing."""
    assert ("problem", "it does not run") == said("Daemon")
    assert "pmask-server run" in found("Daemon").cure


def test_another_program_on_the_port(home):
    """Starting the daemon again would not help."""
    with socket.create_server(("127.0.0.1", home.port)):
        assert ("problem", f"port {home.port} is taken by another program") == said("Daemon")


@pytest.fixture
def daemon(home, monkeypatch):
    """A real daemon on this test's port and state."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    process = subprocess.Popen([sys.executable, "-m", "localserver", "run"], stdout=subprocess.PIPE, text=True)
    assert "listens on" in process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_daemon_that_runs(home, daemon, monkeypatch):
    """And one that runs with other settings than those that are read now, or is older than what is installed."""
    assert ("ok", f"runs on port {home.port} (process {daemon.pid})") == said("Daemon")
    monkeypatch.setattr(doctor, "__version__", "9.9")
    assert ("warning", "version 0.1.0 is running, 9.9 is installed") == said("Daemon")
    monkeypatch.setenv("PMASK_SERVER_PORT", str(home.port + 1))
    assert ("warning", f"it runs on port {home.port}, but the settings say {home.port + 1}") == said("Daemon")


@posix
def test_a_daemon_that_hangs(home, daemon):
    """It holds the lock, so that a new one cannot start: the process must be named."""
    daemon.send_signal(signal.SIGSTOP)
    level, words = said("Daemon")
    assert ("problem", f"process {daemon.pid} should answer on port {home.port}, but does not") == (level, words)
    assert f"End process {daemon.pid}" in found("Daemon").cure


def test_a_daemon_that_could_not_write_its_port(home):
    """The disk was full when it started: it is not somebody else's."""
    with single_instance(home.state, home.port):
        (home.state / "daemon.lock").write_bytes(b"")
        assert ("warning", "it runs, but could not write on which port") == said("Daemon")


def test_somebody_elses_daemon(home, daemon, tmp_path, monkeypatch):
    """On a machine with two accounts: photos must not be offered to the other one."""
    monkeypatch.setenv("PMASK_HOME", str(tmp_path / "mine"))
    assert ("problem", f"a PMask daemon that is not yours answers on port {home.port}") == said("Daemon")


def test_browsers(home):
    """The local page and programs are no extension: with them alone, uploads are not protected."""
    clients = Clients(home.state)
    for name, origin in (("page", "http://127.0.0.1:28737"), ("program", None)):
        clients.pair(clients.new_code(), name, origin)
    assert ("warning", "no browser extension is paired") == said("Browser")
    clients.pair(clients.new_code(), "Firefox on laptop", EXTENSION)
    assert ("ok", "paired: Firefox on laptop") == said("Browser")


@posix
def test_start_at_login():
    """Off is a choice; an entry that starts nothing is not."""
    assert ("ok", "off") == said("Start at login")
    manager = login_managers.manager_of()
    manager.place.parent.mkdir(parents=True)
    gone = login_managers.Command(python="/gone/python", folder=str(ROOT), environment=manager.wanted().environment)
    manager.place.write_bytes(manager.render(gone))
    assert ("problem", "its Python, /gone/python, is no longer there") == said("Start at login")


def test_the_command_says_all_and_exits_by_the_worst(home, daemon, capsys):
    """0 with warnings alone, 1 with a problem; JSON holds what the words hold."""
    clients = Clients(home.state)
    assert 0 == cli.main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)
    assert {"subject", "level", "words", "cure"} == set(findings[0])
    assert "warning" in {one["level"] for one in findings}
    clients.pair(clients.new_code(), "Firefox", EXTENSION)
    assert 0 == cli.main(["doctor"])
    shown = capsys.readouterr().out
    assert all(f"{one['subject']}: " in shown for one in findings)
    daemon.kill()
    daemon.wait()
    assert 1 == cli.main(["doctor"])
    assert "PROBLEM  Daemon: it does not run\n           -> Run: pmask-server run" in capsys.readouterr().out


def test_looking_changes_nothing(tmp_path):
    """Who only asks must not find a folder or a file afterwards that was not there."""
    before = sorted(tmp_path.rglob("*"))
    doctor.examine(cli._probe)
    assert before == sorted(tmp_path.rglob("*"))


def test_a_lock_that_nobody_holds_is_no_daemon(home):
    """Its file stays behind when a daemon ends."""
    with single_instance(home.state, home.port):
        pass
    assert ("problem", "it does not run") == said("Daemon")
