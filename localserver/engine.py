"""The real engine: one warm worker process (`localserver.worker`), started for the first photo.

A process of its own, because a mask keeps the processor busy for seconds, may exhaust memory or crash, and holds
torch's hundreds of megabytes: the daemon outlives all that, answers meanwhile, and gives the memory back after a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localserver.config import Config
from localserver.errors import EngineFailed, error_of
from localserver.frames import CorruptStream, Frame, pack, receive_frame
from localserver.jobs import Protection
from pmask.errors import Cancelled, OutOfMemory, PMaskError
from pmask.options import MaskOptions
from pmask.report import Progress

log = logging.getLogger(__name__)

PROTECTOR = "localserver.resident:Resident"
"""What the worker calls: module and callable."""
_IMPORT_ROOT = Path(__file__).resolve().parent.parent
_EXIT_GRACE = 2.0
"""Seconds for a worker to go once its stdin is closed."""


class WorkerEngine:
    """See `localserver.jobs.Engine`. ``protector`` is for tests that need a worker to misbehave."""

    def __init__(self, config: Config, protector: str = PROTECTOR) -> None:
        self._config = config
        self._protector = protector
        self._process: Process | None = None
        self._devices: list[str] | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._stopping: asyncio.Task[None] | None = None

    @property
    def devices(self) -> list[str] | None:
        """Devices that torch sees; None until a worker has loaded it. They outlive the worker."""
        return self._devices

    @property
    def pid(self) -> int | None:
        """The worker's process id while there is one."""
        return self._process.pid if self._process else None

    async def protect(
        self, data: bytes, options: MaskOptions, on_progress: Callable[[Progress], None], cancel: asyncio.Event
    ) -> Protection:
        """Protects one photo. Raises what the worker reports, Cancelled, or EngineFailed if the worker died."""
        process = await self._awake()
        talk = asyncio.create_task(self._talk(process, data, options, on_progress))
        cancelled = asyncio.create_task(cancel.wait())
        try:
            await asyncio.wait({talk, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            if not talk.done():
                await self._interrupt(process, talk)
            if cancel.is_set():
                raise Cancelled("the job was cancelled")
            return await talk
        finally:
            cancelled.cancel()
            if not talk.done():  # the worker is in the middle of a photo that nobody wants
                _kill(process)
            await asyncio.gather(talk, cancelled, return_exceptions=True)
            await self._rest(process, healthy=_is_healthy(talk))

    async def close(self) -> None:
        """Stops the worker."""
        self._cancel_timer()
        if self._stopping is not None:
            await self._stopping
        await self._stop()

    async def _talk(
        self, process: Process, data: bytes, options: MaskOptions, on_progress: Callable[[Progress], None]
    ) -> Protection:
        """One conversation: the photo, then frames until the worker has done or failed."""
        try:
            _send(process, {"do": "protect", "options": options.to_json()}, data)
            while True:
                frame = await asyncio.wait_for(_receive(process), self._config.stall)
                if (protection := self._take(frame, on_progress)) is not None:
                    return protection
        except asyncio.TimeoutError as error:  # an OSError too, since Python 3.11
            raise EngineFailed("the process that makes masks gave no sign of life") from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise EngineFailed("the process that makes masks died; try again") from error
        except (CorruptStream, KeyError, TypeError) as error:
            raise EngineFailed("the process that makes masks spoke nonsense") from error

    def _take(self, frame: Frame, on_progress: Callable[[Progress], None]) -> Protection | None:
        """Acts on one frame: a Protection when it is the last."""
        header = frame.header
        if header["event"] == "progress":
            on_progress(Progress(stage=header["stage"], fraction=header["fraction"], faces=header["faces"]))
        elif header["event"] == "devices":
            self._devices = [str(name) for name in header["devices"]]
        elif header["event"] == "done":
            return Protection(data=frame.body, report=header["report"])
        elif header["event"] == "failed":
            raise error_of(header["code"], str(header["message"]))
        return None

    async def _interrupt(self, process: Process, talk: asyncio.Task[Protection]) -> None:
        """Asks the worker to drop its photo, and kills it if it does not."""
        _send(process, {"do": "cancel"})
        await asyncio.wait({talk}, timeout=self._config.cancel_grace)
        if not talk.done():
            log.warning("the worker did not obey a cancel; it is killed")
            _kill(process)

    async def _awake(self) -> Process:
        """The worker, started anew if there is none."""
        self._cancel_timer()
        if self._stopping is not None:
            await self._stopping
        if self._process is not None and self._process.returncode is not None:
            await self._stop()  # it died while it idled
        if self._process is None:
            self._process = await self._start()
        return self._process

    async def _start(self) -> Process:
        gallery = () if self._config.gallery is None else ("--gallery", str(self._config.gallery))
        try:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "localserver.worker"),
                *("--device", self._config.device, "--protector", self._protector, *gallery),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=2,  # by number, for Windows' pythonw.exe has no handle of that name
                # -m puts the working directory first on the path: it must not be one where a stray torch.py may lie.
                cwd=_IMPORT_ROOT,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise EngineFailed("the process that makes masks could not be started") from error

    async def _rest(self, process: Process, *, healthy: bool) -> None:
        """After a photo: keeps a sound worker warm for a while, gets rid of any other."""
        if healthy and process.returncode is None:
            self._idle_timer = asyncio.get_running_loop().call_later(self._config.idle_stop, self._stop_idle)
        else:
            await self._stop()

    def _stop_idle(self) -> None:
        log.info("the worker has idled and is stopped")
        self._stopping = asyncio.create_task(self._stop())

    def _cancel_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    async def _stop(self) -> None:
        """Ends the worker: it goes when its stdin is closed, or is killed."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        leaving = asyncio.create_task(process.communicate())  # reads what is left, then waits
        await asyncio.wait({leaving}, timeout=_EXIT_GRACE)
        if not leaving.done():
            _kill(process)
        await asyncio.gather(leaving, return_exceptions=True)


def _send(process: Process, header: dict[str, Any], body: bytes = b"") -> None:
    """Queues a whole frame at once, so that a cancel never lands in the middle of a photo."""
    assert process.stdin is not None  # for mypy: both are pipes, see _start
    for part in pack(header, body):
        process.stdin.write(part)


async def _receive(process: Process) -> Frame:
    assert process.stdout is not None
    return await receive_frame(process.stdout)


def _is_healthy(talk: asyncio.Task[Protection]) -> bool:
    """Whether the conversation came to an end that leaves the worker fit for another."""
    if talk.cancelled():
        return False
    error = talk.exception()
    return error is None or (isinstance(error, PMaskError) and not isinstance(error, EngineFailed | OutOfMemory))


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may have gone by itself
        process.kill()
