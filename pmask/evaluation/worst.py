"""Pictures of the masks that are seen most: the face before, after, and what lies between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from pmask.evaluation.pipelines import window
from pmask.evaluation.results import Masked, Results
from pmask.images import RGB, decode

COUNT = 10
HEIGHT = 300
"""Pixels: smaller faces are enlarged to it, larger ones stay as they are."""
MARGIN = 0.3
"""Share of the face's box on each side."""
GAIN = 4
"""How much the difference is enlarged, around middle grey."""
GAP = 8

ORDERS: dict[str, Callable[[Masked], float]] = {
    "ssim": lambda photo: float(photo.quality["ssim"]),
    "colour": lambda photo: -float(photo.quality["face"]["p99"]),
}
"""The worst first: the lowest SSIM, the highest 99th percentile of CIEDE2000 in the face."""


def write_worst(results: Results) -> list[Path]:
    """The COUNT worst by each of ORDERS, as WORK/worst/MARK/ORDER-NN-PERSON.png: before, after, difference."""
    folder = results.settings.work / "worst" / results.settings.mark
    written = []
    for name, order in ORDERS.items():
        for place, photo in enumerate(sorted(results.masked, key=order)[:COUNT], 1):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{name}-{place:02}-{photo.person}.png"
            before, after = (decode(Path(file).read_bytes()).rgb for file in (photo.photo, photo.protected))
            picture = side_by_side(before, after, photo)
            path.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
            written.append(path)
    return written


def side_by_side(before: RGB, after: RGB, photo: Masked) -> RGB:
    """The face of both photos with a margin, and GAIN times their difference; at least HEIGHT pixels high."""
    rows, columns = window(before, tuple(photo.face["box"]), grow=MARGIN)
    a, b = before[rows, columns].astype(np.int16), after[rows, columns].astype(np.int16)
    pieces = [a, b, 128 + GAIN * (b - a)]
    scale = max(1.0, HEIGHT / len(a))
    size = max(1, round(a.shape[1] * scale)), max(HEIGHT, len(a))
    large = [cv2.resize(np.clip(p, 0, 255).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) for p in pieces]
    gap = np.full((size[1], GAP, 3), 255, np.uint8)
    return np.hstack([large[0], gap, large[1], gap, large[2]])
