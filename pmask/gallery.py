"""A folder of photos of other people, as embeddings: what N(x) of Eq. 4 is looked for among when one is given."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pmask.errors import NoFace, PMaskError
from pmask.images import decode
from pmask.population import Embeddings
from pmask.protect import Protector
from pmask.store import cache_dir


def gallery_path(folder: Path, names: Sequence[str]) -> Path:
    """Where the embeddings of ``folder`` are kept for these recognisers: a new place whenever a photo changes."""
    mark = hashlib.sha256("\0".join(sorted(names)).encode())
    for photo in _photos(folder):
        stat = photo.stat()
        mark.update(f"\0{photo.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode())
    return cache_dir() / "galleries" / f"{mark.hexdigest()[:24]}.npz"


def build(
    folder: Path,
    protector: Protector,
    names: Sequence[str],
    on_photo: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Embeddings]:
    """For each named recogniser, embeddings (faces, dim) of every face in ``folder`` and below.

    They are kept in the cache, mode 0600. on_photo hears photos done and in all. Files that are no photos are passed
    over. Raises NoFace when there is no face at all.
    """
    path = gallery_path(folder, names)
    if path.is_file():
        with np.load(path) as kept:
            return {name: kept[name] for name in names}
    photos = _photos(folder)
    found: dict[str, list[Embeddings]] = {name: [] for name in names}
    for done, photo in enumerate(photos, 1):
        try:
            rgb = decode(photo.read_bytes()).rgb
        except PMaskError:
            continue
        for name, embeddings in protector.embeddings(rgb, names).items():
            found[name].append(embeddings.cpu().numpy())
        on_photo(done, len(photos))
    if not any(len(embeddings) for embeddings in found[names[0]]):
        raise NoFace(f"no face was found in the photos of {folder}; a gallery needs photos of other people")
    gallery: dict[str, Embeddings] = {name: np.concatenate(parts) for name, parts in found.items()}
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:  # a temporary file's mode is 0600
        np.savez(part, allow_pickle=False, **gallery)
    os.replace(part.name, path)
    return gallery


def _photos(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
