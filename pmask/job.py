"""One photo under way: what it came with, and the steps that a still picture (still.py) and a film (film.py) share."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pmask.faces import Box, Face, iou
from pmask.images import RGB, Photo, reencoded
from pmask.mask import Mask, Search, Target, angle, goal, search_masks
from pmask.options import MaskOptions
from pmask.people import Faces, Person, persons
from pmask.population import Embeddings
from pmask.recognisers.replay import MOST_FACES
from pmask.report import Distance, FaceReport, Progress, Protection, Report, Stage, Status
from pmask.views import View, quality

if TYPE_CHECKING:
    from pmask.protect import Protector

FACES_AT_ONCE = MOST_FACES
"""Faces in one batch of the search, as many as a card records; a crowd goes in several, so that memory does not grow
with it."""
LEFT_OUT_IOU = 0.5
"""A face is left out that overlaps a box which the person left out at least this much."""
SHRINKS = 3
"""How often masks that are over the budget still, since neighbours' masks reach into them, are made weaker."""
SHRINK_MARGIN = 0.99


@dataclass(frozen=True, kw_only=True)
class Job:
    """One photo, what is wanted of it, and the engine that does it. The rest as Protector.protect has it; start: when
    it came, by time.monotonic; faces: how many are masked, once that is known."""

    engine: Protector
    data: bytes = field(repr=False)
    photo: Photo
    options: MaskOptions
    gallery: Mapping[str, Embeddings] = field(repr=False)
    on_progress: Callable[[Progress], None]
    cancelled: Callable[[], bool]
    start: float
    faces: int | None = None

    def progress(self, stage: Stage, fraction: float) -> None:
        """Tells how far the photo is."""
        self.on_progress(Progress(stage=stage, fraction=fraction, faces=self.faces))

    def chosen(self, found: Sequence[Box]) -> list[int]:
        """Which of the faces found are masked: not those that the person left out. Each box of theirs leaves out one
        face, for in a slideshow the next one is in the same place."""
        chosen = list(range(len(found)))
        for box in self.options.leave_out:
            near = [i for i in chosen if iou(found[i], box) >= LEFT_OUT_IOU]
            if near:
                chosen.remove(max(near, key=lambda i: iou(found[i], box)))
        return chosen

    def left_alone(self, found: Sequence[Box], chosen: int, found_frames: Sequence[int] = ()) -> Protection | None:
        """The outcome where nothing is to be masked: no face was found, they were only to be looked for, or none was
        chosen. found_frames: as Report has them."""
        why: Status
        if not found:
            why = "no_face"
        elif self.options.look:
            why = "looked"
        elif not chosen:
            why = "left_out"
        else:
            return None
        return self.outcome(why, self.data, found=found, found_frames=found_frames)

    def people(self, faces: Mapping[str, Tensor]) -> list[Person]:
        """The person behind each face of the photo, of which ``faces`` holds each recogniser's embeddings (faces, dim);
        they join the album."""
        others: Faces = {}
        album, name = self.engine.album, album_key(self.data)
        if album is not None:
            album.add(name, faces)
            others = album.besides(name, list(faces))
        shown = {name: torch.from_numpy(rows).to(self.engine.torch_device) for name, rows in self.gallery.items()}
        return persons(faces, self.options.team, others, shown)

    def targets(self, photo: Photo, plain: RGB, views: Sequence[View], people: Sequence[Person]) -> list[Target]:
        """What the search is to reach for each view of a picture. plain: the picture encoded without a mask."""

        def encoded(patch: Tensor) -> Tensor:
            pixels = np.rint(patch[0].permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)
            again = torch.from_numpy(reencoded(photo, pixels)).to(patch.device)
            return again.permute(2, 0, 1)[None].float() / 255

        grey, team = photo.colourless, self.options.team
        return [
            Target(
                patch=view.patch(photo.rgb),
                to_frame=view.to_frame,
                to_patch=view.to_patch,
                window=view.patch_window,
                boxes=view.patch_boxes,
                references={name: person.references[name] for name in team},
                nearest={name: person.nearest(name) for name in team},
                goals={name: goal(person.nearest(name), self.options.delta) for name in team},
                budget=self.budget(photo, plain, view),
                grey=grey,
                encoded=encoded if photo.lossy and not view.shrunk else None,
            )
            for view, person in zip(views, people, strict=True)
        ]

    def budget(self, photo: Photo, plain: RGB, view: View) -> float:
        """The most that (1 - SSIM) / 2 of a delivered face may be. What encoding alone takes (plain: without a mask) is
        not charged to the mask, except where it is written finer than it came, for the mask's sake."""
        if photo.way.refined:
            return self.options.omega
        return self.options.omega + (1 - quality(view.boxed(photo.rgb), view.boxed(plain))[0]) / 2

    def search(
        self, targets: Sequence[Target], search: Search | None = None, start: Sequence[Mask] | None = None
    ) -> list[Mask]:
        """A mask for each target, FACES_AT_ONCE at a time, by the engine's search or another, from ``start`` on."""
        masks: list[Mask] = []
        for first in range(0, len(targets), FACES_AT_ONCE):
            part = slice(first, first + FACES_AT_ONCE)
            share = len(targets[part]) / len(targets)

            def heard(fraction: float, done: float = first / len(targets), share: float = share) -> None:
                self.progress("masking", 0.05 + 0.87 * (done + share * fraction))

            masks += search_masks(
                targets[part],
                self.engine.team(self.options.team),
                search=search or self.engine.search,
                seed=self.options.seed,
                start=None if start is None else start[part],
                on_iteration=heard,
                cancelled=self.cancelled,
            )
        return masks

    def check(
        self,
        photo: Photo,
        before: Mapping[str, Tensor],
        delivered: RGB,
        views: Sequence[View],
        masks: Sequence[Mask],
        targets: Sequence[Target],
    ) -> list[FaceReport]:
        """What the delivered pixels really hold, face by face. before: embeddings without a mask, encoded."""
        after = self.engine.embed_views(views, list(before), delivered)
        reports = []
        for i, (view, mask, target) in enumerate(zip(views, masks, targets, strict=True)):
            distances = {
                name: Distance(
                    before=math.degrees(angle(before[name][i], reference).min()),
                    after=math.degrees(angle(after[name][i], reference).min()),
                    other=math.degrees(target.nearest[name]),
                    goal=math.degrees(target.goals[name]),
                )
                for name, reference in target.references.items()
            }
            looks = quality(view.boxed(photo.rgb), view.boxed(delivered))
            report = face_report(view.face, mask, distances, looks, target.budget)
            references = max(len(reference) for reference in target.references.values())
            reports.append(replace(report, references=references))
        return reports

    def put_on_record(self, masked: Sequence[RGB], bare: int) -> tuple[str, ...]:
        """Remembers the frames that the protected file decodes to, and how many of their faces are bare; but not where
        no pixel changed, or the bare photo would pass for protected. A warning where that fails: the photo is protected
        all the same."""
        record, came = self.engine.record, self.photo.frames
        same = len(came) == len(masked) and all(map(np.array_equal, came, masked))
        try:
            if record is not None and not same:
                record.add(*masked, bare=bare)
        except OSError as error:
            return (f"{error}; picked again, this photo will be masked a second time",)
        return ()

    def outcome(
        self,
        status: Status,
        data: bytes,
        faces: Sequence[FaceReport] = (),
        warnings: Sequence[str] = (),
        found: Sequence[Box] = (),
        found_frames: Sequence[int] = (),
        bare: int = 0,
    ) -> Protection:
        """What comes back, as Report has it."""
        photo = self.photo
        report = Report(
            status=status,
            faces=tuple(faces),
            seconds=time.monotonic() - self.start,
            width=photo.info.width,
            height=photo.info.height,
            format=photo.info.format,
            device=self.engine.device,
            warnings=(*(photo.warnings if faces else photo.left), *warnings),
            found=tuple(found),
            found_frames=tuple(found_frames),
            bare=bare,
        )
        return Protection(data=data, report=report)


def album_key(data: bytes) -> str:
    """A photo's own name in the album."""
    return hashlib.sha256(data).hexdigest()


def face_report(
    face: Face, mask: Mask, distances: Mapping[str, Distance], looks: tuple[float, float], budget: float
) -> FaceReport:
    """What became of one face. looks: SSIM and PSNR in dB of the delivered face, as views.quality gives them; budget:
    the most that (1 - SSIM) / 2 may be."""
    ssim, psnr = looks
    reached = all(distance.after >= distance.goal for distance in distances.values())
    return FaceReport(
        box=face.box,
        landmarks=tuple((float(x), float(y)) for x, y in face.landmarks),
        hidden=all(distance.after > distance.other for distance in distances.values()),
        converged=reached and (1 - ssim) / 2 <= budget,
        iterations=mask.iterations,
        seconds=mask.seconds,
        ssim=ssim,
        psnr=psnr,
        distances=dict(distances),
    )


def shrink(ssim: float, budget: float) -> float:
    """The factor at most 1 that brings masks in a face back to its budget: 1 - SSIM grows with the mask's square."""
    cost = (1 - ssim) / 2
    return 1.0 if cost <= budget else SHRINK_MARGIN * math.sqrt(budget / cost)


def neighbours(views: Sequence[View]) -> list[list[int]]:
    """For each view the numbers of those whose masks reach into its face, its own among them."""
    return [[i for i, other in enumerate(views) if iou(view.area, other.area) > 0] for view in views]
