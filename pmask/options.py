"""What a person may choose about a mask. Imports nothing heavy, so the daemon can check options without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pmask.errors import BadOption, UnknownOption
from pmask.images.metadata import CHOICES
from pmask.recognisers.specs import require_known
from pmask.teams import default_team
from pmask.uploads import UPLOADS

DELTA_RANGE = (0.0, 10.0)
"""delta's open-closed range; the paper's Figure 12 goes up to 10."""
OMEGA_RANGE = (0.0, 0.5)
"""omega is half of one minus SSIM (Eq. 7), so 0.5 is SSIM 0: no limit at all."""

PRESETS: Mapping[str, Mapping[str, float]] = {
    "fine": {"delta": 1.0, "omega": 0.0085},
    "balanced": {"delta": 1.0, "omega": 0.0125},
    "strong": {"delta": 1.0, "omega": 0.017},  # paper, section 6
}
"""Choices between a face's look and its protection, the finest first: points on the curve that docs/protection.md
measured. "strong" is the default."""

MOST_BOXES = 1000
"""Faces that may be left out of one photo: more than a detector finds."""


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """The choices for one photo.

    delta: margin of the reverse triplet loss as a fraction of the distance to the nearest other person (Eq. 5).
        The goal of each recogniser is (1 + delta) times that angle, at most pi.
    omega: budget of the imperceptibility loss, (1 - SSIM) / 2 at most (Eq. 7); 0.017 is SSIM 0.966.
    team: names of the recognisers that the mask is optimised against.
    seed: of everything random in making the mask. On a graphics card two runs differ by rounding all the same.
    upload: name of the upload (pmask.uploads) after which the delivered photo is judged as well; no part of the search.
    again: mask a photo anew although it is on record as PMask's own work.
    look: only find the faces, for a person to choose among; nothing is masked.
    leave_out: boxes (x, y, width, height) in pixels of the upright photo, as a look found them; these faces stay as
        they are.
    metadata: what goes on of what the file says beside its pixels, one of pmask.images.metadata.CHOICES.
    """

    delta: float = PRESETS["strong"]["delta"]
    omega: float = PRESETS["strong"]["omega"]
    team: tuple[str, ...] = field(default_factory=default_team)
    seed: int = 0
    upload: str = "instagram"  # the strongest compression and shrinking of the known sites
    again: bool = False
    look: bool = False
    leave_out: tuple[tuple[float, float, float, float], ...] = ()
    metadata: str = CHOICES[0]

    def __post_init__(self) -> None:
        _check_range("delta", self.delta, DELTA_RANGE)
        _check_range("omega", self.omega, OMEGA_RANGE)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise BadOption(f"seed must be a whole number from 0 to 2**63 - 1, not {self.seed!r}")
        if not self.team:
            raise BadOption("team must name at least one recogniser")
        if len(set(self.team)) != len(self.team):
            raise BadOption(f"team names a recogniser twice: {', '.join(self.team)}")
        require_known(self.team)
        if self.upload not in tuple(UPLOADS):  # a tuple, since what JSON brings may not be hashable
            raise BadOption(f"unknown upload {self.upload!r}; known: {', '.join(UPLOADS)}")
        if not isinstance(self.again, bool):
            raise BadOption(f"again must be true or false, not {self.again!r}")
        if not isinstance(self.look, bool):
            raise BadOption(f"look must be true or false, not {self.look!r}")
        if self.metadata not in CHOICES:
            raise BadOption(f"unknown choice of metadata {self.metadata!r}; known: {', '.join(CHOICES)}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> MaskOptions:
        """Options from parsed JSON; absent keys keep their default. Raises a PMaskError (400)."""
        known = {option.name for option in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UnknownOption(f"unknown option {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        values = dict(values)
        if "team" in values:
            team = values["team"]
            if not isinstance(team, list | tuple) or not all(isinstance(name, str) for name in team):
                raise BadOption(f"team must be a list of recogniser names, not {team!r}")
            values["team"] = tuple(team)
        if "leave_out" in values:
            values["leave_out"] = _boxes(values["leave_out"])
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """The mapping that from_mapping reads back."""
        return {**asdict(self), "team": list(self.team), "leave_out": [list(box) for box in self.leave_out]}


def _boxes(value: object) -> tuple[tuple[float, float, float, float], ...]:
    """leave_out from parsed JSON."""
    boxes = value if isinstance(value, list | tuple) and len(value) <= MOST_BOXES else None
    if boxes is None or not all(
        isinstance(box, list | tuple)
        and len(box) == 4
        and all(isinstance(n, int | float) and not isinstance(n, bool) and abs(n) < 1e6 for n in box)
        for box in boxes
    ):
        raise BadOption(f"leave_out must be a list of at most {MOST_BOXES} boxes [x, y, width, height] in pixels")
    return tuple((float(x), float(y), float(width), float(height)) for x, y, width, height in boxes)


def _check_range(name: str, value: object, bounds: tuple[float, float]) -> None:
    low, high = bounds
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low < value <= high:  # type: ignore[operator]  # NaN is in no range
        raise BadOption(f"{name} must be a number above {low:g} and at most {high:g}, not {value!r}")
