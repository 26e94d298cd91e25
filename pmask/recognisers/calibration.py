"""What was measured on this machine of a recogniser that comes without figures: ``pmask models calibrate``.

Kept beside the person's settings: the angle under which two faces are one person, how often it is right, and, in a file
of its own, how its embeddings of many people spread (pmask.population), nobody's own embedding. Until there is a
calibration, embeddings are taken to be spread evenly over all directions. Real ones crowd together, so the match angle
errs on the side of "still matches", and strangers seem farther than they are: masks have to push farther.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from pmask import files
from pmask.errors import BadOption
from pmask.folders import state_dir

FALSE_MATCH_DEVIATIONS = 3.0902
"""One in a thousand draws of a normal distribution lies farther above its mean, in standard deviations."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """match_angle (degrees) and rank_one (percent) as in RecogniserSpec, over so many faces of so many people.
    mark: of the weights that were measured."""

    match_angle: float
    rank_one: float
    faces: int
    people: int
    mark: str


def even_match_angle(dim: int) -> float:
    """Degrees under which one in a thousand pairs lies when ``dim``-dimensional embeddings are spread evenly: their
    cosines have mean 0 and standard deviation 1 / sqrt(dim)."""
    return round(math.degrees(math.acos(FALSE_MATCH_DEVIATIONS / math.sqrt(dim))), 1)


def figures(name: str, mark: str) -> Figures | None:
    """Of a recogniser with weights ``mark``, None where these were not calibrated. Raises BadOption for a file that
    cannot be read."""
    path = _path(name)
    try:
        stat = path.stat()
    except OSError:
        return None
    known = _read(path, stat.st_mtime_ns, stat.st_size)
    return known if known.mark == mark else None


def population_path(name: str) -> Path:
    """Where the population of a calibrated recogniser is kept."""
    return state_dir() / "calibrations" / f"{name}.npz"


def keep(name: str, measured: Figures) -> None:
    """Puts figures in place; the population is to be there already."""
    with files.replacing(_path(name)) as stream:
        stream.write(json.dumps(asdict(measured), indent=1).encode())


def _path(name: str) -> Path:
    return state_dir() / "calibrations" / f"{name}.json"


@lru_cache
def _read(path: Path, changed: int, size: int) -> Figures:
    """changed (ns), size: of the file, so that a new one is read."""
    try:
        return Figures(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise BadOption(f"{path} is no calibration ({error}); delete it and run pmask models calibrate") from error
