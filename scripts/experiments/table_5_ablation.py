"""Table 5 of the paper: what the loss and what the team are worth, each alone and together.

    .venv/bin/python scripts/experiments/table_5_ablation.py --faces DIR [--intruders DIR] [--quick | --full]

scripts/ablation.py takes today's search apart, one factor at a time.
"""

from __future__ import annotations

from statistics import fmean, stdev

from plan import METHOD_WORDS, Ask, Plan, main, outsiders, psr
from publish import Table, publish
from validation import ranking

from pmask.evaluation.svg import Bars, figure

NAME = "table-5"
TITLE = "Table 5: the loss and the team, alone and together"
LOSSES = ("fawkes", "paper", "pmask")
"""Fawkes's loss, the reverse triplet loss by the paper's plain search, and by today's."""


def asks(plan: Plan) -> list[Ask]:
    """What is evaluated, with any two pairs: which they are does not change how long it takes."""
    return [Ask(method=method, team=team) for team in plan.teams(2)[:2] for method in LOSSES]


def run(plan: Plan) -> None:
    """Makes the files."""
    ranked = ranking(plan, 2).teams
    pairs = {"least diverse": ranked[-1].members, "most diverse": ranked[0].members}
    cases = [(words, Ask(method=method, team=team)) for method in LOSSES for words, team in pairs.items()]
    results = [plan.evaluation(ask) for _, ask in cases]
    judges = list(results[0].intruders)
    strangers = outsiders(results[0], plan)
    bare = psr(results[0], bare=True)
    labels = [f"{METHOD_WORDS[ask.method]}, {words} pair" for words, ask in cases]
    figures = [psr(result) for result in results]
    rows = [["unprotected", "", *_cells(bare, judges, strangers)]]
    rows += [
        [label, ", ".join(ask.team), *_cells(found, judges, strangers)]
        for label, (_, ask), found in zip(labels, cases, figures, strict=True)
    ]
    series = {"": [fmean(found[judge] for judge in strangers) for found in figures]}
    title = "The mean over judges that are never in a team"
    picture = figure([Bars(title=title, unit="PSR, %", groups=labels, series=series, top=100.0)])
    words = (
        "PSR at rank 1 in percent, as in the paper with teams of two: Fawkes's loss or the reverse triplet loss, "
        "against the pair with the least or the most focal diversity. The paper took Fawkes's own pair for the first. "
        f"All have the same budget, SSIM 0.966. The last column is the mean over {', '.join(strangers)}."
    )
    head = ["", "team", *judges, "mean", "std", "mean, never in a team"]
    publish(plan, NAME, TITLE, words, Table(head, rows), picture, results)


def _cells(figures: dict[str, float], judges: list[str], strangers: list[str]) -> list[str]:
    values = [figures[judge] for judge in judges]
    return [f"{v:.0f}" for v in (*values, fmean(values), stdev(values), fmean(figures[judge] for judge in strangers))]


if __name__ == "__main__":
    main(run, __doc__)
