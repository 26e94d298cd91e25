"""Figure 8 and Table 2 of the paper: who protects against which recogniser, on average and person by person.

.venv/bin/python scripts/experiments/figure_8_methods.py --faces DIR [--intruders DIR] [--quick | --full]
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from plan import COMPARED, COMPARISON, FARTHER, METHOD_WORDS, Ask, Plan, main, people, psr, unseen
from publish import Table, publish

from pmask.evaluation.results import Results
from pmask.evaluation.svg import Bars, figure

NAME = "figure-8-table-2"
TITLE = "Figure 8 and Table 2: protection by method, recogniser and person"


def asks(plan: Plan) -> list[Ask]:
    """What is evaluated."""
    return list(COMPARISON.values())


def run(plan: Plan) -> None:
    """Makes the files."""
    results = plan.comparison()
    first = results[COMPARED[0]]
    judges, team = list(first.intruders), first.settings.options.team
    rows = [["everyone", "unprotected", *_cells(first, team, bare=True)]]
    persons: list[tuple[str | None, str]] = [(None, "everyone"), *people(first).items()]
    for name, number in persons:
        rows += [[number, METHOD_WORDS[method], *_cells(results[method], team, person=name)] for method in COMPARED]
    words = (
        "PSR in percent: the share of a person's probes whose nearest gallery photo is of somebody else. The last "
        f"columns are means over all judges, over those outside the team ({', '.join(team)}), which every method makes "
        f"its masks against, and the latter for the {FARTHER} nearest photos. People are numbered, not named."
    )
    groups = [*judges, "mean", "mean, unseen"]
    bars = {
        METHOD_WORDS[m]: [
            *psr(results[m]).values(),
            fmean(psr(results[m]).values()),
            unseen(psr(results[m]), team),
        ]
        for m in COMPARED
    }
    picture = figure([Bars(title="Protection by recogniser", unit="PSR, %", groups=groups, series=bars, top=100.0)])
    table = Table(["person", "method", *judges, "mean", "mean, unseen", f"at rank {FARTHER}"], rows)
    publish(plan, NAME, TITLE, words, table, picture, list(results.values()))


def _cells(results: Results, team: Sequence[str], *, bare: bool = False, person: str | None = None) -> list[str]:
    """PSR by each judge and its means, all at rank 1, and the mean at rank FARTHER."""
    near, far = (psr(results, bare=bare, rank=rank, person=person) for rank in (1, FARTHER))
    values = [*near.values(), fmean(near.values()), unseen(near, team), unseen(far, team)]
    return [f"{value:.0f}" for value in values]


if __name__ == "__main__":
    main(run, __doc__)
