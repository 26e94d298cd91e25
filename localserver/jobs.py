"""The queue: one job runs, the others wait, and clients take turns; each job belongs to the client that made it; ended
ones are forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import math
import secrets
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from localserver.config import Config
from localserver.errors import NotFound, QueueFull
from localserver.log import facts
from localserver.memory import free_bytes
from localserver.metrics import Metrics
from localserver.results import Key, Result, Results
from pmask.errors import Cancelled, PMaskError
from pmask.options import MaskOptions
from pmask.report import Progress

log = logging.getLogger(__name__)

AnyError = TypeVar("AnyError", bound=Exception)

_RETRY = 5.0
"""Seconds after which a full queue is worth another try when nothing better is known."""
_MOST_RETRY = 60.0
_ETA_AFTER = 1.0
"""Seconds of a stage before its speed says anything."""
_PACES = 9
"""Photos whose speed is remembered."""
_SWEEP = 30.0
"""Seconds between looks for results that are old enough to forget."""


@dataclass(frozen=True, kw_only=True)
class EngineStatus:
    """How an engine is. pid: of the process that makes masks, None while there is none. device: what it runs on, once
    known. starts: how often such a process was started. fallbacks: how often a graphics card failed."""

    pid: int | None = None
    device: str | None = None
    starts: int = 0
    fallbacks: int = 0


class Engine(Protocol):
    """What makes the masks. `localserver.engine.WorkerEngine` is the real one."""

    @property
    def devices(self) -> list[str] | None:
        """Devices of this machine, None while not known."""

    @property
    def status(self) -> EngineStatus:
        """For those who look after the daemon."""

    def warm(self, options: MaskOptions) -> None:
        """A photo with these options is on its way: gets ready for it, in the background. Never raises."""

    async def protect(
        self, data: bytes, options: MaskOptions, on_progress: Callable[[Progress], None], cancel: asyncio.Event
    ) -> Result:
        """Protects one photo; called for one at a time. Raises a PMaskError, Cancelled soon after ``cancel`` is set."""

    async def close(self) -> None:
        """Gives back whatever is held."""


@dataclass(kw_only=True, eq=False)
class Job:
    """One photo on its way. ``data`` is the upload until the job ends; times are the queue's clock, in seconds.
    ``error`` is not to be raised again: a traceback keeps what its frames hold. ``patience``: after how many seconds
    that nobody asks for it, it is given up."""

    client_id: str
    data: bytes = field(repr=False)
    media_type: str
    options: MaskOptions
    key: Key
    patience: float = math.inf
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: Literal["queued", "running", "done", "failed", "cancelled"] = "queued"
    progress: Progress | None = None
    revision: int = 0
    result: Result | None = field(default=None, repr=False)
    error: PMaskError | None = None
    began_at: float | None = None
    ended_at: float | None = None
    cancel: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    given_up: asyncio.TimerHandle | None = field(default=None, repr=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _stage_began: tuple[float, float] = (0.0, 0.0)  # time, fraction

    @property
    def size(self) -> int:
        """Bytes that this job keeps in memory."""
        return len(self.data) + (len(self.result.data) if self.result else 0)

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
    """All jobs. ``is_paired``: whether a client, by its id, may still have photos made. ``clock`` is monotonic, in
    seconds."""

    def __init__(
        self,
        engine: Engine,
        config: Config,
        is_paired: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics = Metrics()
        self.results = Results(config.cache_bytes, config.keep_result, clock)
        self._engine = engine
        self._config = config
        self._is_paired = is_paired
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._waiting: dict[str, deque[Job]] = {}  # by client; whose turn is next stands first
        self._arrived = asyncio.Event()
        self._running: Job | None = None
        self._uploads: list[tuple[str, int]] = []  # client and bytes of those under way
        self._paces: deque[float] = deque(maxlen=_PACES)  # seconds per face
        self._durations: deque[float] = deque(maxlen=_PACES)  # seconds per photo

    @property
    def seconds_per_face(self) -> float | None:
        """What a face has taken on this machine, the median of the last photos; None until there was one."""
        return statistics.median(self._paces) if self._paces else None

    @contextlib.contextmanager
    def admit(self, client_id: str, size: int) -> Iterator[None]:
        """Keeps a place for an upload of ``size`` bytes while it arrives. Raises QueueFull before a byte is read."""
        self._sweep()
        self._check_room(size, None, self._config.queue_jobs, self._config.queue_bytes)
        self._check_room(size, client_id, self._config.client_jobs, self._config.client_bytes)
        free = free_bytes()
        if free is not None and free < self._config.free_memory + size:
            raise QueueFull("this machine is short of memory; close a program", retry_after=self._retry_after())
        upload = (client_id, size)
        self._uploads.append(upload)
        try:
            yield
        finally:
            self._uploads.remove(upload)

    def _check_room(self, size: int, client_id: str | None, most_jobs: int, most_bytes: int) -> None:
        """Raises QueueFull if a client, or all together, would have too much here."""
        jobs = [job for job in self._jobs.values() if client_id in (None, job.client_id)]
        uploads = [length for owner, length in self._uploads if client_id in (None, owner)]
        if sum(job.ended_at is None for job in jobs) + len(uploads) >= most_jobs:
            raise QueueFull("too many photos are waiting; try again soon", retry_after=self._retry_after())
        if sum(job.size for job in jobs) + sum(uploads) + size > most_bytes:
            raise QueueFull("too many photos are kept; fetch or delete some", retry_after=self._retry_after())

    def add(
        self,
        client_id: str,
        data: bytes,
        media_type: str,
        options: MaskOptions,
        photo: bytes,
        patience: float = math.inf,
    ) -> Job:
        """Queues a photo; to be called inside `admit`. ``photo`` is its SHA-256. One that was made before is done at
        once."""
        key = Key(client_id, photo, json.dumps(options.to_json(), sort_keys=True))
        job = Job(client_id=client_id, data=data, media_type=media_type, options=options, key=key, patience=patience)
        self._jobs[job.id] = job
        if not self._answer_again(job):
            self._waiting.setdefault(client_id, deque()).append(job)
            self._arrived.set()
        self.asked(job)
        return job

    def asked(self, job: Job, answered_in: float = 0.0) -> None:
        """The job's client is there, and has its answer in so many seconds at most: its patience begins anew then. What
        is made of a job already waits for it longer."""
        if math.isfinite(job.patience) and job.ended_at is None:
            if job.given_up is not None:
                job.given_up.cancel()
            loop = asyncio.get_running_loop()
            job.given_up = loop.call_later(answered_in + job.patience, self._give_up, job)

    def _give_up(self, job: Job) -> None:
        log.info("a job was given up", extra=facts(client=job.client_id))
        self.forget(job)

    def warm(self, options: MaskOptions) -> None:
        """Has the engine get ready, unless it is at work or memory is short."""
        free = free_bytes()
        if self._running is None and (free is None or free >= self._config.free_memory):
            self._engine.warm(options)

    def gauges(self) -> dict[str, float | dict[str, float]]:
        """What there is at this moment, for the metrics."""
        states = [job.state for job in self._jobs.values()]
        ended = [job for job in self._jobs.values() if job.ended_at is not None]
        return {
            "pmask_jobs": {state: states.count(state) for state in ("queued", "running", "done", "failed")},
            "pmask_uploads": len(self._uploads),
            "pmask_photo_bytes": sum(len(job.data) for job in self._jobs.values()),
            "pmask_result_bytes": sum(job.size for job in ended),
            "pmask_cache_bytes": self.results.size,
        }

    def get(self, client_id: str, job_id: str) -> Job:
        """A client's own job. Raises NotFound, for another client's job too."""
        self._sweep()
        job = self._jobs.get(job_id)
        if job is None or job.client_id != client_id:
            raise NotFound(f"no such job; a job is forgotten {self._config.keep_result:g} s after its end")
        return job

    def forget(self, job: Job) -> None:
        """Cancels a job if it is under way, and forgets it."""
        self._jobs.pop(job.id, None)
        self._leave_the_row(job)
        job.cancel.set()
        self._end(job, "cancelled", error=Cancelled("the job was cancelled"))

    def forget_client(self, client_id: str) -> None:
        """Cancels and forgets all that a client has here."""
        for job in [job for job in self._jobs.values() if job.client_id == client_id]:
            self.forget(job)
        self.results.forget_client(client_id)

    def eta(self, job: Job) -> float | None:
        """Seconds until the job is done, as far as can be told: by its own speed, or by the last photos'."""
        if job.state == "running":
            own = job.eta(self._clock())
            return own if own is not None else self._typical_rest(job)
        if job.state != "queued" or not self._durations:
            return None
        before = self.eta(self._running) if self._running else None
        return (before or 0.0) + (self._order().index(job) + 1) * statistics.median(self._durations)

    def ahead(self, job: Job) -> int:
        """How many photos come before this one, the one at work among them."""
        return self._order().index(job) + (self._running is not None) if job.state == "queued" else 0

    def _typical_rest(self, job: Job) -> float | None:
        if not self._durations or job.began_at is None:
            return None
        return max(1.0, statistics.median(self._durations) - (self._clock() - job.began_at))

    def _order(self) -> list[Job]:
        """The jobs that wait, in the order of their turns."""
        rounds = itertools.zip_longest(*self._waiting.values())
        return [job for turn in rounds for job in turn if job is not None]

    def _next(self) -> Job | None:
        """The job whose turn it is. Its client is at the end of the row then."""
        if not self._waiting:
            return None
        client_id = next(iter(self._waiting))
        jobs = self._waiting.pop(client_id)
        job = jobs.popleft()
        if jobs:
            self._waiting[client_id] = jobs
        return job

    def _leave_the_row(self, job: Job) -> None:
        """At once, since a job that has ended would cost its client a turn."""
        jobs = self._waiting.get(job.client_id, deque())
        if job in jobs:
            jobs.remove(job)
        if not jobs:
            self._waiting.pop(job.client_id, None)

    def stop(self) -> None:
        """Cancels everything, which wakes all who wait."""
        for job in list(self._jobs.values()):
            self.forget(job)

    async def run(self) -> None:
        """Works the queue off, one job at a time, until cancelled."""
        sweeping = asyncio.create_task(self._sweep_forever())
        try:
            while True:
                self._forget_strangers()
                if (job := self._next()) is None:
                    self._arrived.clear()
                    await self._arrived.wait()
                elif not self._answer_again(job):  # the same photo may have come twice
                    self._running = job
                    await self._run_one(job)
                    self._running = None
        finally:
            sweeping.cancel()

    async def _run_one(self, job: Job) -> None:
        job.began_at = began = self._clock()
        job.state = "running"
        job.touch()
        try:
            result = await self._engine.protect(
                job.data, job.options, lambda progress: job.advance(progress, self._clock()), job.cancel
            )
            self._keep(job, result, self._clock() - began)
        except PMaskError as error:
            self._end(job, "failed", error=_bare(error))
        except Exception as error:
            log.exception("the engine failed")
            self._end(job, "failed", error=PMaskError(f"unexpected {type(_bare(error)).__name__}"))
        outcome = job.error.code if job.error else "done"
        self.metrics.count("pmask_jobs_total", outcome=outcome)
        log.info("a job ended", extra=facts(client=job.client_id, outcome=outcome, seconds=self._clock() - began))

    def _keep(self, job: Job, result: Result, seconds: float) -> None:
        """Ends a job well, and learns from it how long photos take."""
        faces = len(result.report["faces"])
        if faces:
            self._paces.append(result.report["seconds"] / faces)
        if job.ended_at is None and not result.report.get("passing"):
            self.results.put(job.key, result)
        self._end(job, "done", result=result)
        self._durations.append(seconds)
        self.metrics.count("pmask_faces_total", faces)
        self.metrics.count("pmask_job_seconds_sum", seconds)
        self.metrics.count("pmask_job_seconds_count")

    def _answer_again(self, job: Job) -> bool:
        """Ends a job with what was made of the same photo before, if that is still there."""
        if (before := self.results.get(job.key)) is None:
            return False
        self._end(job, "done", result=before)
        self.metrics.count("pmask_jobs_total", outcome="cached")
        return True

    def _end(
        self,
        job: Job,
        state: Literal["done", "failed", "cancelled"],
        *,
        result: Result | None = None,
        error: PMaskError | None = None,
    ) -> None:
        """Ends a job once; what comes later (a worker that finishes after a cancel) changes nothing."""
        if job.ended_at is None:
            job.state, job.result, job.error = state, result, error
            job.data, job.ended_at = b"", self._clock()
            if job.given_up is not None:
                job.given_up.cancel()  # it holds the job, and so the result, until its time
            job.touch()

    def _sweep(self) -> None:
        limit = self._clock() - self._config.keep_result
        for job in [job for job in self._jobs.values() if job.ended_at is not None and job.ended_at <= limit]:
            del self._jobs[job.id]
        self.results.sweep()

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            self._sweep()
            self._forget_strangers()

    def _forget_strangers(self) -> None:
        """Whoever was revoked, which another process does, has no more photos made."""
        for client_id in {job.client_id for job in self._jobs.values()}:
            if not self._is_paired(client_id):
                self.forget_client(client_id)

    def _retry_after(self) -> float:
        eta = self.eta(self._running) if self._running else None
        return min(max(1.0, math.ceil(eta)), _MOST_RETRY) if eta is not None else _RETRY


def _bare(error: AnyError) -> AnyError:
    """The error without traceback and causes: their frames hold the photo, and are held in turn by what they hold."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
