"""Work on an NVIDIA card that is recorded once and replayed.

A search is thousands of small kernels, and starting each takes ten times as long as it runs. A recording, a CUDA graph,
starts them all at once: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

ASKED_FOR = "PMASK_RECORD"
"""The environment variable which, set to 1, has searches recorded. They are not by default: tests show that replays
make the same masks, but nobody has seen it on a card yet (scripts/benchmark.py compares both)."""


def records(device: torch.device) -> bool:
    """Whether work on this device is to be recorded."""
    return device.type == "cuda" and os.environ.get(ASKED_FOR) == "1"


def record(work: Callable[[], None]) -> Callable[[], None]:
    """What replays all that ``work`` starts on the card; recording does not run it. It must have run before and not
    wait for the card. Tensors that it makes and keeps hold its results after each replay."""
    recording = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recording, capture_error_mode="thread_local"):
        work()
    return recording.replay


class Recorded:
    """Work on tensors that stay where they are. On a device of which ``records`` says so it is done as it stands the
    first time, recorded the second, and replayed from then on; elsewhere it is done as it stands each time."""

    def __init__(self, work: Callable[[], None], device: torch.device) -> None:
        self._work, self._records, self._is_warm = work, records(device), False
        self._replay: Callable[[], None] | None = None

    def __call__(self) -> None:
        if not (self._records and self._is_warm):
            self._work()
            self._is_warm = True
            return
        if self._replay is None:
            self._replay = record(self._work)
        self._replay()
