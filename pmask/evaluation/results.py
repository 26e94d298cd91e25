"""What an evaluation finds, and its JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pmask.evaluation.matching import Share
from pmask.evaluation.settings import Settings
from pmask.evaluation.work import Done


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Protection in percent of probes. psr: by rank. unverified: of pairs of a probe and a gallery photo of one person,
    what the intruder does not match. no_face: gallery photos without a found face; they count as hidden."""

    psr: dict[int, Share]
    unverified: Share
    no_face: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One intruder behind one pipeline. average: the intruder keeps one averaged template per person, not photos.
    bare: the same for the unprotected files."""

    intruder: str
    pipeline: str
    average: bool
    protected: Figures
    bare: Figures


@dataclass(frozen=True, kw_only=True)
class Links:
    """Does an intruder find one person's gallery photos by one another? Percent that match; None: nobody has two.

    rank1: of photos whose nearest other one is of the same person. verified: of pairs of one person's photos.
    """

    intruder: str
    pipeline: str
    rank1: Share | None
    verified: Share | None
    bare_rank1: Share | None
    bare_verified: Share | None


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """What an intruder finds for one probe in the gallery with the protected photos, as delivered. outranked: how many
    photos are nearer than the nearest of the person's own. Angles in degrees, 180 where there is no such face."""

    intruder: str
    person: str
    outranked: int
    own_degrees: float
    other_degrees: float


@dataclass(frozen=True, kw_only=True)
class Spread:
    """One measure over photos; p5 and p95 are percentiles."""

    photos: int
    median: float
    mean: float
    p5: float
    p95: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises ValueError for no values."""
        low, middle, high = (float(value) for value in np.percentile(values, (5, 50, 95)))
        return cls(photos=len(values), median=middle, mean=float(np.mean(values)), p5=low, p95=high)


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """degrees: the angle under which an intruder takes two faces for one person; pairs: of different people, that it
    was set with."""

    degrees: float
    average_degrees: float
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Census:
    """How many photos took which part. left_out: photos of people under protection that --photos or --from excludes.
    lost_probes, lost_gallery: probes and unprotected gallery photos without a found face, which are left out.
    unmasked: gallery photos to be protected in which PMask itself found no face."""

    people: int
    gallery_people: int
    probes: int
    protected: int
    gallery: int
    left_out: int
    lost_probes: int
    lost_gallery: int
    unmasked: int


@dataclass(frozen=True, kw_only=True)
class Masked:
    """One protected photo that shows a mask. protected: the file. seconds: all that protecting took. face: of the
    report, the face that the photo is about. quality: Quality.to_json()."""

    photo: str
    protected: str
    person: str
    seconds: float
    face: dict[str, Any]
    quality: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Results:
    """What came out. hidden and converged: percent of the protected photos, from the reports. quality: by measure.
    notes: why some figure may not be trusted. done: what this run worked out itself."""

    settings: Settings
    intruders: dict[str, str]
    thresholds: dict[str, Threshold]
    census: Census
    rows: tuple[Row, ...]
    links: tuple[Links, ...]
    nearest: tuple[Nearest, ...]
    hidden: Share | None
    converged: Share | None
    quality: dict[str, Spread]
    masked: tuple[Masked, ...]
    notes: tuple[str, ...]
    done: Done

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, keys as the fields."""
        parts = {name: _plain(getattr(self, name)) for name in self.__dataclass_fields__ if name != "settings"}
        return {"command": self.settings.command, "settings": self.settings.to_json(), **parts}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return {str(key): _plain(part) for key, part in value.items()} if isinstance(value, dict) else value
