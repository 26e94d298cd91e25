"""The ways in which a protected photo may reach an intruder's recogniser, by name.

Sites shrink and compress what is uploaded. An intruder who knows of masks filters in the hope to wash them out, as in
feature squeezing (https://arxiv.org/abs/1704.01155): medians, fewer bits, non-local means, and plain blurs beside them.
None of these has state or chance. Those that shrink or cut move the face: an intruder looks for it afresh.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from pmask.faces import Box
from pmask.images import RGB
from pmask.uploads import Upload

THUMBNAIL_FACE = 64
"""Pixels of a face's shorter side: little more than half of what recognisers take (112), and as small as people still
post faces."""
SCREENSHOT_SCALE = 0.9
"""A photo on a screen is seldom shown pixel for pixel."""
SMALL_SCALE = 0.6
DENOISE_STRENGTH = 6.0
DENOISE_COLOUR_STRENGTH = 3.0
"""h and hColor of cv2.fastNlMeansDenoisingColored (https://doi.org/10.5201/ipol.2011.bcm_nlm), in levels of its Lab:
what comes closest to the astronaut's face under grey noise of 8 levels, about a mask's strength (an error of 6.9
levels, from 7.8; h of 3 and 10 leave 7.5 and 8.4). OpenCV's advice for hColor, 10, loses half a level and more."""
DENOISE_PATCH, DENOISE_SEARCH = 7, 21
"""Pixels: sides of the patches compared and of the window in which they are sought. OpenCV's own."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """kind: "upload", what a site or its user does, or "filter", what an adaptive intruder does. words: one line for
    tables.

    apply: upright pixels (height, width, 3) and the face's box in them, to pixels (height, width, 3), no larger.
    """

    name: str
    kind: Literal["upload", "filter"]
    words: str
    apply: Callable[[RGB, Box], RGB]


def apply(name: str, rgb: RGB, box: Box) -> RGB:
    """``rgb`` (height, width, 3), with a face in ``box``, after the pipeline ``name``. ValueError: no such one."""
    if name not in PIPELINES:
        raise ValueError(f"unknown pipeline {name}; known: {', '.join(PIPELINES)}")
    return PIPELINES[name].apply(rgb, box)


def window(rgb: RGB, box: Box, grow: float = 0.0, shift: float = 0.0) -> tuple[slice, slice]:
    """Rows and columns of the photo that ``box`` covers, at least one each.

    ``grow`` and ``shift`` are shares of the box's sides: by how much it is first grown on each side, and then moved
    to the right and down.
    """
    x, y, width, height = box
    return _side(y, height, grow, shift, rgb.shape[0]), _side(x, width, grow, shift, rgb.shape[1])


def _side(low: float, length: float, grow: float, shift: float, limit: int) -> slice:
    start = min(max(0, round(low + (shift - grow) * length)), limit - 1)
    return slice(start, max(start + 1, min(limit, round(low + (1 + shift + grow) * length))))


def _webp(rgb: RGB) -> RGB:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "WEBP", quality=80)
    with Image.open(out) as again:
        return np.array(again.convert("RGB"))


def _resized(rgb: RGB, scale: float, interpolation: int) -> RGB:
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    return _pixels(cv2.resize(rgb, size, interpolation=interpolation))


def _as_thumbnail(rgb: RGB, box: Box) -> RGB:
    scale = THUMBNAIL_FACE / max(1.0, min(box[2:]))
    if scale >= 1:
        return rgb
    small = _resized(rgb, scale, cv2.INTER_AREA)
    return _pixels(cv2.resize(small, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_CUBIC))


def _fewer_bits(rgb: RGB) -> RGB:
    """Five bits a channel, spread over 0 to 255 again."""
    top = rgb >> 3
    return np.asarray((top << 3) | (top >> 2), dtype=np.uint8)


def _denoised(rgb: RGB, box: Box) -> RGB:
    """Only around the face, where it matters: non-local means takes seconds a megapixel."""
    rows, columns = window(rgb, box, grow=1.0)
    bgr = np.ascontiguousarray(rgb[rows, columns, ::-1])
    clean = cv2.fastNlMeansDenoisingColored(
        bgr, None, DENOISE_STRENGTH, DENOISE_COLOUR_STRENGTH, DENOISE_PATCH, DENOISE_SEARCH
    )
    result = rgb.copy()
    result[rows, columns] = clean[..., ::-1]
    return result


def _pixels(image: cv2.typing.MatLike) -> RGB:
    return np.asarray(image, dtype=np.uint8)


def _upload(name: str, words: str, change: Callable[[RGB], RGB]) -> Pipeline:
    return Pipeline(name=name, kind="upload", words=words, apply=lambda rgb, box: change(rgb))


def _filter(name: str, words: str, change: Callable[[RGB], RGB]) -> Pipeline:
    return Pipeline(name=name, kind="filter", words=words, apply=lambda rgb, box: change(rgb))


_ALL = (
    _upload("bare", "as delivered", lambda rgb: rgb),
    _upload("jpeg70", "JPEG, quality 70", Upload(None, 70)),
    _upload("jpeg75", "JPEG, quality 75", Upload(None, 75)),
    _upload("jpeg85", "JPEG, quality 85", Upload(None, 85)),
    _upload("edge1080-jpeg75", "long edge at most 1080 px, JPEG 75", Upload(1080, 75)),
    _upload("edge2048-jpeg85", "long edge at most 2048 px, JPEG 85", Upload(2048, 85)),
    _upload("webp80", "WebP, quality 80", _webp),
    _upload(
        "screenshot",
        "shown at 0.9 of its size (bilinear), kept without loss",
        lambda rgb: _resized(rgb, SCREENSHOT_SCALE, cv2.INTER_LINEAR),
    ),
    _upload(
        "small-jpeg",
        "shrunk to 0.6, JPEG 75",
        lambda rgb: Upload(None, 75)(_resized(rgb, SMALL_SCALE, cv2.INTER_AREA)),
    ),
    Pipeline(
        name="crop",
        kind="upload",
        words="cut to the face and half its size on each side",
        apply=lambda rgb, box: rgb[window(rgb, box, grow=0.5)],
    ),
    Pipeline(
        name="crop-shift",
        kind="upload",
        words="cut closer, the face left and above the middle",
        apply=lambda rgb, box: rgb[window(rgb, box, grow=0.35, shift=0.2)],
    ),
    _filter("mean3", "mean of 3 x 3 px", lambda rgb: _pixels(cv2.blur(rgb, (3, 3)))),
    _filter("mean5", "mean of 5 x 5 px", lambda rgb: _pixels(cv2.blur(rgb, (5, 5)))),
    # with sigma 0 OpenCV takes (1, 2, 1) / 4 and (1, 4, 6, 4, 1) / 16, which it counts as sigma 0.8 and 1.1;
    # by their variance they are 0.71 and 1.0 px
    _filter("gaussian3", "Gaussian of 3 x 3 px", lambda rgb: _pixels(cv2.GaussianBlur(rgb, (3, 3), 0))),
    _filter("gaussian5", "Gaussian of 5 x 5 px", lambda rgb: _pixels(cv2.GaussianBlur(rgb, (5, 5), 0))),
    _filter("median3", "median of 3 x 3 px", lambda rgb: _pixels(cv2.medianBlur(rgb, 3))),
    _filter("median5", "median of 5 x 5 px", lambda rgb: _pixels(cv2.medianBlur(rgb, 5))),
    Pipeline(
        name="face64",
        kind="filter",
        words=f"shrunk until the face has {THUMBNAIL_FACE} px, and enlarged again",
        apply=_as_thumbnail,
    ),
    _filter("bits5", "5 bits a channel", _fewer_bits),
    Pipeline(name="denoise", kind="filter", words="non-local means", apply=_denoised),
)

PIPELINES = {pipeline.name: pipeline for pipeline in _ALL}
"""All of them; the table's order is the one to print."""

PAPER_LIKE = ("jpeg70", "mean3", "gaussian3", "median3", "edge1080-jpeg75")
"""For a short table: the kinds of transformation that papers on masks report."""
