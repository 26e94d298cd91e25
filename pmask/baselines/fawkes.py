"""Fawkes: away from the own features, as far as a budget of DSSIM lets it (S. Shan et al., USENIX Security 2020,
https://www.usenix.org/conference/usenixsecurity20/presentation/shan, section 5.1), untargeted as its version 1.0.

Its highest mode: 150 steps of Adadelta at rate 15, DSSIM 0.017. As there, a pixel is a tanh, so that it stays in its
range; the penalty on the square of what DSSIM is over the budget is doubled or halved; the best cloak that was seen
counts. Here it is the best *within* the budget, and one that came close is scaled to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pmask.baselines.crops import Baseline, Crop

TANH_RANGE = 2 - 1e-6
"""Keeps black and white pixels from lying at infinity."""
FILLS = 6
"""Rounds in which a cloak over the budget is scaled down, when none within was found."""


@dataclass(frozen=True, kw_only=True)
class Fawkes(Baseline):
    """dssim: the budget. rate, rho, smallest: Adadelta's, the last two being Keras's own. most: of a pixel's change.

    penalty: weight of the squared excess at the start, beside ``pull`` for the features, doubled or halved every
    ``patience`` steps. margin: the share of the budget kept back, for large faces are optimised smaller than they are.
    """

    dssim: float = 0.017
    iterations: int = 150
    rate: float = 15.0
    rho: float = 0.95
    smallest: float = 1e-7
    most: float = 15 / 255
    pull: float = 1e3
    penalty: float = 1e7
    penalty_range: tuple[float, float] = (1e5, 1e9)
    patience: int = 10
    margin: float = 0.01

    def change(self, crop: Crop, chance: torch.Generator) -> Tensor:
        pixels, budget = crop.pixels, self.dssim * (1 - self.margin)
        start = torch.atanh((pixels - 0.5) * TANH_RANGE)
        # the distance has no gradient at the bare face itself
        step = (torch.rand(pixels.shape, generator=chance) * 1e-3).to(pixels.device).requires_grad_()
        optimiser = torch.optim.Adadelta([step], lr=self.rate, rho=self.rho, eps=self.smallest)
        best, best_distance, penalty = torch.zeros_like(pixels), -1.0, self.penalty
        latest = best
        for iteration in range(self.iterations):
            cloaked = torch.tanh(start + step) / TANH_RANGE + 0.5
            change = (cloaked - pixels).clamp(-self.most, self.most)
            patch = crop.pasted(change)
            dssim, distance = crop.dssim(patch), self._distance(crop, change)
            latest, cost, reached = change.detach(), _delivered(crop, change), float(distance.detach())
            if cost <= budget and reached > best_distance:
                best, best_distance = latest, reached
            if iteration % self.patience == self.patience - 1:
                penalty *= 2.0 if cost > budget else 0.5
                penalty = min(max(penalty, self.penalty_range[0]), self.penalty_range[1])
            loss = penalty * (dssim - budget).clamp(min=0) ** 2 - self.pull * distance
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        shrunk = _within(crop, latest, budget)
        with torch.no_grad():
            return shrunk if float(self._distance(crop, shrunk)) > best_distance else best

    @staticmethod
    def _distance(crop: Crop, change: Tensor) -> Tensor:
        """The sum over the team of the distances of the features; they have length one, so nothing divides them."""
        embeddings = crop.embed(crop.frame(change))
        return torch.stack([(own - crop.originals[name]).norm() for name, own in embeddings.items()]).sum()


def _delivered(crop: Crop, change: Tensor) -> float:
    """DSSIM in whole grey levels, as a file holds them: rounding is noise too."""
    with torch.no_grad():
        return float(crop.dssim((crop.pasted(change) * 255).round() / 255))


def _within(crop: Crop, change: Tensor, budget: float) -> Tensor:
    """The change, weaker until DSSIM is within the budget: it grows with the square of the change."""
    with torch.no_grad():
        for _ in range(FILLS):
            cost = _delivered(crop, change)
            if cost <= budget:
                break
            change = change * 0.99 * (budget / cost) ** 0.5
    return change
