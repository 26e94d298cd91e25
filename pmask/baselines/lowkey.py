"""LowKey: away from the own features, raw and smoothed, held back by LPIPS (V. Cherepanova et al., ICLR 2021,
https://arxiv.org/abs/2101.07922, section 4): 50 steps of signed gradient ascent.

LPIPS needs AlexNet's weights (pmask.evaluation.quality fetches them). Where they cannot be had, a distance of SSIM over
three scales takes its place, and the method says so (``note``): it is then not quite what was published.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pmask.baselines.crops import Baseline, Crop
from pmask.evaluation import quality
from pmask.geometry import FRAME_SCALE
from pmask.ssim import face_ssim

SCALES = 3
"""Of the substitute: the crop, its half and its quarter."""


@dataclass(frozen=True, kw_only=True)
class LowKey(Baseline):
    """step: of each iteration, in units of [0, 1] (the paper's 0.0025 is of [-1, 1]). perception: LPIPS's weight.

    kernel, sigma: of the Gaussian filter, in pixels of a crop of 112.
    """

    iterations: int = 50
    step: float = 0.0025 / 2
    perception: float = 0.05
    kernel: int = 7
    sigma: float = 3.0

    def change(self, crop: Crop, chance: torch.Generator) -> Tensor:
        pixels, without_lpips = crop.pixels, bool(self.note())
        change = torch.zeros_like(pixels)
        for _ in range(self.iterations):
            change = change.requires_grad_()
            frame, shown = crop.frame(change), (pixels + change).clamp(0, 1)
            seen = torch.cat([frame, smoothed(frame, self.kernel, self.sigma)])
            distances = [((own - crop.originals[name]) ** 2).sum(1).sum() for name, own in crop.embed(seen).items()]
            perceived = scaled_ssim_distance(pixels, shown) if without_lpips else quality.lpips(pixels, shown)
            gain = torch.stack(distances).mean() / 2 - self.perception * perceived
            (gradient,) = torch.autograd.grad(gain, change)
            change = (pixels + change.detach() + self.step * gradient.sign()).clamp(0, 1) - pixels
        return change.detach()

    def note(self) -> str:
        missing = quality.lpips_unavailable()
        return "" if missing is None else f"LowKey was held back by SSIM over {SCALES} scales in place of LPIPS"


def smoothed(frames: Tensor, kernel: int, sigma: float) -> Tensor:
    """Face frames (B, 3, h, w) behind a Gaussian filter whose sides and sigma are given in template units."""
    radius = int(kernel * FRAME_SCALE) // 2
    place = torch.arange(-radius, radius + 1, device=frames.device)
    bell = torch.exp(-((place / (sigma * FRAME_SCALE)) ** 2) / 2)
    bell = (bell / bell.sum()).reshape(1, 1, 1, -1).expand(3, 1, 1, -1)
    padded = F.pad(frames, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, bell, groups=3), bell.transpose(2, 3), groups=3)


def scaled_ssim_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - SSIM of images (1, 3, h, w) in [0, 1], the mean over SCALES halvings; result ()."""
    distances = []
    for _ in range(SCALES):
        distances.append(1 - face_ssim(a, b)[0])
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return torch.stack(distances).mean()
