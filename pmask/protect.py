"""The way of one photo through the library: bytes, pixels, faces, masks, and bytes of the same kind again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pmask import recording, store
from pmask.check import judges
from pmask.errors import DeviceUnavailable, OutOfMemory, WeightsUnavailable
from pmask.faces import Face, load_detector
from pmask.film import protect_film
from pmask.geometry import FRAME_SIZE
from pmask.images import RGB, Photo, decode
from pmask.job import FACES_AT_ONCE, Job, album_key
from pmask.mask import DEFAULT_SEARCH, Embed, Search
from pmask.options import MaskOptions
from pmask.people import Album
from pmask.population import Embeddings
from pmask.recognisers.pool import Recogniser, load
from pmask.recognisers.replay import quickest
from pmask.recognisers.specs import SPECS
from pmask.record import Record
from pmask.report import Progress, Protection
from pmask.still import protect_still
from pmask.views import View


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
        self.torch_device, self.search, self._say = choose_device(device), search, say
        self.album, self.record, self._judges = album, record, judges
        self.detect = load_detector(detector, say)
        self._recognisers: dict[str, Recogniser] = {}
        self._quickest: dict[str, Embed] = {}

    @property
    def device(self) -> str:
        """Where masks are made: cpu, cuda or mps."""
        return self.torch_device.type

    def recogniser(self, name: str) -> Recogniser:
        """The recogniser ``name`` on this device. Raises UnknownRecogniser or WeightsUnavailable."""
        if name not in self._recognisers:
            self._recognisers[name] = load(name, self.torch_device, self._say)
        return self._recognisers[name]

    def team(self, names: Sequence[str]) -> dict[str, Embed]:
        """These recognisers, as quick as this device has them."""
        for name in names:
            if name not in self._quickest:
                self._quickest[name] = quickest(self.recogniser(name), self.torch_device)
        return {name: self._quickest[name] for name in names}

    def embed(self, rgb: RGB, faces: Sequence[Face], names: Sequence[str]) -> dict[str, Tensor]:
        """For each named recogniser, unit embeddings (faces, dim) of these faces of a photo."""
        return self.embed_views([View(rgb, face, self.torch_device) for face in faces], names, rgb)

    def embed_views(self, views: Sequence[View], names: Sequence[str], rgb: RGB) -> dict[str, Tensor]:
        """As ``embed``, by the views of the faces; a batch at a time."""
        parts: dict[str, list[Tensor]] = {
            name: [torch.empty(0, SPECS[name].dim, device=self.torch_device)] for name in names
        }
        with torch.no_grad():
            for first in range(0, len(views), FACES_AT_ONCE):
                frames = torch.cat([view.frame(rgb) for view in views[first : first + FACES_AT_ONCE]])
                for name, embed in self.team(names).items():
                    parts[name].append(embed(frames))
        return {name: torch.cat(rows) for name, rows in parts.items()}

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
        if not recording.records(self.torch_device):
            return
        frame = torch.full((1, 3, FRAME_SIZE, FRAME_SIZE), 0.5, device=self.torch_device)
        for name, embed in self.team(names).items():
            with torch.no_grad():
                embed(frame)
            if name in team:
                seen = frame.clone().requires_grad_()
                torch.autograd.grad(embed(seen).sum(), seen)

    def remember(self, data: bytes, team: Sequence[str]) -> None:
        """Puts a photo's faces into the album before its turn comes, for the other photos of one upload. Raises any
        PMaskError."""
        if self.album is not None and self._bare_in_own_work(photo := decode(data)) is None:
            names, _ = self.panel(team)
            self.album.add(album_key(data), self.embeddings(photo.rgb, names))

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
        job = Job(
            engine=self,
            data=data,
            photo=decode(data, options.metadata),
            options=options,
            gallery=gallery,
            on_progress=on_progress,
            cancelled=cancelled,
            start=start,
        )
        if not options.again and (bare := self._bare_in_own_work(job.photo)) is not None:
            return job.outcome("already_protected", data, bare=bare)
        job.progress("detecting", 0.02)
        return protect_film(job) if job.photo.more else protect_still(job)

    def _bare_in_own_work(self, photo: Photo) -> int | None:
        """How many faces are bare in a photo of which PMask has made these very pixels, of all frames; None: it has
        not."""
        return None if self.record is None else self.record.bare(*photo.frames)
