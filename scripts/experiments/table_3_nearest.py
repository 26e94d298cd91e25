"""Table 3 of the paper: whom an intruder finds nearest to a probe. In figures, for no face of it may be shown here.

.venv/bin/python scripts/experiments/table_3_nearest.py --faces DIR [--intruders DIR] [--quick | --full]
"""

from __future__ import annotations

from plan import COMPARED, COMPARISON, METHOD_WORDS, Ask, Plan, main, people
from publish import Table, publish

from pmask.evaluation.results import Nearest, Results
from pmask.evaluation.svg import Bars, figure

NAME = "table-3"
TITLE = "Table 3: the nearest gallery photo of one probe each"
PEOPLE, JUDGES = 3, 2
"""As many as in the paper."""


def asks(plan: Plan) -> list[Ask]:
    """What is evaluated."""
    return list(COMPARISON.values())


def run(plan: Plan) -> None:
    """Makes the files."""
    results = plan.comparison()
    first = results[COMPARED[0]]
    team = first.settings.options.team
    judges = [name for name in first.intruders if name not in team][:JUDGES]
    persons = list(people(first).items())[:PEOPLE]
    cases = [(name, number, judge) for name, number in persons for judge in judges]
    found = {method: [_nearest(results[method], name, judge) for name, _, judge in cases] for method in COMPARED}
    rows = [
        [number, judge, *(_words(found[method][i]) for method in COMPARED)]
        for i, (_, number, judge) in enumerate(cases)
    ]
    series = {METHOD_WORDS[m]: [near.own_degrees - near.other_degrees for near in found[m]] for m in COMPARED}
    groups = [f"{number}, {judge}" for _, number, judge in cases]
    title = "How much nearer than the person's own photos a stranger is (below 0: the person is found)"
    words = (
        f"For the first probe of each of {len(persons)} people and {len(judges)} judges outside the team: whose "
        "gallery photo is nearest, at how many degrees, and where the person's own nearest photo comes. The paper "
        "shows the faces; these are press photos of real people, so they are described."
    )
    picture = figure([Bars(title=title, unit="degrees", groups=groups, series=series)])
    head = ["probe of", "judge", *(METHOD_WORDS[method] for method in COMPARED)]
    publish(plan, NAME, TITLE, words, Table(head, rows), picture, list(results.values()))


def _nearest(results: Results, person: str, judge: str) -> Nearest:
    """What the judge finds for the person's first probe."""
    return next(near for near in results.nearest if (near.person, near.intruder) == (person, judge))


def _words(near: Nearest) -> str:
    if near.outranked == 0:
        return f"**found**: the person at {near.own_degrees:.0f}°, a stranger at {near.other_degrees:.0f}°"
    return (
        f"a stranger at {near.other_degrees:.0f}°, the person at {near.own_degrees:.0f}° in place {near.outranked + 1}"
    )


if __name__ == "__main__":
    main(run, __doc__)
