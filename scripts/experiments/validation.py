"""Teams ranked by focal diversity (pmask.validation, pmask.teaming) on people of the gallery, none under protection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from plan import Plan

from pmask.degradations import words
from pmask.evaluation.people import find_people, split
from pmask.teaming import Team, few, rank_teams
from pmask.validation import Folder, Searches, search


@dataclass(frozen=True)
class Ranking:
    """teams, the most diverse first. words: what it rests on."""

    teams: list[Team]
    words: list[str]


def ranking(plan: Plan, size: int) -> Ranking:
    """All teams of so many members."""
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
    return search(Folder.of(parts.others), plan.pool, device=plan.device)


if __name__ == "__main__":
    raise SystemExit("this ranks teams for figure_11_diversity.py and table_5_ablation.py; run one of them")
