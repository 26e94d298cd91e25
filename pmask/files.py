"""Files: photos are read without trusting the path, and what is written is there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pmask.errors import TooManyBytes
from pmask.images import MAX_BYTES

_CODES = {
    errno.ENOENT: "not_found",
    errno.EACCES: "not_permitted",
    errno.EPERM: "not_permitted",
    errno.EROFS: "not_permitted",
    errno.EISDIR: "not_a_file",
    errno.ENOTDIR: "not_found",
    errno.ELOOP: "not_found",
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EFBIG: "disk_full",
    errno.ENAMETOOLONG: "name_too_long",
}
_PART = ".pmask-"
"""How the name of an unfinished file starts. Short, for the photo's own may be as long as names can be."""


def read(path: Path) -> bytes:
    """The bytes of a photo. Raises OSError for what cannot be read or is no regular file (a pipe would never end), and
    TooManyBytes, without reading, for what is too long."""
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EISDIR, "not a regular file", str(path))
        if status.st_size > MAX_BYTES:
            raise TooManyBytes(f"the file has {status.st_size:,} bytes; at most {MAX_BYTES:,} are accepted")
        return stream.read(MAX_BYTES + 1)  # it may grow; decoding refuses what is too long


def require_writable(target: Path) -> None:
    """Raises OSError where ``write`` could not put a photo at ``target``, or only in the place of a device, a pipe or a
    folder. Makes nothing."""
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(errno.EISDIR, "not a regular file, so no photo is written there", str(target))
    if _is_standard_stream(target):
        raise OSError(errno.EISDIR, "standard input or output goes there, so no photo is written there", str(target))
    folder = next((folder for folder in target.absolute().parents if os.path.exists(folder)), None)
    if folder is None:
        raise FileNotFoundError(errno.ENOENT, "this drive or share cannot be found", target.absolute().anchor)
    if not os.path.isdir(folder):
        raise NotADirectoryError(errno.ENOTDIR, "not a folder, so no photo is written into it", str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "this folder may not be written to", str(folder))


def write(target: Path, data: bytes, like: Path) -> None:
    """Puts ``data`` at ``target`` whole or not at all, to be read by those who may read ``like``. Raises OSError.

    The bytes are on the disk before the name points to them, so that no crash and no full disk leaves half a photo. A
    link at ``target`` is replaced, not followed: what it points to stays as it is.
    """
    require_writable(target)
    with replacing(target, stat.S_IMODE(os.stat(like).st_mode) & ~_umask() | stat.S_IRUSR | stat.S_IWUSR) as stream:
        stream.write(data)


@contextlib.contextmanager
def replacing(target: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """A stream whose bytes are at ``target`` when the block ends, whole and on the disk before the name points to them;
    where the block raises, or the disk is full, nothing is left of them. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=target.parent, prefix=_PART)
    try:
        with open(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(part, mode)
        os.replace(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    _remember_name(target.parent)


def same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, by links of either kind too, or would."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return one.absolute() == other.absolute()


def code(error: OSError) -> str:
    """A stable code for what the system said."""
    return _CODES.get(error.errno or 0, "file_error")


def _remember_name(folder: Path) -> None:
    """The folder's new entry on the disk too, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _is_standard_stream(target: Path) -> bool:
    """Whether this is the file behind standard input, output or error: /dev/stdout, which is a link to it, would be
    replaced for all programs of the machine."""
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):  # neither need be there
            if os.path.samestat(os.stat(target), os.fstat(descriptor)):
                return True
    return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
