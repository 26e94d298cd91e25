"""`pmask-server doctor`: what is wrong with this installation, and how to mend it, in words.

Each check is one function that answers with Findings; none changes anything. A *problem* keeps photos from being
protected, a *warning* may do so soon.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from localserver import autostart, lock
from localserver.clients import Clients
from localserver.config import HOST, Config, ConfigError, load
from localserver.login_managers import AutostartFailed, manager_of
from pmask import __version__, store
from pmask.folders import cache_dir
from pmask.options import MaskOptions
from pmask.recognisers.specs import SPECS, YUNET

OLDEST_PYTHON = (3, 10)
_MODULES = (
    *("aiohttp", "cv2", "facenet_pytorch", "filelock", "numpy", "onnx", "onnx2torch", "PIL", "pillow_heif", "pip"),
    *("platformdirs", "rich", "torch", "torchvision"),
)
_MB = 1024 * 1024
_DISK_LEAST = 100 * _MB
"""Bytes free without which a result or a pairing may fail to be written."""
_DISK_FEW = 1024 * _MB
"""Bytes free that are soon gone: the recognisers alone take 76 MB."""
_DAY = 24 * 3600.0
_TORCH_S = 180.0
"""Seconds for torch to load from a slow disk."""
_LOOK = (
    "import json, pmask.protect, torch; print(json.dumps({'torch': torch.__version__,"
    "'cuda': torch.cuda.is_available(), 'mps': torch.backends.mps.is_available()}))"
)

Probe = Callable[[int], "dict[str, Any] | None"]
"""What a PMask daemon on a port says of itself, None if there is none."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """subject: what was looked at. words: what was found. cure: what to do about it; empty where all is well."""

    subject: str
    level: Literal["ok", "warning", "problem"]
    words: str
    cure: str = ""


def examine(probe: Probe, config_file: Path | None = None, clock: Callable[[], float] = time.time) -> list[Finding]:
    """Everything, in the order in which it is best mended. ``clock``: seconds since 1970."""
    config, settings = _settings(config_file)
    return [
        settings,
        _python(),
        _packages(),
        *_engine(config),
        _weights(),
        *_folders(config),
        _clock(config, clock()),
        daemon(config, probe),
        _clients(config),
        _autostart(config),
    ]


def words(findings: list[Finding]) -> list[str]:
    """For people, the cures below what they are for."""
    lines = []
    for found in findings:
        mark = {"ok": "ok", "warning": "WARNING", "problem": "PROBLEM"}[found.level]
        lines.append(f"{mark:8} {found.subject}: {found.words}")
        lines += [f"{'':8}   -> {found.cure}"] if found.cure else []
    counts = {level: sum(found.level == level for found in findings) for level in ("problem", "warning")}
    if not any(counts.values()):
        return [*lines, "All is well."]
    return [*lines, f"{counts['problem']} to mend, {counts['warning']} to keep an eye on."]


def _settings(path: Path | None) -> tuple[Config, Finding]:
    try:
        config = load(path=path)
    except ConfigError as error:
        return Config(), _problem("Settings", f"{error}", "Correct it; docs/daemon.md lists all settings.")
    if config.gallery is not None and not os.path.isdir(config.gallery):
        cure = "Plug in the disk that it is on, or correct the setting."
        return config, _warning("Settings", f"the gallery {config.gallery} is not there", cure)
    return config, _ok("Settings", f"port {config.port}, device {config.device}, state in {config.state_dir}")


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return _problem("Python", f"{version} is too old", f"Install Python {oldest} or newer, and PMask in it.")
    if sys.maxsize < 2**32:
        return _problem("Python", f"{version} is a 32-bit one, for which there is no torch", "Install a 64-bit Python.")
    return _ok("Python", f"{version} ({sys.executable})")


def _packages() -> Finding:
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        return _problem("Packages", f"{', '.join(missing)} is missing", _install())
    old = [
        f"{name} {found} (needs {least})" for name, found, least in _requirements() if _numbers(found) < _numbers(least)
    ]
    if old:
        return _problem("Packages", f"too old: {', '.join(old)}", _install())
    return _ok("Packages", f"all {len(_MODULES)} are here")


def _requirements() -> Iterator[tuple[str, str, str]]:
    """Name, version that is here and least version of what PMask needs, as far as its metadata are installed."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for requirement in importlib.metadata.requires("pmask") or []:
            match = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement)
            if match:
                with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                    yield match[1], importlib.metadata.version(match[1]), match[2]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.split("+")[0])]


def _install() -> str:
    return "Install PMask anew: python3 scripts/run.py in its folder."


def _engine(config: Config) -> Iterator[Finding]:
    """Whether the library loads, and what will make the masks. In a process of its own, as the daemon's worker."""
    folder = Path(__file__).resolve().parent.parent
    try:
        done = subprocess.run(
            [sys.executable, "-c", _LOOK], capture_output=True, text=True, cwd=folder, timeout=_TORCH_S
        )
        seen = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError):
        yield _problem("Recognition", "torch did not load in time, or not at all", _install())
        return
    if seen is None:
        last = done.stderr.strip().splitlines()[-1:] or [f"the process ended with {done.returncode}"]
        yield _problem("Recognition", f"torch does not load: {last[0]}", _install())
        return
    yield _ok("Recognition", f"torch {seen['torch']} loads")
    yield _device(config.device, seen)


def _device(wanted: str, seen: dict[str, Any]) -> Finding:
    there = ["cpu", *(name for name in ("cuda", "mps") if seen[name])]
    if wanted not in ("auto", *there):
        cure = 'Set device = "auto", or mend the driver.'
        return _problem("Device", f"the settings ask for {wanted}, but torch finds only {', '.join(there)}", cure)
    if len(there) == 1 and shutil.which("nvidia-smi"):
        cure = "Install a torch built for your driver: https://pytorch.org/get-started/locally/"
        return _warning("Device", "there seems to be an NVIDIA card, but torch cannot use it", cure)
    best = {"cpu": "the processor", "cuda": "the NVIDIA card (CUDA)", "mps": "the Apple GPU (MPS)"}
    return _ok("Device", f"masks are made by {best[wanted if wanted != 'auto' else there[-1]]}")


def _weights() -> Finding:
    team = MaskOptions().team
    files = [YUNET, *(file for name in team if name in SPECS for file in SPECS[name].files)]
    damaged = [store.weight_path(file) for file in files if store.weight_path(file).exists() and not store.verify(file)]
    if damaged:
        names = ", ".join(map(str, damaged))
        return _problem("Weights", f"not as published: {names}", "Delete these files, then run: pmask models fetch")
    missing = [Path(file.member).name for file in files if not store.is_present(file)]
    if missing:
        cure = f"Run: pmask models fetch {' '.join(team)} (else the first photo fetches them)"
        return _warning("Weights", f"not here yet: {', '.join(missing)}", cure)
    return _ok("Weights", f"of {', '.join(team)} and the face detector: here, and as published")


def _folders(config: Config) -> Iterator[Finding]:
    for subject, folder, private in (
        ("State folder", config.state_dir, True),
        ("Cache folder", cache_dir(), False),
    ):
        yield _folder(subject, folder, private)
        yield _disk(subject, folder)


def _folder(subject: str, folder: Path, private: bool) -> Finding:
    there = _nearest(folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        why = f"{there} cannot be written to ({error.strerror})"
        return _problem(subject, why, f"Make {folder} a folder that is yours: chown, chmod u+rwx.")
    if private and folder.exists() and sys.platform != "win32":
        if folder.stat().st_uid != os.getuid():
            return _problem(subject, f"{folder} belongs to somebody else", "Run pmask-server as yourself, not by sudo.")
        if folder.stat().st_mode & 0o077:
            return _problem(subject, f"others may look into {folder}", f"Run: chmod go= {folder}")
    return _ok(subject, f"{folder}{'' if folder.exists() else ' (not made yet)'}")


def _disk(subject: str, folder: Path) -> Finding:
    free = shutil.disk_usage(_nearest(folder)).free
    subject, said = f"Disk of the {subject[0].lower()}{subject[1:]}", f"{free / _MB:,.0f} MB free"
    if free < _DISK_LEAST:
        return _problem(subject, said, "Delete what you do not need; PMask cannot write any more.")
    if free < _DISK_FEW:
        return _warning(subject, said, "Delete what you do not need.")
    return _ok(subject, said)


def _nearest(folder: Path) -> Path:
    """The folder, or what is there of the way to it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _clock(config: Config, now: float) -> Finding:
    """Codes and pairings go by the wall clock. It cannot be before PMask's own files, nor before a pairing."""
    marks = [Path(__file__).stat().st_mtime, *(client.created for client in Clients(config.state_dir).paired())]
    shown = datetime.datetime.fromtimestamp(now).strftime("%Y-%m-%d %H:%M")
    if now < max(marks) - _DAY:
        return _problem(
            "Clock", f"it says {shown}, before PMask was installed or paired", "Set the clock, then pair again."
        )
    return _ok("Clock", shown)


def daemon(config: Config, probe: Probe) -> Finding:
    """Whether this person's own daemon runs and answers; if not, what has its port."""
    subject, port = "Daemon", config.port
    try:
        held, holder = lock.is_held(config.state_dir), lock.holder(config.state_dir)
    except OSError as error:
        why = f"the lock in {config.state_dir} cannot be read ({error.strerror})"
        return _problem(subject, why, "Make that folder and all in it yours: chown, chmod u+rwX.")
    if held and not holder:
        return _warning(subject, "it runs, but could not write on which port", "Make room on the disk, start it anew.")
    answer = probe(holder.port if holder else port)
    if holder and answer is None:
        cure = f"End process {holder.pid}, then start it anew: pmask-server run"
        return _problem(subject, f"process {holder.pid} should answer on port {holder.port}, but does not", cure)
    if holder and holder.port != port:
        cure = "Start it anew, for the settings to count."
        return _warning(subject, f"it runs on port {holder.port}, but the settings say {port}", cure)
    if holder and holder.version != __version__:
        cure = "Start it anew, for the update to count."
        return _warning(subject, f"version {holder.version} is running, {__version__} is installed", cure)
    if holder:
        return _ok(subject, f"runs on port {port} (process {holder.pid})")
    if answer is not None:
        cure = "Choose another port in the settings: another person, or another state folder, has this one."
        return _problem(subject, f"a PMask daemon that is not yours answers on port {port}", cure)
    if _is_taken(port):
        cure = f"End that program, or choose another port in the settings (port = {port + 1})."
        return _problem(subject, f"port {port} is taken by another program", cure)
    return _problem(
        subject, "it does not run", "Run: pmask-server run, or at each login: pmask-server autostart enable"
    )


def _is_taken(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=2):
        return True
    return False


def _clients(config: Config) -> Finding:
    paired = Clients(config.state_dir).paired()
    browsers = [client.name for client in paired if client.origin and not client.origin.startswith("http://")]
    if not browsers:
        cure = "Run: pmask-server pair, and type its code in the extension's settings."
        return _warning("Browser", "no browser extension is paired", cure)
    return _ok("Browser", f"paired: {', '.join(browsers)}")


def _autostart(config: Config) -> Finding:
    try:
        status = autostart.status(manager_of(), config.state_dir)
    except (AutostartFailed, OSError) as error:
        return _warning("Start at login", f"{error}", "See: pmask-server autostart status")
    if status.stale:
        return _problem("Start at login", "; ".join(status.stale), "Run: pmask-server autostart enable")
    return _ok("Start at login", f"on, by {status.manager}" if status.enabled else "off")


def _ok(subject: str, said: str) -> Finding:
    return Finding(subject=subject, level="ok", words=said)


def _warning(subject: str, said: str, cure: str) -> Finding:
    return Finding(subject=subject, level="warning", words=said, cure=cure)


def _problem(subject: str, said: str, cure: str) -> Finding:
    return Finding(subject=subject, level="problem", words=said, cure=cure)
