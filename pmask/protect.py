"""The way of one photo through the library: bytes, pixels, faces, masks, and bytes of the same kind again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pmask import population, store
from pmask.errors import DeviceUnavailable, OutOfMemory
from pmask.faces import load_detector
from pmask.images import RGB, Photo, decode, encode, reencoded
from pmask.mask import DEFAULT_SEARCH, Mask, Search, Target, angle, goal, search_masks
from pmask.options import MaskOptions
from pmask.population import Embeddings
from pmask.recognisers.pool import Recogniser, load
from pmask.recognisers.specs import SPECS
from pmask.report import Distance, FaceReport, Progress, Report, Stage
from pmask.views import View, paste, quality

FACES_AT_ONCE = 16
"""Faces in one batch of the search; a crowd goes in several, so that memory does not grow with it."""
MENDS = 2
"""How often a face whose delivered bytes just miss its goals or its budget is searched again, from where it was."""
MEND_ITERATIONS = 15
WORTH_MENDING = 0.95
"""Share of every goal that the delivered bytes must have reached: what is further off, a few iterations do not mend."""
MOST_STRETCH = 1.1
"""A goal is set at most this much higher to make up for what encoding takes."""


@dataclass(frozen=True, kw_only=True)
class Protection:
    """data: the protected file, or the very bytes that came in when the report's status is "no_face"."""

    data: bytes
    report: Report


def choose_device(name: str) -> torch.device:
    """The torch device of "auto" (the fastest there is), "cpu", "cuda" or "mps". Raises DeviceUnavailable."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in present.items() if there))
    if not present.get(name, False):
        there = ", ".join(kind for kind, is_there in present.items() if is_there)
        raise DeviceUnavailable(f"device {name} is not on this machine; there are: auto, {there}")
    return torch.device(name)


class Protector:
    """Detector and recognisers, loaded on first use and kept warm. For one thread and one photo at a time.

    say hears a line when something is fetched.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        detector: str = "yunet",
        search: Search = DEFAULT_SEARCH,
        say: store.Say = lambda line: None,
    ) -> None:
        self._device, self._settings, self._say = choose_device(device), search, say
        self.detect = load_detector(detector, say)
        self._recognisers: dict[str, Recogniser] = {}

    @property
    def device(self) -> str:
        """ "cpu", "cuda" or "mps"."""
        return self._device.type

    def recogniser(self, name: str) -> Recogniser:
        """The recogniser ``name`` on this device. Raises UnknownRecogniser or WeightsUnavailable."""
        if name not in self._recognisers:
            self._recognisers[name] = load(name, self._device, self._say)
        return self._recognisers[name]

    def embeddings(self, rgb: RGB, names: Sequence[str]) -> dict[str, Tensor]:
        """For each named recogniser, unit embeddings (faces, dim) of the faces of a photo, largest first."""
        views = [View(rgb, face, self._device) for face in self.detect(rgb)]
        return {
            name: self._embed(views, self.recogniser(name), rgb) if views else torch.empty(0, SPECS[name].dim)
            for name in names
        }

    def protect(
        self,
        data: bytes,
        options: MaskOptions | None = None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        cancelled: Callable[[], bool] = lambda: False,
        others: Mapping[str, Embeddings] | None = None,
    ) -> Protection:
        """The photo ``data`` with every face masked.

        others: for each recogniser of the team, embeddings (n, dim) of other people among whom the nearest is looked
        for; by default the decoys of pmask.population. Raises any PMaskError.
        """
        try:
            return self._protect(data, options or MaskOptions(), on_progress, cancelled, others)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfMemory(
                "memory ran out while the mask was being made; try a smaller photo or --device cpu"
            ) from error

    def _protect(
        self,
        data: bytes,
        options: MaskOptions,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
        others: Mapping[str, Embeddings] | None,
    ) -> Protection:
        start = time.monotonic()
        on_progress(Progress(stage="decoding", fraction=0.0))
        photo = decode(data)
        on_progress(Progress(stage="detecting", fraction=0.02))
        faces = self.detect(photo.rgb)
        if not faces:
            return Protection(data=data, report=self._report(photo, (), time.monotonic() - start))
        on_progress(Progress(stage="loading", fraction=0.04, faces=len(faces)))
        team = {name: self.recogniser(name) for name in options.team}
        views = [View(photo.rgb, face, self._device) for face in faces]
        plain = decode(encode(photo, photo.rgb)).rgb if photo.lossy else photo.rgb
        references = {name: self._embed(views, recogniser, photo.rgb) for name, recogniser in team.items()}
        before = {name: self._embed(views, recogniser, plain) for name, recogniser in team.items()}
        targets = self._targets(photo, plain, views, references, _nearest(references, others), options)

        def progress(stage: Stage, fraction: float) -> None:
            on_progress(Progress(stage=stage, fraction=fraction, faces=len(views)))

        masks = self._search(targets, team, options, progress, cancelled)
        for mend in range(MENDS + 1):
            progress("encoding", 0.92)
            protected = encode(photo, paste(photo.rgb, views, masks))
            progress("checking", 0.96)
            reports = self._check(photo, before, decode(protected).rgb, views, masks, targets)
            short = [i for i, face in enumerate(reports) if _worth_mending(face, targets[i])]
            if mend == MENDS or not short:
                break
            search = replace(self._settings, iterations=MEND_ITERATIONS)
            harder = [_harder(targets[i], reports[i]) for i in short]
            mended = self._search(harder, team, options, progress, cancelled, search, [masks[i] for i in short])
            for i, mask in zip(short, mended, strict=True):
                masks[i] = replace(
                    mask, iterations=masks[i].iterations + mask.iterations, seconds=masks[i].seconds + mask.seconds
                )
        return Protection(data=protected, report=self._report(photo, reports, time.monotonic() - start))

    def _targets(
        self,
        photo: Photo,
        plain: RGB,
        views: list[View],
        references: Mapping[str, Tensor],
        nearest: Mapping[str, list[float]],
        options: MaskOptions,
    ) -> list[Target]:
        """What the search is to reach for each view. What encoding alone takes of SSIM is not charged to the mask."""

        def encoded(patch: Tensor) -> Tensor:
            pixels = np.rint(patch[0].permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)
            again = torch.from_numpy(reencoded(photo, pixels)).to(patch.device)
            return again.permute(2, 0, 1)[None].float() / 255

        return [
            Target(
                patch=view.patch(photo.rgb),
                to_frame=view.to_frame,
                to_patch=view.to_patch,
                window=view.patch_window,
                boxes=view.patch_boxes,
                references={name: embeddings[i : i + 1] for name, embeddings in references.items()},
                nearest={name: nearest[name][i] for name in references},
                goals={name: goal(nearest[name][i], options.delta) for name in references},
                budget=options.omega + (1 - quality(view.boxed(photo.rgb), view.boxed(plain))[0]) / 2,
                grey=photo.grey,
                encoded=encoded if photo.lossy and not view.shrunk else None,
            )
            for i, view in enumerate(views)
        ]

    def _search(
        self,
        targets: list[Target],
        team: Mapping[str, Recogniser],
        options: MaskOptions,
        progress: Callable[[Stage, float], None],
        cancelled: Callable[[], bool],
        search: Search | None = None,
        start: list[Mask] | None = None,
    ) -> list[Mask]:
        """A mask for each target, FACES_AT_ONCE at a time."""
        masks: list[Mask] = []
        for first in range(0, len(targets), FACES_AT_ONCE):
            part = slice(first, first + FACES_AT_ONCE)
            share = len(targets[part]) / len(targets)

            def heard(fraction: float, done: float = first / len(targets), share: float = share) -> None:
                progress("masking", 0.05 + 0.87 * (done + share * fraction))

            masks += search_masks(
                targets[part],
                team,
                search=search or self._settings,
                seed=options.seed,
                start=None if start is None else start[part],
                on_iteration=heard,
                cancelled=cancelled,
            )
        return masks

    def _embed(self, views: list[View], recogniser: Recogniser, rgb: RGB) -> Tensor:
        """Embeddings (views, dim) of the faces of a photo, a batch at a time."""
        with torch.no_grad():
            return torch.cat(
                [
                    recogniser(torch.cat([view.frame(rgb) for view in views[i : i + FACES_AT_ONCE]]))
                    for i in range(0, len(views), FACES_AT_ONCE)
                ]
            )

    def _check(
        self,
        photo: Photo,
        before: Mapping[str, Tensor],
        delivered: RGB,
        views: list[View],
        masks: list[Mask],
        targets: list[Target],
    ) -> tuple[FaceReport, ...]:
        """What the delivered pixels really hold, face by face. before: embeddings without a mask, encoded."""
        after = {name: self._embed(views, self.recogniser(name), delivered) for name in before}
        reports = []
        for i, (view, mask, target) in enumerate(zip(views, masks, targets, strict=True)):
            ssim, psnr = quality(view.boxed(photo.rgb), view.boxed(delivered))
            distances = {
                name: Distance(
                    before=math.degrees(angle(before[name][i], reference).min()),
                    after=math.degrees(angle(after[name][i], reference).min()),
                    other=math.degrees(target.nearest[name]),
                    goal=math.degrees(target.goals[name]),
                )
                for name, reference in target.references.items()
            }
            reached = all(distance.after >= distance.goal for distance in distances.values())
            reports.append(
                FaceReport(
                    box=view.face.box,
                    landmarks=tuple((float(x), float(y)) for x, y in view.face.landmarks),
                    hidden=all(distance.after > distance.other for distance in distances.values()),
                    converged=reached and (1 - ssim) / 2 <= target.budget,
                    iterations=mask.iterations,
                    seconds=mask.seconds,
                    ssim=ssim,
                    psnr=psnr,
                    distances=distances,
                )
            )
        return tuple(reports)

    def _report(self, photo: Photo, faces: tuple[FaceReport, ...], seconds: float) -> Report:
        return Report(
            status="protected" if faces else "no_face",
            faces=faces,
            seconds=seconds,
            width=photo.info.width,
            height=photo.info.height,
            format=photo.info.format,
            device=self.device,
            warnings=photo.warnings if faces else (),
        )


def _worth_mending(face: FaceReport, target: Target) -> bool:
    """Whether the delivered face is over its budget, or a little short of its goals."""
    close = all(distance.after >= WORTH_MENDING * distance.goal for distance in face.distances.values())
    return (1 - face.ssim) / 2 > target.budget or (close and not face.converged)


def _harder(target: Target, report: FaceReport) -> Target:
    """The target with its goals raised and its budget lowered by what the delivered bytes missed them by."""
    goals = {
        name: target.goals[name] * min(MOST_STRETCH, max(1.0, distance.goal / max(distance.after, 1e-3)))
        for name, distance in report.distances.items()
    }
    excess = max(0.0, (1 - report.ssim) / 2 - target.budget)
    return replace(target, goals=goals, budget=max(target.budget - excess, target.budget / 2))


def _nearest(references: Mapping[str, Tensor], others: Mapping[str, Embeddings] | None) -> dict[str, list[float]]:
    """For each recogniser, the angle in radians from each face to the nearest other person, N(x) of Eq. 4."""
    nearest = {}
    for name, embeddings in references.items():
        people = torch.from_numpy(population.decoys(name) if others is None else others[name]).to(embeddings.device)
        nearest[name] = [float(angle(embedding, people).min()) for embedding in embeddings]
    return nearest
