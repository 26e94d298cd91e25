"""Work on an NVIDIA card that is recorded once and replayed.

A search is thousands of small kernels, and starting each takes ten times as long as it runs. A recording, a CUDA graph,
starts them all at once: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def record(work: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """What ``work`` starts on the card, without running it. It must have run before and not wait for the card. Tensors
    that it makes and keeps hold its results after each replay."""
    recording = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recording, capture_error_mode="thread_local"):
        work()
    return recording


class Recorded:
    """Work on tensors that stay where they are. On an NVIDIA card it is done as it stands the first time, recorded the
    second, and replayed from then on; elsewhere it is done as it stands each time."""

    def __init__(self, work: Callable[[], None], device: torch.device) -> None:
        self._work, self._records, self._is_warm = work, device.type == "cuda", False
        self._recording: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if not (self._records and self._is_warm):
            self._work()
            self._is_warm = True
            return
        if self._recording is None:
            self._recording = record(self._work)
        self._recording.replay()
