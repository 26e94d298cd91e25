"""What each part of the search is worth: one factor at a time, judged as `pmask evaluate` judges.

    .venv/bin/python scripts/ablation.py --faces DIR [--intruders DIR] [--judges dlib] [--team A,B] [--people 8]
        [--photos 3] [--only default,alone] [--jobs 2] [--work out/evaluate]

Prints a Markdown row for each variant: the default, the default with one thing changed, and the paper's own search.
Protected files are kept in the work folder, so a variant that was run before costs nothing. To choose by these figures,
take recognisers of the pool that are outside the team (--team mobilefacenet,faceres,dlib --judges sface); intruders
are for reporting.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pmask  # noqa: F401  # before torch: it says how OpenMP waits
from pmask.evaluation.people import same_names
from pmask.evaluation.protocol import evaluate
from pmask.evaluation.results import Results
from pmask.evaluation.settings import Settings
from pmask.evaluation.tables import summary
from pmask.geometry import FRAME_SIZE
from pmask.mask import DEFAULT_SEARCH, PAPER_SEARCH
from pmask.options import MaskOptions
from pmask.recognisers.specs import DEFAULT_TEAM
from pmask.sights import Sights

SIGHTS = Sights()
ADAM = {name: getattr(PAPER_SEARCH, name) for name in ("step", "last_step", "texture", "curvature")}
"""What makes the plain search's steps."""


def searched(**changes: object) -> dict[str, object]:
    """The default search with these changes."""
    return {"search": replace(DEFAULT_SEARCH, **changes)}  # type: ignore[arg-type]


def seen(**changes: object) -> dict[str, object]:
    """The default search with other sights."""
    return searched(sights=replace(SIGHTS, **changes))  # type: ignore[arg-type]


def asked(**changes: object) -> dict[str, object]:
    """Other options of a mask."""
    return {"options": changes}


VARIANTS: Mapping[str, dict[str, object]] = {
    "default": {},
    "alone: without the person's other photos": {"alone": True},
    "no other alignments": seen(turn=0.0, scale=0.0, shift=0.0),
    "alignments as far apart as two detectors' only": seen(turn=0.05, scale=0.05, shift=2.2, blur=5),
    "no blur": seen(blur=1),
    "no mirroring": seen(flip=0.0),
    "one layer": searched(layers=(FRAME_SIZE // 2,)),
    "four layers, two of them coarser": searched(layers=tuple(FRAME_SIZE // cells for cells in (2, 4, 8, 16))),
    "colour free": searched(colour=1.0),
    "brightness only": searched(colour=1e-6),
    "all of the team look in each iteration": searched(lookers=len(DEFAULT_TEAM)),
    "one of the team looks in each iteration": searched(lookers=1),
    "30 iterations": searched(iterations=30),
    "120 iterations": searched(iterations=120),
    "team: sface, mobilefacenet": asked(team=("sface", "mobilefacenet")),
    "team: sface, faceres": asked(team=("sface", "faceres")),
    "team: without lightcnn": asked(team=("sface", "mobilefacenet", "faceres", "facexzoo")),
    "team: without facexzoo": asked(team=("sface", "mobilefacenet", "faceres", "lightcnn")),
    "team: all six": asked(team=("sface", "mobilefacenet", "faceres", "lightcnn", "facexzoo", "dlib")),
    "delta 0.5": asked(delta=0.5),
    "delta 0.25": asked(delta=0.25),
    "texture hides nothing: steps as far everywhere": searched(texture=0.0),
    "large faces: broad shading too": searched(fine=0),
    "large faces: around the face as strong as the budget allows": searched(around=1.0),
    "large faces: no limit to brightness": searched(brightness=math.inf),
    "steps of Adam": searched(**ADAM),
    "steps half as large": searched(step=DEFAULT_SEARCH.step / 2, last_step=DEFAULT_SEARCH.last_step / 2),
    "no running average": searched(recency=1e6),
    "running average: every iteration weighs the same": searched(recency=0.0),
    "the paper's plain search": {"search": PAPER_SEARCH},
}
"""Changes to the Settings, by what they are called in the table."""


def row(name: str, results: Results) -> str:
    """One variant: means over intruders, in percent; quality over photos."""
    of = summary(results)
    figures = [of.psr[1], of.behind[1], of.worst, of.psr[20], of.behind[20], of.unverified]
    looks = [results.quality[measure].mean for measure in ("ssim", "psnr", "face median", "face p99", "iterations")]
    cells = [f"{value:.0f}" for value in figures] + [f"{looks[0]:.4f}", *(f"{value:.1f}" for value in looks[1:])]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Runs the variants and prints the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--intruders", type=Path)
    parser.add_argument("--judges", default="")
    parser.add_argument("--team", default=",".join(DEFAULT_TEAM))
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--photos", type=int, default=3)
    parser.add_argument("--from", dest="source", default="all")
    parser.add_argument("--same", action="append", default=[], metavar="A=B")
    parser.add_argument("--only", default="", help="variants, by the start of their names, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("out/evaluate"))
    options = parser.parse_args()
    settings = Settings(
        faces=options.faces,
        work=options.work,
        intruders=options.intruders,
        judges=tuple(name for name in options.judges.split(",") if name),
        people=options.people,
        photos=options.photos,
        source=options.source,
        same=same_names(options.same),
        options=MaskOptions(team=tuple(options.team.split(","))),
        seed=options.seed,
        jobs=options.jobs,
        white_box=True,
        command=shlex.join(sys.argv),
    )
    print(f"`{settings.command}`\n")
    print("| | rank 1 | behind pipelines | worst of them | rank 20 | behind | not verified ", end="")
    print("| SSIM | PSNR | CIEDE2000 median | 99th percentile | iterations |")
    print("|" + " --- |" * 12)
    wanted = [start for start in options.only.split(",") if start]
    for name, changes in VARIANTS.items():
        if not wanted or name.startswith(tuple(wanted)):
            asked_for = replace(settings.options, **changes.get("options", {}))  # type: ignore[arg-type]
            results = evaluate(replace(settings, **(changes | {"options": asked_for})))  # type: ignore[arg-type]
            print(row(name, results), flush=True)


if __name__ == "__main__":
    main()
