"""Faces in animations: which faces of the frames are one, and what to say of all of them together.

A mask lies in the face frame, so one that was made for a face in one frame fits the same face in its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pmask.faces import Face, iou
from pmask.images import RGB
from pmask.mask import Mask
from pmask.report import FaceReport

FOLLOW_IOU = 0.3
"""A face is the one of a frame before when their boxes overlap at least this much."""
GAP = 2
"""Frames in which a face may be overlooked without becoming another."""
SHOT = 12
"""Frames that share a mask, a second of most animations: a mask made for one look fades when the face turns."""


@dataclass(frozen=True)
class Sight:
    """A face in the frame of that number."""

    frame: int
    face: Face


def follow(found: Sequence[Sequence[Face]]) -> list[list[Sight]]:
    """The faces found in each frame, as one list for each face that is followed from frame to frame."""
    tracks: list[list[Sight]] = []
    for number, faces in enumerate(found):
        open_tracks = [track for track in tracks if number - track[-1].frame <= GAP]
        for face in faces:
            best = max(open_tracks, key=lambda track: iou(track[-1].face.box, face.box), default=None)
            if best is not None and iou(best[-1].face.box, face.box) >= FOLLOW_IOU:
                best.append(Sight(number, face))
                open_tracks = [track for track in open_tracks if track is not best]
            else:
                tracks.append([Sight(number, face)])
    return tracks


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
