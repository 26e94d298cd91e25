"""How others will see a masked face: aligned by another detector, shrunk, filtered, compressed. A mask that is searched
for under one exact view works under that view only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pmask.geometry import FRAME_SCALE, FRAME_SIZE


def blurred(images: Tensor, width: int) -> Tensor:
    """Images (B, C, H, W) behind a box filter of ``width`` pixels, an odd number; at the edges, of what there is."""
    if width == 1:
        return images
    return F.avg_pool2d(images, width, 1, width // 2, count_include_pad=False)


@dataclass(frozen=True, kw_only=True)
class Sights:
    """The spread of views that the search draws from.

    turn: standard deviation in radians; scale: of the ratio's logarithm; shift: in template units. They are over half
    as much again as what lies between MTCNN's and YuNet's alignment of 300 photos (0.05, 0.05 and 2.2): a recogniser
    that was left out of the team is fooled more. blur: widest box filter, in pixels of the face frame. flip: the share
    of views that are mirrored: the same person too, so the mask is about the person, not the picture.
    """

    turn: float = 0.08
    scale: float = 0.09
    shift: float = 3.5
    blur: int = 9
    flip: float = 0.5

    def placement(self, chance: torch.Generator) -> Tensor:
        """How another detector might have laid the face frame beside this one (4): cosine and sine of the turn, both
        times the scale, and the shift right and down in its pixels."""
        spread = torch.tensor([self.turn, self.scale, self.shift * FRAME_SCALE, self.shift * FRAME_SCALE])
        turn, scale, right, down = (torch.randn(4, generator=chance) * spread).tolist()
        return torch.tensor([math.exp(scale) * math.cos(turn), math.exp(scale) * math.sin(turn), right, down])

    def rendered(self, frames: Tensor, chance: torch.Generator) -> Tensor:
        """Face frames (B, 3, FRAME_SIZE, FRAME_SIZE) as from a shrunk, filtered or mirrored copy of the photo."""
        width = 2 * int(torch.randint(self.blur // 2 + 1, (), generator=chance)) + 1
        frames = blurred(frames, width)
        return frames.flip(3) if float(torch.rand((), generator=chance)) < self.flip else frames


def laid(to_frame: Tensor, placement: Tensor) -> Tensor:
    """The sampling grid (1, FRAME_SIZE, FRAME_SIZE, 2) of a face frame that lies as Sights.placement says."""
    cosine, sine, right, down = placement.unbind()
    # the grid is affine, so its corner and two steps say all of it
    corner = to_frame[0, 0, 0]
    along, across = to_frame[0, 0, 1] - corner, to_frame[0, 1, 0] - corner
    place = torch.arange(FRAME_SIZE, device=to_frame.device) - (FRAME_SIZE - 1) / 2
    x, y = place[None, :, None], place[:, None, None]
    middle = corner + (along + across) * (FRAME_SIZE - 1) / 2
    turned = middle + (cosine * x - sine * y + right) * along + (sine * x + cosine * y + down) * across
    return torch.as_tensor(turned)[None]
