"""What an evaluation is asked for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pmask.baselines import BASELINES, Baseline
from pmask.errors import BadOption
from pmask.evaluation.people import EVERY_SET
from pmask.evaluation.pipelines import PAPER_LIKE, PIPELINES
from pmask.mask import DEFAULT_SEARCH, PAPER_SEARCH, Search
from pmask.options import MaskOptions

METHODS: dict[str, Search | Baseline | None] = {
    "pmask": DEFAULT_SEARCH,
    "paper": PAPER_SEARCH,
    **BASELINES,
    "none": None,
}
"""What protects, by name; None protects nothing, so that PSR must be what it is for unprotected files."""
TARGETS = 10
"""Other people towards whom a method may lead: as many as TIP-IM's."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is evaluated; the command line's options of these names.

    faces: see people.find_people. work: where results are kept, to go on from. intruders: a folder with a catalogue,
    and judges: recognisers of the pool; one of the two at least. photos: the most protected of each person.
    gallery_people: the most people in the gallery beside those under protection. source: --from. same: pairs of
    names of one person. search: what protects, None: nothing. targets: a folder of other people's photos, towards whom
    some methods lead; None: TARGETS people of the gallery, drawn by the seed. alone: each photo is protected without
    the person's other ones (D_l of Eq. 4 is the photo itself), like the first one that somebody ever posts; baselines
    know no other way. white_box: judges may be in the team. command: what was typed, to print beside the results.
    """

    faces: Path
    work: Path
    intruders: Path | None = None
    judges: tuple[str, ...] = ()
    people: int = 20
    probes: int = 3
    photos: int | None = None
    gallery_people: int | None = None
    source: str = EVERY_SET
    same: tuple[tuple[str, str], ...] = ()
    pipelines: tuple[str, ...] = PAPER_LIKE
    detector: str = "mtcnn"
    search: Search | Baseline | None = DEFAULT_SEARCH
    targets: Path | None = None
    options: MaskOptions = field(default_factory=MaskOptions)
    device: str = "auto"
    seed: int = 0
    jobs: int = 1
    alone: bool = False
    white_box: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        unknown = [name for name in self.pipelines if name not in PIPELINES]
        if unknown:
            raise BadOption(f"unknown pipeline {', '.join(unknown)}; known: {', '.join(PIPELINES)}")
        for name, least in (("people", 1), ("probes", 1), ("photos", 1), ("gallery_people", 0), ("jobs", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadOption(f"--{name.replace('_', '-')} must be {least} or more, not {value}")

    def to_json(self) -> dict[str, Any]:
        """What decides the results, in plain JSON types; search as its repr."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("work", "jobs", "command"):
            del values[name]
        return values | {
            "faces": str(self.faces),
            "intruders": None if self.intruders is None else str(self.intruders),
            "targets": None if self.targets is None else str(self.targets),
            "search": repr(self.search),
            "options": self.options.to_json(),
        }

    @property
    def mark(self) -> str:
        """Stands for these settings in the names of files."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:12]
