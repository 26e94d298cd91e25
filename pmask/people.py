"""Whose face is it? The person's faces in other photos (D_l in Eq. 4 of the paper), told from those of strangers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pmask import population
from pmask.mask import angle
from pmask.recognisers.specs import SPECS

Faces = Mapping[str, Tensor]
"""For each recogniser, unit embeddings (faces, dim); row i is the same face in all of them."""

ALBUM_PHOTOS = 50
ALBUM_SECONDS = 600.0
"""Longer than anyone takes to pick the photos of one post."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """One face's person, as far as known: for each recogniser, unit embeddings.

    references: (n, dim), the person's own: the face at hand first, then those in other photos.
    strangers: (m, dim), other people; N(x) of Eq. 4 is the nearest of them.
    """

    references: Faces
    strangers: Faces

    def nearest(self, recogniser: str) -> float:
        """The angle in radians from the face at hand to the nearest stranger."""
        return float(angle(self.references[recogniser][0], self.strangers[recogniser]).min())


def strangers(recogniser: str, device: torch.device) -> Tensor:
    """The recogniser's decoys (m, dim), who stand for other people."""
    return torch.from_numpy(population.decoys(recogniser)).to(device)


def persons(faces: Faces, team: Sequence[str], album: Faces, gallery: Faces) -> list[Person]:
    """The person behind each row of ``faces``.

    album: faces of other photos; those of the same person become references, the others are passed over. gallery: faces
    of a folder; those of the same person become references, all others strangers beside the decoys. Both may lack
    recognisers outside the team.
    """
    found = []
    for i in range(len(faces[team[0]])):
        face = {name: rows[i] for name, rows in faces.items()}
        known, own = same_person(face, album, team), same_person(face, gallery, team)
        references, others = {}, {}
        for name, embedding in face.items():
            none = embedding.new_empty(0, len(embedding))
            in_album = album[name][known] if name in album else none
            in_gallery = gallery[name][own] if name in gallery else none
            references[name] = torch.cat([embedding[None], in_album, in_gallery])
            rest = gallery[name][~own] if name in gallery else none
            others[name] = torch.cat([strangers(name, embedding.device), rest])
        found.append(Person(references=references, strangers=others))
    return found


def same_person(face: Mapping[str, Tensor], others: Faces, team: Sequence[str]) -> Tensor:
    """Which rows of ``others`` show the person of ``face`` (dim each): bool (n). At least half of the team must match
    them, so that one recogniser's blind spot hides nobody's own photo."""
    if not others:
        return torch.zeros(0, dtype=torch.bool)
    matches = [angle(face[name], others[name]) < math.radians(SPECS[name].match_angle) for name in team]
    return 2 * torch.stack(matches).sum(0) >= len(team)


class Album:
    """The faces of the last photos, unmasked, so that photos of one post find one another. In memory only; what is too
    old goes when the next photo comes. clock: monotonic, in seconds."""

    def __init__(
        self,
        *,
        photos: int = ALBUM_PHOTOS,
        seconds: float = ALBUM_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._photos, self._seconds, self._clock = photos, seconds, clock
        self._kept: dict[str, tuple[float, Faces]] = {}

    def add(self, photo: str, faces: Faces) -> None:
        """Keeps the faces of ``photo`` (any name that is its own), in place of what was kept of it."""
        self._kept.pop(photo, None)
        self._kept[photo] = (self._clock(), faces)
        self._forget()

    def besides(self, photo: str, names: Sequence[str]) -> Faces:
        """The faces of all other photos that these recognisers have looked at; empty when there are none."""
        self._forget()
        others = [faces for key, (_, faces) in self._kept.items() if key != photo and set(names) <= set(faces)]
        return {name: torch.cat([faces[name] for faces in others]) for name in names} if others else {}

    def _forget(self) -> None:
        oldest = self._clock() - self._seconds
        recent = [(key, kept) for key, kept in self._kept.items() if kept[0] >= oldest]
        self._kept = dict(recent[-self._photos :])
