"""One face in its photo: the region that a mask may change, and the warps between photo, patch and face frame."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from pmask.faces import Box, Face
from pmask.geometry import (
    FRAME_SCALE,
    FRAME_SIZE,
    Floats,
    compose,
    frame_to,
    invert,
    sample,
    sampling_grid,
    scale_of,
    similarity,
)
from pmask.images import BLOCK, RGB
from pmask.mask import Mask
from pmask.sights import blurred
from pmask.ssim import face_ssim

GROWTH = 0.2
"""The face is the detector's box and this share of its sides more on each side: recognisers look at ears and hairline
too, and the same budget spread wider is seen less."""
RIM = 0.1
"""Share of the grown box over which a mask fades in from each side, so that it has no edge."""
WALL_WINDOW = 15
"""Pixels of the patch, about a tenth of a face."""
WALL_SPREAD = 3 / 255
"""A standard deviation of brightness within WALL_WINDOW. Beside the face a mask fades below it: ripples on a plain wall
or sky are seen at once, and tell recognisers nothing."""
PSNR_CEILING = 99.0
"""dB, stands for identical pixels."""


class View:
    """One face of a photo, and the ways between the photo, the patch around the face and the face frame.

    The patch holds the photo's own pixels, but for faces larger than the face frame itself: those are shrunk to its
    scale, for a mask has no finer detail to be seen in more pixels. It starts and ends where the blocks of a JPEG do.
    """

    def __init__(self, rgb: RGB, face: Face, device: torch.device) -> None:
        self.face, self._device, self._rgb = face, device, rgb
        alignment = similarity(face.landmarks)
        self._frame_to_photo = frame_to(alignment)
        self.rows, self.columns = self._region(rgb.shape)
        height, width = self.rows.stop - self.rows.start, self.columns.stop - self.columns.start
        shrink = min(1.0, FRAME_SCALE / scale_of(alignment))
        self.area = _grown(face.box)
        self.shrunk = shrink < 1
        self._size = max(1, round(height * shrink)), max(1, round(width * shrink))
        frame_to_patch = compose(self._photo_to_patch(), self._frame_to_photo)
        frame = (FRAME_SIZE, FRAME_SIZE)
        self.to_frame = sampling_grid(frame_to_patch, frame, self._size, device)
        self.to_patch = sampling_grid(invert(frame_to_patch), self._size, frame, device)
        self.patch_boxes = self._patch_slices(self.area), self._patch_slices(face.box)

    def _region(self, shape: tuple[int, ...]) -> tuple[slice, slice]:
        """Rows and columns of the photo that the face frame covers."""
        corners = np.array([[0, 0], [FRAME_SIZE, 0], [0, FRAME_SIZE], [FRAME_SIZE, FRAME_SIZE]]) - 0.5
        reached = corners @ self._frame_to_photo[:, :2].T + self._frame_to_photo[:, 2]
        low = np.clip(reached.min(0) // BLOCK * BLOCK, 0, [shape[1] - 1, shape[0] - 1]).astype(int)
        high = np.clip(-(-reached.max(0) // BLOCK) * BLOCK, low + 1, [shape[1], shape[0]]).astype(int)
        return slice(low[1], high[1]), slice(low[0], high[0])

    def _photo_to_patch(self) -> Floats:
        """2 x 3 matrix from photo pixels to patch pixels."""
        down = self._size[0] / (self.rows.stop - self.rows.start)
        right = self._size[1] / (self.columns.stop - self.columns.start)
        return np.array(
            [
                [right, 0.0, (0.5 - self.columns.start) * right - 0.5],
                [0.0, down, (0.5 - self.rows.start) * down - 0.5],
            ]
        )

    def _patch_slices(self, box: Box) -> tuple[slice, slice]:
        """A box of the photo in patch pixels."""
        matrix = self._photo_to_patch()
        x, y, width, height = box
        low, high = (matrix[:, :2] @ np.array(corner) + matrix[:, 2] for corner in ((x, y), (x + width, y + height)))
        return _clipped(low[1], high[1], self._size[0]), _clipped(low[0], high[0], self._size[1])

    @cached_property
    def patch_window(self) -> Tensor:
        """(1, 1, h, w): how much of a mask each pixel of the patch takes."""
        return self._window(self._size)

    @cached_property
    def _unlike_a_wall(self) -> Tensor:
        """(1, 1, h, w) in patch pixels: 1 in the detector's box and where there is texture, 0 where there is none. Most
        views only show a face to recognisers and never need it."""
        grey = self.patch(self._rgb).mean(1, keepdim=True)
        variance = blurred(grey**2, WALL_WINDOW) - blurred(grey, WALL_WINDOW) ** 2
        textured = (variance.clamp(min=0).sqrt() / WALL_SPREAD).clamp(max=1)
        rows, columns = self.patch_boxes[-1]
        textured[:, :, rows, columns] = 1
        return blurred(textured, WALL_WINDOW)

    def _window(self, size: tuple[int, int]) -> Tensor:
        """(1, 1, h, w) for the photo's region in ``size`` pixels: how much of a mask each takes, nothing outside the
        face's area, rising to all within, but for plain walls."""
        x, y, width, height = self.area
        edges = []
        for pixels, region, low, side in ((size[0], self.rows, y, height), (size[1], self.columns, x, width)):
            step = (region.stop - region.start) / pixels
            place = (torch.arange(pixels) + 0.5) * step + region.start - 0.5
            inside = ((side / 2 - (place - low - side / 2).abs()) / (RIM * side)).clamp(0, 1)
            edges.append(inside * inside * (3 - 2 * inside))
        shown = self._unlike_a_wall
        if shown.shape[-2:] != size:
            shown = F.interpolate(shown, size, mode="bilinear")
        return torch.einsum("y,x->yx", *edges)[None, None].to(self._device) * shown

    def patch(self, rgb: RGB) -> Tensor:
        """(1, 3, h, w) in [0, 1] of the photo's pixels around the face."""
        pixels = torch.from_numpy(np.ascontiguousarray(rgb[self.rows, self.columns])).to(self._device)
        patch = pixels.permute(2, 0, 1)[None].float() / 255
        return patch if patch.shape[-2:] == self._size else F.interpolate(patch, self._size, mode="area")

    def frame(self, rgb: RGB) -> Tensor:
        """(1, 3, FRAME_SIZE, FRAME_SIZE), the face frame of the photo."""
        return sample(self.patch(rgb), self.to_frame)

    def boxed(self, rgb: RGB) -> Tensor:
        """(1, 3, h, w) in [0, 1], the photo's own pixels in the detector's box."""
        x, y, width, height = self.face.box
        rows, columns = _clipped(y, y + height, rgb.shape[0]), _clipped(x, x + width, rgb.shape[1])
        return torch.from_numpy(np.ascontiguousarray(rgb[rows, columns])).permute(2, 0, 1)[None].float() / 255

    def delta(self, mask: Mask) -> npt.NDArray[np.float32]:
        """The mask (rows, columns, 3) in the photo's own pixels, in [-1, 1]."""
        size = self.rows.stop - self.rows.start, self.columns.stop - self.columns.start
        shift = np.array([[1.0, 0.0, self.columns.start], [0.0, 1.0, self.rows.start]])
        matrix = compose(invert(self._frame_to_photo), shift)
        grid = sampling_grid(matrix, size, (FRAME_SIZE, FRAME_SIZE), self._device)
        values = sample(mask.values, grid) * self._window(size)
        return np.asarray(values[0].permute(1, 2, 0).cpu())


def paste(rgb: RGB, views: list[View], masks: list[Mask]) -> RGB:
    """A copy of the photo with every mask added; pixels that no mask reaches stay as they are."""
    result = rgb.copy()
    for view, mask in zip(views, masks, strict=True):
        region = result[view.rows, view.columns].astype(np.float32)
        result[view.rows, view.columns] = np.clip(np.rint(region + view.delta(mask) * 255), 0, 255).astype(np.uint8)
    return result


def quality(original: Tensor, masked: Tensor) -> tuple[float, float]:
    """SSIM (pmask.ssim.face_ssim) and PSNR in dB of two images (1, 3, h, w) in [0, 1]."""
    error = float(F.mse_loss(masked, original))
    psnr = min(PSNR_CEILING, -10 * math.log10(error)) if error else PSNR_CEILING
    return float(face_ssim(original, masked)), psnr


def _grown(box: Box) -> Box:
    x, y, width, height = box
    return x - GROWTH * width, y - GROWTH * height, width * (1 + 2 * GROWTH), height * (1 + 2 * GROWTH)


def _clipped(low: float, high: float, limit: int) -> slice:
    """The whole pixels between low and high inside [0, limit), at least one."""
    start = min(max(0, round(low)), limit - 1)
    return slice(start, max(start + 1, min(limit, round(high))))
