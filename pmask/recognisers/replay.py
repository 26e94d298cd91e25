"""Recognisers on an NVIDIA card, where starting a network's kernels one by one takes longer than they run."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from pmask import recording
from pmask.recognisers.pool import Recogniser

MOST_FACES = 8
"""In one recording, which holds memory for each."""


class Replayed:
    """A recogniser behind its own contract. Its passes are recorded once for each size of batch and replayed
    (pmask.recording). All recognisers' recordings share memory, so a gradient is to be taken before any looks again."""

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser
        self._recorded: dict[tuple[int, bool], _Passes] = {}

    def __call__(self, frames: Tensor) -> Tensor:
        if len(frames) > MOST_FACES:
            return torch.as_tensor(self._recogniser(frames))
        kind = len(frames), frames.requires_grad and torch.is_grad_enabled()
        if kind not in self._recorded:
            self._recorded[kind] = _Passes(self._recogniser, frames, backward=kind[1])
        return torch.as_tensor(_Looks.apply(frames, self._recorded[kind]))


class _Passes:
    """The recorded passes of a recogniser over as many frames."""

    latest: ClassVar[object] = None
    """The last look of all; the memory is its."""

    def __init__(self, recogniser: Recogniser, frames: Tensor, *, backward: bool) -> None:
        self.frames = frames.detach().clone()
        self.seen, self.rows, self.pull, self.gradient = (torch.empty(0) for _ in range(4))

        def look() -> None:
            self.seen = self.frames.detach().requires_grad_(backward)  # autograd knows a leaf by its first stream
            self.rows = recogniser(self.seen)

        def turn_back() -> None:
            (self.gradient,) = torch.autograd.grad(self.rows, self.seen, self.pull)

        with torch.set_grad_enabled(backward):
            look()
            if backward:
                self.pull = torch.zeros_like(self.rows)
                turn_back()
            self.look = recording.record(look, "recognisers")
            if backward:
                self.turn_back = recording.record(turn_back, "recognisers")


class _Look(FunctionCtx):
    """What the gradient of a look needs."""

    passes: _Passes
    look: object


class _Looks(torch.autograd.Function):
    """Replays the passes, with copies of what they work out."""

    @staticmethod
    def forward(ctx: _Look, frames: Tensor, passes: _Passes) -> Tensor:
        ctx.passes = passes
        ctx.look = _Passes.latest = object()
        passes.frames.copy_(frames)
        passes.look()
        return passes.rows.detach().clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: _Look, pull: Tensor) -> tuple[Tensor, None]:
        if _Passes.latest is not ctx.look:
            raise RuntimeError("a recogniser has looked since; take the gradient of one look before the next")
        ctx.passes.pull.copy_(pull)
        ctx.passes.turn_back()
        return ctx.passes.gradient.clone(), None


def quickest(recogniser: Recogniser, device: torch.device) -> Recogniser | Replayed:
    """The recogniser as it is quickest in a search: replayed on an NVIDIA card, but for a person's own network, which
    may do what cannot be recorded."""
    is_known = recogniser.spec.source == "registry"
    return Replayed(recogniser) if is_known and recording.records(device) else recogniser
