"""The way of one photo through the library: bytes, pixels, faces, masks, and bytes of the same kind again."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pmask import recording, store
from pmask.check import judge, judges
from pmask.errors import DeviceUnavailable, OutOfMemory, WeightsUnavailable
from pmask.faces import Box, Face, iou, load_detector
from pmask.film import GAP, Sight, aligned, by_frame, lead, shots, together, watch, weakest
from pmask.geometry import FRAME_SIZE
from pmask.images import RGB, Photo, decode, encode, reencoded
from pmask.mask import DEFAULT_SEARCH, Embed, Mask, Search, Target, angle, goal, search_masks
from pmask.options import MaskOptions
from pmask.people import Album, Faces, Person, persons
from pmask.population import Embeddings
from pmask.recognisers.pool import Recogniser, load
from pmask.recognisers.replay import MOST_FACES, quickest
from pmask.recognisers.specs import SPECS
from pmask.record import Record
from pmask.report import BARE, Distance, FaceReport, Progress, Report, Stage, Status, Verdict
from pmask.views import View, paste, quality

FACES_AT_ONCE = MOST_FACES
"""Faces in one batch of the search, as many as a card records; a crowd goes in several, so that memory does not grow
with it."""
MENDS = 2
"""How often a face whose delivered bytes just miss its goals, or clearly its budget, is searched again from where it
was."""
MEND_ITERATIONS = 15
MEND_EXCESS = 1.05
"""Times its budget from which a face is searched again. Below, the mask is made weaker, which takes no time."""
SHRINKS = 3
"""How often masks that are over the budget still, since neighbours' masks reach into them, are made weaker."""
SHRINK_MARGIN = 0.99
LEFT_OUT_IOU = 0.5
"""A face is left out that overlaps a box which the person left out at least this much."""
WORTH_MENDING = 0.95
"""Share of every goal that the delivered bytes must have reached: what is further off, a few iterations do not mend."""
MOST_STRETCH = 1.1
"""A goal is set at most this much higher to make up for what encoding takes."""


@dataclass(frozen=True, kw_only=True)
class Protection:
    """data: the protected file, or the very bytes that came in when the report's status is not "protected"."""

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

    say hears a line when something is fetched. album: where the faces of each photo are remembered, so that other
    photos of the person count (pmask.people). record: what PMask has made before and does not mask again. judges: the
    recognisers that judge the result beside the team; by default pmask.check.judges. Without album or record nothing is
    remembered.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        detector: str = "yunet",
        search: Search = DEFAULT_SEARCH,
        say: store.Say = lambda line: None,
        album: Album | None = None,
        record: Record | None = None,
        judges: Sequence[str] | None = None,
    ) -> None:
        self._device, self._settings, self._say = choose_device(device), search, say
        self._album, self._record, self._judges = album, record, judges
        self.detect = load_detector(detector, say)
        self._recognisers: dict[str, Recogniser] = {}
        self._quickest: dict[str, Embed] = {}

    @property
    def device(self) -> str:
        """ "cpu", "cuda" or "mps"."""
        return self._device.type

    def recogniser(self, name: str) -> Recogniser:
        """The recogniser ``name`` on this device. Raises UnknownRecogniser or WeightsUnavailable."""
        if name not in self._recognisers:
            self._recognisers[name] = load(name, self._device, self._say)
        return self._recognisers[name]

    def _team(self, names: Sequence[str]) -> dict[str, Embed]:
        """These recognisers, as quick as this device has them."""
        for name in names:
            if name not in self._quickest:
                self._quickest[name] = quickest(self.recogniser(name), self._device)
        return {name: self._quickest[name] for name in names}

    def embed(self, rgb: RGB, faces: Sequence[Face], names: Sequence[str]) -> dict[str, Tensor]:
        """For each named recogniser, unit embeddings (faces, dim) of these faces of a photo."""
        views = [View(rgb, face, self._device) for face in faces]
        return self._embed(views, names, rgb)

    def embeddings(self, rgb: RGB, names: Sequence[str]) -> dict[str, Tensor]:
        """For each named recogniser, unit embeddings (faces, dim) of the faces found in a photo, largest first."""
        return self.embed(rgb, self.detect(rgb), names)

    def panel(self, team: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
        """Names of team and judges, all loaded, and a warning where a judge cannot be had: no photo stays bare for it.
        Raises WeightsUnavailable where a member of the team cannot be had."""
        for name in team:
            self.recogniser(name)
        names, warnings = list(team), []
        for name in judges(team) if self._judges is None else self._judges:
            try:
                self.recogniser(name)
                names += [name] if name not in names else []
            except WeightsUnavailable as error:
                warnings.append(f"{name} could not judge the result: {error}")
        return names, tuple(warnings)

    def warm(self, team: Sequence[str]) -> None:
        """Loads team and judges, so that the first photo does not wait for them; where their work is recorded, each
        looks once for that. Raises WeightsUnavailable where a member of the team cannot be had."""
        names, _ = self.panel(team)
        if not recording.records(self._device):
            return
        frame = torch.full((1, 3, FRAME_SIZE, FRAME_SIZE), 0.5, device=self._device)
        for name, embed in self._team(names).items():
            with torch.no_grad():
                embed(frame)
            if name in team:
                seen = frame.clone().requires_grad_()
                torch.autograd.grad(embed(seen).sum(), seen)

    def remember(self, data: bytes, team: Sequence[str]) -> None:
        """Puts a photo's faces into the album before its turn comes, for the other photos of one upload. Raises any
        PMaskError."""
        if self._album is not None and self._bare_in_own_work(photo := decode(data)) is None:
            names, _ = self.panel(team)
            self._album.add(_mark(data), self.embeddings(photo.rgb, names))

    def protect(
        self,
        data: bytes,
        options: MaskOptions | None = None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        cancelled: Callable[[], bool] = lambda: False,
        gallery: Mapping[str, Embeddings] | None = None,
    ) -> Protection:
        """The photo ``data`` with every face masked.

        gallery: for each recogniser of the team (others may be there), embeddings (n, dim) of people. Those who match
        a face at hand are the same person, whose references they join (D_l of Eq. 4); all others are strangers, among
        whom and the decoys of pmask.population the nearest is looked for. Raises any PMaskError.
        """
        try:
            return self._protect(data, options or MaskOptions(), on_progress, cancelled, gallery or {})
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
        gallery: Mapping[str, Embeddings],
    ) -> Protection:
        start = time.monotonic()
        on_progress(Progress(stage="decoding", fraction=0.0))
        photo = decode(data, options.metadata)
        if not options.again and (bare := self._bare_in_own_work(photo)) is not None:
            left = (
                (
                    f"{bare} of its faces {'was' if bare == 1 else 'were'} left out when it was protected, and "
                    f"{'is' if bare == 1 else 'are'} bare; --again masks all",
                )
                if bare
                else ()
            )
            return Protection(data=data, report=self._report("already_protected", photo, start, warnings=left))
        on_progress(Progress(stage="detecting", fraction=0.02))
        if photo.more:
            return self._protect_film(data, photo, options, on_progress, cancelled, gallery)
        faces = self.detect(photo.rgb)
        found = tuple(face.box for face in faces)
        faces = [faces[i] for i in _chosen(found, options)]
        if (why := _left_alone(len(found), len(faces), options)) is not None:
            return Protection(data=data, report=replace(self._report(why, photo, start), found=found))

        def progress(stage: Stage, fraction: float) -> None:
            on_progress(Progress(stage=stage, fraction=fraction, faces=len(faces)))

        progress("loading", 0.04)
        names, warnings = self.panel(options.team)
        people = self._people(data, self.embed(photo.rgb, faces, names), options.team, gallery)
        protected, masked, reports = self._mask(photo, faces, people, options, progress, cancelled)
        progress("checking", 0.98)
        verdicts = [
            judge(self, masked, faces, people, names, options.team, upload) for upload in (BARE, options.upload)
        ]
        reports = [
            replace(report, verdicts=tuple(bare + uploaded))
            for report, bare, uploaded in zip(reports, *verdicts, strict=True)
        ]
        warnings += self._put_on_record(photo, [masked], len(found) - len(faces))
        report = self._report("protected", photo, start, reports, warnings)
        return Protection(data=protected, report=replace(report, found=found))

    def _mask(
        self,
        photo: Photo,
        faces: Sequence[Face],
        people: Sequence[Person],
        options: MaskOptions,
        progress: Callable[[Stage, float], None],
        cancelled: Callable[[], bool],
    ) -> tuple[bytes, RGB, list[FaceReport]]:
        """The protected file, its pixels as it decodes to, and what became of each face (without verdicts)."""
        team = self._team(options.team)
        views = [View(photo.rgb, face, self._device) for face in faces]
        plain = decode(encode(photo, photo.rgb)).rgb if photo.lossy else photo.rgb
        before = self._embed(views, options.team, plain)
        targets = self._targets(photo, plain, views, people, options)
        masks = self._search(targets, team, options, progress, cancelled)
        near = _near(views)

        def delivered() -> tuple[bytes, RGB, list[FaceReport]]:
            progress("encoding", 0.92)
            protected = encode(photo, paste(photo.rgb, views, masks))
            progress("checking", 0.96)
            pixels = decode(protected).rgb
            return protected, pixels, self._check(photo, before, pixels, views, masks, targets)

        result, aims = delivered(), list(targets)
        for _ in range(MENDS):
            short = [i for i, face in enumerate(result[2]) if _worth_mending(face, targets[i])]
            if not short:
                break
            for i in short:
                aims[i] = _harder(aims[i], result[2][i], targets[i].budget, len(near[i]))
            search = replace(self._settings, iterations=MEND_ITERATIONS)
            some_aims, some_masks = [aims[i] for i in short], [masks[i] for i in short]
            mended = self._search(some_aims, team, options, progress, cancelled, search, some_masks)
            for i, mask in zip(short, mended, strict=True):
                masks[i] = replace(
                    mask, iterations=masks[i].iterations + mask.iterations, seconds=masks[i].seconds + mask.seconds
                )
            result = delivered()
        for _ in range(SHRINKS):
            shares = [_shrink(face.ssim, target.budget) for face, target in zip(result[2], targets, strict=True)]
            if min(shares) == 1:
                break
            for i, mask in enumerate(masks):
                masks[i] = replace(mask, values=mask.values * min(shares[j] for j in near[i]))
            result = delivered()
        return result

    def _protect_film(
        self,
        data: bytes,
        photo: Photo,
        options: MaskOptions,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
        gallery: Mapping[str, Embeddings],
    ) -> Protection:
        """Masks all frames: one search for each shot of a face (pmask.film), whose mask all frames of the shot take."""
        start, frames, plain = time.monotonic(), [photo, *photo.more], photo.frames
        faces = [self.detect(rgb) for rgb in plain]
        if not any(faces):
            return Protection(data=data, report=self._report("no_face", photo, start))
        on_progress(Progress(stage="loading", fraction=0.04))
        names, warnings = self.panel(options.team)
        tracks = watch(self, plain, faces, names, gap=0 if photo.info.format == "tiff" else GAP)
        found = tuple(lead(track).face.box for track in tracks)
        tracks = [tracks[i] for i in _chosen(found, options)]
        if (why := _left_alone(len(found), len(tracks), options)) is not None:
            return Protection(data=data, report=replace(self._report(why, photo, start), found=found))

        def progress(stage: Stage, fraction: float) -> None:
            on_progress(Progress(stage=stage, fraction=fraction, faces=len(tracks)))

        parts = [list(shots(sights)) for sights in tracks]
        cast = [shot for shots_of_one in parts for shot in shots_of_one]
        scenes = by_frame(cast, len(frames))
        people = self._actors(data, cast, names, options.team, gallery)
        if photo.lossy:
            plain = aligned(decode(encode(photo, *_split(plain))).frames, plain)
        targets = []
        for person, shot in zip(people, cast, strict=True):
            number, view = lead(shot).frame, View(frames[lead(shot).frame].rgb, lead(shot).face, self._device)
            targets += self._targets(frames[number], plain[number], [view], [person], options)
        budgets = [
            [_budget(frame, rgb, view, options) for view in self._views(frame, scene)]
            for frame, rgb, scene in zip(frames, plain, scenes, strict=True)
        ]
        team = self._team(options.team)
        masks = self._search(targets, team, options, progress, cancelled)
        progress("encoding", 0.92)
        protected, delivered = self._paste_film(photo, scenes, masks, budgets)
        progress("checking", 0.96)
        said = self._check_film(frames, plain, delivered, scenes, masks, targets, budgets)
        reports, first = [], 0
        for shots_of_one in parts:
            own = slice(first, first := first + len(shots_of_one))
            reports.append(self._worst_of(said[own], masks[own], people[own], delivered, names, options))
        warnings += self._put_on_record(photo, delivered, len(found) - len(tracks))
        whole = self._report("protected", photo, start, reports, warnings)
        return Protection(data=protected, report=replace(whole, found=found))

    def _paste_film(
        self,
        photo: Photo,
        scenes: Sequence[Sequence[tuple[int, Face]]],
        masks: Sequence[Mask],
        budgets: Sequence[Sequence[float]],
    ) -> tuple[bytes, list[RGB]]:
        """The protected film, and its frames as they decode to. budgets: of each face in each frame. Where a frame
        shows masks more than these allow, as one darker than they were made for, it takes less of them."""
        frames = [photo, *photo.more]
        strengths: list[npt.NDArray[np.float64]] = [np.ones(len(scene)) for scene in scenes]
        for left in reversed(range(SHRINKS + 1)):
            shown = [
                [masks[part].without_colour if frame.colourless else masks[part] for part, _ in scene]
                for frame, scene in zip(frames, scenes, strict=True)
            ]
            wanted = [
                paste(frame.rgb, self._views(frame, scene), _weaker(some, strength))
                for frame, scene, some, strength in zip(frames, scenes, shown, strengths, strict=True)
            ]
            protected = encode(photo, *_split(wanted))
            delivered = aligned(decode(protected).frames, wanted)
            shares = [self._shares(*frame) for frame in zip(frames, delivered, scenes, budgets, strict=True)]
            if not left or all((share == 1).all() for share in shares):
                break
            strengths = [strength * share for strength, share in zip(strengths, shares, strict=True)]
        return protected, delivered

    def _shares(
        self, frame: Photo, masked: RGB, scene: Sequence[tuple[int, Face]], budgets: Sequence[float]
    ) -> npt.NDArray[np.float64]:
        """What of each mask in a frame its budget allows, and those of the faces that it reaches into: at most 1."""
        views = self._views(frame, scene)
        own = [
            _shrink(quality(view.boxed(frame.rgb), view.boxed(masked))[0], budget)
            for view, budget in zip(views, budgets, strict=True)
        ]
        return np.array([min(own[i] for i in near) for near in _near(views)])

    def _check_film(
        self,
        frames: Sequence[Photo],
        plain: Sequence[RGB],
        delivered: Sequence[RGB],
        scenes: Sequence[Sequence[tuple[int, Face]]],
        masks: Sequence[Mask],
        targets: Sequence[Target],
        budgets: Sequence[Sequence[float]],
    ) -> list[list[tuple[Sight, FaceReport]]]:
        """For each shot, what the delivered frames hold of its face. plain: the frames encoded without masks; budgets:
        of each face in each frame."""
        said: list[list[tuple[Sight, FaceReport]]] = [[] for _ in targets]
        for number, scene in enumerate(scenes):
            views, parts = self._views(frames[number], scene), [part for part, _ in scene]
            before = self._embed(views, list(targets[0].goals), plain[number])
            aims = [replace(targets[part], budget=budget) for part, budget in zip(parts, budgets[number], strict=True)]
            some = [masks[part] for part in parts], aims
            reports = self._check(frames[number], before, delivered[number], views, *some)
            for (part, face), report in zip(scene, reports, strict=True):
                said[part].append((Sight(number, face), report))
        return said

    def _worst_of(
        self,
        said: Sequence[Sequence[tuple[Sight, FaceReport]]],
        masks: Sequence[Mask],
        people: Sequence[Person],
        delivered: Sequence[RGB],
        names: Sequence[str],
        options: MaskOptions,
    ) -> FaceReport:
        """One face's report over all its shots, with the verdicts on the frame in which it is hidden least."""
        every = [(person, sight, report) for person, shot in zip(people, said, strict=True) for sight, report in shot]
        person, sight, _ = every[weakest([report for *_, report in every])]
        verdicts: list[Verdict] = []
        for upload in (BARE, options.upload):
            verdicts += judge(self, delivered[sight.frame], [sight.face], [person], names, options.team, upload)[0]
        return replace(together([report for *_, report in every], list(masks)), verdicts=tuple(verdicts))

    def _views(self, frame: Photo, scene: Sequence[tuple[int, Face]]) -> list[View]:
        return [View(frame.rgb, face, self._device) for _, face in scene]

    def _actors(
        self,
        data: bytes,
        cast: Sequence[Sequence[Sight]],
        names: Sequence[str],
        team: Sequence[str],
        gallery: Mapping[str, Embeddings],
    ) -> list[Person]:
        """The person behind each shot, whose looks in all frames of the shot are references."""
        faces = {name: torch.stack([lead(shot).look[name] for shot in cast]) for name in names}
        people = []
        for person, shot in zip(self._people(data, faces, team, gallery), cast, strict=True):
            looks = {name: torch.stack([sight.look[name] for sight in shot]) for name in names}
            known = {name: torch.cat([person.references[name], looks[name]]) for name in names}
            people.append(replace(person, references=known))
        return people

    def _bare_in_own_work(self, photo: Photo) -> int | None:
        """How many faces are bare in a photo of which PMask has made these very pixels, of all frames; None: it has
        not."""
        return None if self._record is None else self._record.bare(*photo.frames)

    def _put_on_record(self, photo: Photo, masked: Sequence[RGB], bare: int) -> tuple[str, ...]:
        """Remembers the protected frames, and how many of their faces are bare; but not where no pixel changed, or the
        bare photo would pass for protected. A warning where that fails: the photo is protected all the same."""
        try:
            if self._record is not None and not all(map(np.array_equal, photo.frames, masked)):
                self._record.add(*masked, bare=bare)
        except OSError as error:
            return (f"{error}; picked again, this photo will be masked a second time",)
        return ()

    def _people(
        self, data: bytes, faces: Mapping[str, Tensor], team: Sequence[str], gallery: Mapping[str, Embeddings]
    ) -> list[Person]:
        """The person behind each face of the photo, which joins the album."""
        album: Faces = {}
        if self._album is not None:
            self._album.add(_mark(data), faces)
            album = self._album.besides(_mark(data), list(faces))
        shown = {name: torch.from_numpy(rows).to(self._device) for name, rows in gallery.items()}
        return persons(faces, team, album, shown)

    def _targets(
        self,
        photo: Photo,
        plain: RGB,
        views: list[View],
        people: Sequence[Person],
        options: MaskOptions,
    ) -> list[Target]:
        """What the search is to reach for each view."""

        def encoded(patch: Tensor) -> Tensor:
            pixels = np.rint(patch[0].permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)
            again = torch.from_numpy(reencoded(photo, pixels)).to(patch.device)
            return again.permute(2, 0, 1)[None].float() / 255

        grey = photo.colourless
        return [
            Target(
                patch=view.patch(photo.rgb),
                to_frame=view.to_frame,
                to_patch=view.to_patch,
                window=view.patch_window,
                boxes=view.patch_boxes,
                references={name: person.references[name] for name in options.team},
                nearest={name: person.nearest(name) for name in options.team},
                goals={name: goal(person.nearest(name), options.delta) for name in options.team},
                budget=_budget(photo, plain, view, options),
                grey=grey,
                encoded=encoded if photo.lossy and not view.shrunk else None,
            )
            for view, person in zip(views, people, strict=True)
        ]

    def _search(
        self,
        targets: list[Target],
        team: Mapping[str, Embed],
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

    def _embed(self, views: list[View], names: Sequence[str], rgb: RGB) -> dict[str, Tensor]:
        """For each named recogniser, embeddings (views, dim) of the faces of a photo, a batch at a time."""
        parts: dict[str, list[Tensor]] = {
            name: [torch.empty(0, SPECS[name].dim, device=self._device)] for name in names
        }
        with torch.no_grad():
            for first in range(0, len(views), FACES_AT_ONCE):
                frames = torch.cat([view.frame(rgb) for view in views[first : first + FACES_AT_ONCE]])
                for name, embed in self._team(names).items():
                    parts[name].append(embed(frames))
        return {name: torch.cat(rows) for name, rows in parts.items()}

    def _check(
        self,
        photo: Photo,
        before: Mapping[str, Tensor],
        delivered: RGB,
        views: list[View],
        masks: list[Mask],
        targets: list[Target],
    ) -> list[FaceReport]:
        """What the delivered pixels really hold, face by face. before: embeddings without a mask, encoded."""
        after = self._embed(views, list(before), delivered)
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

    def _report(
        self,
        status: Status,
        photo: Photo,
        start: float,
        faces: Sequence[FaceReport] = (),
        warnings: Sequence[str] = (),
    ) -> Report:
        return Report(
            status=status,
            faces=tuple(faces),
            seconds=time.monotonic() - start,
            width=photo.info.width,
            height=photo.info.height,
            format=photo.info.format,
            device=self.device,
            warnings=(*(photo.warnings if faces else photo.left), *warnings),
        )


def _split(frames: Sequence[RGB]) -> tuple[RGB, Sequence[RGB]]:
    """The first frame and the others, as they are encoded."""
    return frames[0], frames[1:]


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


def _chosen(found: Sequence[Box], options: MaskOptions) -> list[int]:
    """Which of the faces found are masked: not those that the person left out. Each box of theirs leaves out one face,
    for in a slideshow the next one is in the same place."""
    chosen = list(range(len(found)))
    for box in options.leave_out:
        near = [i for i in chosen if iou(found[i], box) >= LEFT_OUT_IOU]
        if near:
            chosen.remove(max(near, key=lambda i: iou(found[i], box)))
    return chosen


def _left_alone(found: int, chosen: int, options: MaskOptions) -> Status | None:
    """Why nothing is masked in a photo in which so many faces were found and so many of them chosen; None: it is."""
    if not found:
        return "no_face"
    return "looked" if options.look else None if chosen else "left_out"


def _budget(photo: Photo, plain: RGB, view: View, options: MaskOptions) -> float:
    """The most that (1 - SSIM) / 2 of a delivered face may be. What encoding alone takes (plain: without a mask) is not
    charged to the mask, but where it is written finer than it came, for the mask's sake."""
    if photo.way.refined:
        return options.omega
    return options.omega + (1 - quality(view.boxed(photo.rgb), view.boxed(plain))[0]) / 2


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


def _shrink(ssim: float, budget: float) -> float:
    """The factor at most 1 that brings masks in a face back to its budget: 1 - SSIM grows with the mask's square."""
    cost = (1 - ssim) / 2
    return 1.0 if cost <= budget else SHRINK_MARGIN * math.sqrt(budget / cost)


def _weaker(masks: Sequence[Mask], shares: npt.NDArray[np.float64]) -> list[Mask]:
    """That share of each mask."""
    return [replace(mask, values=mask.values * float(share)) for mask, share in zip(masks, shares, strict=True)]


def _near(views: Sequence[View]) -> list[list[int]]:
    """For each view the numbers of those whose masks reach into its face, its own among them."""
    return [[i for i, other in enumerate(views) if iou(view.area, other.area) > 0] for view in views]


def _mark(data: bytes) -> str:
    """A photo's own name in the album."""
    return hashlib.sha256(data).hexdigest()
