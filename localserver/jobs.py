"""The queue: one job runs, the others wait; each belongs to the client that made it; ended ones are forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from localserver.config import Config
from localserver.errors import NotFound, QueueFull
from pmask.errors import Cancelled, PMaskError
from pmask.options import MaskOptions
from pmask.report import Progress

log = logging.getLogger(__name__)

_RETRY = 5.0
"""Seconds after which a full queue is worth another try when nothing better is known."""
_ETA_AFTER = 1.0
"""Seconds of a stage before its speed says anything."""
_PACES = 9
"""Photos whose speed is remembered."""
_SWEEP = 30.0
"""Seconds between looks for results that are old enough to forget."""


@dataclass(frozen=True, kw_only=True)
class Protection:
    """What an engine makes of a photo: the bytes (empty if it has no face, those that came if PMask had protected it
    before), and `pmask.report.Report` as JSON types."""

    data: bytes
    report: dict[str, Any]


class Engine(Protocol):
    """What makes the masks. `localserver.engine.WorkerEngine` is the real one."""

    @property
    def devices(self) -> list[str] | None:
        """Devices of this machine, None while not known."""

    async def protect(
        self, data: bytes, options: MaskOptions, on_progress: Callable[[Progress], None], cancel: asyncio.Event
    ) -> Protection:
        """Protects one photo; called for one at a time. Raises a PMaskError, Cancelled soon after ``cancel`` is set."""

    async def close(self) -> None:
        """Gives back whatever is held."""


@dataclass(kw_only=True, eq=False)
class Job:
    """One photo on its way. ``data`` is the upload until the job ends; times are the queue's clock, in seconds."""

    client_id: str
    data: bytes = field(repr=False)
    media_type: str
    options: MaskOptions
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: Literal["queued", "running", "done", "failed", "cancelled"] = "queued"
    progress: Progress | None = None
    revision: int = 0
    protection: Protection | None = field(default=None, repr=False)
    error: PMaskError | None = None
    ended_at: float | None = None
    cancel: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _stage_began: tuple[float, float] = (0.0, 0.0)  # time, fraction

    @property
    def size(self) -> int:
        """Bytes that this job keeps in memory."""
        return len(self.data) + (len(self.protection.data) if self.protection else 0)

    def touch(self) -> None:
        """Makes a new revision and wakes who waits for one."""
        self.revision += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, seen: int, timeout: float) -> None:
        """Returns when ``revision`` has passed ``seen``, the job has ended, or ``timeout`` seconds are over."""
        deadline = time.monotonic() + timeout
        while self.ended_at is None and self.revision <= seen and (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    def advance(self, progress: Progress, now: float) -> None:
        """Takes a sign of progress. The fraction never goes back, whatever the engine says."""
        if self.ended_at is not None:
            return
        before = self.progress
        fraction = max(before.fraction if before else 0.0, min(progress.fraction, 1.0))
        if before is None or before.stage != progress.stage:
            self._stage_began = (now, fraction)
        faces = progress.faces if progress.faces is not None or before is None else before.faces
        self.progress = Progress(stage=progress.stage, fraction=fraction, faces=faces)
        self.touch()

    def eta(self, now: float) -> float | None:
        """Seconds to go if the current stage's speed lasts; None while that cannot be said."""
        began, fraction_then = self._stage_began
        if self.state != "running" or self.progress is None or now - began < _ETA_AFTER:
            return None
        done = self.progress.fraction - fraction_then
        return (1 - self.progress.fraction) * (now - began) / done if done > 0 else None


class JobQueue:
    """All jobs. ``clock`` is monotonic, in seconds."""

    def __init__(self, engine: Engine, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._config = config
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self._running: Job | None = None
        self._uploads = 0
        self._upload_bytes = 0
        self._paces: deque[float] = deque(maxlen=_PACES)  # seconds per face

    @property
    def seconds_per_face(self) -> float | None:
        """What a face has taken on this machine, the median of the last photos; None until there was one."""
        return statistics.median(self._paces) if self._paces else None

    @contextlib.contextmanager
    def admit(self, size: int) -> Iterator[None]:
        """Keeps a place for an upload of ``size`` bytes while it arrives. Raises QueueFull before a byte is read."""
        self._sweep()
        under_way = sum(job.ended_at is None for job in self._jobs.values()) + self._uploads
        held = sum(job.size for job in self._jobs.values()) + self._upload_bytes
        if under_way >= self._config.queue_jobs or held + size > self._config.queue_bytes:
            raise QueueFull("too many photos are waiting; try again soon", retry_after=self._retry_after())
        self._uploads += 1
        self._upload_bytes += size
        try:
            yield
        finally:
            self._uploads -= 1
            self._upload_bytes -= size

    def add(self, client_id: str, data: bytes, media_type: str, options: MaskOptions) -> Job:
        """Queues a photo; to be called inside `admit`."""
        job = Job(client_id=client_id, data=data, media_type=media_type, options=options)
        self._jobs[job.id] = job
        self._waiting.put_nowait(job)
        return job

    def get(self, client_id: str, job_id: str) -> Job:
        """A client's own job. Raises NotFound, for another client's job too."""
        self._sweep()
        job = self._jobs.get(job_id)
        if job is None or job.client_id != client_id:
            raise NotFound("no such job; results are forgotten after ten minutes")
        return job

    def forget(self, job: Job) -> None:
        """Cancels a job if it is under way, and forgets it."""
        self._jobs.pop(job.id, None)
        job.cancel.set()
        self._end(job, "cancelled", error=Cancelled("the job was cancelled"))

    def forget_client(self, client_id: str) -> None:
        """Cancels and forgets all that a client has here."""
        for job in [job for job in self._jobs.values() if job.client_id == client_id]:
            self.forget(job)

    def eta(self, job: Job) -> float | None:
        """Seconds until the job is done, as far as can be told."""
        return job.eta(self._clock())

    def stop(self) -> None:
        """Cancels everything, which wakes all who wait."""
        for job in list(self._jobs.values()):
            self.forget(job)

    async def run(self) -> None:
        """Works the queue off, one job at a time, until cancelled."""
        sweeping = asyncio.create_task(self._sweep_forever())
        try:
            while True:
                job = await self._waiting.get()
                if job.ended_at is None:
                    self._running = job
                    await self._run_one(job)
                    self._running = None
        finally:
            sweeping.cancel()

    async def _run_one(self, job: Job) -> None:
        began = self._clock()
        job.state = "running"
        job.touch()
        try:
            protection = await self._engine.protect(
                job.data, job.options, lambda progress: job.advance(progress, self._clock()), job.cancel
            )
        except PMaskError as error:
            self._end(job, "failed", error=error)
        except Exception as error:
            log.exception("the engine failed")
            self._end(job, "failed", error=PMaskError(f"unexpected {type(error).__name__}"))
        else:
            self._end(job, "done", protection=protection)
            if faces := len(protection.report["faces"]):
                self._paces.append(protection.report["seconds"] / faces)
        outcome = job.error.code if job.error else "done"
        log.info("a job of client %s ended: %s, %.1f s", job.client_id, outcome, self._clock() - began)

    def _end(
        self,
        job: Job,
        state: Literal["done", "failed", "cancelled"],
        *,
        protection: Protection | None = None,
        error: PMaskError | None = None,
    ) -> None:
        """Ends a job once; what comes later (a worker that finishes after a cancel) changes nothing."""
        if job.ended_at is None:
            job.state, job.protection, job.error = state, protection, error
            job.data, job.ended_at = b"", self._clock()
            job.touch()

    def _sweep(self) -> None:
        limit = self._clock() - self._config.keep_result
        for job in [job for job in self._jobs.values() if job.ended_at is not None and job.ended_at <= limit]:
            del self._jobs[job.id]

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            self._sweep()

    def _retry_after(self) -> float:
        eta = self.eta(self._running) if self._running else None
        return max(1.0, math.ceil(eta)) if eta is not None else _RETRY
