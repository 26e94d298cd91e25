"""A folder of photos of people, as embeddings: the gallery D^G of the paper (section 3). Whoever matches the face at
hand is the same person, D_l in Eq. 4; all others are strangers, among whom N(x) is looked for (pmask.people).

The embeddings are kept in the cache, one file for each folder, readable by their owner only. A photo is looked at again
when it has changed, and all of them when a recogniser has; what is no longer in the folder is forgotten.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pmask import files
from pmask.errors import PMaskError
from pmask.folders import cache_dir
from pmask.images import decode
from pmask.marks import code_mark
from pmask.population import Embeddings
from pmask.recognisers.specs import SPECS

if TYPE_CHECKING:  # it imports torch, which takes seconds, and listing or deleting needs none
    from pmask.check import Eyes

MADE_BY = ("geometry", "views", "faces", "images", "recognisers")
"""The modules that decide what an embedding is."""

_DAMAGE = (OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)
"""What reading raises of a file that was cut, emptied or made by something else."""

Shelf = dict[str, dict[str, Embeddings]]
"""For each photo, by its stamp: for each recogniser, embeddings (faces, dim) of the faces in it."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A folder whose embeddings are in the cache. file: where. marks: for each recogniser, by what they were made."""

    file: Path
    folder: Path
    marks: dict[str, str]
    shelf: Shelf

    @property
    def faces(self) -> int:
        """How many faces were found in all photos."""
        return sum(len(next(iter(photo.values()))) for photo in self.shelf.values())


def build(
    folder: Path,
    eyes: Eyes,
    names: Sequence[str],
    on_photo: Callable[[int, int], None] = lambda done, total: None,
    on_unkept: Callable[[OSError], None] | None = None,
) -> dict[str, Embeddings]:
    """For each named recogniser, embeddings (faces, dim) of every face in ``folder`` and below, kept for the next time.

    on_photo hears photos done and in all, for those that had to be looked at; when it raises, what was done is kept.
    on_unkept hears why they could not be kept, which without it is raised. Files that are no photos count as photos
    without a face; one that could not be read is looked at again the next time.
    """
    kept = _read(_file(folder))
    sound = [] if kept is None else [name for name, mark in kept.marks.items() if mark == _mark(name)]
    if kept is None or not set(names) <= set(sound):
        sound = list(names)
        kept = Kept(file=_file(folder), folder=folder.resolve(), marks={}, shelf={})
    stamps = {_stamp(photo, folder): photo for photo in _photos(folder)}
    shelf = {stamp: {name: faces[name] for name in sound} for stamp, faces in kept.shelf.items() if stamp in stamps}
    missing = [stamp for stamp in stamps if stamp not in shelf]
    try:
        for done, stamp in enumerate(missing, 1):
            if (faces := _faces(stamps[stamp], eyes, sound)) is not None:
                shelf[stamp] = faces
            on_photo(done, len(missing))
    finally:
        if shelf.keys() != kept.shelf.keys():  # else every photo that was missing could not be read
            try:
                _write(kept.file, kept.folder, {name: _mark(name) for name in sound}, shelf)
            except OSError as error:
                if on_unkept is None:
                    raise
                on_unkept(error)
    return {name: _rows(name, shelf) for name in names}


def kept() -> list[Kept]:
    """Every folder whose embeddings are in the cache."""
    found = [_read(file) for file in sorted(_home().glob("*.npz"))]
    return [gallery for gallery in found if gallery is not None]


def delete(folder: Path) -> bool:
    """Deletes what is kept of ``folder``, which itself may be gone. Whether there was anything."""
    there = _file(folder).is_file()
    _file(folder).unlink(missing_ok=True)
    return there


def delete_all() -> int:
    """Deletes what is kept of every folder, unreadable files too; how many there were."""
    there = [file for file in _home().glob("*") if file.is_file()]
    for file in there:
        file.unlink()
    return len(there)


def _home() -> Path:
    return cache_dir() / "galleries"


def _file(folder: Path) -> Path:
    return _home() / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:24]}.npz"


def _mark(name: str) -> str:
    """Changes when a recogniser's weights do, or the way of a face into it; empty for one that is no longer there."""
    return f"{SPECS[name].mark}|{code_mark(*MADE_BY)}" if name in SPECS else ""


def _photos(folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*") if not path.name.startswith(".")]
    return sorted(path for path in found if os.path.isfile(path))  # of a folder that must not be entered, none is


def _stamp(photo: Path, folder: Path) -> str:
    """What changes when the photo does."""
    stat = photo.stat()
    return f"{photo.relative_to(folder)}|{stat.st_size}|{stat.st_mtime_ns}"


def _faces(photo: Path, eyes: Eyes, names: Sequence[str]) -> dict[str, Embeddings] | None:
    """None where the photo could not be read: rights that come back, or a disk, change nothing that its stamp tells."""
    try:
        rgb = decode(files.read(photo)).rgb
    except OSError:
        return None
    except PMaskError:
        return {name: np.empty((0, SPECS[name].dim), np.float32) for name in names}
    return {name: rows.cpu().numpy() for name, rows in eyes.embed(rgb, eyes.detect(rgb), names).items()}


def _rows(name: str, shelf: Shelf) -> Embeddings:
    return np.concatenate([np.empty((0, SPECS[name].dim), np.float32), *(photo[name] for photo in shelf.values())])


def _read(file: Path) -> Kept | None:
    """A file of the cache, or None where there is none that can be read: it can be made again."""
    try:
        with file.open("rb") as stream, np.load(stream) as stored:
            about = json.loads(str(stored["about"]))
            ends = np.cumsum(about["faces"])[:-1]
            marks: dict[str, str] = about["marks"]
            parts = {name: np.split(stored[name], ends) for name in marks}
        shelf = {stamp: {name: parts[name][i] for name in marks} for i, stamp in enumerate(about["photos"])}
        return Kept(file=file, folder=Path(about["folder"]), marks=marks, shelf=shelf)
    except _DAMAGE:
        return None


def _write(file: Path, folder: Path, marks: Mapping[str, str], shelf: Shelf) -> None:
    about = {
        "folder": str(folder),
        "marks": marks,
        "photos": list(shelf),
        "faces": [len(next(iter(photo.values()))) for photo in shelf.values()],
    }
    arrays: Mapping[str, Embeddings] = {name: _rows(name, shelf) for name in marks}
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with files.replacing(file) as stream:
        np.savez(stream, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)
