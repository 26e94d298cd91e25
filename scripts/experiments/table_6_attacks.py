"""Table 6 of the paper: intruders who compress or filter photos in the hope to wash masks out.

.venv/bin/python scripts/experiments/table_6_attacks.py --faces DIR [--intruders DIR] [--quick | --full]
"""

from __future__ import annotations

from statistics import fmean, stdev

from plan import ATTACKS, COMPARED, COMPARISON, METHOD_WORDS, Ask, Plan, main, psr, unseen
from publish import Table, publish

from pmask.evaluation.pipelines import PIPELINES
from pmask.evaluation.svg import Bars, figure
from pmask.evaluation.work import AS_DELIVERED

NAME = "table-6"
TITLE = "Table 6: protection against adaptive intruders"


def asks(plan: Plan) -> list[Ask]:
    """What is evaluated."""
    return list(COMPARISON.values())


def run(plan: Plan) -> None:
    """Makes the files."""
    results = plan.comparison()
    judges, team = list(results["pmask"].intruders), results["pmask"].settings.options.team
    ways = (AS_DELIVERED, *ATTACKS)
    rows = [
        [METHOD_WORDS[method], PIPELINES[way].words, *_cells(psr(results[method], way), team)]
        for method in reversed(COMPARED)
        for way in ways
    ]
    bare = results["pmask"]
    rows += [["unprotected", PIPELINES[way].words, *_cells(psr(bare, way, bare=True), team)] for way in ways]
    series = {METHOD_WORDS[m]: [unseen(psr(results[m], way), team) for way in ways] for m in COMPARED}
    picture = figure(
        [
            Bars(
                title="Protection behind filters, the mean over judges outside the team",
                unit="PSR, %",
                groups=[PIPELINES[way].words for way in ways],
                series=series,
                top=100.0,
            )
        ]
    )
    words = (
        "PSR at rank 1 in percent. Each filter is applied to the delivered file, and the face is found and aligned "
        "afresh behind it. What the unprotected files lose behind a filter is the filter's own harm to recognition."
    )
    head = ["method", "photos as", *judges, "mean", "std", "mean, unseen"]
    publish(plan, NAME, TITLE, words, Table(head, rows), picture, list(results.values()))


def _cells(figures: dict[str, float], team: tuple[str, ...]) -> list[str]:
    values = list(figures.values())
    return [f"{value:.0f}" for value in (*values, fmean(values), stdev(values), unseen(figures, team))]


if __name__ == "__main__":
    main(run, __doc__)
