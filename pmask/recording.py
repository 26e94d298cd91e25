"""Work on an NVIDIA card that is recorded once and replayed.

A search is thousands of small kernels, and starting each takes ten times as long as it runs. A recording, a CUDA graph,
starts them all at once: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch

SWITCH = "PMASK_RECORD"
"""The environment variable which, set to 0, has every kernel started by itself: for a card or a driver that cannot
record, and to compare (scripts/benchmark.py)."""


def records(device: torch.device) -> bool:
    """Whether work on this device is to be recorded."""
    return device.type == "cuda" and os.environ.get(SWITCH) != "0"


def record(work: Callable[[], None], purpose: str) -> Callable[[], None]:
    """What replays all that ``work`` starts on the card; recording does not run it. It must have run before and not
    wait for the card. Tensors that it makes and keeps hold its results after each replay.

    purpose: recordings of one purpose share memory, so what one has worked out may be gone once another is replayed,
    but for the next ones in the order in which they were recorded.
    """
    recording = torch.cuda.CUDAGraph()
    memory = _first(purpose).pool()
    with _undisturbed(), torch.cuda.graph(recording, pool=memory, capture_error_mode="thread_local"):
        work()
    return recording.replay


@cache
def _first(purpose: str) -> torch.cuda.CUDAGraph:
    """A recording for whose sake the memory of its purpose is kept from photo to photo."""
    recording = torch.cuda.CUDAGraph()
    with _undisturbed(), torch.cuda.graph(recording, capture_error_mode="thread_local"):
        torch.zeros(1, device="cuda")
    return recording


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No garbage is collected meanwhile: an old recording that goes while another is made spoils it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Recordings:
    """Pieces of one work, done in turn, on tensors that stay where they are. On a device of which ``records`` says so
    each is done as it stands the first time, recorded the second, and replayed from then on; elsewhere it is done as it
    stands each time."""

    def __init__(self, device: torch.device) -> None:
        self._records = records(device)
        self._replays: dict[str, Callable[[], None] | None] = {}

    def do(self, piece: Callable[[], None]) -> None:
        """Does a piece, which goes by its function's name."""
        name = piece.__name__
        if not self._records or name not in self._replays:
            piece()
            self._replays[name] = None
            return
        replay = self._replays[name] or record(piece, "searches")
        self._replays[name] = replay
        replay()
