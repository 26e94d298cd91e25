"""The way of one photo through the library: bytes, pixels, faces, masks, and bytes of the same kind again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from pmask import population, store
from pmask.errors import DeviceUnavailable, OutOfMemory
from pmask.faces import Face, load_detector
from pmask.geometry import (
    FRAME_SCALE,
    FRAME_SIZE,
    Floats,
    compose,
    frame_to,
    invert,
    sample,
    sampling_grid,
    scale_of,
    similarity,
)
from pmask.images import RGB, Photo, decode, encode
from pmask.mask import DEFAULT_SEARCH, Mask, Search, Target, angle, face_ssim, goal, search_masks
from pmask.options import MaskOptions
from pmask.population import Embeddings
from pmask.recognisers.pool import Recogniser, load
from pmask.report import Distance, FaceReport, Progress, Report

FACES_AT_ONCE = 16
"""Faces in one batch of the search; a crowd goes in several, so that memory does not grow with it."""
PSNR_CEILING = 99.0
"""dB, stands for identical pixels."""


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
        self._device, self._search, self._say = choose_device(device), search, say
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
            report = self._report(photo, (), "no_face", time.monotonic() - start)
            return Protection(data=data, report=report)
        on_progress(Progress(stage="loading", fraction=0.04, faces=len(faces)))
        team = {name: self.recogniser(name) for name in options.team}
        views = [View(photo.rgb, face, self._device) for face in faces]
        references = {name: self._embed(views, team[name], photo.rgb) for name in team}
        goals = _goals(references, options.delta, others)
        masks = self._masks(views, photo, references, goals, options, on_progress, cancelled)
        on_progress(Progress(stage="encoding", fraction=0.92, faces=len(faces)))
        protected = encode(photo, paste(photo.rgb, views, masks))
        on_progress(Progress(stage="checking", fraction=0.96, faces=len(faces)))
        reports = self._check(protected, photo, views, masks, references, goals, options.omega)
        report = self._report(photo, reports, "protected", time.monotonic() - start)
        return Protection(data=protected, report=report)

    def _masks(
        self,
        views: list[View],
        photo: Photo,
        references: Mapping[str, Tensor],
        goals: Mapping[str, list[float]],
        options: MaskOptions,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
    ) -> list[Mask]:
        """A mask for each view, FACES_AT_ONCE at a time."""
        masks: list[Mask] = []
        team = {name: self.recogniser(name) for name in options.team}
        for first in range(0, len(views), FACES_AT_ONCE):
            part = range(first, min(first + FACES_AT_ONCE, len(views)))
            targets = [
                Target(
                    patch=views[i].patch(photo.rgb),
                    to_frame=views[i].to_frame,
                    to_patch=views[i].to_patch,
                    box=views[i].patch_box,
                    references={name: references[name][i : i + 1] for name in team},
                    goals={name: goals[name][i] for name in team},
                    grey=photo.grey,
                )
                for i in part
            ]

            def progress(iteration: int, fraction: float, part: range = part) -> None:
                done = (part.start + fraction * len(part)) / len(views)
                on_progress(Progress(stage="masking", fraction=0.05 + 0.87 * done, faces=len(views)))

            masks += search_masks(
                targets,
                team,
                options.omega,
                search=self._search,
                seed=options.seed,
                on_iteration=progress,
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
        protected: bytes,
        photo: Photo,
        views: list[View],
        masks: list[Mask],
        references: Mapping[str, Tensor],
        goals: Mapping[str, list[float]],
        omega: float,
    ) -> tuple[FaceReport, ...]:
        """What the delivered bytes really hold, face by face."""
        delivered, plain = decode(protected).rgb, decode(encode(photo, photo.rgb)).rgb
        before, after = (
            {name: angle(self._embed(views, self.recogniser(name), rgb), references[name]) for name in references}
            for rgb in (plain, delivered)
        )
        reports = []
        for i, (view, mask) in enumerate(zip(views, masks, strict=True)):
            ssim, psnr = quality(view.boxed(photo.rgb), view.boxed(delivered))
            distances = {
                name: Distance(
                    before=math.degrees(before[name][i]),
                    after=math.degrees(after[name][i]),
                    goal=math.degrees(goals[name][i]),
                )
                for name in references
            }
            reached = all(distance.after >= distance.goal for distance in distances.values())
            reports.append(
                FaceReport(
                    box=view.face.box,
                    landmarks=tuple((float(x), float(y)) for x, y in view.face.landmarks),
                    converged=reached and (1 - ssim) / 2 <= omega,
                    iterations=mask.iterations,
                    seconds=mask.seconds,
                    ssim=ssim,
                    psnr=psnr,
                    distances=distances,
                )
            )
        return tuple(reports)

    def _report(self, photo: Photo, faces: tuple[FaceReport, ...], status: str, seconds: float) -> Report:
        return Report(
            status="protected" if status == "protected" else "no_face",
            faces=faces,
            seconds=seconds,
            width=photo.info.width,
            height=photo.info.height,
            format=photo.info.format,
            device=self.device,
            warnings=photo.warnings if faces else (),
        )


class View:
    """One face of a photo, and the ways between the photo, the patch around the face and the face frame.

    The patch holds the photo's own pixels, but for faces larger than the face frame itself: those are shrunk to its
    scale, for a mask has no finer detail to be seen in more pixels.
    """

    def __init__(self, rgb: RGB, face: Face, device: torch.device) -> None:
        self.face, self._device = face, device
        self._frame_to_photo = frame_to(similarity(face.landmarks))
        self.rows, self.columns = self._region(rgb.shape)
        height, width = self.rows.stop - self.rows.start, self.columns.stop - self.columns.start
        shrink = min(1.0, FRAME_SCALE / scale_of(similarity(face.landmarks)))
        self._size = max(1, round(height * shrink)), max(1, round(width * shrink))
        frame_to_patch = compose(self._photo_to_patch(), self._frame_to_photo)
        frame = (FRAME_SIZE, FRAME_SIZE)
        self.to_frame = sampling_grid(frame_to_patch, frame, self._size, device)
        self.to_patch = sampling_grid(invert(frame_to_patch), self._size, frame, device)
        self.patch_box = self._boxed_slices()

    def _region(self, shape: tuple[int, ...]) -> tuple[slice, slice]:
        """Rows and columns of the photo that the face frame covers."""
        corners = np.array([[0, 0], [FRAME_SIZE, 0], [0, FRAME_SIZE], [FRAME_SIZE, FRAME_SIZE]]) - 0.5
        reached = corners @ self._frame_to_photo[:, :2].T + self._frame_to_photo[:, 2]
        low = np.maximum(np.floor(reached.min(0)), 0).astype(int)
        high = np.minimum(np.ceil(reached.max(0)) + 1, [shape[1], shape[0]]).astype(int)
        return slice(low[1], max(high[1], low[1] + 1)), slice(low[0], max(high[0], low[0] + 1))

    def _photo_to_patch(self) -> Floats:
        """2 x 3 matrix from photo pixels to patch pixels."""
        down = self._size[0] / (self.rows.stop - self.rows.start)
        right = self._size[1] / (self.columns.stop - self.columns.start)
        return np.array(
            [
                [right, 0.0, (0.5 - self.columns.start) * right - 0.5],
                [0.0, down, (0.5 - self.rows.start) * down - 0.5],
            ]
        )

    def _boxed_slices(self) -> tuple[slice, slice]:
        """The detector's box in patch pixels."""
        matrix = self._photo_to_patch()
        x, y, width, height = self.face.box
        low, high = (matrix[:, :2] @ np.array(corner) + matrix[:, 2] for corner in ((x, y), (x + width, y + height)))
        return _clipped(low[1], high[1], self._size[0]), _clipped(low[0], high[0], self._size[1])

    def patch(self, rgb: RGB) -> Tensor:
        """(1, 3, h, w) in [0, 1] of the photo's pixels around the face."""
        pixels = torch.from_numpy(np.ascontiguousarray(rgb[self.rows, self.columns])).to(self._device)
        patch = pixels.permute(2, 0, 1)[None].float() / 255
        return patch if patch.shape[-2:] == self._size else F.interpolate(patch, self._size, mode="area")

    def frame(self, rgb: RGB) -> Tensor:
        """(1, 3, FRAME_SIZE, FRAME_SIZE), the face frame of the photo."""
        return sample(self.patch(rgb), self.to_frame)

    def boxed(self, rgb: RGB) -> Tensor:
        """(1, 3, h, w) in [0, 1], the photo's own pixels in the detector's box."""
        x, y, width, height = self.face.box
        rows, columns = _clipped(y, y + height, rgb.shape[0]), _clipped(x, x + width, rgb.shape[1])
        return torch.from_numpy(np.ascontiguousarray(rgb[rows, columns])).permute(2, 0, 1)[None].float() / 255

    def delta(self, mask: Mask) -> npt.NDArray[np.float32]:
        """The mask (rows, columns, 3) in the photo's own pixels, in [-1, 1]."""
        size = self.rows.stop - self.rows.start, self.columns.stop - self.columns.start
        shift = np.array([[1.0, 0.0, self.columns.start], [0.0, 1.0, self.rows.start]])
        matrix = compose(invert(self._frame_to_photo), shift)
        grid = sampling_grid(matrix, size, (FRAME_SIZE, FRAME_SIZE), self._device)
        return np.asarray(sample(mask.values, grid)[0].permute(1, 2, 0).cpu())


def paste(rgb: RGB, views: list[View], masks: list[Mask]) -> RGB:
    """A copy of the photo with every mask added; pixels that no mask reaches stay as they are."""
    result = rgb.copy()
    for view, mask in zip(views, masks, strict=True):
        region = result[view.rows, view.columns].astype(np.float32)
        result[view.rows, view.columns] = np.clip(np.rint(region + view.delta(mask) * 255), 0, 255).astype(np.uint8)
    return result


def quality(original: Tensor, masked: Tensor) -> tuple[float, float]:
    """SSIM (pmask.mask.face_ssim) and PSNR in dB of two images (1, 3, h, w) in [0, 1]."""
    error = float(F.mse_loss(masked, original))
    psnr = min(PSNR_CEILING, -10 * math.log10(error)) if error else PSNR_CEILING
    return float(face_ssim(original, masked)), psnr


def _goals(
    references: Mapping[str, Tensor], delta: float, others: Mapping[str, Embeddings] | None
) -> dict[str, list[float]]:
    """For each recogniser, the angle that each face must reach: from its nearest other person, with delta's margin."""
    goals = {}
    for name, embeddings in references.items():
        people = torch.from_numpy(population.decoys(name) if others is None else others[name]).to(embeddings.device)
        nearest = angle(embeddings[:, None], people[None]).amin(1)
        goals[name] = [goal(float(distance), delta) for distance in nearest]
    return goals


def _clipped(low: float, high: float, limit: int) -> slice:
    """The whole pixels between low and high inside [0, limit), at least one."""
    start = min(max(0, round(low)), limit - 1)
    return slice(start, max(start + 1, min(limit, round(high))))
