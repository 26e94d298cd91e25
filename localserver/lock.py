"""Only one daemon for one state folder: a lock that the system takes back however its holder ends, kill -9 included."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pmask import __version__

_NAME = "daemon.lock"
_TRIES = 5
_PAUSE = 0.1
"""Seconds between tries: who only looks (`holder`) has the lock for an instant."""
_LOCKED_BYTE = 1 << 30
"""On Windows a locked byte cannot be read, so one far behind the text is locked."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The daemon that has the lock."""

    pid: int
    port: int
    version: str


class AlreadyRunning(Exception):
    """Another daemon has the lock. ``holder`` is None when what it wrote about itself cannot be read."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__("another PMask daemon is running")
        self.holder = holder


@contextlib.contextmanager
def single_instance(folder: Path, port: int) -> Iterator[None]:
    """Holds the lock of ``folder``, which is made when needed (0700). Raises AlreadyRunning, or OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _opened(folder) as file:
        for left in reversed(range(_TRIES)):
            if _lock(file):
                break
            if not left:
                raise AlreadyRunning(_read(file))
            time.sleep(_PAUSE)
        own = Holder(pid=os.getpid(), port=port, version=__version__)
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same, without a name
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, json.dumps(asdict(own)).encode())
        yield


def holder(folder: Path) -> Holder | None:
    """The daemon that runs on ``folder`` now; None if there is none, or if it could not write who it is."""
    if not (folder / _NAME).exists():
        return None
    with _opened(folder) as file:
        return None if _lock(file) else _read(file)


def is_held(folder: Path) -> bool:
    """Whether a daemon runs on ``folder`` now: also one that could not write who it is, its disk being full."""
    if not (folder / _NAME).exists():
        return False
    with _opened(folder) as file:
        return not _lock(file)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """The lock's file, never deleted: another of the same name could be locked beside it. Closing it unlocks."""
    file = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o600)  # not inherited: a worker must not keep the lock
    try:
        yield file
    finally:
        os.close(file)


def _read(file: int) -> Holder | None:
    os.lseek(file, 0, os.SEEK_SET)
    try:
        return Holder(**json.loads(os.read(file, 4096)))
    except (ValueError, TypeError):
        return None


def _lock(file: int) -> bool:
    """Takes the lock without waiting; False if somebody has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
