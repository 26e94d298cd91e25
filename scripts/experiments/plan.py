"""What all experiments share: who is protected, who judges, how large a run is, and where evaluations are kept.

An experiment asks a Plan for an evaluation; one that another experiment asked for before costs nothing, for protected
files and embeddings are kept in the work folder (pmask.evaluation.work).
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean

import pmask  # noqa: F401  # before torch: it says how OpenMP waits
from pmask import teams
from pmask.evaluation.people import same_names
from pmask.evaluation.protocol import Step, evaluate
from pmask.evaluation.results import Results
from pmask.evaluation.settings import METHODS, Settings
from pmask.evaluation.work import AS_DELIVERED
from pmask.options import MaskOptions
from pmask.recognisers.specs import DEFAULT_TEAM

COMPARED = ("fawkes", "tipim", "lowkey", "paper", "pmask")
"""The methods of the paper's section 6.1, LowKey, and PMask by its paper's plain search and as it is."""
METHOD_WORDS = {
    "fawkes": "Fawkes",
    "tipim": "TIP-IM",
    "lowkey": "LowKey",
    "paper": "PMask, the paper's plain search",
    "pmask": "PMask, as it is",
}
ATTACKS = ("jpeg70", "mean3", "gaussian3", "median3")
"""The adaptive intruders of Table 6."""
FARTHER = 20
"""Where nearly everybody is hidden at rank 1, this rank still tells teams apart."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of each. people under protection, with so many probes and protected photos each, beside gallery_people;
    None: all there are. deltas: of Figure 12."""

    people: int
    probes: int
    photos: int | None
    gallery_people: int | None
    deltas: tuple[float, ...]


QUICK = Size(people=2, probes=10, photos=1, gallery_people=100, deltas=(0.2, 1.0, 10.0))
FULL = Size(people=10, probes=10, photos=5, gallery_people=None, deltas=(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))
"""The paper's ten people with ten probes each; of their other photos only some are protected, as it takes hours."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One evaluation: everyone protected by ``method`` with this team and delta. attacked: behind ATTACKS as well."""

    method: str = "pmask"
    team: tuple[str, ...] = DEFAULT_TEAM
    delta: float = MaskOptions.delta
    attacked: bool = False


COMPARISON = {method: Ask(method=method, attacked=True) for method in COMPARED}
"""What several experiments share."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run of the experiments. command: what was typed. out: where tables and figures go, with work beside them."""

    faces: Path
    intruders: Path | None
    same: tuple[tuple[str, str], ...]
    source: str
    size: Size
    seed: int
    device: str
    jobs: int
    work: Path
    out: Path
    command: str

    @property
    def pool(self) -> tuple[str, ...]:
        """The recognisers that are here: teams are made of them, and they judge beside the intruders."""
        return tuple(teams.pool())

    def teams(self, size: int) -> list[tuple[str, ...]]:
        """All teams of so many members."""
        return list(combinations(self.pool, size))

    def settings(self, ask: Ask) -> Settings:
        """An evaluation, judged by the intruders and by every member of the pool."""
        return Settings(
            faces=self.faces,
            work=self.work,
            intruders=self.intruders,
            judges=self.pool,
            people=self.size.people,
            probes=self.size.probes,
            photos=self.size.photos,
            gallery_people=self.size.gallery_people,
            source=self.source,
            same=self.same,
            pipelines=ATTACKS if ask.attacked else (),
            search=METHODS[ask.method],
            options=MaskOptions(team=ask.team, delta=ask.delta, seed=self.seed),
            device=self.device,
            seed=self.seed,
            jobs=self.jobs,
            white_box=True,
            command=self.command,
        )

    def evaluation(self, ask: Ask) -> Results:
        """What comes out of it."""
        words = f"{ask.method}, delta {ask.delta:g}, team {', '.join(ask.team)}"
        return evaluate(self.settings(ask), lambda step: _say(words, step))

    def comparison(self) -> dict[str, Results]:
        """By method, COMPARISON's results."""
        return {method: self.evaluation(ask) for method, ask in COMPARISON.items()}


def psr(
    results: Results,
    pipeline: str = AS_DELIVERED,
    *,
    bare: bool = False,
    rank: int = 1,
    person: str | None = None,
) -> dict[str, float]:
    """For each judge, the protection success rate in percent, of everyone or of a person; rank 1 is the paper's."""
    rows = [row for row in results.rows if row.pipeline == pipeline and not row.average]
    shares = {row.intruder: (row.bare if bare else row.protected).psr[rank] for row in rows}
    if person is None:
        return {judge: share.mean for judge, share in shares.items()}
    return {judge: share.people[person] for judge, share in shares.items()}


def outsiders(results: Results, plan: Plan) -> list[str]:
    """The judges that can be in no team; where there are none, all."""
    return [judge for judge in results.intruders if judge not in plan.pool] or list(results.intruders)


def unseen(figures: Mapping[str, float], team: Sequence[str]) -> float:
    """The mean over judges that no mask was made against."""
    return fmean(value for name, value in figures.items() if name not in team)


def _say(words: str, step: Step) -> None:
    if step.total and (step.done == step.total or step.done % 10 == 0):
        print(f"  {words}: {step.stage}, {step.done} of {step.total}", file=sys.stderr, flush=True)


def parser(words: str) -> argparse.ArgumentParser:
    """The options that every experiment takes."""
    result = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = result.add_argument
    add("--faces", type=Path, required=True, metavar="DIR", help="a folder of photos for each person, at any depth")
    add("--intruders", type=Path, metavar="DIR", help="ONNX recognisers that judge beside the pool")
    add("--same", action="append", default=[], metavar="A=B", help="two names of one person; may be given again")
    add("--from", dest="source", default="people", metavar="SET", help="whose photos are protected (%(default)s)")
    size = result.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small: under half an hour on two cores (the default)")
    size.add_argument("--full", action="store_true", help="the paper's size, as far as there are faces: hours")
    add("--people", type=int, metavar="N", help="people under protection, in place of the size's own")
    add("--probes", type=int, metavar="N", help="photos of each that the intruder has")
    add("--photos", type=int, metavar="N", help="protected photos of each")
    add("--gallery-people", type=int, metavar="N", help="people in the gallery beside them")
    add("--seed", type=int, default=0)
    add("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    add("--jobs", type=int, default=2, metavar="N", help="processes (%(default)s)")
    add("--work", type=Path, default=Path("out/evaluate"), metavar="DIR", help="keeps what is done (%(default)s)")
    add("--out", type=Path, default=Path("docs/results"), metavar="DIR", help="tables and figures (%(default)s)")
    return result


def planned(options: argparse.Namespace, command: str) -> Plan:
    """The plan that was asked for."""
    size = FULL if options.full else QUICK
    own = {name: getattr(options, name) for name in ("people", "probes", "photos", "gallery_people")}
    return Plan(
        faces=options.faces,
        intruders=options.intruders,
        same=same_names(options.same),
        source=options.source,
        size=replace(size, **{name: value for name, value in own.items() if value is not None}),
        seed=options.seed,
        device=options.device,
        jobs=options.jobs,
        work=options.work,
        out=options.out,
        command=command,
    )


def people(results: Results) -> dict[str, str]:
    """For each person under protection, what tables call them: people in them are numbered, not named."""
    names = sorted({name for row in results.rows for name in row.protected.psr[1].people})
    return {name: f"person {number}" for number, name in enumerate(names, 1)}


def main(run: Callable[[Plan], None], words: str | None) -> None:
    """What each experiment does when it is started by itself."""
    run(planned(parser(words or "").parse_args(), shlex.join(["python", *sys.argv])))
