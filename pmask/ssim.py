"""SSIM, Wang's structural similarity: Z. Wang et al., 2004, https://doi.org/10.1109/TIP.2003.819861. Gaussian window of
11 pixels, sigma 1.5, per channel, mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW = 11
SIGMA = 1.5
C1 = 0.01**2
"""Of pixels in [0, 1], as all that follows."""
C2 = 0.03**2
"""The variance at which a flat place begins to hide changes."""
LONG = 500
"""Pixels of a side from which filtering is quicker than multiplying by a band of Gaussians. At 100 pixels it takes five
times as long."""

Region = tuple[slice, slice]
"""Rows and columns."""


def face_ssim(original: Tensor, masked: Tensor) -> Tensor:
    """SSIM of images (B, C, h, w) in [0, 1]; result (B). Sides under 11 pixels are lengthened to 11 by their edge."""
    rows, columns = original.shape[-2:]
    return SsimTo(original, [(slice(0, rows), slice(0, columns))])(masked)[:, 0]


class SsimTo:
    """SSIM of changed copies to their originals, in regions of which the first holds the others. For a search: what the
    originals alone decide is worked out once, and windows that regions share are taken once.

    original: (B, C, h, w). scale: all is first shrunk so many times; the other regions then start at whole pixels.
    """

    def __init__(self, original: Tensor, regions: Sequence[Region], scale: int = 1) -> None:
        self._area, self._scale = regions[0], scale
        self._original = self._seen(original)
        height, width = sides = tuple(self._original.shape[-2:])
        self._is_long = max(sides) >= LONG
        if self._is_long:
            self._bell = _band(WINDOW, original).expand(original.shape[1], 1, 1, -1)
        else:
            self._down, self._across = _band(height, original), _band(width, original).T
        self._mean = self._weighted(self._original)
        self._squared_mean = self._mean**2
        self._variance = self._weighted(self._original**2) - self._squared_mean
        self._windows = [
            tuple(self._within(*side) for side in zip(region, self._area, sides, strict=True)) for region in regions
        ]

    def __call__(self, changed: Tensor) -> Tensor:
        """changed: (B, C, h, w); result (B, regions), with gradients."""
        pixels = self._seen(changed)
        maps = self._weighted(torch.cat([pixels, pixels**2, self._original * pixels]))
        mean, square, product = maps.chunk(3)
        squared_mean, both = mean**2, self._mean * mean
        brightness = (2 * both + C1) / (self._squared_mean + squared_mean + C1)
        structure = (2 * (product - both) + C2) / (self._variance + (square - squared_mean) + C2)
        ssim = brightness * structure
        return torch.stack([ssim[:, :, rows, columns].mean((1, 2, 3)) for rows, columns in self._windows], 1)

    @cached_property
    def shares(self) -> list[float]:
        """The share of the first region's windows that lie within each region."""
        counts = [math.prod(side.stop - side.start for side in sides) for sides in self._windows]
        return [count / counts[0] for count in counts]

    def _seen(self, image: Tensor) -> Tensor:
        rows, columns = self._area
        cut = image[:, :, rows, columns]
        return _long_enough(F.avg_pool2d(cut, self._scale) if self._scale > 1 else cut)

    def _weighted(self, images: Tensor) -> Tensor:
        """Each window's Gaussian mean."""
        if not self._is_long:
            return self._down @ images @ self._across
        down = F.conv2d(images, self._bell.transpose(2, 3), groups=len(self._bell))
        return F.conv2d(down, self._bell, groups=len(self._bell))

    def _within(self, side: slice, area: slice, length: int) -> slice:
        """The windows, by their first pixel, that lie between a region's ends; where it is too short for one, the first
        that begins with it."""
        last = length - WINDOW
        start = min(-(-(side.start - area.start) // self._scale), last)
        stop = (side.stop - area.start) // self._scale - WINDOW + 1
        return slice(start, min(max(start + 1, stop), last + 1))


def _band(length: int, like: Tensor) -> Tensor:
    """(length - 10, length), of the kind of ``like``: in each row the window's Gaussian, one pixel further on."""
    place = torch.arange(length, device=like.device)
    beside = (place - torch.arange(length - WINDOW + 1, device=like.device)[:, None] - WINDOW // 2).abs()
    weights = torch.exp(-(beside.to(like.dtype) ** 2) / (2 * SIGMA**2)) * (beside <= WINDOW // 2)
    return weights / weights.sum(1, keepdim=True)


def _long_enough(image: Tensor) -> Tensor:
    """The image, its sides at least as long as the window."""
    short = [max(0, WINDOW - side) for side in image.shape[-2:]]
    return F.pad(image, (0, short[1], 0, short[0]), mode="replicate") if any(short) else image
