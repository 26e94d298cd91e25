"""Finding faces: boxes and five landmarks, in the pixels of the upright photo."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
from PIL import Image

from pmask import store
from pmask.geometry import Floats
from pmask.images import RGB
from pmask.recognisers.specs import YUNET

YUNET_SIDES = (640, 1280, 2560)
"""Long sides in pixels at which YuNet looks: it was trained on faces of 10 to 300 pixels
(https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet); a close-up is found in the small
picture, a far head in the large one."""
YUNET_MOST = 300
"""Pixels of the picture that YuNet looks at, on a face's longer side. A larger find in any but the smallest picture is
none: pages of text, space shuttles and cheeks pass for faces there, and true faces of that size are found smaller."""
YUNET_SCORE = 0.6
MTCNN_SCORE = 0.9
SAME_FACE_IOU = 0.4
"""Two boxes that overlap more than this are one face."""
MTCNN_SMALLEST = 20
"""Pixels of the shorter side. It finds no face that is smaller, and takes no smaller picture."""
MIN_EYE_DISTANCE = 4.0
"""Pixels. A smaller face carries no signature that a recogniser reads, and no mask either."""

Box = tuple[float, float, float, float]
"""x, y of the top left corner, width, height, in pixels."""


@dataclass(frozen=True)
class Face:
    """landmarks (5, 2): left eye, right eye, nose tip, left and right mouth corner as seen in
    the photo, x before y, pixels. score: the detector's own confidence in [0, 1]."""

    box: Box
    landmarks: Floats
    score: float

    def scaled(self, across: float, down: float) -> Face:
        """The same face in a copy of the photo that is ``across`` times as wide and ``down`` times as high."""
        x, y, width, height = self.box
        return replace(
            self,
            box=(x * across, y * down, width * across, height * down),
            # a pixel's centre at i in the photo is at (i + 1/2) * across - 1/2 in the copy
            landmarks=(self.landmarks + 0.5) * np.array([across, down]) - 0.5,
        )


class Detector(Protocol):
    """rgb: upright pixels (height, width, 3). Faces come largest first, each once."""

    def __call__(self, rgb: RGB) -> list[Face]: ...


def load_detector(name: str = "yunet", say: store.Say = lambda line: None) -> Detector:
    """The detector ``name``, "yunet" (default: finds more, 15 times faster) or "mtcnn" (the paper's).

    Raises ValueError for another name, WeightsUnavailable when YuNet cannot be fetched.
    """
    makers: dict[str, Callable[[store.Say], Detector]] = {"yunet": _yunet, "mtcnn": _mtcnn}
    if name not in makers:
        raise ValueError(f"unknown detector {name}; known: {', '.join(makers)}")
    return makers[name](say)


def _yunet(say: store.Say) -> Detector:
    (path,) = store.fetch([YUNET], say)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns of a setting that nobody made
    network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), YUNET_SCORE, SAME_FACE_IOU, 5000)

    def look(rgb: RGB, side: int) -> list[Face]:
        scale = min(1.0, side / max(rgb.shape[:2]))
        if round(scale * min(rgb.shape[:2])) < 2:  # a thread, of which nothing would be left
            return []
        small = rgb if scale == 1 else cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        network.setInputSize((small.shape[1], small.shape[0]))
        _, found = network.detect(np.ascontiguousarray(small[..., ::-1]))
        rows = np.empty((0, 15), np.float32) if found is None else np.asarray(found, np.float32)
        # a pixel's centre at i in the small picture is at (i + 1/2) / scale - 1/2 in the photo
        return [
            Face(
                box=tuple(float(value) for value in row[:4] / scale),  # type: ignore[arg-type]
                landmarks=(row[4:14].reshape(5, 2).astype(np.float64) + 0.5) / scale - 0.5,
                score=float(row[14]),
            )
            for row in rows
            if side == YUNET_SIDES[0] or max(row[2:4]) <= YUNET_MOST
        ]

    def detect(rgb: RGB) -> list[Face]:
        sides = [side for i, side in enumerate(YUNET_SIDES) if i == 0 or max(rgb.shape[:2]) > YUNET_SIDES[i - 1]]
        return _distinct(face for side in sides for face in look(rgb, side))

    return detect


def _mtcnn(say: store.Say) -> Detector:
    from facenet_pytorch import MTCNN  # slow to import, and only this choice needs it

    network = MTCNN(keep_all=True, device="cpu")

    def detect(rgb: RGB) -> list[Face]:
        if min(rgb.shape[:2]) < MTCNN_SMALLEST:
            return []
        boxes, scores, points = network.detect(Image.fromarray(rgb), landmarks=True)
        if boxes is None:
            return []
        return _distinct(
            Face(box=(left, top, right - left, bottom - top), landmarks=five, score=float(score))
            for (left, top, right, bottom), score, five in zip(
                boxes.astype(float), scores, points.astype(float), strict=True
            )
            if score >= MTCNN_SCORE
        )

    return detect


def _distinct(faces: Iterable[Face]) -> list[Face]:
    """Each face once (the surest of overlapping finds), none too small to read, largest first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        readable = float(np.hypot(*(face.landmarks[1] - face.landmarks[0]))) >= MIN_EYE_DISTANCE
        if readable and all(iou(face.box, other.box) < SAME_FACE_IOU for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: -face.box[2] * face.box[3])


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (x, y, width, height), 0 to 1."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared) if shared else 0.0


def central(boxes: Sequence[Box], shape: Sequence[int]) -> int | None:
    """Which of ``boxes``, largest first, a photo is about: the first that holds its centre, else the first."""
    y, x = shape[0] / 2, shape[1] / 2
    over = [i for i, box in enumerate(boxes) if 0 <= x - box[0] <= box[2] and 0 <= y - box[1] <= box[3]]
    return over[0] if over else 0 if boxes else None
