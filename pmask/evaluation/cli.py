"""The command ``pmask evaluate``."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pmask.console import FAILED, OK, Meter
from pmask.errors import BadOption
from pmask.evaluation.people import same_names
from pmask.options import MaskOptions
from pmask.teams import default_team

if TYPE_CHECKING:  # torch takes seconds to import
    from pmask.evaluation.settings import Settings

LINE_EVERY_S = 30.0
"""Between lines of progress where there is no terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``pmask evaluate``."""
    add, most = parser.add_argument, "at most (default: no limit)"
    add("--faces", type=Path, required=True, metavar="DIR", help="a folder of photos for each person, at any depth")
    add("--intruders", type=Path, metavar="DIR", help="ONNX recognisers, listed in DIR/intruders.json")
    add("--judges", default="", metavar="A,B", help="recognisers of the pool, as intruders")
    add("--white-box", action="store_true", help="judges may be in the team")
    add("--people", type=int, default=20, metavar="N", help="people under protection (%(default)s)")
    add("--probes", type=int, default=3, metavar="N", help="photos of each that the intruder has (%(default)s)")
    add("--photos", type=int, metavar="N", help=f"protected photos of each, {most}")
    add("--gallery-people", type=int, metavar="N", help=f"people in the gallery beside them, {most}")
    add(
        "--from",
        dest="source",
        default="all",
        metavar="SET",
        help="only photos of this set are protected (%(default)s)",
    )
    add("--same", action="append", default=[], metavar="A=B", help="two names of one person; may be given again")
    add("--pipelines", default="paper", metavar="A,B", help="names, paper or all (%(default)s)")
    add("--detector", default="mtcnn", choices=["mtcnn", "yunet"], help="the intruder's (%(default)s)")
    add(
        "--method",
        default="pmask",
        metavar="NAME",
        help="what protects: pmask, paper (its plain search), fawkes, tipim, lowkey or none (%(default)s)",
    )
    add("--targets", type=Path, metavar="DIR", help="photos of people for tipim to lead towards (some of the gallery)")
    add("--mmd", type=float, default=0.0, metavar="W", help="tipim's weight of naturalness, MMD (%(default)s)")
    add("--delta", type=float, default=MaskOptions.delta, help="strength (%(default)s)")
    add("--omega", type=float, default=MaskOptions.omega, help="budget, (1 - SSIM) / 2 (%(default)s)")
    add("--team", metavar="A,B", help="recognisers masks are made against (default: what `pmask team show` says)")
    add("--alone", action="store_true", help="protect each photo without the person's other protected ones")
    add("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    add("--seed", type=int, default=0, help="of the choice of people and photos, masks and intervals (%(default)s)")
    add("--jobs", type=int, default=1, metavar="N", help="processes (%(default)s)")
    add("--work", type=Path, default=Path("out/evaluate"), metavar="DIR", help="keeps what is done (%(default)s)")
    add("--json", action="store_true", help="print the results as JSON, each person's too")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        from pmask.evaluation.protocol import evaluate
        from pmask.evaluation.tables import markdown
        from pmask.evaluation.worst import write_worst
    except ModuleNotFoundError as error:  # scikit-image, which only an evaluation needs
        cure = "python3 scripts/setup_environment.py evaluate"
        print(f"pmask evaluate needs more than is installed ({error}): {cure}", file=sys.stderr)
        return FAILED

    settings = _settings(options)
    with Meter() as meter:
        results = evaluate(settings, lambda step: meter(step.stage, step.done, step.total))
    pictures = write_worst(results)
    print(json.dumps(results.to_json()) if options.json else markdown(results))
    print(
        f"kept in {settings.work}: results-{settings.mark}.json, {len(pictures)} pictures of the worst", file=sys.stderr
    )
    return OK


def _settings(options: argparse.Namespace) -> Settings:
    from pmask.baselines.tipim import TipIm
    from pmask.evaluation.pipelines import PAPER_LIKE, PIPELINES
    from pmask.evaluation.settings import METHODS, Settings

    if options.method not in METHODS:
        raise BadOption(f"unknown method {options.method}; known: {', '.join(METHODS)}")
    method = METHODS[options.method]
    if options.mmd and not isinstance(method, TipIm):
        raise BadOption(f"--mmd is tipim's; leave it out with --method {options.method}")
    groups = {"paper": PAPER_LIKE, "all": tuple(PIPELINES)}
    return Settings(
        faces=options.faces,
        work=options.work,
        intruders=options.intruders,
        judges=_names(options.judges),
        people=options.people,
        probes=options.probes,
        photos=options.photos,
        gallery_people=options.gallery_people,
        source=options.source,
        same=same_names(options.same),
        pipelines=groups.get(options.pipelines, _names(options.pipelines)),
        detector=options.detector,
        search=replace(method, mmd=options.mmd) if isinstance(method, TipIm) else method,
        targets=options.targets,
        options=MaskOptions(
            delta=options.delta,
            omega=options.omega,
            team=_names(options.team or "") or default_team(),
            seed=options.seed,
        ),
        device=options.device,
        seed=options.seed,
        jobs=options.jobs,
        alone=options.alone,
        white_box=options.white_box,
        command=shlex.join(["pmask", *sys.argv[1:]]),
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)
