"""The real engine: one warm worker process (`localserver.worker`), started by `warm` or the first photo.

A process of its own, because a mask keeps the processor busy for seconds, may exhaust memory or crash, and holds
torch's hundreds of megabytes: the daemon outlives all that, answers meanwhile, and gives the memory back after a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from localserver.config import Config
from localserver.errors import EngineFailed, error_of
from localserver.frames import CorruptStream, Frame, pack, receive_frame
from localserver.jobs import EngineStatus
from localserver.log import facts
from localserver.results import Result
from pmask.errors import Cancelled, OutOfMemory, PMaskError
from pmask.options import MaskOptions
from pmask.report import Progress

log = logging.getLogger(__name__)

PROTECTOR = "localserver.resident:Resident"
"""What the worker calls: module and callable."""
_IMPORT_ROOT = Path(__file__).resolve().parent.parent
_EXIT_GRACE = 2.0
"""Seconds for a worker to go once its stdin is closed."""
_SIGKILL = 9  # which Windows' signal module lacks
_GPUS = frozenset({"cuda", "mps"})
_ON_CPU = "the graphics card failed, so the processor masked this photo; that takes longer"


class GpuFailed(EngineFailed):
    """The graphics card, or its driver, failed: the processor can do what it could not."""


class WorkerEngine:
    """See `localserver.jobs.Engine`. ``protector`` is for tests that need a worker to misbehave."""

    def __init__(self, config: Config, protector: str = PROTECTOR) -> None:
        self._config = config
        self._protector = protector
        self._process: Process | None = None
        self._killed: Process | None = None  # the last one that had to be
        self._devices: list[str] | None = None
        self._device: str | None = None  # that the worker runs on, once it has said so
        self._asked_device = config.device  # that it was started for
        self._gpu_again = -math.inf  # when a graphics card that failed may try again, in the loop's time
        self._starts = self._fallbacks = 0
        self._warming: asyncio.Task[None] | None = None
        self._busy = False
        self._idle_timer: asyncio.TimerHandle | None = None
        self._stopping: asyncio.Task[None] | None = None

    @property
    def devices(self) -> list[str] | None:
        """Devices that torch sees; None until a worker has loaded it. They outlive the worker."""
        return self._devices

    @property
    def pid(self) -> int | None:
        """The worker's process id while there is one."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def status(self) -> EngineStatus:
        """How the worker is."""
        return EngineStatus(pid=self.pid, device=self._device, starts=self._starts, fallbacks=self._fallbacks)

    def warm(self, options: MaskOptions) -> None:
        """Starts a worker and has it load the team, in the background; one that is warm just stays so for longer."""
        if not self._busy and (self._warming is None or self._warming.done()):
            self._warming = asyncio.create_task(self._warm(options))

    async def protect(
        self, data: bytes, options: MaskOptions, on_progress: Callable[[Progress], None], cancel: asyncio.Event
    ) -> Result:
        """Protects one photo. Raises what the worker reports, Cancelled, or EngineFailed if the worker died.

        Where a graphics card fails or lacks the memory, the processor makes this photo's mask and those of the next
        minutes, with a warning in the report. A worker that died takes its photo with it: it may be the photo's fault.
        """
        self._busy = True
        try:
            await self._warmed(on_progress, cancel)
            try:
                result = await self._protect(data, options, on_progress, cancel)
            except (GpuFailed, OutOfMemory):
                if not self._is_paused():
                    raise
                result = await self._protect(data, options, on_progress, cancel)
        finally:
            self._busy = False
        if self._asked_device == self._config.device:
            return result
        warnings = [*result.report.get("warnings", []), _ON_CPU]
        return replace(result, report=result.report | {"warnings": warnings, "passing": True})

    async def _protect(
        self, data: bytes, options: MaskOptions, on_progress: Callable[[Progress], None], cancel: asyncio.Event
    ) -> Result:
        """One try, with whatever worker there is or can be started."""
        process = await self._awake()
        header = {"do": "protect", "options": options.to_json()}
        talk = asyncio.create_task(self._talk(process, header, data, on_progress))
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
            self._give_up(process, talk)
            await asyncio.gather(talk, cancelled, return_exceptions=True)
            if not cancel.is_set():
                self._note_gpu_failure(talk)
            await self._rest(process, healthy=_is_healthy(talk))

    async def _warm(self, options: MaskOptions) -> None:
        try:
            process = await self._awake()
        except EngineFailed:
            return  # the photo to come will say so
        header = {"do": "warm", "options": options.to_json()}
        talk = asyncio.create_task(self._talk(process, header, b"", lambda progress: None))
        try:
            await asyncio.wait({talk})
            self._note_gpu_failure(talk)
            if isinstance(error := talk.exception(), PMaskError):  # as above
                log.warning("warming up failed", extra=facts(code=error.code))
        finally:
            self._give_up(process, talk)
            await asyncio.gather(talk, return_exceptions=True)
            await self._rest(process, healthy=_is_healthy(talk))

    async def _warmed(self, on_progress: Callable[[Progress], None], cancel: asyncio.Event) -> None:
        """Waits for the end of a warm-up that is under way."""
        if self._warming is None or self._warming.done():
            return
        on_progress(Progress(stage="loading", fraction=0.0))
        cancelled = asyncio.create_task(cancel.wait())
        await asyncio.wait({self._warming, cancelled}, return_when=asyncio.FIRST_COMPLETED)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        if cancel.is_set():
            raise Cancelled("the job was cancelled")

    def _note_gpu_failure(self, talk: asyncio.Task[Result]) -> None:
        """Has the processor stand in after a failure on a graphics card, also one that took the worker with it."""
        error = None if talk.cancelled() else talk.exception()
        if self._device in _GPUS and isinstance(error, EngineFailed | OutOfMemory):
            self._gpu_again = asyncio.get_running_loop().time() + self._config.gpu_pause
            self._fallbacks += 1
            log.warning("the graphics card failed; the processor stands in", extra=facts(pause=self._config.gpu_pause))

    def _is_paused(self) -> bool:
        return asyncio.get_running_loop().time() < self._gpu_again

    async def close(self) -> None:
        """Stops the worker."""
        self._cancel_timer()
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        self._cancel_timer()  # which the end of a warm-up may have set
        if self._stopping is not None:
            await self._stopping
        await self._stop()

    async def _talk(
        self, process: Process, header: dict[str, Any], data: bytes, on_progress: Callable[[Progress], None]
    ) -> Result:
        """One conversation: the photo, then frames until the worker has done or failed."""
        try:
            _send(process, header, data)
            while True:
                frame = await asyncio.wait_for(_receive(process), self._config.stall)
                if (result := self._take(frame, on_progress)) is not None:
                    return result
        except asyncio.TimeoutError as error:  # an OSError too, since Python 3.11
            raise EngineFailed("the process that makes masks gave no sign of life") from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise EngineFailed(await self._how_it_died(process)) from error
        except (CorruptStream, KeyError, TypeError) as error:
            raise EngineFailed("the process that makes masks spoke nonsense") from error

    def _take(self, frame: Frame, on_progress: Callable[[Progress], None]) -> Result | None:
        """Acts on one frame: a result when it is the last."""
        header = frame.header
        if header["event"] == "progress":
            on_progress(Progress(stage=header["stage"], fraction=header["fraction"], faces=header["faces"]))
        elif header["event"] == "devices":
            self._devices = [str(name) for name in header["devices"]]
            self._device = str(header["device"])
        elif header["event"] == "done":
            return Result(data=frame.body, report=header["report"])
        elif header["event"] == "failed":
            if header["where"]:
                log.error("the worker failed", extra=facts(where=str(header["where"])))
            if header["gpu"]:
                raise GpuFailed(str(header["message"]))
            raise error_of(header["code"], str(header["message"]))
        return None

    async def _interrupt(self, process: Process, talk: asyncio.Task[Result]) -> None:
        """Asks the worker to drop its photo, and kills it if it does not."""
        _send(process, {"do": "cancel"})
        await asyncio.wait({talk}, timeout=self._config.cancel_grace)
        if not talk.done():
            log.info("the worker did not obey a cancel and is killed")
            self._kill(process)

    async def _awake(self) -> Process:
        """The worker, started anew if there is none."""
        self._cancel_timer()
        if self._stopping is not None:
            await self._stopping
        if self._process is not None and self._process.returncode is not None:
            await self._stop()  # it died while it idled
        if self._process is not None and self._asked_device != self._wanted_device():
            await self._stop()  # the graphics card may try again
        if self._process is None:
            self._process = await self._start()
        return self._process

    def _wanted_device(self) -> str:
        return "cpu" if self._is_paused() else self._config.device

    async def _start(self) -> Process:
        self._asked_device, self._device = self._wanted_device(), None
        self._starts += 1
        gallery = () if self._config.gallery is None else ("--gallery", str(self._config.gallery))
        try:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "localserver.worker"),
                *("--device", self._asked_device, "--protector", self._protector, *gallery),
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
            self._kill(process)
        await asyncio.gather(leaving, return_exceptions=True)

    async def _how_it_died(self, process: Process) -> str:
        """For people. A kill that nobody here asked for is the system's, and nearly always for want of memory."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), _EXIT_GRACE)
        if process is self._killed:  # a cancel may be lost in wait_for before Python 3.12, and lead here
            return "the process that makes masks was ended"
        log.error("the worker died", extra=facts(exit=process.returncode))
        if process.returncode == -_SIGKILL:
            return (
                "the system killed the process that makes masks, most likely for want of memory; "
                "close a program, try again"
            )
        return "the process that makes masks died; try again"

    def _give_up(self, process: Process, talk: asyncio.Task[Result]) -> None:
        """Kills a worker that is in the middle of what nobody wants any more; that end is no failure of its own."""
        if not talk.done():
            self._kill(process)
            talk.cancel()

    def _kill(self, process: Process) -> None:
        self._killed = process
        with contextlib.suppress(ProcessLookupError):  # it may have gone by itself
            process.kill()


def _send(process: Process, header: dict[str, Any], body: bytes = b"") -> None:
    """Queues a whole frame at once, so that a cancel never lands in the middle of a photo."""
    assert process.stdin is not None  # for mypy: both are pipes, see _start
    for part in pack(header, body):
        process.stdin.write(part)


async def _receive(process: Process) -> Frame:
    assert process.stdout is not None
    return await receive_frame(process.stdout)


def _is_healthy(talk: asyncio.Task[Result]) -> bool:
    """Whether the conversation came to an end that leaves the worker fit for another."""
    if talk.cancelled():
        return False
    error = talk.exception()
    return error is None or (isinstance(error, PMaskError) and not isinstance(error, EngineFailed | OutOfMemory))
