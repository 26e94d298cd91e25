"""Table 4 and Figure 11 of the paper: does focal diversity tell which team protects?

.venv/bin/python scripts/experiments/figure_11_diversity.py --faces DIR [--intruders DIR] [--quick | --full]
"""

from __future__ import annotations

from statistics import fmean, stdev

from plan import FARTHER, Ask, Plan, main, outsiders, psr
from publish import Table, publish
from validation import ranking

from pmask.evaluation.svg import Panel, Points, figure
from pmask.teaming import rank_correlation

NAME = "table-4-figure-11"
TITLE = "Table 4 and Figure 11: focal diversity and protection"
SIZES = {2: "pairs", 3: "triples"}


def asks(plan: Plan) -> list[Ask]:
    """What is evaluated."""
    return [Ask(team=team) for size in SIZES for team in plan.teams(size)]


def run(plan: Plan) -> None:
    """Makes the files."""
    results = {ask.team: plan.evaluation(ask) for ask in asks(plan)}
    first = next(iter(results.values()))
    judges = list(first.intruders)
    strangers = outsiders(first, plan)
    apart, far = (
        {team: fmean(psr(result, rank=rank)[judge] for judge in strangers) for team, result in results.items()}
        for rank in (1, FARTHER)
    )
    rows = [["unprotected", "", *_cells(list(psr(first, bare=True).values())), "", ""]]
    panels: list[Panel] = []
    words = []
    for size, kind in SIZES.items():
        ranked = ranking(plan, size)
        words += ranked.words
        for team in ranked.teams:
            figures = psr(results[team.members])
            place = {0: ", the most diverse", len(ranked.teams) - 1: ", the least diverse"}
            rows.append(
                [
                    f"{', '.join(team.members)}{place.get(ranked.teams.index(team), '')}",
                    f"{team.diversity:.3f} ({', '.join(map(str, team.negatives))})",
                    *_cells([figures[judge] for judge in judges]),
                    f"{apart[team.members]:.0f}",
                    f"{far[team.members]:.0f}",
                ]
            )
        for rank, reached in ((1, apart), (FARTHER, far)):
            points = [(team.diversity, reached[team.members], "+".join(team.members)) for team in ranked.teams]
            words.append(f"Over {len(points)} {kind} diversity and PSR at rank {rank} {_together(points)}.")
            panels.append(
                Points(
                    title=f"All {kind}, rank {rank}, the mean over judges that are never in a team",
                    across="focal diversity",
                    unit="PSR, %",
                    points=points,
                )
            )
    head = [
        "team",
        "focal diversity (negatives)",
        *judges,
        "mean",
        "std",
        "mean, never in a team",
        f"at rank {FARTHER}",
    ]
    publish(plan, NAME, TITLE, _lines(words), Table(head, rows), figure(panels), list(results.values()))


def _cells(values: list[float]) -> list[str]:
    return [f"{value:.0f}" for value in (*values, fmean(values), stdev(values))]


def _together(points: list[tuple[float, float, str]]) -> str:
    """Their rank correlation in words."""
    found = rank_correlation([(diversity, protection) for diversity, protection, _ in points])
    if found is None:
        return "cannot be correlated: they are fewer than three, or one of them does not vary"
    return f"have a rank correlation of {found:.2f}"


def _lines(words: list[str]) -> str:
    head = "PSR at rank 1 in percent by PMask as it is, the most diverse team of each size first."
    return " ".join([head, *dict.fromkeys(words)])


if __name__ == "__main__":
    main(run, __doc__)
