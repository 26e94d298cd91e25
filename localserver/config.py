"""What the daemon can be told, and where it keeps its state."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pmask.store import state_dir

HOST = "127.0.0.1"
"""The only address, on purpose not a setting: whoever binds another one hands their photos to the network."""
DEFAULT_PORT = 28737
_MB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Config:
    """One daemon's settings. Times are in seconds, sizes in bytes.

    state_dir: of paired clients and pairing codes.
    gallery: a folder of photos of people, the owner's own among them (pmask.gallery), or None.
    queue_jobs: jobs that are queued or running, and uploads that are under way, at most.
    queue_bytes: of photos waiting and results kept, at most; backpressure, so that memory stays bounded.
    keep_result: how long an ended job is remembered.
    idle_stop: how long the worker may idle before it is stopped and its memory given back.
    cancel_grace: how long the worker may take to obey a cancel before it is killed.
    stall: how long a running job may show no sign of life before the worker is killed; fetching weights is silent.
    upload: how long the body of a request may take to arrive.
    """

    port: int = DEFAULT_PORT
    device: str = "auto"
    state_dir: Path = field(default_factory=state_dir)
    gallery: Path | None = None
    queue_jobs: int = 32
    queue_bytes: int = 512 * _MB
    keep_result: float = 10 * 60
    idle_stop: float = 15 * 60
    cancel_grace: float = 5
    stall: float = 15 * 60
    upload: float = 60
