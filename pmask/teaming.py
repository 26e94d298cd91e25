"""Which recognisers make a good team: focal diversity, section 5 of the paper (https://doi.org/10.56553/popets-2024-0122).

Numbers only: who misrecognises which photo of a validation set. Nothing here knows of photos, networks or torch.

Eq. 9 as printed is upside down: its quotient would be 1 or more, and infinite where failures never coincide, while the
text gives it "a range of [0, 1] having the minimum correlation of 0 when the failure of one member is accompanied by
the correct recognition by the other". That is its reciprocal, which is also the correlation inside the measure that the
paper builds on: Partridge and Krzanowski's generalised diversity, 1 - p(2) / p(1), where p(k) is the probability that k
members drawn at random all fail (https://doi.org/10.1016/S0950-5849(97)00023-2). The reciprocal is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from pmask.errors import BadOption

Wrong = npt.NDArray[np.bool_]
"""Shape (photos, recognisers): where a recogniser takes a validation photo for somebody else, that is its NS(F)."""

SMALLEST_TEAM = 2
"""Of one alone there is nothing to correlate."""
RESAMPLES = 400
"""Of the bootstrap over people."""
INTERVAL = (2.5, 97.5)
"""Percentiles between which 95 % of the resampled diversities lie."""
FEW_NEGATIVES = 100
"""With fewer negative samples a member's correlation is uncertain by more than 0.05 (one standard error, at worst)."""


@dataclass(frozen=True, kw_only=True)
class Team:
    """members, in the order of the pool. diversity: Eq. 10, in [0, 1], NaN where a member has no negative samples.

    correlations, negatives: for each member as the focal one, Eq. 9 and the number of negative samples it rests on.
    """

    members: tuple[str, ...]
    diversity: float
    correlations: tuple[float, ...]
    negatives: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; what is unknown is null."""
        known = [None if math.isnan(value) else value for value in (self.diversity, *self.correlations)]
        return {
            "members": list(self.members),
            "diversity": known[0],
            "correlations": known[1:],
            "negatives": list(self.negatives),
        }


def telling(wrong: Wrong) -> Wrong:
    """The rows of ``wrong`` (photos, recognisers) without those that all fail: NS(F_1) n ... n NS(F_N) says nothing.

    To be given the whole pool, not a team: a photo that a team fails together is what its correlation is made of.
    """
    return wrong[~wrong.all(1)]


def focal_correlation(wrong: Wrong, focal: int) -> float:
    """Eq. 9, the focal negative correlation in [0, 1] of a team with respect to its member number ``focal``.

    wrong: (photos, members) of the team, telling photos only. 0: nobody else fails where the focal member does; 1: all
    others fail there too. NaN where the focal member never fails. Raises BadOption for a team under SMALLEST_TEAM.
    """
    size = _size(wrong)
    failing = wrong[wrong[:, focal]].sum(1)  # i, how many fail, for each of the focal member's negative samples
    if not len(failing):
        return math.nan
    shares = np.bincount(failing, minlength=size + 1) / len(failing)  # p_i
    i = np.arange(size + 1)
    one = float((i / size * shares).sum())  # p(1)
    two = float((i * (i - 1) / (size * (size - 1)) * shares).sum())  # p(2)
    return two / one


def focal_diversity(wrong: Wrong) -> float:
    """Eq. 10, the focal diversity in [0, 1] of a team: the mean over its members of 1 - focal_correlation.

    wrong: (photos, members) of the team, telling photos only. NaN where a member never fails.
    """
    return float(np.mean([1 - focal_correlation(wrong, focal) for focal in range(_size(wrong))]))


def rank_teams(wrong: Mapping[str, npt.NDArray[np.bool_]], size: int) -> list[Team]:
    """All teams of ``size`` out of a pool, the most diverse first; those of unknown diversity last, ties by the order
    of the pool.

    wrong: for each recogniser of the pool, where it fails (photos), all over the same photos in the same order; photos
    that all fail are removed here. Raises BadOption where there is no such team.
    """
    names = tuple(wrong)
    if not SMALLEST_TEAM <= size <= len(names):
        raise BadOption(f"a team of a pool of {len(names)} has {SMALLEST_TEAM} to {len(names)} members, not {size}")
    known = telling(np.column_stack([wrong[name] for name in names]))
    teams = [_team(names, known, list(columns)) for columns in combinations(range(len(names)), size)]
    return sorted(teams, key=lambda team: (math.isnan(team.diversity), -team.diversity))


def intervals(
    wrong: Mapping[str, npt.NDArray[np.bool_]], teams: Sequence[Team], people: npt.NDArray[np.str_], seed: int = 0
) -> list[tuple[float, float]]:
    """For each team, between what its diversity lies in 95 % of RESAMPLES draws of as many people, with repetition.

    wrong: as in rank_teams. people (photos): whose photo each is; photos of one person are alike, so they are drawn
    together. NaN where a member has no negative samples; draws in which it has none say nothing and are passed over.
    """
    table = np.column_stack(list(wrong.values()))
    keep = table.any(1) & ~table.all(1)  # the others weigh nothing
    table, columns = table[keep], {name: column for column, name in enumerate(wrong)}
    names, person = np.unique(people, return_inverse=True)
    chance = np.random.default_rng(seed)
    draws = chance.integers(0, len(names), (RESAMPLES, len(names)))
    drawn = np.array([np.bincount(draw, minlength=len(names)) for draw in draws])
    weights = drawn[:, person[keep]].astype(np.float32)
    size = len(teams[0].members)
    ones, twos = [], []
    for team in teams:
        part = table[:, [columns[name] for name in team.members]]
        failing = part.sum(1)
        ones.append(part * (failing / size)[:, None])
        twos.append(part * (failing * (failing - 1) / (size * (size - 1)))[:, None])
    one, two = (weights @ np.hstack(parts).astype(np.float32) for parts in (ones, twos))  # (RESAMPLES, teams * size)
    with np.errstate(invalid="ignore"):
        diversities = 1 - (two / one).reshape(RESAMPLES, len(teams), size).mean(2)
    known = [column[~np.isnan(column)] for column in diversities.T]
    bounds = [np.percentile(column, INTERVAL) if len(column) else (math.nan, math.nan) for column in known]
    return [(float(low), float(high)) for low, high in bounds]


def few(teams: Sequence[Team]) -> dict[str, int]:
    """The recognisers with fewer than FEW_NEGATIVES negative samples, and how many they have: scores of their teams are
    not to be trusted."""
    counts = {name: count for team in teams for name, count in zip(team.members, team.negatives, strict=True)}
    return {name: count for name, count in counts.items() if count < FEW_NEGATIVES}


def _team(names: Sequence[str], wrong: Wrong, columns: list[int]) -> Team:
    part = wrong[:, columns]
    return Team(
        members=tuple(names[column] for column in columns),
        diversity=focal_diversity(part),
        correlations=tuple(focal_correlation(part, focal) for focal in range(len(columns))),
        negatives=tuple(int(count) for count in part.sum(0)),
    )


def _size(wrong: Wrong) -> int:
    size = int(wrong.shape[1])
    if size < SMALLEST_TEAM:
        raise BadOption(f"a team has at least {SMALLEST_TEAM} members, not {size}")
    return size


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's, in [-1, 1], the place of ties being their mean; None for fewer than three pairs or no spread."""
    if len(pairs) < 3:
        return None
    ranks = [
        [(sum(w < v for w in row) + sum(w <= v for w in row)) / 2 for v in row] for row in zip(*pairs, strict=True)
    ]
    if any(len(set(row)) == 1 for row in ranks):
        return None
    return float(np.corrcoef(ranks)[0, 1])
