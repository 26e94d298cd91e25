"""Figure 8 and Table 2 of the paper: who protects against which recogniser, on average and person by person.

.venv/bin/python scripts/experiments/figure_8_methods.py --faces DIR [--intruders DIR] [--quick | --full]
"""

from __future__ import annotations

from statistics import fmean

from plan import COMPARED, COMPARISON, METHOD_WORDS, Ask, Plan, main, people, psr, unseen
from publish import Table, publish

from pmask.evaluation.svg import Bars, figure
from pmask.evaluation.work import AS_DELIVERED

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
    numbers = people(first)
    rows = [["everyone", "unprotected", *_cells(psr(first, bare=True), judges, team)]]
    rows += [["everyone", METHOD_WORDS[m], *_cells(psr(results[m]), judges, team)] for m in COMPARED]
    for name, number in numbers.items():
        for method in COMPARED:
            own = {
                row.intruder: row.protected.psr[1].people.get(name, float("nan"))
                for row in results[method].rows
                if row.pipeline == AS_DELIVERED and not row.average
            }
            rows.append([number, METHOD_WORDS[method], *_cells(own, judges, team)])
    words = (
        "PSR in percent: the share of a person's probes whose nearest gallery photo is of somebody else. The last two "
        f"columns are means over all judges, and over those outside the team ({', '.join(team)}), which every method "
        "makes its masks against. People are numbered, not named."
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
    table = Table(["person", "method", *judges, "mean", "mean, unseen"], rows)
    publish(plan, NAME, TITLE, words, table, picture, list(results.values()))


def _cells(figures: dict[str, float], judges: list[str], team: tuple[str, ...]) -> list[str]:
    values = [*(figures[judge] for judge in judges), fmean(figures.values()), unseen(figures, team)]
    return [f"{value:.0f}" for value in values]


if __name__ == "__main__":
    main(run, __doc__)
