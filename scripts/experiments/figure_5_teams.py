"""Figure 5 of the paper: how much the choice of the team matters, over all pairs and triples of the pool.

.venv/bin/python scripts/experiments/figure_5_teams.py --faces DIR [--intruders DIR] [--quick | --full]
"""

from __future__ import annotations

from statistics import fmean

from plan import FARTHER, Ask, Plan, main, outsiders, psr, unseen
from publish import Table, publish

from pmask.evaluation.svg import Bars, figure

NAME = "figure-5"
TITLE = "Figure 5: protection by every pair and triple of the pool"
SIZES = {2: "pairs", 3: "triples"}


def asks(plan: Plan) -> list[Ask]:
    """What is evaluated."""
    return [Ask(team=team) for size in SIZES for team in plan.teams(size)]


def run(plan: Plan) -> None:
    """Makes the files."""
    results = {ask.team: plan.evaluation(ask) for ask in asks(plan)}
    judges = list(next(iter(results.values())).intruders)
    strangers = outsiders(next(iter(results.values())), plan)
    figures = {team: psr(result) for team, result in results.items()}
    apart, far = (
        {team: fmean(psr(result, rank=rank)[judge] for judge in strangers) for team, result in results.items()}
        for rank in (1, FARTHER)
    )
    ranked = sorted(results, key=lambda team: (len(team), -apart[team], -far[team]))
    rows = [
        [
            ", ".join(team),
            *(f"{figures[team][judge]:.0f}{'*' if judge in team else ''}" for judge in judges),
            f"{apart[team]:.0f}",
            f"{far[team]:.0f}",
            f"{unseen(figures[team], team):.0f}",
            f"{results[team].quality['seconds'].median:.1f}",
        ]
        for team in ranked
    ]
    panels = [
        Bars(
            title=f"All {words}, the mean over judges that are never in a team",
            unit="PSR, %",
            groups=[" + ".join(team) for team in ranked if len(team) == size],
            series={
                "rank 1": [apart[team] for team in ranked if len(team) == size],
                f"rank {FARTHER}": [far[team] for team in ranked if len(team) == size],
            },
            top=100.0,
        )
        for size, words in SIZES.items()
    ]
    words = (
        "PSR at rank 1 in percent, by PMask as it is with each team, the best of each size first. A star: the judge is "
        f"in the team. The means are over {', '.join(strangers)}, and over all judges outside the team. Seconds are "
        "the median of the search for one face."
    )
    head = ["team", *judges, "mean, never in a team", f"at rank {FARTHER}", "mean, unseen", "s"]
    publish(plan, NAME, TITLE, words, Table(head, rows), figure(panels), list(results.values()))


if __name__ == "__main__":
    main(run, __doc__)
