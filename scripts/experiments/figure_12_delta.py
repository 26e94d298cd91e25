"""Figure 12 of the paper: what the margin delta buys and costs.

.venv/bin/python scripts/experiments/figure_12_delta.py --faces DIR [--intruders DIR] [--quick | --full]
"""

from __future__ import annotations

from statistics import fmean

from plan import FARTHER, Ask, Plan, main, psr, unseen
from publish import Table, publish

from pmask.evaluation.svg import Lines, figure

NAME = "figure-12"
TITLE = "Figure 12: the margin delta against quality, time and protection"


def asks(plan: Plan) -> list[Ask]:
    """What is evaluated."""
    return [Ask(delta=delta) for delta in plan.size.deltas]


def run(plan: Plan) -> None:
    """Makes the files."""
    deltas = plan.size.deltas
    results = [plan.evaluation(ask) for ask in asks(plan)]
    team = results[0].settings.options.team
    figures = [psr(result) for result in results]
    overall, strangers = [fmean(f.values()) for f in figures], [unseen(f, team) for f in figures]
    far = [unseen(psr(result, rank=FARTHER), team) for result in results]
    spreads = {name: [result.quality[name].mean for result in results] for name in ("ssim", "seconds", "iterations")}
    converged = [result.converged.mean if result.converged else 0.0 for result in results]
    rows = [
        [f"{delta:g}", *(f"{value:{form}}" for value, form in zip(values, _FORMS, strict=True))]
        for delta, *values in zip(
            deltas,
            overall,
            strangers,
            far,
            spreads["ssim"],
            spreads["seconds"],
            spreads["iterations"],
            converged,
            strict=True,
        )
    ]
    across = "delta (logarithmic)"
    panels = [
        Lines(title="Quality", across=across, unit="SSIM", places=deltas, series={"SSIM": spreads["ssim"]}),
        Lines(title="Time for one face", across=across, unit="s", places=deltas, series={"s": spreads["seconds"]}),
        Lines(
            title="Protection",
            across=across,
            unit="PSR, %",
            places=deltas,
            series={"all judges": overall, "outside the team": strangers, f"at rank {FARTHER}": far},
            low=0.0,
            top=100.0,
        ),
    ]
    words = (
        "PMask as it is with the default team. Means: PSR over judges, the rest over photos. Converged: the faces that "
        "reached every goal, (1 + delta) times the angle to the nearest other person, within the SSIM budget."
    )
    head = ["delta", "PSR, %", "PSR, unseen, %", f"at rank {FARTHER}", "SSIM", "seconds", "iterations", "converged, %"]
    publish(plan, NAME, TITLE, words, Table(head, rows), figure(panels), results)


_FORMS = (".0f", ".0f", ".0f", ".4f", ".1f", ".0f", ".0f")


if __name__ == "__main__":
    main(run, __doc__)
