"""Where a face lies in a photo, and the differentiable warps between photo, face frame and recogniser crop.

Pixel coordinates have their origin at the centre of the top left pixel, as OpenCV's and the landmarks'.

The *face frame* is the one square in which masks live and which every recogniser takes: the face turned upright and
scaled so that its five landmarks lie as in ArcFace's template, with a margin around the template's own 112 x 112
square, at two pixels a template unit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

Floats = npt.NDArray[np.float64]

TEMPLATE: Floats = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""ArcFace's landmarks in its 112 x 112 crop: https://github.com/deepinsight/insightface, utils/face_align.py"""
FRAME_ORIGIN = -16.0
"""Template coordinate of the face frame's left and top edge: dlib's chip reaches 8.5 below the 112 square."""
FRAME_SCALE = 2.0
"""Pixels of the face frame to a template unit: the pool's widest input is 224 pixels for the 112 square."""
FRAME_SIZE = 288
"""Side of the face frame in pixels: 16 units of margin, the template's 112, and 16 of margin."""


def similarity(landmarks: Floats, template: Floats = TEMPLATE) -> Floats:
    """The 2 x 3 matrix of the least-squares similarity (turn, scale, shift) from template points to ``landmarks``.

    Both are (5, 2), x before y. Raises ValueError when the landmarks coincide.
    Source: S. Umeyama, 1991, https://doi.org/10.1109/34.88573, in its closed form for the plane.
    """
    source, target = template - template.mean(0), landmarks - landmarks.mean(0)
    spread = float((source**2).sum())
    cosine = float((source * target).sum()) / spread
    sine = float((source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0]).sum()) / spread
    if cosine**2 + sine**2 < 1e-12:
        raise ValueError("the five landmarks coincide; no face frame can be laid through them")
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.hstack([linear, (landmarks.mean(0) - linear @ template.mean(0))[:, None]])


def scale_of(matrix: Floats) -> float:
    """Photo pixels to a template unit of a similarity matrix."""
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def frame_to(matrix: Floats) -> Floats:
    """``matrix`` (template to photo) as a 2 x 3 matrix from face-frame pixels to photo pixels."""
    # frame pixel f has its centre at (f + 1/2) / scale from the frame's edge, which is half a unit before FRAME_ORIGIN
    return compose(matrix, _scaling(1 / FRAME_SCALE, FRAME_ORIGIN - 0.5 + 0.5 / FRAME_SCALE))


def box_to_frame(left: float, top: float, width: float, height: float, size: int) -> Floats:
    """2 x 3 matrix from the pixels of a ``size`` x ``size`` crop to face-frame pixels.

    The crop shows the box of template coordinates whose first pixel centre is at (left, top) and whose pixels lie
    ``width / size`` apart across and ``height / size`` down.
    """
    to_template = np.array([[width / size, 0.0, left], [0.0, height / size, top]])
    return compose(_scaling(FRAME_SCALE, FRAME_SCALE * (0.5 - FRAME_ORIGIN) - 0.5), to_template)


def _scaling(scale: float, shift: float) -> Floats:
    return np.array([[scale, 0.0, shift], [0.0, scale, shift]])


def compose(outer: Floats, inner: Floats) -> Floats:
    """The 2 x 3 matrix that applies ``inner`` first, then ``outer``."""
    linear = outer[:, :2] @ inner[:, :2]
    return np.hstack([linear, (outer[:, :2] @ inner[:, 2] + outer[:, 2])[:, None]])


def invert(matrix: Floats) -> Floats:
    """The inverse of a 2 x 3 affine matrix."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.hstack([linear, -(linear @ matrix[:, 2])[:, None]])


def sampling_grid(matrix: Floats, size: tuple[int, int], source: tuple[int, int], device: torch.device) -> Tensor:
    """The grid (1, height, width, 2) with which ``sample`` reads a ``source`` (height, width) image.

    matrix: from pixels of the result, of ``size`` (height, width), to pixels of the source.
    """
    height, width = size
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    points = torch.stack([xs, ys, torch.ones_like(xs)], -1).double() @ torch.from_numpy(matrix).T
    extent = torch.tensor([source[1], source[0]], dtype=torch.float64)
    return ((points + 0.5) * 2 / extent - 1).float()[None].to(device)


def sample(image: Tensor, grid: Tensor, *, padding: str = "zeros") -> Tensor:
    """``image`` (B, C, H, W) read at ``grid`` (B or 1, h, w, 2), bilinear, with gradients. Result (B, C, h, w)."""
    if len(grid) != len(image):
        grid = grid.expand(len(image), -1, -1, -1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode=padding, align_corners=False)
