"""Recognisers on an NVIDIA card, each with its passes recorded: a seventh of the time for one face."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pmask.geometry import FRAME_SIZE
from pmask.recognisers.pool import Recogniser
from pmask.recording import record

MOST_FACES = 4
"""In larger batches starting the kernels takes a smaller part of the time, and a recording holds memory for each face
(50 to 250 MB for four)."""


class Replayed:
    """A recogniser behind its own contract, gradients included, that replays its passes.

    A gradient can be taken of the latest embeddings of a batch of this size alone.
    """

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser
        self._passes: dict[int, _Passes] = {}

    def __call__(self, frames: Tensor) -> Tensor:
        faces = len(frames)
        if not 0 < faces <= MOST_FACES:
            return torch.as_tensor(self._recogniser(frames))
        if faces not in self._passes:
            self._passes[faces] = _Passes(self._recogniser, faces, frames.device)
        return torch.as_tensor(_Replay.apply(frames, self._passes[faces]))


def quickest(recogniser: Recogniser, device: torch.device) -> Recogniser | Replayed:
    """The recogniser, replayed where that is known to work: the registry's, on an NVIDIA card."""
    return Replayed(recogniser) if device.type == "cuda" and recogniser.spec.source == "registry" else recogniser


class _Passes:
    """Both passes for batches of one size: ``frames`` to ``embeddings``, and ``pull`` on these to ``gradient``."""

    def __init__(self, recogniser: Recogniser, faces: int, device: torch.device) -> None:
        self._recogniser, self.turn = recogniser, 0
        self.frames = torch.full((faces, 3, FRAME_SIZE, FRAME_SIZE), 0.5, device=device)
        with torch.enable_grad():
            self._embed()
            self.pull = torch.zeros_like(self.embeddings)
            self._lead_back()
            self.forward, self.backward = record(self._embed), record(self._lead_back)

    def _embed(self) -> None:
        self._leaf = self.frames.detach().requires_grad_()
        self.embeddings: Tensor = self._recogniser(self._leaf)

    def _lead_back(self) -> None:
        (self.gradient,) = torch.autograd.grad(self.embeddings, self._leaf, self.pull)


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, frames: Tensor, passes: _Passes) -> Tensor:  # noqa: ANN401
        passes.frames.copy_(frames)
        passes.forward.replay()
        passes.turn += 1
        ctx.passes, ctx.turn = passes, passes.turn
        return passes.embeddings.detach().clone()

    @staticmethod
    def backward(ctx: Any, pull: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        passes: _Passes = ctx.passes
        if ctx.turn != passes.turn:
            raise RuntimeError("a gradient was asked for after the recogniser had looked at other faces")
        passes.pull.copy_(pull)
        passes.backward.replay()
        return passes.gradient.clone(), None
