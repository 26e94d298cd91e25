"""The validation folder of section 5: which photos does each recogniser take for somebody else?

A photo is misrecognised when the nearest of all other photos in the folder is of another person. The faces' embeddings
are kept in the cache (0600; pmask team forget deletes them), so that only what is new is looked at, and torch is loaded
only for that.
"""

from __future__ import annotations

import hashlib
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pmask.degradations import BARE, LEVELS, degrade
from pmask.errors import BadOption, PMaskError
from pmask.evaluation.matching import Shots, outranked
from pmask.evaluation.people import PhotoFile, Subject, find_people
from pmask.files import replacing
from pmask.folders import cache_dir
from pmask.marks import code_mark
from pmask.population import Embeddings
from pmask.recognisers.specs import SPECS
from pmask.teaming import FEW_NEGATIVES

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor

    from pmask.protect import Protector

PHOTOS_AT_ONCE = 32
SAVE_EVERY_S = 60.0
"""What is lost at most when it is stopped."""
MADE_BY = ("geometry", "views", "faces", "images", "degradations", "recognisers")
"""The modules that decide what an embedding is."""

OnPhoto = Callable[[int, int], None]
"""Hears how many photos are looked at, and of how many."""


@dataclass(frozen=True, kw_only=True)
class Folder:
    """The photos of a folder, person by person. photos (n), people (n): whose each is. probes (n): whether there is
    another photo of the person, so that it can be recognised at all."""

    photos: tuple[PhotoFile, ...]
    people: npt.NDArray[np.str_]
    probes: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, people: Sequence[Subject]) -> Folder:
        """From who is in it. Raises BadOption where nobody has two photos."""
        names = np.array([person.name for person in people for _ in person.photos], dtype=np.str_)
        several = np.array([len(person.photos) > 1 for person in people for _ in person.photos], dtype=bool)
        if not several.any():
            raise BadOption("nobody in the folder has two photos, so nobody can be recognised; give it a folder each")
        return cls(photos=tuple(photo for person in people for photo in person.photos), people=names, probes=several)

    @classmethod
    def read(cls, folder: Path, same: Sequence[tuple[str, str]] = (), most: int | None = None) -> Folder:
        """From DIR/NAME/*.jpg; see pmask.evaluation.people. most: photos of each person, chosen by their checksums, so
        that people with many photos do not count for more. Raises BadOption."""
        people = find_people(folder, same)
        if most is not None:
            people = [
                replace(person, photos=tuple(sorted(person.photos, key=lambda photo: photo.digest)[:most]))
                for person in people
            ]
        return cls.of(people)


@dataclass(frozen=True, kw_only=True)
class Searches:
    """Every probe under every degradation, searched among all other photos as they are. wrong: for each recogniser,
    where it fails (searches). people, degradations (searches): whose photo it is, and how it was made worse. faceless:
    how many photos no face was found in, or could not be read; they are in no search."""

    wrong: dict[str, npt.NDArray[np.bool_]]
    people: npt.NDArray[np.str_]
    degradations: npt.NDArray[np.str_]
    faceless: int

    def negatives(self, degradation: str | None = None) -> dict[str, int]:
        """For each recogniser, how many negative samples it has, without those that all share."""
        keep = np.logical_not(np.column_stack(list(self.wrong.values())).all(1))
        if degradation is not None:
            keep &= self.degradations == degradation
        return {name: int((fails & keep).sum()) for name, fails in self.wrong.items()}


def search(
    folder: Folder,
    names: Sequence[str],
    degradations: Sequence[str] | None = None,
    *,
    enough: int = FEW_NEGATIVES,
    device: str = "auto",
    on_photo: OnPhoto = lambda done, total: None,
) -> Searches:
    """Where the named recognisers fail. degradations: which; by default the photos as they are, and then one level of
    LEVELS after another until each recogniser has ``enough`` negative samples. Raises UnknownRecogniser or
    WeightsUnavailable."""
    if degradations is not None:
        return _search(folder, names, degradations, device, on_photo)
    tried: tuple[str, ...] = (BARE,)
    found = _search(folder, names, tried, device, on_photo)
    for level in LEVELS:
        if min(found.negatives().values()) >= enough:
            break
        tried += level
        found = _search(folder, names, tried, device, on_photo)
    return found


def embeddings(
    folder: Folder,
    names: Sequence[str],
    degradations: Sequence[str] = (BARE,),
    *,
    device: str = "auto",
    on_photo: OnPhoto = lambda done, total: None,
) -> dict[tuple[str, str], Embeddings]:
    """For each recogniser and degradation, embeddings (photos, dim) of the face in the middle of each photo, a row of
    zeros where there is none."""
    shelves = {(name, how): _Shelf(name, how) for name in names for how in degradations}
    todo = [photo for photo in folder.photos if any(photo.digest not in shelf.rows for shelf in shelves.values())]
    if todo:
        _look(todo, shelves, device, on_photo)
    return {key: shelf.stacked(folder.photos) for key, shelf in shelves.items()}


def forget() -> int:
    """Deletes all embeddings that are kept; how many files there were."""
    files = [file for file in _home().glob("*") if file.is_file()]
    for file in files:
        file.unlink()
    return len(files)


def _search(
    folder: Folder, names: Sequence[str], degradations: Sequence[str], device: str, on_photo: OnPhoto
) -> Searches:
    probes = _only(folder, folder.probes)
    bare = embeddings(folder, names, device=device, on_photo=on_photo)
    worse = embeddings(probes, names, degradations, device=device, on_photo=on_photo)
    faces: npt.NDArray[np.bool_] = np.asarray(bare[names[0], BARE].any(1))
    kept = faces[folder.probes]
    itself = np.flatnonzero(folder.probes)[kept][:, None] == np.arange(len(folder.photos))[None]
    wrong = {}
    for name in names:
        gallery = Shots(bare[name, BARE], folder.people)
        fails = [
            outranked(Shots(worse[name, how][kept], probes.people[kept]), gallery, itself) > 0 for how in degradations
        ]
        wrong[name] = np.concatenate(fails)
    return Searches(
        wrong=wrong,
        people=np.tile(probes.people[kept], len(degradations)),
        degradations=np.repeat(np.array(degradations), int(kept.sum())),
        faceless=int((~faces).sum()),
    )


def _only(folder: Folder, keep: npt.NDArray[np.bool_]) -> Folder:
    photos = tuple(photo for photo, wanted in zip(folder.photos, keep, strict=True) if wanted)
    return Folder(photos=photos, people=folder.people[keep], probes=folder.probes[keep])


def _home() -> Path:
    return cache_dir() / "validation"


class _Shelf:
    """The kept embeddings of one recogniser under one degradation, by the photos' digests."""

    def __init__(self, name: str, degradation: str) -> None:
        self.name, self.degradation, self._dim = name, degradation, SPECS[name].dim
        mark = hashlib.sha256(f"{SPECS[name].mark}|{code_mark(*MADE_BY)}".encode()).hexdigest()[:16]
        self._file = _home() / f"{name}-{degradation}-{mark}.npz"
        self.rows: dict[str, Embeddings] = self._read()
        self._saved = len(self.rows)

    def stacked(self, photos: Sequence[PhotoFile]) -> Embeddings:
        """(photos, dim)."""
        rows = [self.rows[photo.digest] for photo in photos]
        return np.array(rows, np.float32).reshape(len(rows), self._dim)

    def save(self) -> None:
        """Writes what is new, beside what another process may have written meanwhile."""
        if len(self.rows) == self._saved:
            return
        self.rows = self._read() | self.rows
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(self._file) as stream:
            vectors = np.array(list(self.rows.values()), np.float32)
            np.savez(stream, allow_pickle=False, photos=np.array(list(self.rows)), vectors=vectors)
        self._saved = len(self.rows)

    def _read(self) -> dict[str, Embeddings]:
        try:
            with self._file.open("rb") as stream, np.load(stream) as kept:
                return dict(zip(kept["photos"].tolist(), kept["vectors"], strict=True))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            return {}  # it can be made again


def _look(photos: Sequence[PhotoFile], shelves: dict[tuple[str, str], _Shelf], device: str, on_photo: OnPhoto) -> None:
    """Fills the shelves with what they lack of ``photos``."""
    from pmask.protect import Protector

    protector = Protector(device=device, judges=())
    for name, _ in shelves:
        protector.recogniser(name)  # whoever is not here is told of before the work, not after
    saved = time.monotonic()
    try:
        for done, batch in _batches(photos):
            _embed(batch, shelves, protector)
            on_photo(done, len(photos))
            if time.monotonic() - saved > SAVE_EVERY_S:
                _save(shelves)
                saved = time.monotonic()
    finally:
        _save(shelves)


def _batches(photos: Sequence[PhotoFile]) -> Iterator[tuple[int, Sequence[PhotoFile]]]:
    for start in range(0, len(photos), PHOTOS_AT_ONCE):
        batch = photos[start : start + PHOTOS_AT_ONCE]
        yield start + len(batch), batch


def _save(shelves: dict[tuple[str, str], _Shelf]) -> None:
    for shelf in shelves.values():
        shelf.save()


def _embed(photos: Sequence[PhotoFile], shelves: dict[tuple[str, str], _Shelf], protector: Protector) -> None:
    import torch

    frames = {photo.digest: _frame(photo, protector) for photo in photos}
    found = {digest: frame for digest, frame in frames.items() if frame is not None}
    for how in dict.fromkeys(how for _, how in shelves):
        shelved = [shelf for (_, other), shelf in shelves.items() if other == how]
        digests = [digest for digest in found if any(digest not in shelf.rows for shelf in shelved)]
        if digests:
            stack = torch.cat([found[digest] for digest in digests])
            worse = degrade(how, stack, [int(digest[:12], 16) for digest in digests])
            for shelf in shelved:
                with torch.no_grad():
                    rows = protector.recogniser(shelf.name)(worse.to(protector.device)).cpu().numpy()
                shelf.rows.update(zip(digests, rows, strict=True))
        for shelf in shelved:
            empty = np.zeros(SPECS[shelf.name].dim, np.float32)
            shelf.rows.update((digest, empty) for digest, frame in frames.items() if frame is None)


def _frame(photo: PhotoFile, protector: Protector) -> Tensor | None:
    """The face frame (1, 3, FRAME_SIZE, FRAME_SIZE) of the face that the photo is about, rounded to 8 bits. In a photo
    that cannot be read, there is none."""
    import torch

    from pmask.faces import central
    from pmask.images import decode
    from pmask.views import View

    try:
        rgb = decode(photo.path.read_bytes()).rgb
    except PMaskError:  # one cut file among thousands
        return None
    faces = protector.detect(rgb)
    which = central([face.box for face in faces], rgb.shape)
    if which is None:
        return None
    frame = View(rgb, faces[which], torch.device("cpu")).frame(rgb)
    return torch.round(frame.clamp(0, 1) * 255) / 255
