"""Faces in animations: which faces of the frames are one, and what to say of all of them together.

A mask lies in the face frame, so one that was made for a face in one frame fits the same face in its neighbours.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pmask.faces import Face, iou
from pmask.images import RGB
from pmask.mask import Mask
from pmask.people import same_person
from pmask.report import FaceReport

if TYPE_CHECKING:
    from pmask.check import Eyes

FOLLOW_IOU = 0.3
"""A face is the one of a frame before when their boxes overlap at least this much."""
GAP = 6
"""A face that is found again within so many frames, half a second of most animations, is the same; in between it is
looked for where it must have been."""
SHOT = 12
"""Frames that share a mask, a second of most animations: a mask made for one look fades when the face turns."""


@dataclass(frozen=True)
class Sight:
    """A face in the frame of that number. look: unit embeddings (dim) by the recognisers that were asked."""

    frame: int
    face: Face
    look: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)


def watch(
    eyes: Eyes, frames: Sequence[RGB], found: Sequence[Sequence[Face]], names: Sequence[str], *, gap: int = GAP
) -> list[list[Sight]]:
    """The faces found in each of these frames, seen by each named recogniser and followed, also where the detector
    overlooked them."""
    seen = [_sights(eyes, n, rgb, faces, names) for n, (rgb, faces) in enumerate(zip(frames, found, strict=True))]
    tracks = follow(seen, gap=gap)
    if not gap:
        return tracks
    whole: list[list[Sight]] = []
    for track in tracks:
        grown = sorted([*track, *_overlooked(eyes, frames, seen, track)], key=lambda sight: sight.frame)
        for number, other in enumerate(whole):
            if joined := _joined(other, grown):
                whole[number] = joined
                break
        else:
            whole.append(grown)
    return whole


def follow(seen: Sequence[Sequence[Sight]], *, gap: int = GAP) -> list[list[Sight]]:
    """The sights of each frame, as one list for each face that is followed from frame to frame: near its place, and as
    the same person, for in a slideshow another comes to the same place. gap: 0 follows none, as from page to page."""
    tracks: list[list[Sight]] = []
    for number, sights in enumerate(seen):
        open_tracks = [track for track in tracks if number - track[-1].frame <= gap]
        for sight in sights:
            own = [
                track for track in open_tracks if _overlap(track[-1], sight) >= FOLLOW_IOU and _same(track[-1], sight)
            ]
            if own:
                best = max(own, key=lambda track: _overlap(track[-1], sight))
                best.append(sight)
                open_tracks = [track for track in open_tracks if track is not best]
            else:
                tracks.append([sight])
    return tracks


def _overlooked(
    eyes: Eyes, frames: Sequence[RGB], seen: Sequence[Sequence[Sight]], track: Sequence[Sight]
) -> Iterator[Sight]:
    """The face of a track in frames between those where it was found, as far as recognisers know it there, for another
    detector finds it; and in those before and after, where it was found first and last, as long as they know it."""

    def known(number: int, face: Face, *nearby: Sight) -> list[Sight]:
        sights = _sights(eyes, number, frames[number], [face], list(nearby[0].look))
        alone = all(_overlap(sights[0], other) < FOLLOW_IOU for other in seen[number])
        return sights if alone and any(_same(other, sights[0]) for other in nearby) else []

    for before, after in itertools.pairwise(track):
        for number in range(before.frame + 1, after.frame):
            face = _between(before, after, (number - before.frame) / (after.frame - before.frame))
            yield from known(number, face, before, after)
    first, last = track[0], track[-1]
    for end, numbers in ((first, range(first.frame - 1, -1, -1)), (last, range(last.frame + 1, len(frames)))):
        for number in numbers:
            if not (sights := known(number, end.face, end)):
                break
            yield from sights


def _joined(one: Sequence[Sight], other: Sequence[Sight]) -> list[Sight]:
    """Two tracks as one, where both have grown into the same frames at the same place: the detector lost the face for
    longer than GAP. Of those frames each has the half that is nearer to where it was found. Empty where they do not
    meet."""
    first, then = ({sight.frame: sight for sight in track} for track in (one, other))
    both = sorted(first.keys() & then.keys())
    if not both or any(_overlap(first[number], then[number]) < FOLLOW_IOU for number in both):
        return []
    whole = first | then | {number: first[number] for number in both[: len(both) // 2]}
    return [whole[number] for number in sorted(whole)]


def _between(before: Sight, after: Sight, share: float) -> Face:
    """The face on its way from one sight to the next, that share of the way."""
    (x, y, width, height), landmarks = (
        (1 - share) * np.asarray(one) + share * np.asarray(other)
        for one, other in ((before.face.box, after.face.box), (before.face.landmarks, after.face.landmarks))
    )
    return Face(box=(float(x), float(y), float(width), float(height)), landmarks=landmarks, score=0.0)


def _sights(eyes: Eyes, number: int, rgb: RGB, faces: Sequence[Face], names: Sequence[str]) -> list[Sight]:
    """These faces of the frame of that number."""
    looks = eyes.embed(rgb, faces, names) if faces else {}
    return [Sight(number, face, {name: looks[name][i] for name in names}) for i, face in enumerate(faces)]


def _overlap(one: Sight, other: Sight) -> float:
    return iou(one.face.box, other.face.box)


def _same(one: Sight, other: Sight) -> bool:
    """Whether two sights are of one person."""
    return bool(same_person(one.look, {name: look[None] for name, look in other.look.items()}, list(one.look)).all())


def shots(track: Sequence[Sight]) -> Iterator[list[Sight]]:
    """A track in parts of at most SHOT sights, as equal as can be."""
    count = -(-len(track) // SHOT)
    for part in range(count):
        yield list(track[part * len(track) // count : (part + 1) * len(track) // count])


def lead(shot: Sequence[Sight]) -> Sight:
    """The sight that stands for a shot: the middle one, nearest to all others."""
    return shot[len(shot) // 2]


def by_frame(cast: Sequence[Sequence[Sight]], frames: int) -> list[list[tuple[int, Face]]]:
    """For each of so many frames, the faces in it, each with the number of its shot."""
    scenes: list[list[tuple[int, Face]]] = [[] for _ in range(frames)]
    for number, shot in enumerate(cast):
        for sight in shot:
            scenes[sight.frame].append((number, sight.face))
    return scenes


def aligned(written: Sequence[RGB], wanted: Sequence[RGB]) -> list[RGB]:
    """The frames that were written, one for each that was wanted: encoders merge neighbours that have become equal, as
    two may under a mask."""
    if len(written) == len(wanted):
        return list(written)
    found, place = [], 0
    for number, frame in enumerate(wanted):
        if number and place + 1 < len(written):
            late = len(written) - place > len(wanted) - number
            place += late or _away(frame, written[place + 1]) <= _away(frame, written[place])
        found.append(written[place])
    return found


def _away(one: RGB, other: RGB) -> int:
    """How much two frames differ, in levels over all pixels."""
    return int(np.abs(one.astype(np.int16) - other).sum(dtype=np.int64))


def weakest(reports: Sequence[FaceReport]) -> int:
    """Which of the reports on one face says the worst: by how far the recogniser that is fooled least sees it beyond
    the nearest stranger."""

    def margin(number: int) -> float:
        return min(distance.after / max(distance.other, 1e-3) for distance in reports[number].distances.values())

    return min(range(len(reports)), key=margin)


def together(reports: Sequence[FaceReport], masks: Sequence[Mask]) -> FaceReport:
    """One report on a face for those of all frames: the worst of each figure, and what all its masks took."""
    distances = {
        name: min((report.distances[name] for report in reports), key=lambda distance: distance.after)
        for name in reports[0].distances
    }
    return replace(
        reports[0],
        hidden=all(report.hidden for report in reports),
        converged=all(report.converged for report in reports),
        ssim=min(report.ssim for report in reports),
        psnr=min(report.psnr for report in reports),
        distances=distances,
        iterations=sum(mask.iterations for mask in masks),
        seconds=sum(mask.seconds for mask in masks),
    )
