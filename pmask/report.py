"""What happened to a photo, in figures: the one shape that the command line, the daemon and the extension share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Stage = Literal["loading", "decoding", "detecting", "masking", "encoding", "checking"]


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Angles in degrees between embeddings of one face by one recogniser.

    before: original face against the photo re-encoded without a mask: what encoding alone does.
    after: original face against the protected photo as it is delivered, decoded again.
    other: original face against the nearest other person; beyond it the protected face looks like somebody else.
    goal: what ``after`` had to reach, (1 + delta) times ``other`` and at most 180 (Eq. 4, 5).
    """

    before: float
    after: float
    other: float
    goal: float


@dataclass(frozen=True, kw_only=True)
class FaceReport:
    """One face. box is (x, y, width, height), landmarks five (x, y): eyes, nose tip, mouth corners (left first, as
    seen in the upright photo), all in pixels. ssim and psnr (dB) are over the box, on the delivered bytes.
    hidden: to every recogniser of the team somebody else looks more like the original than the protected face does.
    converged: every full goal was reached, within the budget."""

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    hidden: bool
    converged: bool
    iterations: int
    seconds: float
    ssim: float
    psnr: float
    distances: dict[str, Distance]


@dataclass(frozen=True, kw_only=True)
class Report:
    """One photo. status is "protected" or "no_face"; warnings are sentences for the person."""

    status: Literal["protected", "no_face"]
    faces: tuple[FaceReport, ...]
    seconds: float
    width: int
    height: int
    format: str
    device: str
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, keys as the fields."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a photo has come: a stage of its way, the fraction done in [0, 1], the faces found (or None)."""

    stage: Stage
    fraction: float
    faces: int | None = None
