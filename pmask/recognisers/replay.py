"""Recognisers on an NVIDIA card, where starting a network's kernels one by one takes longer than they run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from pmask.recognisers.pool import Recogniser

MOST_FACES = 2
"""In larger batches starting the kernels takes a smaller part of the time, and each recording holds some 100 MB."""


class Replayed:
    """A recogniser behind its own contract. Where a gradient is wanted, both passes are recorded once for each size of
    batch and replayed (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs): it can be taken of the latest
    embeddings alone, which the next call overwrites."""

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser
        self._recorded: dict[int, Callable[[Tensor], Tensor]] = {}

    def __call__(self, frames: Tensor) -> Tensor:
        faces = len(frames)
        if faces > MOST_FACES or not frames.requires_grad:
            return torch.as_tensor(self._recogniser(frames))
        if faces not in self._recorded:
            self._recorded[faces] = self._record(torch.rand_like(frames, requires_grad=True))
        return self._recorded[faces](frames)

    def _record(self, frames: Tensor) -> Callable[[Tensor], Tensor]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The AccumulateGrad node's stream")  # of the run before the recording
            return cast(
                Callable[[Tensor], Tensor], torch.cuda.make_graphed_callables(self._recogniser.forward, (frames,))
            )


def quickest(recogniser: Recogniser, device: torch.device) -> Recogniser | Replayed:
    """The recogniser as it is quickest in a search: replayed on an NVIDIA card, but for a person's own network, which
    may do what cannot be recorded."""
    return Replayed(recogniser) if device.type == "cuda" and recogniser.spec.source == "registry" else recogniser
