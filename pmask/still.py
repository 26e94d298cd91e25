"""The way of a still picture: every face masked; judged on the delivered bytes, and mended where it must be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pmask.check import judge
from pmask.faces import Face
from pmask.images import RGB, decode, encode
from pmask.job import SHRINKS, Job, neighbours, shrink
from pmask.mask import Mask, Target
from pmask.people import Person
from pmask.report import BARE, FaceReport, Protection
from pmask.views import View, paste

MENDS = 2
"""How often a face whose delivered bytes just miss its goals, or clearly its budget, is searched again from where it
was."""
MEND_ITERATIONS = 15
MEND_EXCESS = 1.05
"""Times its budget from which a face is searched again. Below, the mask is made weaker, which takes no time."""
WORTH_MENDING = 0.95
"""Share of every goal that the delivered bytes must have reached: what is further off, a few iterations do not mend."""
MOST_STRETCH = 1.1
"""A goal is set at most this much higher to make up for what encoding takes."""


@dataclass(frozen=True)
class Delivered:
    """The protected file, its pixels as it decodes to, and what became of each face (without verdicts)."""

    data: bytes
    pixels: RGB
    faces: list[FaceReport]


def protect_still(job: Job) -> Protection:
    """Masks the job's photo. Raises any PMaskError."""
    engine, photo, options = job.engine, job.photo, job.options
    faces = engine.detect(photo.rgb)
    found = [face.box for face in faces]
    faces = [faces[i] for i in job.chosen(found)]
    if (outcome := job.left_alone(found, len(faces))) is not None:
        return outcome
    job = replace(job, faces=len(faces))
    job.progress("loading", 0.04)
    names, warnings = engine.panel(options.team)
    people = job.people(engine.embed(photo.rgb, faces, names))
    done = _mask(job, faces, people)
    job.progress("checking", 0.98)
    verdicts = [
        judge(engine, done.pixels, faces, people, names, options.team, upload) for upload in (BARE, options.upload)
    ]
    reports = [
        replace(report, verdicts=tuple(bare + uploaded))
        for report, bare, uploaded in zip(done.faces, *verdicts, strict=True)
    ]
    warnings += job.put_on_record([done.pixels], len(found) - len(faces))
    return job.outcome("protected", done.data, reports, warnings, found)


def _mask(job: Job, faces: Sequence[Face], people: Sequence[Person]) -> Delivered:
    """The photo with a mask on each face, searched for, mended and made weaker until it keeps its budget."""
    photo = job.photo
    views = [View(photo.rgb, face, job.engine.torch_device) for face in faces]
    plain = decode(encode(photo, photo.rgb)).rgb if photo.lossy else photo.rgb
    before = job.engine.embed_views(views, job.options.team, plain)
    targets = job.targets(photo, plain, views, people)
    masks, near = job.search(targets), neighbours(views)

    def deliver() -> Delivered:
        job.progress("encoding", 0.92)
        protected = encode(photo, paste(photo.rgb, views, masks))
        job.progress("checking", 0.96)
        pixels = decode(protected).rgb
        return Delivered(protected, pixels, job.check(photo, before, pixels, views, masks, targets))

    result, aims = deliver(), list(targets)
    for _ in range(MENDS):
        short = [i for i, face in enumerate(result.faces) if _worth_mending(face, targets[i])]
        if not short:
            break
        for i in short:
            aims[i] = _harder(aims[i], result.faces[i], targets[i].budget, len(near[i]))
        for i, mask in zip(short, _searched_on(job, [aims[i] for i in short], [masks[i] for i in short]), strict=True):
            masks[i] = mask
        result = deliver()
    for _ in range(SHRINKS):
        shares = [shrink(face.ssim, target.budget) for face, target in zip(result.faces, targets, strict=True)]
        if min(shares) == 1:
            break
        for i, mask in enumerate(masks):
            masks[i] = replace(mask, values=mask.values * min(shares[j] for j in near[i]))
        result = deliver()
    return result


def _searched_on(job: Job, aims: Sequence[Target], masks: Sequence[Mask]) -> list[Mask]:
    """These masks after a few more iterations, for these aims; iterations and seconds are those of both searches."""
    mended = job.search(aims, replace(job.engine.search, iterations=MEND_ITERATIONS), masks)
    return [
        replace(new, iterations=old.iterations + new.iterations, seconds=old.seconds + new.seconds)
        for old, new in zip(masks, mended, strict=True)
    ]


def _worth_mending(face: FaceReport, target: Target) -> bool:
    """Whether the delivered face is well over its budget, or a little short of its goals."""
    close = all(distance.after >= WORTH_MENDING * distance.goal for distance in face.distances.values())
    return (1 - face.ssim) / 2 > MEND_EXCESS * target.budget or (close and not face.converged)


def _harder(aim: Target, report: FaceReport, budget: float, crowd: int) -> Target:
    """What was aimed at, with goals raised and budget lowered by what the delivered bytes missed the true ones by.

    crowd: how many masks reach into this face, its own among them. Each gives up its share of what they are over the
    budget together.
    """
    goals = {
        name: min(
            math.radians(distance.goal) * MOST_STRETCH,
            aim.goals[name] * max(1.0, distance.goal / max(distance.after, 1e-3)),
        )
        for name, distance in report.distances.items()
    }
    excess = max(0.0, (1 - report.ssim) / 2 - budget) / crowd
    return replace(aim, goals=goals, budget=max(aim.budget - excess, budget / 2))
