"""The evaluation: some people protect their photos, an intruder searches for them with other photos, and is counted.

After the paper's section 6: probes are never protected, the gallery holds the protected photos of the people under
protection and everybody else's as they are, and the protection success rate (PSR) is the share of probes whose nearest
gallery photo is of somebody else. Beyond the paper: the protected *files* are judged, detected and aligned afresh,
behind what sites and intruders do to pictures; every figure is also given for the unprotected files, and has its spread
over people.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pmask import store
from pmask.baselines import BASELINES, Baseline
from pmask.errors import BadOption, NoFace, PMaskError
from pmask.evaluation import matching, quality
from pmask.evaluation.intruders import Intruder, catalogue, judges
from pmask.evaluation.matching import FALSE_MATCHES, Share, Shots
from pmask.evaluation.people import EVERY_SET, Photo, Split, find_people, split
from pmask.evaluation.pipelines import PAPER_LIKE, PIPELINES
from pmask.evaluation.work import AS_DELIVERED, Crew, Done, Errand, Kept, Protected, Recipe
from pmask.mask import DEFAULT_SEARCH, PAPER_SEARCH, Search
from pmask.options import MaskOptions
from pmask.protect import choose_device
from pmask.recognisers.specs import SPECS, YUNET, require_known

METHODS: dict[str, Search | Baseline | None] = {
    "pmask": DEFAULT_SEARCH,
    "paper": PAPER_SEARCH,
    **BASELINES,
    "none": None,
}
"""What protects, by name; None protects nothing, so that PSR must be what it is for unprotected files."""
TARGETS = 10
"""Other people towards whom a method may lead: as many as TIP-IM's."""
WEAK_INTRUDER = 20.0
"""Percent. An intruder that misses more of the unprotected photos says little about protection."""
FEW_PEOPLE = 10
CHANGED = "PMask's own code was changed while the evaluation ran; run it again: what still holds is kept"


class CodeChanged(PMaskError):
    """What workers kept is not what was asked of them."""


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


@dataclass(frozen=True, kw_only=True)
class Step:
    """How far an evaluation has come: photos done of all that this stage must work on (not what was kept)."""

    stage: str
    done: int
    total: int


def evaluate(settings: Settings, on_step: Callable[[Step], None] = lambda step: None) -> Results:
    """Runs the evaluation and writes results-MARK.json into the work folder. Raises any PMaskError.

    With jobs > 1 a script that calls this must guard its main part (``if __name__ == "__main__"``): processes are
    spawned.
    """
    parts = split(
        find_people(settings.faces, settings.same),
        count=settings.people,
        probes=settings.probes,
        photos=settings.photos,
        source=settings.source,
        others=settings.gallery_people,
        seed=settings.seed,
    )
    recipe = _recipe(settings, parts)
    bare = [Errand(photo=photo, protect=False) for photo in parts.bare]
    protect = [Errand(photo=photo, protect=True) for photo in parts.protected]
    with Crew(recipe, settings.jobs) as crew:
        done = _work(crew, bare, "looking at unprotected photos", on_step)
        done += _work(crew, protect, "protecting and judging", on_step)
    kept = Kept(recipe.folder)
    try:
        results = _Count(settings, recipe, parts, kept).results(done)
    finally:
        kept.close()
    path = settings.work / f"results-{settings.mark}.json"
    path.write_text(json.dumps(results.to_json(), indent=1), encoding="utf-8")
    return results


def _recipe(settings: Settings, parts: Split) -> Recipe:
    """The settings as orders for workers, with everything fetched that they will load."""
    found = [] if settings.intruders is None else catalogue(settings.intruders)
    found += judges(settings.judges, settings.options.team, settings.white_box)
    names = [intruder.name for intruder in found]
    if not found:
        raise BadOption("nobody would judge; name a folder with --intruders, or recognisers of the pool with --judges")
    if len(set(names)) < len(names):
        raise BadOption(f"two intruders have one name: {', '.join(sorted(names))}")
    models = {*settings.judges, *(settings.options.team if settings.search else ())}
    require_known(models)
    store.fetch([YUNET])
    for name in sorted(models):
        store.provide(SPECS[name])
    if settings.search is not None:
        quality.lpips_unavailable(fetch=True)
    settings.work.mkdir(parents=True, exist_ok=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Recipe(
        folder=settings.work,
        detector=settings.detector,
        intruders=tuple(found),
        pipelines=settings.pipelines,
        search=settings.search,
        options=settings.options,
        device=choose_device(settings.device).type,
        threads=max(1, cores // settings.jobs),
        albums=_albums(parts) if isinstance(settings.search, Search) and not settings.alone else {},
        others=_targets(settings, parts),
    )


def _targets(settings: Settings, parts: Split) -> tuple[Photo, ...]:
    """Photos of TARGETS other people, one each, for a method that leads towards some. Raises BadOption."""
    if not isinstance(settings.search, Baseline) or not settings.search.needs_others:
        return ()
    people = parts.others if settings.targets is None else find_people(settings.targets)
    if not people:
        raise BadOption("nobody is left to lead towards; name a folder of photos with --targets")
    drawn = random.Random(f"targets {settings.seed}").sample(list(people), min(TARGETS, len(people)))
    return tuple(person.photos[0] for person in drawn)


def _albums(parts: Split) -> dict[str, tuple[Photo, ...]]:
    """The other photos that each person protects, by the digest of the one at hand. Probes are not among them."""
    return {
        photo.digest: tuple(other for other in person.gallery if other is not photo)
        for person in parts.chosen
        for photo in person.gallery
    }


def _work(crew: Crew, errands: list[Errand], stage: str, on_step: Callable[[Step], None]) -> Done:
    """Does what is not done yet."""
    left, done = [errand for errand in errands if not crew.own.is_done(errand)], Done()
    on_step(Step(stage=stage, done=0, total=len(left)))
    for count, part in enumerate(crew.run(left), 1):
        done += part
        on_step(Step(stage=stage, done=count, total=len(left)))
    return done


class _Count:
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
        self, intruder: Intruder, photos: Iterable[tuple[str, Photo]], pipeline: str, protected: bool, dim: int = 0
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
    def _mine(self) -> list[tuple[str, Photo]]:
        return [(person.name, photo) for person in self.parts.chosen for photo in person.gallery]

    def _judged(self, intruder: Intruder) -> tuple[list[Row], Links, list[Nearest], Threshold]:
        """One intruder's verdicts."""
        seed = self.settings.seed
        probes = self._shots(
            intruder, [(p.name, photo) for p in self.parts.chosen for photo in p.probes], AS_DELIVERED, False
        )
        probes = probes.where(probes.found)
        if not len(probes.people):
            raise NoFace(f"{self.settings.detector} finds a face in no probe; there is nothing to search with")

        def seen(photos: Iterable[tuple[str, Photo]], pipeline: str, protected: bool) -> Shots:
            return self._shots(intruder, photos, pipeline, protected, probes.vectors.shape[1])

        others = seen([(p.name, photo) for p in self.parts.others for photo in p.photos], AS_DELIVERED, False)
        mine = seen(self._mine, AS_DELIVERED, False)
        everyone = mine + others
        self.twins.append(matching.twins(everyone))
        cosine = matching.match_cosine(everyone)
        average_cosine = matching.match_cosine(everyone, everyone.templates())

        def figures(own: Shots, rest: Shots, cosine: float, no_face: int) -> Figures:
            return Figures(
                psr=matching.protection(probes, own + rest, seed),
                unverified=matching.unverified(probes, own, cosine, seed),
                no_face=no_face,
            )

        rows = []
        for pipeline in self.recipe.looks:
            sides = [seen(self._mine, pipeline, protected) for protected in (True, False)]
            masked, bare = (figures(own, others, cosine, int((~own.found).sum())) for own in sides)
            rows.append(Row(intruder=intruder.name, pipeline=pipeline, average=False, protected=masked, bare=bare))
        hidden = seen(self._mine, AS_DELIVERED, True)
        rest = others.templates()
        means = [figures(own.templates(), rest, average_cosine, int((~own.found).sum())) for own in (hidden, mine)]
        rows.append(Row(intruder=intruder.name, pipeline=AS_DELIVERED, average=True, protected=means[0], bare=means[1]))
        links = Links(
            intruder=intruder.name,
            pipeline=AS_DELIVERED,
            rank1=matching.linked(hidden, hidden + others, seed),
            verified=matching.verified_pairs(hidden, cosine, seed),
            bare_rank1=matching.linked(mine, everyone, seed),
            bare_verified=matching.verified_pairs(mine, cosine, seed),
        )
        pairs = _pairs_of_strangers(everyone.where(everyone.found))
        threshold = Threshold(degrees=_degrees(cosine), average_degrees=_degrees(average_cosine), pairs=pairs)
        return rows, links, _nearest(intruder.name, probes, hidden + others), threshold

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

        def lost(photos: Sequence[Photo]) -> int:
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


def _pairs_of_strangers(shots: Shots) -> int:
    _, counts = np.unique(shots.people, return_counts=True)
    return int(counts.sum() ** 2 - (counts**2).sum()) // 2


def _degrees(cosine: float) -> float:
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))
