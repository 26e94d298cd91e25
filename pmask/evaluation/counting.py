"""What the intruders' verdicts come to, once every photo is protected and looked at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pmask.baselines import Baseline
from pmask.errors import NoFace, PMaskError
from pmask.evaluation import matching, quality
from pmask.evaluation.intruders import Intruder
from pmask.evaluation.matching import FALSE_MATCHES, Share, Shots
from pmask.evaluation.people import PhotoFile, Split
from pmask.evaluation.results import Census, Figures, Links, Masked, Nearest, Results, Row, Spread, Threshold
from pmask.evaluation.settings import Settings
from pmask.evaluation.work import AS_DELIVERED, Done, Kept, Protected, Recipe

WEAK_INTRUDER = 20.0
"""Percent. An intruder that misses more of the unprotected photos says little about protection."""
FEW_PEOPLE = 10
CHANGED = "PMask's own code was changed while the evaluation ran; run it again: what still holds is kept"


class CodeChanged(PMaskError):
    """What workers kept is not what was asked of them."""


class Count:
    """Everything that is counted once the work is done."""

    def __init__(self, settings: Settings, recipe: Recipe, parts: Split, kept: Kept) -> None:
        self.settings, self.recipe, self.parts, self.kept = settings, recipe, parts, kept
        self.protected: dict[str, Protected] = {}
        self.twins: list[set[tuple[str, str]]] = []  # as each intruder sees them
        for photo in parts.protected:
            found = kept.protected(photo, recipe)
            if found is None:
                raise CodeChanged(CHANGED)
            self.protected[photo.digest] = found

    def results(self, done: Done) -> Results:
        rows, links, nearest, thresholds = [], [], [], {}
        for intruder in self.recipe.intruders:
            more_rows, link, found, thresholds[intruder.name] = self._judged(intruder)
            rows += more_rows
            nearest += found
            links.append(link)
        masked = self._masked()
        return Results(
            settings=self.settings,
            intruders={intruder.name: intruder.words for intruder in self.recipe.intruders},
            thresholds=thresholds,
            census=self._census(masked),
            rows=tuple(rows),
            links=tuple(links),
            nearest=tuple(nearest),
            hidden=self._reported(masked, "hidden"),
            converged=self._reported(masked, "converged"),
            quality=_spreads(masked),
            masked=masked,
            notes=tuple(self._notes(rows, thresholds, masked)),
            done=done,
        )

    def _shots(
        self, intruder: Intruder, photos: Iterable[tuple[str, PhotoFile]], pipeline: str, protected: bool, dim: int = 0
    ) -> Shots:
        """The embeddings of (person, photo), bare or protected, behind a pipeline. dim: their width where none of the
        photos shows a face."""
        rows = []
        for person, photo in photos:
            look = self.recipe.look(self.protected[photo.digest].digest if protected else photo.digest, pipeline)
            (looked, face), vector = self.kept.face(look), self.kept.vector(look, intruder)
            if not looked or (face is not None and vector is None):  # no face would count as hidden
                raise CodeChanged(CHANGED)
            rows.append((person, vector))
        dim = next((len(vector) for _, vector in rows if vector is not None), dim)
        return Shots.of(rows, dim)

    @property
    def _mine(self) -> list[tuple[str, PhotoFile]]:
        return [(person.name, photo) for person in self.parts.chosen for photo in person.gallery]

    def _judged(self, intruder: Intruder) -> tuple[list[Row], Links, list[Nearest], Threshold]:
        """One intruder's verdicts."""
        asked = [(person.name, photo) for person in self.parts.chosen for photo in person.probes]
        probes = self._shots(intruder, asked, AS_DELIVERED, False)
        probes = probes.where(probes.found)
        if not len(probes.people):
            raise NoFace(f"{self.settings.detector} finds a face in no probe; there is nothing to search with")
        dim = probes.vectors.shape[1]
        strangers = [(person.name, photo) for person in self.parts.others for photo in person.photos]
        others = self._shots(intruder, strangers, AS_DELIVERED, False, dim)
        mine, hidden = (self._shots(intruder, self._mine, AS_DELIVERED, protected, dim) for protected in (False, True))
        everyone = mine + others
        self.twins.append(matching.twins(everyone))
        cosine = matching.match_cosine(everyone)
        average_cosine = matching.match_cosine(everyone, everyone.templates())
        rows = [self._row(intruder, pipeline, probes, others, cosine) for pipeline in self.recipe.looks]
        rows.append(self._average_row(intruder, probes, (hidden, mine), others, average_cosine))
        threshold = Threshold(
            degrees=_degrees(cosine),
            average_degrees=_degrees(average_cosine),
            pairs=_pairs_of_strangers(everyone.where(everyone.found)),
        )
        links = self._links(intruder, hidden, mine, others, cosine)
        return rows, links, _nearest(intruder.name, probes, hidden + others), threshold

    def _row(self, intruder: Intruder, pipeline: str, probes: Shots, others: Shots, cosine: float) -> Row:
        """What the probes find where the gallery has these people's photos one by one, behind a pipeline."""
        dim = probes.vectors.shape[1]
        sides = (self._shots(intruder, self._mine, pipeline, protected, dim) for protected in (True, False))
        hidden, bare = (self._figures(probes, own, others, cosine, _faceless(own)) for own in sides)
        return Row(intruder=intruder.name, pipeline=pipeline, average=False, protected=hidden, bare=bare)

    def _average_row(
        self, intruder: Intruder, probes: Shots, sides: tuple[Shots, Shots], others: Shots, cosine: float
    ) -> Row:
        """What they find where it has one averaged template a person. sides: their photos, protected and bare."""
        rest = others.templates()
        hidden, bare = (self._figures(probes, own.templates(), rest, cosine, _faceless(own)) for own in sides)
        return Row(intruder=intruder.name, pipeline=AS_DELIVERED, average=True, protected=hidden, bare=bare)

    def _figures(self, probes: Shots, own: Shots, rest: Shots, cosine: float, no_face: int) -> Figures:
        return Figures(
            psr=matching.protection(probes, own + rest, self.settings.seed),
            unverified=matching.unverified(probes, own, cosine, self.settings.seed),
            no_face=no_face,
        )

    def _links(self, intruder: Intruder, hidden: Shots, mine: Shots, others: Shots, cosine: float) -> Links:
        seed = self.settings.seed
        return Links(
            intruder=intruder.name,
            pipeline=AS_DELIVERED,
            rank1=matching.linked(hidden, hidden + others, seed),
            verified=matching.verified_pairs(hidden, cosine, seed),
            bare_rank1=matching.linked(mine, mine + others, seed),
            bare_verified=matching.verified_pairs(mine, cosine, seed),
        )

    def _masked(self) -> tuple[Masked, ...]:
        """The protected photos in which the face that they are about carries a mask."""
        found = []
        for person, photo in self._mine:
            protected = self.protected[photo.digest]
            report = protected.report
            face = protected.face((report["height"], report["width"])) if report else None
            if report is None or face is None:
                continue
            figures = self.kept.quality(photo.digest, protected.digest)
            if figures is None:
                raise CodeChanged(CHANGED)
            found.append(
                Masked(
                    photo=str(photo.path),
                    protected=str(protected.path),
                    person=person,
                    seconds=report["seconds"],
                    face=face,
                    quality=figures,
                )
            )
        return tuple(found)

    def _reported(self, masked: Sequence[Masked], what: str) -> Share | None:
        if not masked:
            return None
        people = np.array([photo.person for photo in masked])
        return matching.share([photo.face[what] for photo in masked], people, self.settings.seed)

    def _census(self, masked: Sequence[Masked]) -> Census:
        parts = self.parts
        others = [photo for person in parts.others for photo in person.photos]
        probes = [photo for person in parts.chosen for photo in person.probes]

        def lost(photos: Sequence[PhotoFile]) -> int:
            return sum(self.kept.face(self.recipe.look(photo.digest))[1] is None for photo in photos)

        return Census(
            people=len(parts.chosen),
            gallery_people=len(parts.chosen) + len(parts.others),
            probes=len(probes),
            protected=len(parts.protected),
            gallery=len(parts.protected) + len(others),
            left_out=sum(person.left_out for person in parts.chosen),
            lost_probes=lost(probes),
            lost_gallery=lost(others),
            unmasked=0 if self.recipe.search is None else len(parts.protected) - len(masked),
        )

    def _notes(
        self, rows: Sequence[Row], thresholds: Mapping[str, Threshold], masked: Sequence[Masked]
    ) -> Iterable[str]:
        """Why a reader should doubt a figure."""
        for row in rows:
            missed = row.bare.psr[1].mean
            if not row.average and row.pipeline == AS_DELIVERED and missed > WEAK_INTRUDER:
                yield f"{row.intruder} misses {missed:.0f} % of the unprotected photos: its figures say little"
        for name, threshold in thresholds.items():
            if threshold.pairs < 1 / FALSE_MATCHES:
                yield f"{name}'s angle was set with {threshold.pairs} pairs of strangers, too few for one in a thousand"
        for one, other in sorted(set.intersection(*self.twins)):
            yield (
                f"{one} and {other} look like one person under two names, so each seems to hide the other's photos; "
                f"if they are, say so with --same {one}={other}"
            )
        for name in self.settings.judges:
            if name in self.settings.options.team:
                yield f"{name} is in the team: masks were made against it, so it stands for no unknown intruder"
        if len(self.parts.chosen) < FEW_PEOPLE:
            yield f"{len(self.parts.chosen)} people are few: take the intervals as a hint"
        if isinstance(self.settings.search, Baseline) and (note := self.settings.search.note()):
            yield note
        if masked and (without := quality.lpips_unavailable()):
            yield without.rstrip(".")
        if self.recipe.search is not None and (bare := len(self.parts.protected) - len(masked)):
            yield f"PMask found no face in {bare} photos of people under protection: they are there unprotected"


def _spreads(masked: Sequence[Masked]) -> dict[str, Spread]:
    """Every measure of quality, and what the search took, over photos."""
    rows = [
        _flat(photo.quality)
        | {name: photo.face[name] for name in ("iterations", "seconds")}
        | {"seconds for the photo": photo.seconds}
        for photo in masked
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [row[name] for row in rows if row.get(name) is not None] for name in names}
    return {name: Spread.of(known) for name, known in values.items() if known}


def _flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"face": {"p99": 1}} as {"face p99": 1}."""
    flat: dict[str, Any] = {}
    for name, value in figures.items():
        flat |= _flat(value, f"{prefix}{name} ") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _nearest(intruder: str, probes: Shots, gallery: Shots) -> list[Nearest]:
    own, other = matching.nearest(probes, gallery)
    return [
        Nearest(
            intruder=intruder,
            person=str(person),
            outranked=int(beaten),
            own_degrees=_degrees(float(mine)),
            other_degrees=_degrees(float(strange)),
        )
        for person, beaten, mine, strange in zip(
            probes.people, matching.outranked(probes, gallery), own, other, strict=True
        )
    ]


def _faceless(shots: Shots) -> int:
    return int((~shots.found).sum())


def _pairs_of_strangers(shots: Shots) -> int:
    _, counts = np.unique(shots.people, return_counts=True)
    return int(counts.sum() ** 2 - (counts**2).sum()) // 2


def _degrees(cosine: float) -> float:
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))
