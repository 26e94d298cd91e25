"""The way of a film: an animation, the pages of a TIFF, the views of an MPO. One search for each shot of a face, whose
mask all frames of the shot take (tracks.py says which faces of the frames are one)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pmask.check import judge
from pmask.faces import Face
from pmask.images import RGB, Photo, decode, encode
from pmask.job import SHRINKS, Job, neighbours, shrink
from pmask.mask import Mask, Target
from pmask.people import Person
from pmask.report import BARE, FaceReport, Protection, Verdict
from pmask.tracks import GAP, Sight, aligned, by_frame, lead, shots, together, watch, weakest
from pmask.views import View, paste, quality

Scene = Sequence[tuple[int, Face]]
"""The faces in one frame, each with the number of its shot."""


def protect_film(job: Job) -> Protection:
    """Masks all frames of the job's photo. Raises any PMaskError."""
    engine, photo = job.engine, job.photo
    frames, plain = [photo, *photo.more], photo.frames
    faces = [engine.detect(rgb) for rgb in plain]
    if not any(faces):
        return job.outcome("no_face", job.data)
    job.progress("loading", 0.04)
    names, warnings = engine.panel(job.options.team)
    tracks = watch(engine, plain, faces, names, gap=0 if photo.info.format == "tiff" else GAP)
    found, numbers = [lead(track).face.box for track in tracks], [frames[lead(track).frame].number for track in tracks]
    tracks = [tracks[i] for i in job.chosen(found)]
    if (outcome := job.left_alone(found, len(tracks), numbers)) is not None:
        return outcome
    job = replace(job, faces=len(tracks))
    parts = [list(shots(sights)) for sights in tracks]
    cast = [shot for shots_of_one in parts for shot in shots_of_one]
    scenes = by_frame(cast, len(frames))
    people = _actors(job, cast, names)
    if photo.lossy:
        plain = aligned(decode(encode(photo, plain[0], plain[1:])).frames, plain)
    targets = _targets(job, frames, plain, cast, people)
    budgets = [
        [job.budget(frame, rgb, view) for view in _views(job, frame, scene)]
        for frame, rgb, scene in zip(frames, plain, scenes, strict=True)
    ]
    masks = job.search(targets)
    job.progress("encoding", 0.92)
    protected, written, delivered = _paste(job, scenes, masks, budgets)
    job.progress("checking", 0.96)
    said = _check(job, plain, delivered, scenes, masks, targets, budgets)
    reports, first = [], 0
    for shots_of_one in parts:
        own = slice(first, first := first + len(shots_of_one))
        reports.append(_worst(job, said[own], masks[own], people[own], delivered, names))
    warnings += job.put_on_record(written, len(found) - len(tracks))
    return job.outcome("protected", protected, reports, warnings, found, numbers)


def _views(job: Job, frame: Photo, scene: Scene) -> list[View]:
    return [View(frame.rgb, face, job.engine.torch_device) for _, face in scene]


def _actors(job: Job, cast: Sequence[Sequence[Sight]], names: Sequence[str]) -> list[Person]:
    """The person behind each shot, whose looks in all frames of the shot are references."""
    faces = {name: torch.stack([lead(shot).look[name] for shot in cast]) for name in names}
    people = []
    for person, shot in zip(job.people(faces), cast, strict=True):
        looks: Mapping[str, Tensor] = {name: torch.stack([sight.look[name] for sight in shot]) for name in names}
        known = {name: torch.cat([person.references[name], looks[name]]) for name in names}
        people.append(replace(person, references=known))
    return people


def _targets(
    job: Job,
    frames: Sequence[Photo],
    plain: Sequence[RGB],
    cast: Sequence[Sequence[Sight]],
    people: Sequence[Person],
) -> list[Target]:
    """What the search is to reach for each shot, in the frame that stands for it. plain: encoded without masks."""
    targets = []
    for person, shot in zip(people, cast, strict=True):
        number = lead(shot).frame
        view = View(frames[number].rgb, lead(shot).face, job.engine.torch_device)
        targets += job.targets(frames[number], plain[number], [view], [person])
    return targets


def _paste(
    job: Job, scenes: Sequence[Scene], masks: Sequence[Mask], budgets: Sequence[Sequence[float]]
) -> tuple[bytes, list[RGB], list[RGB]]:
    """The protected film, its frames as they decode to, and one of those for each frame that was masked. budgets: of
    each face in each frame. Where a frame shows masks more than these allow, as one darker than they were made for, it
    takes less of them."""
    frames = [job.photo, *job.photo.more]
    strengths: list[npt.NDArray[np.float64]] = [np.ones(len(scene)) for scene in scenes]
    for left in reversed(range(SHRINKS + 1)):
        wanted = [
            paste(frame.rgb, _views(job, frame, scene), _shown(frame, scene, masks, strength))
            for frame, scene, strength in zip(frames, scenes, strengths, strict=True)
        ]
        protected = encode(job.photo, wanted[0], wanted[1:])
        written = decode(protected).frames
        delivered = aligned(written, wanted)
        shares = [_shares(job, *frame) for frame in zip(frames, delivered, scenes, budgets, strict=True)]
        if not left or all((share == 1).all() for share in shares):
            break
        strengths = [strength * share for strength, share in zip(strengths, shares, strict=True)]
    return protected, written, delivered


def _shown(frame: Photo, scene: Scene, masks: Sequence[Mask], strengths: npt.NDArray[np.float64]) -> list[Mask]:
    """The masks of a scene as its frame takes them: so strong, and without colour where the frame has none."""
    some = [masks[part].without_colour if frame.colourless else masks[part] for part, _ in scene]
    return [replace(mask, values=mask.values * float(share)) for mask, share in zip(some, strengths, strict=True)]


def _shares(job: Job, frame: Photo, masked: RGB, scene: Scene, budgets: Sequence[float]) -> npt.NDArray[np.float64]:
    """What of each mask in a frame its budget allows, and those of the faces that it reaches into: at most 1."""
    views = _views(job, frame, scene)
    own = [
        shrink(quality(view.boxed(frame.rgb), view.boxed(masked))[0], budget)
        for view, budget in zip(views, budgets, strict=True)
    ]
    return np.array([min(own[i] for i in near) for near in neighbours(views)])


def _check(
    job: Job,
    plain: Sequence[RGB],
    delivered: Sequence[RGB],
    scenes: Sequence[Scene],
    masks: Sequence[Mask],
    targets: Sequence[Target],
    budgets: Sequence[Sequence[float]],
) -> list[list[tuple[Sight, FaceReport]]]:
    """For each shot, what the delivered frames hold of its face. plain: the frames encoded without masks; budgets:
    of each face in each frame."""
    frames = [job.photo, *job.photo.more]
    said: list[list[tuple[Sight, FaceReport]]] = [[] for _ in targets]
    for number, scene in enumerate(scenes):
        views, parts = _views(job, frames[number], scene), [part for part, _ in scene]
        before = job.engine.embed_views(views, list(targets[0].goals), plain[number])
        aims = [replace(targets[part], budget=budget) for part, budget in zip(parts, budgets[number], strict=True)]
        reports = job.check(frames[number], before, delivered[number], views, [masks[part] for part in parts], aims)
        for (part, face), report in zip(scene, reports, strict=True):
            said[part].append((Sight(number, face), report))
    return said


def _worst(
    job: Job,
    said: Sequence[Sequence[tuple[Sight, FaceReport]]],
    masks: Sequence[Mask],
    people: Sequence[Person],
    delivered: Sequence[RGB],
    names: Sequence[str],
) -> FaceReport:
    """One face's report over all its shots, with the verdicts on the frame in which it is hidden least."""
    every = [(person, sight, report) for person, shot in zip(people, said, strict=True) for sight, report in shot]
    person, sight, _ = every[weakest([report for *_, report in every])]
    verdicts: list[Verdict] = []
    for upload in (BARE, job.options.upload):
        verdicts += judge(job.engine, delivered[sight.frame], [sight.face], [person], names, job.options.team, upload)[
            0
        ]
    return replace(together([report for *_, report in every], list(masks)), verdicts=tuple(verdicts))
