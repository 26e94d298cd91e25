"""The evaluation: some people protect their photos, an intruder searches for them with other photos, and is counted.

After the paper's section 6: probes are never protected, the gallery holds the protected photos of the people under
protection and everybody else's as they are, and the protection success rate (PSR) is the share of probes whose nearest
gallery photo is of somebody else. Beyond the paper: the protected *files* are judged, detected and aligned afresh,
behind what sites and intruders do to pictures; every figure is also given for the unprotected files, and has its spread
over people.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass

from pmask import store
from pmask.baselines import Baseline
from pmask.errors import BadOption
from pmask.evaluation import quality
from pmask.evaluation.counting import Count
from pmask.evaluation.intruders import catalogue, judges
from pmask.evaluation.people import PhotoFile, Split, find_people, split
from pmask.evaluation.results import Results
from pmask.evaluation.settings import TARGETS, Settings
from pmask.evaluation.work import Crew, Done, Errand, Kept, Recipe
from pmask.mask import Search
from pmask.protect import choose_device
from pmask.recognisers.specs import SPECS, YUNET, require_known


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
        results = Count(settings, recipe, parts, kept).results(done)
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


def _targets(settings: Settings, parts: Split) -> tuple[PhotoFile, ...]:
    """Photos of TARGETS other people, one each, for a method that leads towards some. Raises BadOption."""
    if not isinstance(settings.search, Baseline) or not settings.search.needs_others:
        return ()
    people = parts.others if settings.targets is None else find_people(settings.targets)
    if not people:
        raise BadOption("nobody is left to lead towards; name a folder of photos with --targets")
    drawn = random.Random(f"targets {settings.seed}").sample(list(people), min(TARGETS, len(people)))
    return tuple(person.photos[0] for person in drawn)


def _albums(parts: Split) -> dict[str, tuple[PhotoFile, ...]]:
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
