"""Makes all tables and figures of docs/results again: the paper's experiments on the faces and recognisers at hand.

    .venv/bin/python scripts/reproduce.py --faces DIR [--intruders DIR] [--quick | --full] [--only figure-5,table-6]

--quick (the default) is small and takes under half an hour on two cores; --full says first how long it will take. What
is done is kept in the work folder, so a run that was cut off goes on where it was. Experiments are made the most
telling first, and each is written as soon as it is done.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent / "experiments"))

import figure_5_teams
import figure_8_methods
import figure_9_10_costs
import figure_11_diversity
import figure_12_delta
import table_3_nearest
import table_5_ablation
import table_6_attacks
from plan import Ask, Plan, Size, parser, planned

import pmask  # noqa: F401  # before torch: it says how OpenMP waits
from pmask.errors import BadOption, PMaskError
from pmask.evaluation.people import find_people, split
from pmask.evaluation.protocol import Step, evaluate
from pmask.evaluation.settings import METHODS
from pmask.mask import Search


@dataclass(frozen=True)
class Experiment:
    """asks: the evaluations that it needs. run: makes its files."""

    asks: Callable[[Plan], list[Ask]]
    run: Callable[[Plan], None]


EXPERIMENTS: Mapping[str, Experiment] = {
    module.NAME: Experiment(module.asks, module.run)
    for module in (
        figure_8_methods,
        figure_9_10_costs,
        table_3_nearest,
        table_6_attacks,
        figure_5_teams,
        figure_11_diversity,
        figure_12_delta,
        table_5_ablation,
    )
}
"""By the name of their files, in the order in which they are made."""
MEASURED = Size(people=1, probes=1, photos=1, gallery_people=10, deltas=())
"""The evaluation that an estimate runs."""
LOOKED_AT = 12
"""The least photos that it looks at: a probe, a photo to be protected, and one of each other person."""


def chosen(names: str) -> dict[str, Experiment]:
    """The experiments that were asked for. Raises BadOption for one that is not known."""
    wanted = [name for name in names.split(",") if name] or list(EXPERIMENTS)
    unknown = [name for name in wanted if name not in EXPERIMENTS]
    if unknown:
        raise BadOption(f"unknown experiment {', '.join(unknown)}; known: {', '.join(EXPERIMENTS)}")
    return {name: EXPERIMENTS[name] for name in EXPERIMENTS if name in wanted}


def looking(ask: Ask) -> int:
    """Members of the team that look in one iteration: a search takes so much longer with more."""
    search = METHODS[ask.method]
    return search.looking(len(ask.team)) if isinstance(search, Search) else len(ask.team)


def estimate(plan: Plan, experiments: Mapping[str, Experiment]) -> float:
    """Seconds that the experiments will take, from one photo for each process that is measured with each method. What
    is kept already is counted as if it were not."""
    asks = dict.fromkeys(ask for experiment in experiments.values() for ask in experiment.asks(plan))
    parts = split(
        find_people(plan.faces, plan.same),
        count=plan.size.people,
        probes=plan.size.probes,
        photos=plan.size.photos,
        source=plan.source,
        others=plan.size.gallery_people,
        seed=plan.seed,
    )
    seconds, protected, looks = 0.0, len(parts.protected), [0.0]
    besides: list[float] = []
    with TemporaryDirectory() as folder:
        one = replace(plan, work=Path(folder), size=replace(MEASURED, photos=plan.jobs))
        for method in dict.fromkeys(ask.method for ask in asks):
            stages: list[float] = []

            def note(step: Step, stages: list[float] = stages) -> None:
                stages.append(time.monotonic())

            began = time.monotonic()
            results = evaluate(one.settings(Ask(method=method)), note)
            elapsed = time.monotonic() - began
            shares = [looking(ask) / looking(Ask(method=method)) for ask in asks if ask.method == method]
            taken = max(photo.face["seconds"] for photo in results.masked)
            besides.append(max(0.0, elapsed - taken))
            print(f"  {method}: {taken:.1f} s a photo, {protected} photos, {len(shares)} times", flush=True)
            seconds += taken * protected * sum(shares)
            looks.append(stages[LOOKED_AT] - stages[1] if len(stages) > LOOKED_AT else 0.0)
    look = max(looks) / (LOOKED_AT - 1)
    print(f"  looking at a photo: {look:.2f} s, {len(parts.bare)} photos", flush=True)
    # processes start, and judges look at the protected photos; the first evaluation looked at all others as well
    beside = min(besides, default=0.0)
    print(f"  beside that: {beside:.0f} s, {len(asks)} evaluations", flush=True)
    return seconds / plan.jobs + look * len(parts.bare) + beside * len(asks)


def in_words(seconds: float) -> str:
    """A time that somebody will wait."""
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def main(arguments: Sequence[str] | None = None) -> int:
    """Says how long it will take, when that is long, and makes one experiment after another."""
    options = parser(__doc__ or "")
    options.add_argument("--only", default="", metavar="A,B", help=f"some of {', '.join(EXPERIMENTS)}")
    options.add_argument("--estimate", action="store_true", help="say how long it would take, and end")
    given = options.parse_args(arguments)
    command = shlex.join(["python", "scripts/reproduce.py", *(sys.argv[1:] if arguments is None else arguments)])
    plan = planned(given, command)
    try:
        experiments = chosen(given.only)
        if given.full or given.estimate:
            print("measuring each method on a photo for each process:", flush=True)
            print(f"all of it will take about {in_words(estimate(plan, experiments))}", flush=True)
        if given.estimate:
            return 0
        for name, experiment in experiments.items():
            begin = time.monotonic()
            experiment.run(plan)
            print(f"{plan.out / name}.md: {in_words(time.monotonic() - begin)}", flush=True)
    except PMaskError as error:
        print(f"{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
