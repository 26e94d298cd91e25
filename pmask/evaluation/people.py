"""Who is in the folders of an evaluation, whose photos are protected, and which of them the intruder searches with."""

from __future__ import annotations

import hashlib
import random
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pmask.errors import BadOption

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff", ".bmp"})
DISTRACTORS = "distractors"
"""A folder of this name holds one person per photo, each called as its file."""
EVERY_SET = "all"


@dataclass(frozen=True, kw_only=True)
class PhotoFile:
    """One file. source: the set it came from, the name of its person's parent folder. digest: SHA-256 of its bytes."""

    path: Path
    source: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class Subject:
    """name is normalised; photos are sorted by path, no two with the same bytes."""

    name: str
    photos: tuple[PhotoFile, ...]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A person under protection. probes: what the intruder searches with, never protected. gallery: protected.
    left_out: how many more photos there are, which are neither probes nor in the gallery."""

    name: str
    probes: tuple[PhotoFile, ...]
    gallery: tuple[PhotoFile, ...]
    left_out: int


@dataclass(frozen=True, kw_only=True)
class Split:
    """chosen: people whose gallery photos are protected; others: people whose photos are in the gallery as they are."""

    chosen: tuple[Chosen, ...]
    others: tuple[Subject, ...]

    @property
    def bare(self) -> list[PhotoFile]:
        """Every photo that is needed unprotected: probes, and the whole gallery for the baseline."""
        kept = [photo for person in self.others for photo in person.photos]
        return kept + [photo for person in self.chosen for photo in (*person.probes, *person.gallery)]

    @property
    def protected(self) -> list[PhotoFile]:
        """The photos that are to be protected."""
        return [photo for person in self.chosen for photo in person.gallery]


def same_names(pairs: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The two names of each --same A=B. Raises BadOption."""
    found = []
    for text in pairs:
        one, sign, other = text.partition("=")
        if not sign:
            raise BadOption(f"--same {text} must be two names, as in --same A=B")
        found.append((one, other))
    return tuple(found)


def find_people(folder: Path, same: Sequence[tuple[str, str]] = ()) -> list[Subject]:
    """Everyone in ``folder``, sorted by name: a person is a folder that directly holds photos, or a photo of a folder
    called DISTRACTORS. One name in two sets is one person, and so are two names of ``same``, who get the second's.

    Raises BadOption where there is nobody, or nobody of a name in ``same``.
    """
    if not folder.is_dir():
        raise BadOption(f"--faces {folder} is no folder; name one that holds a folder of photos for each person")
    found: dict[str, dict[str, PhotoFile]] = defaultdict(dict)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in PHOTO_SUFFIXES or not path.is_file() or path.name.startswith("."):
            continue
        alone = path.parent.name == DISTRACTORS
        name = normalised(re.sub(r"[_-]?\d+$", "", path.stem) if alone else path.parent.name)
        source = DISTRACTORS if alone else path.parent.parent.name
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        # a second copy of a photo could be a probe and in the gallery at once
        found[name].setdefault(digest, PhotoFile(path=path, source=source, digest=digest))
    if not found:
        raise BadOption(f"--faces {folder} holds no photos; it must hold a folder of photos for each person")
    for names in same:
        first, second = map(normalised, names)
        if first == second or not {first, second} <= set(found):
            raise BadOption(f"--same {'='.join(names)} must be two different names of people in {folder}")
        found[second] = found.pop(first) | found[second]
    return [Subject(name=name, photos=tuple(photos.values())) for name, photos in sorted(found.items())]


def normalised(name: str) -> str:
    """A person's name without accents, case and punctuation: "Zoë_Ball" and "zoe ball" are one person."""
    plain = "".join(part for part in unicodedata.normalize("NFKD", name) if not unicodedata.combining(part))
    return re.sub(r"[\W_]+", "_", plain.casefold()).strip("_") or name


def split(
    people: Sequence[Subject],
    *,
    count: int,
    probes: int,
    photos: int | None = None,
    source: str = EVERY_SET,
    others: int | None = None,
    seed: int = 0,
) -> Split:
    """``count`` people to protect, drawn by ``seed`` from those with more than ``probes`` photos in the set ``source``.

    A person's draw does not depend on who else is drawn, so more people or other limits keep what is known. photos: the
    most that are protected of each. others: the most people in the gallery beside them. A chosen person's photos that
    are left out are in no gallery: unprotected they would give the person away. Raises BadOption.
    """
    sources = {photo.source for person in people for photo in person.photos}
    if source != EVERY_SET and source not in sources:
        raise BadOption(f"--from {source}: there is no such set; there are {', '.join(sorted(sources))}, {EVERY_SET}")
    able = [person for person in people if len(_of(person, source)) > probes]
    if len(able) < count:
        raise BadOption(
            f"only {len(able)} people have more than {probes} photos, not {count}; lower --people or --probes"
        )
    random.Random(f"people {seed}").shuffle(able)
    chosen = {person.name: _draw(person, probes, photos, source, seed) for person in able[:count]}
    rest = [person for person in people if person.name not in chosen]
    if others is not None:
        random.Random(f"others {seed}").shuffle(rest)
        rest = sorted(rest[:others], key=lambda person: person.name)
    return Split(chosen=tuple(chosen.values()), others=tuple(rest))


def _of(person: Subject, source: str) -> list[PhotoFile]:
    return [photo for photo in person.photos if source in (EVERY_SET, photo.source)]


def _draw(person: Subject, probes: int, photos: int | None, source: str, seed: int) -> Chosen:
    mine = _of(person, source)
    random.Random(f"photos {seed} {person.name}").shuffle(mine)
    gallery = mine[probes:] if photos is None else mine[probes : probes + photos]
    return Chosen(
        name=person.name,
        probes=tuple(mine[:probes]),
        gallery=tuple(gallery),
        left_out=len(person.photos) - probes - len(gallery),
    )
