"""Does a recogniser still match a photo's faces to other photos of the person? Everything detected and aligned afresh,
as an intruder would."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pmask import population
from pmask.errors import NoFace
from pmask.images import RGB
from pmask.mask import angle
from pmask.protect import Protector
from pmask.recognisers.specs import SPECS


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One recogniser on one face of the photo. Angles in degrees.

    nearest_reference: to the most similar face of the references. threshold: below it the recogniser says "the same
    person" (one false match in a thousand). nearest_other: to the nearest of the recogniser's decoys.
    """

    recogniser: str
    nearest_reference: float
    threshold: float
    nearest_other: float

    @property
    def matches(self) -> bool:
        """Whether the recogniser takes the face for the person of the references."""
        return self.nearest_reference < self.threshold

    def sentence(self) -> str:
        """The verdict in words."""
        if self.matches:
            return f"{self.recogniser} still matches it"
        if self.nearest_reference > self.nearest_other:
            return f"{self.recogniser} no longer matches it: a stranger looks more alike"
        return f"{self.recogniser} no longer matches it"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "matches": self.matches}


def check(
    protector: Protector,
    photo: RGB,
    references: Sequence[RGB],
    models: Sequence[str] = tuple(SPECS),
    upload: Callable[[RGB], RGB] = lambda rgb: rgb,
) -> list[list[Verdict]]:
    """For each face of ``photo`` (upright pixels, largest first) a verdict of each model, after ``upload``.

    A face counts as matched when it is near to any face of any reference. Raises NoFace when there is none to compare.
    """
    known = [_embeddings(protector, rgb, models, f"reference {i}") for i, rgb in enumerate(references, 1)]
    people = {name: torch.cat([reference[name] for reference in known]) for name in models}
    asked = _embeddings(protector, upload(photo), models, "the photo")
    faces = range(len(asked[models[0]]))
    return [[_verdict(name, asked[name][face], people[name]) for name in models] for face in faces]


def _embeddings(protector: Protector, rgb: RGB, models: Sequence[str], what: str) -> dict[str, torch.Tensor]:
    embeddings = protector.embeddings(rgb, models)
    if not len(embeddings[models[0]]):
        raise NoFace(f"no face was found in {what}; there is nothing to compare")
    return embeddings


def _verdict(model: str, face: torch.Tensor, known: torch.Tensor) -> Verdict:
    decoys = torch.from_numpy(population.decoys(model)).to(face.device)
    return Verdict(
        recogniser=model,
        nearest_reference=math.degrees(angle(face, known).min()),
        threshold=SPECS[model].match_angle,
        nearest_other=math.degrees(angle(face, decoys).min()),
    )
