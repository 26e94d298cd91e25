"""What an intruder makes of embeddings: who is nearest, what counts as a match, and how sure the figures are.

Numbers only; nothing here knows of photos or networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
"""As in pmask.evaluation.intruders, which imports torch."""

RANKS = (1, 10, 20)
"""An intruder who looks at so many of the nearest photos."""
FALSE_MATCHES = 1e-3
"""Share of pairs of different people that match at the angle at which an intruder verifies."""
RESAMPLES = 2000
"""Of the bootstrap over people."""
INTERVAL = (2.5, 97.5)
"""Percentiles between which 95 % of the resampled means lie."""

Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Shots:
    """Photos as an intruder has them. vectors (n, dim) of length one; a row of zeros where no face was found.
    people (n): whose photo each is."""

    vectors: Vector
    people: npt.NDArray[np.str_]

    @classmethod
    def of(cls, rows: Sequence[tuple[str, Vector | None]], dim: int) -> Shots:
        """From (person, embedding or None where no face was found)."""
        empty = np.zeros(dim, np.float32)
        vectors = np.array([empty if vector is None else vector for _, vector in rows], np.float32)
        return cls(vectors.reshape(len(rows), dim), np.array([person for person, _ in rows], dtype=np.str_))

    @property
    def found(self) -> Truths:
        """Where there is a face."""
        return np.asarray(self.vectors.any(1))

    def where(self, keep: Truths) -> Shots:
        """Those of ``keep`` (n)."""
        return Shots(self.vectors[keep], self.people[keep])

    def __add__(self, other: Shots) -> Shots:
        return Shots(np.concatenate([self.vectors, other.vectors]), np.concatenate([self.people, other.people]))

    def templates(self) -> Shots:
        """One row per person: the normalised mean of their embeddings, zeros where no face was found at all."""
        names = np.unique(self.people)
        sums = np.array([self.vectors[self.people == name].sum(0) for name in names], np.float32)
        sums = sums.reshape(len(names), self.vectors.shape[1])  # of nobody too
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return Shots(np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0), names)


@dataclass(frozen=True, kw_only=True)
class Share:
    """A percentage over people. std: of one person (n - 1), 0 for a single one. low, high: of the mean, a 95 % interval
    from RESAMPLES bootstrap resamples of the people. people: each one's own."""

    mean: float
    std: float
    low: float
    high: float
    people: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def cosines(a: Shots, b: Shots) -> Vector:
    """(a, b); minus infinity where either has no face, so that it matches nothing."""
    result = a.vectors @ b.vectors.T
    result[~a.found] = -np.inf
    result[:, ~b.found] = -np.inf
    return result


def outranked(probes: Shots, gallery: Shots, same: Truths | None = None) -> npt.NDArray[np.int64]:
    """For each probe, how many gallery photos are nearer than the nearest one of its person: 0 is recognised at rank 1.

    A tie counts as recognised. Without a found face of the person there it is the size of the gallery, and at least
    the last of RANKS: the person cannot be found. same (probes, gallery): pairs that are not compared, being one photo.
    """
    scores = cosines(probes, gallery)
    if same is not None:
        scores[same] = -np.inf
    own = np.where(probes.people[:, None] == gallery.people[None], scores, -np.inf).max(1, initial=-np.inf)
    return np.where(np.isfinite(own), (scores > own[:, None]).sum(1), max(len(gallery.people), *RANKS))


def nearest(probes: Shots, gallery: Shots) -> tuple[Vector, Vector]:
    """For each probe, the cosines (probes) of the nearest gallery photo of its person, and of the nearest of anybody
    else; -1 where there is none."""
    scores = cosines(probes, gallery)
    own = probes.people[:, None] == gallery.people[None]
    mine, others = (np.where(which, scores, -np.inf).max(1, initial=-np.inf) for which in (own, ~own))
    return np.maximum(mine, -1), np.maximum(others, -1)


def match_cosine(a: Shots, b: Shots | None = None, rate: float = FALSE_MATCHES) -> float:
    """The cosine above which a share of ``rate`` of all pairs of different people lies: pairs within ``a``, or between
    ``a`` and ``b``. With fewer than 1 / rate pairs, it is that of the most alike pair."""
    scores = cosines(a, a if b is None else b)
    others = a.people[:, None] != (a if b is None else b).people[None]
    if b is None:
        others &= np.tri(len(a.people), k=-1, dtype=bool)
    pairs = scores[others & np.isfinite(scores)]
    if not len(pairs):
        return 1.0
    allowed = int(rate * len(pairs))
    return float(np.partition(pairs, len(pairs) - 1 - allowed)[len(pairs) - 1 - allowed])


def twins(shots: Shots) -> set[tuple[str, str]]:
    """Names under which one person may be hidden twice: their averages are more alike than the photos of one person
    usually are to one another (the median)."""
    templates = shots.templates()
    same = (shots.people[:, None] == shots.people[None]) & np.tri(len(shots.people), k=-1, dtype=bool)
    usual = cosines(shots, shots)[same]
    usual = usual[np.isfinite(usual)]
    if not len(usual):
        return set()
    close = (cosines(templates, templates) > np.median(usual)) & ~np.tri(len(templates.people), dtype=bool)
    return {(str(templates.people[i]), str(templates.people[j])) for i, j in np.argwhere(close)}


def share(values: npt.ArrayLike, people: npt.NDArray[np.str_], seed: int = 0) -> Share:
    """``values`` (n), true or false, as a percentage of each person, then over them. people (n): whose each is."""
    array = np.asarray(values, np.float64)
    return summary({str(name): 100 * float(array[people == name].mean()) for name in np.unique(people)}, seed)


def summary(people: Mapping[str, float], seed: int = 0) -> Share:
    """Mean, spread and interval of one number per person. Raises ValueError when there is nobody."""
    if not people:
        raise ValueError("there is nobody to take a mean over")
    each = np.array(list(people.values()))
    drawn = np.random.default_rng(seed).integers(0, len(each), (RESAMPLES, len(each)))
    low, high = np.percentile(each[drawn].mean(1), INTERVAL)
    spread = float(each.std(ddof=1)) if len(each) > 1 else 0.0
    return Share(mean=float(each.mean()), std=spread, low=float(low), high=float(high), people=dict(people))


def protection(probes: Shots, gallery: Shots, seed: int = 0) -> dict[int, Share]:
    """The paper's PSR at each of RANKS: the share of probes whose k nearest gallery photos are all of other people."""
    beaten = outranked(probes, gallery)
    return {rank: share(beaten >= rank, probes.people, seed) for rank in RANKS}


def unverified(probes: Shots, photos: Shots, cosine: float, seed: int = 0) -> Share:
    """Share of the pairs of a probe and a photo of one person that do not match at ``cosine``."""
    rows, columns = np.nonzero(probes.people[:, None] == photos.people[None])
    scores = cosines(probes, photos)[rows, columns]
    return share(scores <= cosine, probes.people[rows], seed)


def linked(photos: Shots, gallery: Shots, seed: int = 0) -> Share | None:
    """Share of ``photos`` whose nearest other photo in the gallery is of the same person. The gallery starts with the
    photos themselves. People with one photo are left out, for nothing could be linked; None where all are."""
    itself = np.eye(len(photos.people), len(gallery.people), dtype=bool)
    several = np.array([(gallery.people == name).sum() > 1 for name in photos.people], dtype=bool)
    if not several.any():
        return None
    return share((outranked(photos, gallery, itself) < 1)[several], photos.people[several], seed)


def verified_pairs(photos: Shots, cosine: float, seed: int = 0) -> Share | None:
    """Share of the pairs of two ``photos`` of one person that match at ``cosine``; None where there are no pairs."""
    pairs = (photos.people[:, None] == photos.people[None]) & np.tri(len(photos.people), k=-1, dtype=bool)
    rows, columns = np.nonzero(pairs)
    if not len(rows):
        return None
    return share(cosines(photos, photos)[rows, columns] > cosine, photos.people[rows], seed)
