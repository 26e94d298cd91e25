"""TIP-IM: towards whichever of some other people is most within reach, and away from the own features (X. Yang et al.,
ICCV 2021, https://arxiv.org/abs/2003.06814): momentum under a bound of 12/255 on every pixel, 10 target identities.

Each iteration sees the face under a random affine map. Its greedy search tries a step towards each target and takes the
one with the greatest gain. That is ten gradients for one step: here targets are tried anew every ``search_every``
steps and kept in between (1 is the published search, five times as slow).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pmask.baselines.crops import Baseline, Crop
from pmask.sights import Sights, laid

KERNEL_WIDTHS = tuple(10.0**power for power in range(-6, 7))
"""Of the Gaussians in MMD, for pixels in grey levels: from hardly anything to everything, as in the authors' code."""


@dataclass(frozen=True, kw_only=True)
class TipIm(Baseline):
    """bound: the most that a pixel may change, in units of [0, 1]. targets: other people to be led towards.

    overshoot: the steps add up to so many times the bound. mmd: weight of the naturalness loss (gamma of the paper;
    the authors' default is 0). affine: the least and the most standard deviation of the random maps, radians and
    shares of the size.
    """

    needs_others: ClassVar[bool] = True

    bound: float = 12 / 255
    iterations: int = 100
    targets: int = 10
    momentum: float = 1.0
    overshoot: float = 1.5
    mmd: float = 0.0
    affine: tuple[float, float] = (0.01, 0.1)
    search_every: int = 10

    def change(self, crop: Crop, chance: torch.Generator) -> Tensor:
        pixels = crop.pixels
        low, high = (-pixels).clamp(min=-self.bound), (1 - pixels).clamp(max=self.bound)
        length = self.overshoot * self.bound / self.iterations
        change, speed = torch.zeros_like(pixels), torch.zeros_like(pixels)
        target = 0
        for iteration in range(self.iterations):
            change = change.requires_grad_()
            embeddings = crop.embed(crop.frame(change, self._grid(crop, chance)))
            trials = list(range(self._count(crop))) if iteration % self.search_every == 0 else [target]
            natural = self.mmd * maximum_mean_discrepancy(crop.pasted(change), crop.patch) if self.mmd else 0.0
            steps = []
            for trial in trials:
                loss = self._loss(crop, embeddings, trial) + natural
                (gradient,) = torch.autograd.grad(loss, change, retain_graph=trial != trials[-1])
                faster = self.momentum * speed + gradient / gradient.abs().mean().clamp(min=1e-12)
                moved = torch.minimum(torch.maximum(change.detach() - length * faster.sign(), low), high)
                steps.append((moved, faster, trial))
            change, speed, target = steps[0] if len(steps) == 1 else self._best(crop, steps)
        return change.detach()

    def _count(self, crop: Crop) -> int:
        return min(self.targets, *(len(people) for people in crop.others.values()))

    def _grid(self, crop: Crop, chance: torch.Generator) -> Tensor:
        low, high = self.affine
        spread = low + (high - low) * float(torch.rand((), generator=chance))
        placement = Sights(turn=spread, scale=spread, shift=0.0).placement(chance)
        return laid(crop.to_frame, placement.to(crop.to_frame.device))

    @staticmethod
    def _loss(crop: Crop, embeddings: dict[str, Tensor], target: int) -> Tensor:
        """Nearer to the target and farther from the own face: Eq. 3 of the paper with squared distances."""
        losses = []
        for name, own in embeddings.items():
            towards, away = crop.others[name][target], crop.originals[name]
            losses.append(((own - towards) ** 2).sum() - ((own - away) ** 2).sum())
        return torch.stack(losses).sum()

    @staticmethod
    def _best(crop: Crop, steps: list[tuple[Tensor, Tensor, int]]) -> tuple[Tensor, Tensor, int]:
        """The step with the greatest gain: log(1 + the greatest exp(d(own face) - d(target))), d being the distance
        after the step, the mean over the team."""
        with torch.no_grad():
            embeddings = crop.embed(torch.cat([crop.frame(moved) for moved, _, _ in steps]))
            away = torch.stack([torch.cdist(own, crop.originals[name]) for name, own in embeddings.items()]).mean(0)
            near = torch.stack([torch.cdist(own, crop.others[name]) for name, own in embeddings.items()]).mean(0)
            gains = torch.log1p(torch.exp(away - near).amax(1))
        return steps[int(gains.argmax())]


def maximum_mean_discrepancy(a: Tensor, b: Tensor) -> Tensor:
    """MMD (A. Gretton et al.) of two images (1, 3, h, w) in [0, 1] as single samples, over Gaussians of KERNEL_WIDTHS;
    result (). 0 for the same image."""
    distance = ((a - b) * 255).square().sum()
    kernels = torch.stack([torch.exp(-distance / (2 * width)) for width in KERNEL_WIDTHS])
    return 2 * (1 - kernels).sum()
