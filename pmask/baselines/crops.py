"""What every baseline works on: one face cropped, aligned and pasted back by PMask's own views.

The published methods perturb a crop of about 112 pixels and paste it back. Here the crop is the face frame at one pixel
a template unit, which is what a recogniser of 112 pixels takes with a margin, and only the *difference* is pasted, at
the photo's own resolution and feathered as PMask's masks are: so no method is judged by its cropping.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pmask.geometry import FRAME_SCALE, FRAME_SIZE, sample
from pmask.mask import Embed
from pmask.ssim import face_ssim
from pmask.views import View

CROP_SIZE = int(FRAME_SIZE / FRAME_SCALE)
"""Pixels: the side of the crop that is perturbed, one to a template unit."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """One face to be masked.

    patch: (1, 3, h, w) in [0, 1], the photo around the face. to_frame, to_patch, window: as in pmask.mask.Target.
    box: rows and columns of the detector's box in the patch. team: the surrogates. originals: for each, the unit
    embedding (1, dim) of the bare face; others: unit embeddings (n, dim) of n other people, none where not needed.
    grey: the photo has no colour, so the mask has none.
    """

    patch: Tensor
    to_frame: Tensor
    to_patch: Tensor
    window: Tensor
    box: tuple[slice, slice]
    team: Mapping[str, Embed]
    originals: Mapping[str, Tensor]
    others: Mapping[str, Tensor]
    grey: bool

    @classmethod
    def of(cls, view: View, patch: Tensor, team: Mapping[str, Embed], others: Mapping[str, Tensor], grey: bool) -> Crop:
        """The face of ``view`` in its own patch."""
        frame = sample(patch, view.to_frame)
        with torch.no_grad():
            originals = {name: embed(frame) for name, embed in team.items()}
        return cls(
            patch=patch,
            to_frame=view.to_frame,
            to_patch=view.to_patch,
            window=view.patch_window,
            box=view.patch_boxes[-1],
            team=team,
            originals=originals,
            others=others,
            grey=grey,
        )

    @property
    def pixels(self) -> Tensor:
        """(1, 3, CROP_SIZE, CROP_SIZE) in [0, 1]: the bare face, to be perturbed."""
        return F.interpolate(sample(self.patch, self.to_frame), (CROP_SIZE, CROP_SIZE), mode="area")

    def values(self, change: Tensor) -> Tensor:
        """A crop's change (1, 3, CROP_SIZE, CROP_SIZE) as a mask's values (1, 3, FRAME_SIZE, FRAME_SIZE)."""
        if self.grey:
            change = change.mean(1, keepdim=True).expand(-1, 3, -1, -1)
        return F.interpolate(change, (FRAME_SIZE, FRAME_SIZE), mode="bilinear", align_corners=False)

    def pasted(self, change: Tensor) -> Tensor:
        """The patch (1, 3, h, w) with a crop's change in it."""
        return (self.patch + sample(self.values(change), self.to_patch) * self.window).clamp(0, 1)

    def frame(self, change: Tensor, grid: Tensor | None = None) -> Tensor:
        """The photo's face frame (1, 3, FRAME_SIZE, FRAME_SIZE) with a change in it. grid: in place of to_frame."""
        return sample(self.pasted(change), self.to_frame if grid is None else grid)

    def embed(self, frames: Tensor) -> dict[str, Tensor]:
        """Each surrogate's unit embeddings (n, dim) of face frames (n, 3, FRAME_SIZE, FRAME_SIZE)."""
        return {name: network(frames) for name, network in self.team.items()}

    def dssim(self, patch: Tensor) -> Tensor:
        """(1 - SSIM) / 2 in the detector's box of a masked patch, result ()."""
        rows, columns = self.box
        return (1 - face_ssim(self.patch[:, :, rows, columns], patch[:, :, rows, columns])[0]) / 2


class Baseline(ABC):
    """A published method with its published defaults; subclasses are frozen dataclasses, and their repr names results.

    needs_others: whether it leads towards other people, so that photos of some must be given.
    """

    needs_others: ClassVar[bool] = False
    iterations: int

    @abstractmethod
    def change(self, crop: Crop, chance: torch.Generator) -> Tensor:
        """What to add to crop.pixels: (1, 3, CROP_SIZE, CROP_SIZE), without a gradient."""

    def note(self) -> str:
        """Where it cannot be what was published on this machine: a sentence that says so. Else nothing."""
        return ""
