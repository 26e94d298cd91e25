"""Does a recogniser still match a face? Judged as an intruder would: everything detected and aligned afresh, in the
photo as it is and as a site would show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from pmask.errors import NoFace
from pmask.faces import SAME_FACE_IOU, Detector, Face, iou
from pmask.images import RGB
from pmask.mask import angle
from pmask.people import Faces, Person, strangers
from pmask.recognisers.specs import SPECS
from pmask.report import BARE, Verdict
from pmask.store import is_here
from pmask.teams import default_team
from pmask.tracks import by_frame, watch
from pmask.uploads import UPLOADS


class Eyes(Protocol):
    """What finds and reads faces: pmask.protect.Protector."""

    detect: Detector

    def embed(self, rgb: RGB, faces: Sequence[Face], names: Sequence[str]) -> Faces:
        """For each named recogniser, unit embeddings (faces, dim) of these faces of a photo."""


def judges(team: Sequence[str]) -> list[str]:
    """The recognisers that judge a mask of ``team`` without having taken part: the first of the registry's outside it,
    and all others that are on this machine and whose match angle was measured."""
    outside = [SPECS[name] for name in SPECS if name not in team]
    first = [spec.name for spec in outside if spec.source == "registry"][:1]
    return first + [spec.name for spec in outside if spec.name not in first and spec.calibrated and is_here(spec)]


def everyone() -> list[str]:
    """The recognisers that are asked where nobody names any: the registry's, and all others that are on this machine
    and whose match angle was measured."""
    return [spec.name for spec in SPECS.values() if spec.source == "registry" or (spec.calibrated and is_here(spec))]


def judge(
    eyes: Eyes,
    rgb: RGB,
    faces: Sequence[Face],
    people: Sequence[Person],
    names: Sequence[str],
    team: Sequence[str],
    upload: str,
) -> list[list[Verdict]]:
    """For each of ``faces`` (as they lie in ``rgb``, upright pixels) a verdict of each named recogniser.

    people: the person behind each face. upload: BARE, or the name of the upload through which the photo goes first. A
    face that is not found afresh is read where it was: another detector might still find it.
    """
    seen = rgb if upload == BARE else UPLOADS[upload](rgb)
    found = eyes.detect(seen)
    afresh = [_afresh(face.scaled(seen.shape[1] / rgb.shape[1], seen.shape[0] / rgb.shape[0]), found) for face in faces]
    embeddings = eyes.embed(seen, afresh, names)
    return [
        [_verdict(name, embeddings[name][i], person, upload, in_team=name in team) for name in names]
        for i, person in enumerate(people)
    ]


def check(
    eyes: Eyes,
    photo: RGB,
    references: Sequence[RGB],
    models: Sequence[str] | None = None,
    *,
    uploads: Sequence[str] = (BARE,),
    team: Sequence[str] | None = None,
) -> list[list[Verdict]]:
    """For each face of ``photo`` (upright pixels, largest first) a verdict of each model after each of ``uploads``: as
    check_films, of files of one picture each."""
    return check_films(eyes, [photo], [[rgb] for rgb in references], models, uploads=uploads, team=team)


def check_films(
    eyes: Eyes,
    frames: Sequence[RGB],
    references: Sequence[Sequence[RGB]],
    models: Sequence[str] | None = None,
    *,
    uploads: Sequence[str] = (BARE,),
    team: Sequence[str] | None = None,
) -> list[list[Verdict]]:
    """For each face of a file's ``frames`` (upright pixels) a verdict of each model after each of ``uploads``: of the
    frame in which the model finds it most alike, for one is enough for an intruder. references: the frames of files.

    A face counts as matched when it is near to any face of any reference. models: everyone() by default. team: whom the
    mask was made against, where there is one (by default, whom PMask's are). Raises NoFace when there is nothing to
    compare.
    """
    models = everyone() if models is None else models
    team = default_team() if team is None else team
    known = [
        eyes.embed(rgb, faces, models)
        for i, film in enumerate(references, 1)
        for rgb, faces in zip(film, _found(eyes, film, f"reference {i}"), strict=True)
        if faces
    ]
    person = Person(
        references={name: torch.cat([reference[name] for reference in known]) for name in models},
        strangers={name: strangers(name, known[0][name].device) for name in models},
    )
    tracks = watch(eyes, frames, _found(eyes, frames, "the photo"), models)
    said: list[list[Verdict]] = [[] for _ in tracks]
    for upload in uploads:
        by_face: list[list[list[Verdict]]] = [[] for _ in tracks]
        for rgb, scene in zip(frames, by_frame(tracks, len(frames)), strict=True):
            faces = [face for _, face in scene]
            verdicts = judge(eyes, rgb, faces, [person] * len(faces), models, team, upload) if faces else []
            for (number, _), on_face in zip(scene, verdicts, strict=True):
                by_face[number].append(on_face)
        for on_one, in_frames in zip(said, by_face, strict=True):
            on_one += [min(of_model, key=lambda verdict: verdict.angle) for of_model in zip(*in_frames, strict=True)]
    return said


def _found(eyes: Eyes, frames: Sequence[RGB], what: str) -> list[list[Face]]:
    """The faces in each frame."""
    found = [eyes.detect(rgb) for rgb in frames]
    if not any(found):
        raise NoFace(f"no face was found in {what}; there is nothing to compare")
    return found


def _afresh(face: Face, found: Sequence[Face]) -> Face:
    """The found face that lies where ``face`` does, or else that itself."""
    best = max(found, key=lambda other: iou(face.box, other.box), default=face)
    return best if iou(face.box, best.box) >= SAME_FACE_IOU else face


def _verdict(name: str, embedding: Tensor, person: Person, upload: str, *, in_team: bool) -> Verdict:
    return Verdict(
        recogniser=name,
        in_team=in_team,
        upload=upload,
        angle=math.degrees(angle(embedding, person.references[name]).min()),
        threshold=SPECS[name].match_angle,
        nearest_other=math.degrees(angle(embedding, person.strangers[name]).min()),
    )
