"""Teams ranked by focal diversity (pmask.validation, pmask.teaming)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from plan import Plan

from pmask.degradations import words
from pmask.evaluation.people import find_people, split
from pmask.teaming import Team, few, rank_teams
from pmask.teams import evidence
from pmask.validation import Folder, Searches, search

PHOTOS_EACH = 4
"""Of one person, so that people with many photos do not count for more."""


@dataclass(frozen=True)
class Ranking:
    """teams, the most diverse first. words: what it rests on."""

    teams: list[Team]
    words: list[str]


def ranking(plan: Plan, size: int) -> Ranking:
    """All teams of so many members: as stored with PMask where it is of this very pool, else of the plan's faces."""
    stored = evidence()["rankings"].get(str(size))
    return _stored(stored) if stored and set(stored["pool"]) == set(plan.pool) else _measured(plan, size)


def _stored(known: Mapping[str, Any]) -> Ranking:
    teams = [
        Team(
            members=tuple(team["members"]),
            diversity=_number(team["diversity"]),
            correlations=tuple(map(_number, team["correlations"])),
            negatives=tuple(team["negatives"]),
        )
        for team in known["teams"]
    ]
    counts = ", ".join(f"{name} {count}" for name, count in known["negatives"].items())
    ways = "; ".join(part["words"] for part in known["degradations"].values())
    line = (
        f"Diversity (Eq. 10) is the ranking that PMask stores (docs/teaming.md): {known['searches']} searches with "
        f"photos of {known['people']} people ({ways}). Negative samples: {counts}."
    )
    return Ranking(teams, [line])


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _measured(plan: Plan, size: int) -> Ranking:
    searches = _searches(plan)
    teams = rank_teams(searches.wrong, size)
    counts = ", ".join(f"{name} {count}" for name, count in searches.negatives().items())
    ways = "; ".join(words(how) for how in dict.fromkeys(searches.degradations.tolist()))
    lines = [
        f"Diversity (Eq. 10) rests on {len(searches.people)} searches with photos of people who are not under "
        f"protection ({ways}). Negative samples: {counts}."
    ]
    if few(teams):
        lines.append(f"That is few for {', '.join(few(teams))}: take the diversity of their teams as a hint.")
    return Ranking(teams, lines)


@lru_cache(maxsize=1)
def _searches(plan: Plan) -> Searches:
    """Where each recogniser of the pool fails. Embeddings are kept in PMask's cache."""
    parts = split(
        find_people(plan.faces, plan.same),
        count=plan.size.people,
        probes=plan.size.probes,
        source=plan.source,
        others=plan.size.gallery_people,
        seed=plan.seed,
    )
    people = [replace(person, photos=person.photos[:PHOTOS_EACH]) for person in parts.others]
    return search(Folder.of(people), plan.pool, device=plan.device)


if __name__ == "__main__":
    raise SystemExit("this ranks teams for figure_11_diversity.py and table_5_ablation.py; run one of them")
