"""Makes the repository's own Python environment, `.venv`, or finds it made. Only the standard library.

``python3 scripts/setup_environment.py [EXTRA...]`` makes it and nothing else; `run.py`, `test.py` and `check.py` call
it by themselves. The versions are those of constraints.txt. Once made, it is used as it is until pyproject.toml or
constraints.txt change.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

from python_version import OLDEST_PYTHON
from steps import Failed, Step, print_anything, run, step

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("demo", "dev", "evaluate")
"""What pyproject.toml names: the sample photo; all tests and checks; `pmask evaluate`."""
STAMP = "pmask-environment.json"
"""In the environment's folder: what was installed into it. Written last, so that a cut installation is done again."""


def python_of(venv: Path) -> Path:
    """The environment's Python."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def wanted(root: Path) -> str:
    """A hash of all that decides what is installed, but for the extras."""
    parts = [str(root).encode(), (root / "pyproject.toml").read_bytes(), (root / "constraints.txt").read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def stamped(venv: Path) -> tuple[str, set[str]]:
    """The hash and the extras with which the environment was made; ("", nothing) if it never was to the end."""
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
        return str(stamp["wanted"]), {str(extra) for extra in stamp["extras"]}
    except (OSError, ValueError, LookupError, TypeError):
        return "", set()


def is_ready(root: Path, extras: Collection[str]) -> bool:
    """Whether `.venv` holds what is wanted now, with these extras."""
    venv = root / ".venv"
    made, have = stamped(venv)
    return python_of(venv).exists() and made == wanted(root) and set(extras) <= have


def ensure(extras: Collection[str] = (), root: Path = ROOT) -> Path:
    """The Python of `.venv`, after making or renewing the environment where it is needed. Raises Failed."""
    print_anything()  # here, for all who call this: it prints where the repository is
    check_machine()
    venv = root / ".venv"
    if is_ready(root, extras):
        print(f"- Python environment: {venv} is up to date")
        return python_of(venv)
    uv = shutil.which("uv")
    if not _works(venv):
        with step(f"Making a Python environment in {venv}") as one:
            _make(venv, uv, one)
    # What it already has stays: run.py must not leave test.py's tools behind at old versions.
    extras = sorted({*extras, *stamped(venv)[1]})
    (venv / STAMP).unlink(missing_ok=True)
    with step("Installing PMask and what it needs (PyTorch is large: minutes, the first time)") as one:
        _install(root, extras, uv, one)
    stamp = {"wanted": wanted(root), "extras": extras}
    (venv / STAMP).write_text(json.dumps(stamp), encoding="utf-8")
    return python_of(venv)


def check_machine() -> None:
    """Raises Failed for a Python that PyTorch is not made for."""
    # What the process runs as: a Mac's Python is often built for both processors, and sysconfig names neither.
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        raise Failed(
            "PyTorch is no longer made for Macs with an Intel processor, and PMask needs it. On a Mac with Apple's own "
            f"processor this Python ({sys.executable}) is one for Intel: take one for Apple silicon."
        )
    # What this Python was built for: platform.machine() names the machine's processor, which runs x64 programs too.
    if sys.platform == "win32" and sysconfig.get_platform() == "win-arm64":
        raise Failed(
            f"OpenCV and PyTorch are not made for this Python ({sys.executable}), which is one for ARM processors: "
            "install Python's 64-bit x64 version, which runs on Windows for ARM as well."
        )


def _works(venv: Path) -> bool:
    """Is there an environment whose Python starts and is new enough?"""
    question = f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    try:
        return subprocess.run([str(python_of(venv)), "-c", question], capture_output=True).returncode == 0
    except OSError:
        return False


def _make(venv: Path, uv: str | None, one: Step) -> None:
    if venv.exists() and not (venv / "pyvenv.cfg").exists() and any(venv.iterdir()):
        raise Failed(f"{venv} is there and is no Python environment. Move it away, then run this again.")
    if uv:
        try:
            run([uv, "venv", "--clear", "--python", sys.executable, venv], one, cwd=venv.parent)
            return
        except Failed:
            one.say("uv failed; trying Python's own venv")
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            raise Failed(missing_venv(module))
    run([sys.executable, "-m", "venv", "--clear", venv], one, cwd=venv.parent)


def missing_venv(module: str) -> str:
    """What to do where Python came without the means to make an environment, as Debian ships it."""
    major, minor = sys.version_info[:2]
    return (
        f"{sys.executable} has no `{module}` module, without which no Python environment can be made.\n"
        f"Debian, Ubuntu:  sudo apt install python{major}.{minor}-venv\n"
        "Elsewhere:       install uv (https://docs.astral.sh/uv/), which needs no such module.\n"
        "Then run this again."
    )


def torch_builds() -> list[list[str]]:
    """uv's options for the build of PyTorch that suits this machine, best first. PyPI's own, the last resort, is for
    NVIDIA's newest drivers on Linux, several GB that are of no use without such a card, and for no card on Windows.
    PyTorch's own server has one for each (https://docs.astral.sh/uv/guides/integration/pytorch/)."""
    has_card = shutil.which("nvidia-smi") is not None
    if sys.platform == "darwin" or (sys.platform == "win32" and not has_card):
        return [[]]
    return [["--torch-backend", "auto" if has_card else "cpu"], []]


def _install(root: Path, extras: Sequence[str], uv: str | None, one: Step) -> None:
    """With uv, which is much faster; with plain pip where uv is not to be had or fails."""
    venv = root / ".venv"
    python = python_of(venv)
    project = f".[{','.join(extras)}]" if extras else "."
    what = ["-c", "constraints.txt", "-e", project]
    if uv is None:
        uv = _fetched_uv(root, one)
    indexes = pips_indexes()
    for build in torch_builds() if uv else []:
        try:
            run([str(uv), "pip", "install", "--python", python, *build, *what], one, cwd=root, env=indexes)
            return
        except (Failed, OSError):
            one.say(f"uv failed{' with ' + ' '.join(build) if build else ''}; trying another way")
    try:
        run([python, "-m", "ensurepip"], one, cwd=root)  # an environment that uv made has no pip
        run([python, "-m", "pip", "install", *what], one, cwd=root)
    except Failed as error:
        raise Failed(
            f"{error}\nPMask's packages could not be installed into {venv}, neither by uv nor by pip. Check the "
            "network and the free disk space (PyTorch may need several GB), then run this again."
        ) from None


def pips_indexes() -> dict[str, str]:
    """uv's variables for the package indexes that pip is told to use, by a file or the environment: uv reads neither
    (https://docs.astral.sh/uv/pip/compatibility/), and PyPI may be blocked here."""
    if any(name in os.environ for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL")):
        return {}
    said = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    found: dict[str, str] = {}
    for place in ("global", "install", ":env:"):  # each stronger than the one before
        for name, variable in (("index-url", "UV_DEFAULT_INDEX"), ("extra-index-url", "UV_INDEX")):
            if line := re.search(rf"^{place}\.{name}='(.*)'$", said, re.MULTILINE):
                found[variable] = line[1].replace("\\n", " ").strip()
    return found


def _fetched_uv(root: Path, one: Step) -> str | None:
    """uv in the environment itself; None where it is not to be had."""
    python = python_of(root / ".venv")
    try:
        run([python, "-m", "pip", "install", "--quiet", "uv"], one, cwd=root)
    except (Failed, OSError):
        return None
    return str(python.with_name("uv.exe" if os.name == "nt" else "uv"))


def hand_over(python: Path, arguments: Sequence[str]) -> NoReturn:
    """Goes on as another Python program; returns its exit code to the shell."""
    sys.stdout.flush()
    if os.name == "posix":
        os.execv(str(python), [str(python), *arguments])
    child = subprocess.Popen([str(python), *arguments])
    while True:  # subprocess.call would kill the child, which had the same Ctrl-C, in the midst of its cleaning up
        with contextlib.suppress(KeyboardInterrupt):
            sys.exit(child.wait())


def main() -> int:
    """Makes the environment with the extras that are named; returns the exit code."""
    parser = argparse.ArgumentParser(description="Makes PMask's Python environment, .venv, or brings it up to date.")
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=f"what else to install: {', '.join(EXTRAS)}")
    extras = parser.parse_args().extras
    if unknown := sorted({*extras} - {*EXTRAS}):
        parser.error(f"no such extra: {', '.join(unknown)}")
    try:
        ensure(extras)
    except Failed as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
