"""The command ``pmask team``: which recognisers to make masks against (section 5 of the paper)."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pmask import __version__, calibrate, degradations, store, teaming, teams, validation
from pmask.console import OK, Meter, say
from pmask.errors import BadOption
from pmask.evaluation.people import same_names
from pmask.evaluation.svg import Points, figure
from pmask.recognisers.records import mark_of
from pmask.recognisers.specs import DEFAULT_TEAM, REGISTRY, SPECS, YUNET, require_known
from pmask.teaming import rank_correlation

AUTO = "auto"
PSR_COLUMNS = ("psr", "mean, never in a team")
"""What the column is called, in a table of one's own and in those of scripts/experiments."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands of ``pmask team``."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    rank = commands.add_parser("rank", help="rank all teams by focal diversity on a folder of photos of people")
    add = rank.add_argument
    add("--faces", type=Path, required=True, metavar="DIR", help="a folder of photos for each person, at any depth")
    add("--size", type=int, default=len(DEFAULT_TEAM), metavar="N", help="members of a team (%(default)s)")
    add("--models", default="", metavar="A,B", help="of these recognisers only (default: all that are here)")
    add("--same", action="append", default=[], metavar="A=B", help="two names of one person; may be given again")
    add("--photos", type=int, metavar="N", help="at most so many photos of each person (default: all)")
    add(
        "--degrade",
        default=AUTO,
        metavar="A,B",
        help="how photos are made worse: bare, low-resolution-N, blur-N, noise-N (default: as far as is needed)",
    )
    add("--psr", type=Path, metavar="FILE", help="measured protection of the teams, JSON or CSV, for the scatter")
    add("--out", type=Path, metavar="DIR", help="write the ranking as JSON, and the scatter as SVG, into this folder")
    add("--seed", type=int, default=0, help="of the intervals (%(default)s)")
    add("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    add("--json", action="store_true", help="print the ranking as JSON")
    rank.set_defaults(run=_rank)
    show = commands.add_parser("show", help="the team of this machine, and why")
    show.set_defaults(run=_show)
    forget = commands.add_parser(
        "forget", help="delete the kept rankings, and the embeddings of folders that were ranked"
    )
    forget.set_defaults(run=_forget)


def _rank(options: argparse.Namespace) -> int:
    names = [name for name in options.models.split(",") if name] or teams.pool()
    require_known(names)
    wanted = None if options.degrade == AUTO else tuple(options.degrade.split(","))
    for how in wanted or ():
        degradations.words(how)  # says what is known, before anything is looked at
    folder = validation.Folder.read(options.faces, same_names(options.same), options.photos)
    _provide(names)
    with Meter() as meter:
        on_photo = partial(meter, f"looking at {options.faces}")
        if new := _uncalibrated(names, folder):
            say(f"calibrating {', '.join(new)} on the same photos")
            calibrate.calibrate(folder, new, device=options.device, on_photo=on_photo)
        searches = validation.search(folder, names, wanted, device=options.device, on_photo=on_photo)
    ranked = teaming.rank_teams(searches.wrong, options.size)
    bounds = teaming.intervals(searches.wrong, ranked, searches.people, options.seed)
    psr = _read_psr(options.psr) if options.psr else {}
    ranking = _ranking(options, folder, searches, ranked, bounds, psr)
    print(json.dumps(ranking) if options.json else table(ranking))
    for warning in ranking["warnings"]:
        say(f"warning: {warning}")
    if options.out:
        _write(options.out, ranking)
    if set(names) >= set(teams.pool()):
        _keep(ranking)
    return OK


def _uncalibrated(names: Sequence[str], folder: validation.Folder) -> list[str]:
    """Those that have no figures yet, where the folder has people enough to measure them."""
    enough = len(set(folder.people.tolist())) >= calibrate.FEW_PEOPLE
    return [name for name in names if not SPECS[name].calibrated and enough]


def _provide(names: Sequence[str]) -> None:
    """Everything that will be loaded is here, or said to be missing, before the work begins."""
    store.fetch([YUNET], say)
    for name in names:
        store.provide(SPECS[name], say)


def _ranking(
    options: argparse.Namespace,
    folder: validation.Folder,
    searches: validation.Searches,
    ranked: Sequence[teaming.Team],
    bounds: Sequence[tuple[float, float]],
    psr: Mapping[frozenset[str], float],
) -> dict[str, Any]:
    """All that was found, and what it was made of, as plain JSON types."""
    names = list(searches.wrong)
    used = list(dict.fromkeys(searches.degradations.tolist()))
    total, shared = len(searches.people), int(np.column_stack(list(searches.wrong.values())).all(1).sum())
    return {
        "size": options.size,
        "pool": {name: [mark_of(file)[:12] for file in SPECS[name].files] for name in names},
        "made_by": {"pmask": __version__, "python": sys.version.split()[0], **_versions()},
        "seed": options.seed,
        "photos": len(folder.photos),
        "people": len(set(folder.people.tolist())),
        "faceless": searches.faceless,
        "searches": total,
        "failed_by_all": shared,
        "negatives": searches.negatives(),
        "degradations": {
            how: {
                "words": degradations.words(how),
                "searches": int((searches.degradations == how).sum()),
                "wrong": {name: int(searches.wrong[name][searches.degradations == how].sum()) for name in names},
                "negatives": searches.negatives(how),
            }
            for how in used
        },
        "teams": [
            {
                **team.to_json(),
                "interval": None if math.isnan(low) else [low, high],
                "psr": psr.get(frozenset(team.members)),
            }
            for team, (low, high) in zip(ranked, bounds, strict=True)
        ],
        "warnings": _warnings(ranked, bounds, folder),
    }


def _warnings(
    ranked: Sequence[teaming.Team], bounds: Sequence[tuple[float, float]], folder: validation.Folder
) -> list[str]:
    found = []
    if few := teaming.few(ranked):
        counts = ", ".join(f"{name} {count}" for name, count in few.items())
        found.append(
            f"too few negative samples to trust the scores of teams with {counts} (at least {teaming.FEW_NEGATIVES} "
            "are wanted): give it more photos, or harder ones with --degrade"
        )
    close = [team for team, (_, high) in zip(ranked[1:], bounds[1:], strict=True) if high >= bounds[0][0]]
    if close:
        found.append(
            f"{len(close)} of the other teams cannot be told from the first by these photos (95 % intervals overlap)"
        )
    if (people := len(set(folder.people[folder.probes].tolist()))) < calibrate.FEW_PEOPLE:
        found.append(f"only {people} people have two photos or more; at least {calibrate.FEW_PEOPLE} are wanted")
    return found


def table(ranking: Mapping[str, Any]) -> str:
    """The ranking for people, in Markdown."""
    lines = ["| team | focal diversity | 95 % interval | negatives of each member | PSR |", "|---|---|---|---|---|"]
    for team in ranking["teams"]:
        score = "unknown" if team["diversity"] is None else f"{team['diversity']:.3f}"
        bounds = "-" if team["interval"] is None else "{:.3f} to {:.3f}".format(*team["interval"])
        psr = "-" if team["psr"] is None else f"{team['psr']:.1f}"
        counts = ", ".join(map(str, team["negatives"]))
        lines.append(f"| {', '.join(team['members'])} | {score} | {bounds} | {counts} | {psr} |")
    lines += ["", "| photos searched with | searches | " + " | ".join(ranking["pool"]) + " |"]
    lines.append("|---|---|" + "---|" * len(ranking["pool"]))
    for part in ranking["degradations"].values():
        counts = " | ".join(str(part["wrong"][name]) for name in ranking["pool"])
        lines.append(f"| {part['words']} | {part['searches']} | {counts} |")
    lines.append(
        f"\nSearches that fail, of {ranking['searches']}; {ranking['failed_by_all']} that all fail are left out. "
        f"{ranking['photos']} photos of {ranking['people']} people, in {ranking['faceless']} of them no face."
    )
    if (together := correlation(ranking)) is not None:
        lines.append(f"Rank correlation of diversity and PSR over the teams: {together:.2f}.")
    return "\n".join(lines)


def correlation(ranking: Mapping[str, Any]) -> float | None:
    """Of diversity and PSR, over the teams where both are known; None where it cannot be told."""
    known = [(t["diversity"], t["psr"]) for t in ranking["teams"] if None not in (t["diversity"], t["psr"])]
    return rank_correlation(known)


def _write(folder: Path, ranking: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"ranking-{ranking['size']}.json"
    path.write_text(json.dumps(ranking, indent=1) + "\n", encoding="utf-8")
    say(f"wrote {path}")
    known = [team for team in ranking["teams"] if None not in (team["psr"], team["diversity"])]
    if known:
        points = [(team["diversity"], team["psr"], " + ".join(team["members"])) for team in known]
        title = f"Focal diversity and protection, teams of {ranking['size']}"
        scatter = folder / f"diversity-psr-{ranking['size']}.svg"
        picture = figure([Points(title=title, across="focal diversity", unit="PSR, %", points=points)])
        scatter.write_text(picture, encoding="utf-8")
        say(f"wrote {scatter}")


def _read_psr(path: Path) -> dict[frozenset[str], float]:
    """PSR in percent by team: JSON {"A,B": PSR, ...}, or CSV with a column "team" and one of PSR_COLUMNS. Raises
    BadOption."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            rows = [(team, float(psr)) for team, psr in json.loads(text).items()]
        else:
            reader = csv.DictReader(text.splitlines())
            column = next(name for name in PSR_COLUMNS if name in (reader.fieldnames or ()))
            rows = [(row["team"], float(row[column])) for row in reader]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, StopIteration) as error:
        words = f"JSON {{team: PSR}} or CSV with the columns team and {' or '.join(map(repr, PSR_COLUMNS))}"
        raise BadOption(f"--psr {path} must be {words} ({error!r})") from error
    return {frozenset(name.strip() for name in team.replace("+", ",").split(",")): psr for team, psr in rows}


def _keep(ranking: dict[str, Any]) -> None:
    """Keeps the ranking of the whole pool, and says what that changes."""
    before = teams.default_team()
    if any(name in _few(ranking) for name in ranking["teams"][0]["members"]):
        say("not kept: too few negative samples for its first team")
        return
    path = teams.keep(ranking)
    after = teams.default_team()
    if after != before:
        say(f"the default team is now {', '.join(after)} (kept in {path}; `pmask team forget` undoes it)")


def _few(ranking: Mapping[str, Any]) -> list[str]:
    """The recognisers with fewer negative samples than scores can rest on."""
    return [name for name, count in ranking["negatives"].items() if count < teaming.FEW_NEGATIVES]


def _show(options: argparse.Namespace) -> int:
    team = teams.default_team()
    print(f"default team: {', '.join(team)}")
    ranking = teams.kept(len(team))
    if team == DEFAULT_TEAM:
        print(f"it comes with PMask: {teams.evidence()['why']}")
    if ranking is not None:
        print(f"\nthe ranking that was kept on this machine:\n\n{table(ranking)}")
        if new := sorted(set(teams.pool()) - set(ranking["pool"])):
            print(f"\nnot in it: {', '.join(new)}; pmask team rank --faces DIR ranks the whole pool anew")
    elif set(teams.pool()) > set(REGISTRY):
        print("recognisers beyond the package registries' are here: pmask team rank --faces DIR chooses among all")
    return OK


def _forget(options: argparse.Namespace) -> int:
    rankings, files = teams.forget(), validation.forget()
    print(f"{'the rankings and ' if rankings else ''}{files} files of embeddings deleted")
    return OK


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("numpy", "torch", "onnx2torch", "opencv-python-headless")}
