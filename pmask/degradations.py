"""Ways of making a face harder to recognise, so that recognisers that hardly ever fail show where they differ.

Applied to face frames, so that they mean the same on a face of any size, and after alignment, so that what fails is the
recogniser and not the detector. Names and levels load no torch; applying one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pmask.errors import BadOption

if TYPE_CHECKING:
    from torch import Tensor

BARE = "bare"
"""The face as it is."""
LEVELS: tuple[tuple[str, ...], ...] = (
    ("low-resolution-28", "blur-2", "noise-20"),
    ("low-resolution-20", "blur-4", "noise-40"),
    ("low-resolution-12", "blur-6", "noise-80"),
)
"""Harder and harder. The number of low-resolution is the pixels left of the 112 of an aligned face's side, that of blur
the Gaussian's standard deviation in those pixels, that of noise the standard deviation in levels of 0 to 255."""
WORDS: Mapping[str, str] = {
    "low-resolution": "shrunk until an aligned face has {} pixels a side, and enlarged again",
    "blur": "Gaussian blur with a standard deviation of {} pixels of a 112-pixel face",
    "noise": "Gaussian noise with a standard deviation of {} levels of 255 in each pixel of a 112-pixel face",
}
ALIGNED_SIDE = 112
"""Pixels of an aligned face, a template unit each."""


def words(name: str) -> str:
    """A degradation for people. Raises BadOption for an unknown one."""
    if name == BARE:
        return "as they are"
    kind, amount = _parts(name)
    return WORDS[kind].format(f"{amount:g}")


def degrade(name: str, frames: Tensor, seeds: list[int]) -> Tensor:
    """``frames`` (B, 3, FRAME_SIZE, FRAME_SIZE) in [0, 1], made worse and rounded to 8 bits. seeds (B): of the noise of
    each. Raises BadOption for an unknown degradation."""
    if name == BARE:
        return frames
    import torch

    kind, amount = _parts(name)
    if kind == "noise":
        worse = _noisy(frames, amount, seeds)
    else:
        worse = _shrunk(frames, amount) if kind == "low-resolution" else _blurred(frames, amount)
    return torch.round(worse.clamp(0, 1) * 255) / 255


def _parts(name: str) -> tuple[str, float]:
    kind, _, amount = name.rpartition("-")
    if kind not in WORDS or not amount.isdigit() or not int(amount):
        raise BadOption(f"unknown degradation {name!r}; known: {BARE}, {', '.join(f'{kind}-N' for kind in WORDS)}")
    return kind, float(amount)


def _shrunk(frames: Tensor, pixels: float) -> Tensor:
    from torch.nn import functional as F

    from pmask.geometry import FRAME_SCALE

    side = frames.shape[-1]
    small = max(1, round(side / FRAME_SCALE * pixels / ALIGNED_SIDE))
    return F.interpolate(F.interpolate(frames, (small, small), mode="area"), (side, side), mode="bilinear")


def _blurred(frames: Tensor, deviation: float) -> Tensor:
    import torch
    from torch.nn import functional as F

    from pmask.geometry import FRAME_SCALE

    sigma = deviation * FRAME_SCALE
    reach = round(3 * sigma)
    window = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=frames.device) / sigma) ** 2)
    window = (window / window.sum()).reshape(1, 1, -1).expand(3, 1, -1)
    padded = F.pad(frames, (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(padded, window[:, :, None, :], groups=3)
    return F.conv2d(across, window[:, :, :, None], groups=3)


def _noisy(frames: Tensor, deviation: float, seeds: list[int]) -> Tensor:
    import torch
    from torch.nn import functional as F

    from pmask.geometry import FRAME_SCALE

    side = round(frames.shape[-1] / FRAME_SCALE)
    noise = torch.stack([torch.randn(3, side, side, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    grown = F.interpolate(noise.to(frames.device), frames.shape[-2:], mode="nearest")
    return frames + grown * (deviation / 255)
