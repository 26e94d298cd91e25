"""The command line ``pmask``: protect photos, check them, look after the weights and galleries."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pmask import __version__, files, models_cli, team_cli
from pmask.console import FAILED, OK, USAGE, say
from pmask.errors import BadOption, NoFace, PMaskError
from pmask.evaluation import cli as evaluation
from pmask.images import RGB, decode, inspect_image
from pmask.images.formats import MEDIA_TYPES
from pmask.images.metadata import CHOICES
from pmask.options import PRESETS, MaskOptions
from pmask.recognisers.specs import require_known
from pmask.report import BARE, tally, tally_words, verdict_words
from pmask.teams import default_team
from pmask.uploads import UPLOADS

if TYPE_CHECKING:  # torch takes seconds to import, so the commands that need it import these when they run
    from pmask.people import Album
    from pmask.population import Embeddings
    from pmask.protect import Protector
    from pmask.record import Record
    from pmask.report import Protection

STAGE_WORDS = {
    "loading": "loading the recognisers",
    "decoding": "reading",
    "detecting": "finding faces",
    "masking": "making the mask",
    "encoding": "writing",
    "checking": "checking",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0 when all went well, 1 when something failed, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be in the terminal's encoding
    try:
        code = int(options.run(options))
        if sys.stdout is not None:  # as where a service manager has closed it
            sys.stdout.flush()
        return code
    except PMaskError as error:
        print(f"pmask: {error}", file=sys.stderr)
        return USAGE if error.status == 400 else FAILED
    except BrokenPipeError:  # whoever read has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it ends
        return FAILED
    except OSError as error:
        print(f"pmask: {_words(error)}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("pmask: stopped", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pmask", description="Hides the signature of every face in a photo.")
    parser.add_argument("--version", action="version", version=f"pmask {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _protect_arguments(commands.add_parser("protect", help="write protected copies of photos"))
    _check_arguments(commands.add_parser("check", help="does each recogniser still match a photo to others?"))
    models_cli.add_arguments(commands.add_parser("models", help="list, fetch or verify recognisers"))
    team_cli.add_arguments(commands.add_parser("team", help="which recognisers to make masks against"))
    _gallery_commands(commands.add_parser("gallery", help="folders of photos of people, for protect --gallery"))
    evaluation.add_arguments(commands.add_parser("evaluate", help="would an intruder find people by protected photos?"))
    return parser


def _gallery_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True)
    build = commands.add_parser("build", help="look at every face of a folder")
    build.add_argument("folder", type=Path, metavar="DIR")
    _engine_arguments(build)
    build.set_defaults(run=_gallery_build)
    shown = commands.add_parser("list", help="what is kept, and where")
    shown.add_argument("--json", action="store_true")
    shown.set_defaults(run=_gallery_list)
    delete = commands.add_parser("delete", help="delete what is kept of a folder; its photos stay")
    which = delete.add_mutually_exclusive_group(required=True)
    which.add_argument("folder", nargs="?", type=Path, metavar="DIR")
    which.add_argument("--all", action="store_true")
    delete.set_defaults(run=_gallery_delete)


def _engine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--team", metavar="A,B", help="recognisers (default: what `pmask team show` says)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda", "mps"])
    parser.add_argument("--detector", default="yunet", choices=["yunet", "mtcnn"])


def _protect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--out", type=Path, metavar="DIR", help="write into this folder instead of beside the photo")
    target.add_argument("-o", dest="file", type=_file, metavar="FILE", help="write the one photo to this file")
    words = "how much a face may change, and how well it is hidden (%(default)s)"
    parser.add_argument("--preset", choices=list(PRESETS), default="strong", help=words)
    parser.add_argument("--delta", type=float, help="strength, in place of the preset's")
    parser.add_argument("--omega", type=float, help="budget, (1 - SSIM) / 2, in place of the preset's")
    parser.add_argument("--gallery", type=Path, metavar="DIR", help="more photos: the person's own, and of others")
    parser.add_argument("--seed", type=int, default=MaskOptions.seed)
    _upload_argument(parser, default=MaskOptions.upload)
    parser.add_argument("--again", action="store_true", help="mask also what PMask has protected before")
    words = "EXIF: all but the place (the default), all, or none"
    parser.add_argument("--metadata", choices=CHOICES, default=MaskOptions.metadata, help=words)
    parser.add_argument("--json", action="store_true", help="print one JSON object for each photo")
    _engine_arguments(parser)
    parser.set_defaults(run=_protect)


def _file(name: str) -> Path:
    """A file's path. Raises ArgumentTypeError for one that ends like a folder's, which Path would not show."""
    if name.endswith(("/", os.sep)):
        raise argparse.ArgumentTypeError(f"{name} names a folder; --out {name} writes into it")
    return Path(name)


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photo", type=Path, metavar="PHOTO")
    parser.add_argument("--against", nargs="+", type=Path, required=True, metavar="REFERENCE")
    parser.add_argument("--models", default="all", metavar="A,B", help="recognisers that judge (%(default)s)")
    _upload_argument(parser, default=None)
    _engine_arguments(parser)
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=_check)


def _upload_argument(parser: argparse.ArgumentParser, default: str | None) -> None:
    words = "judge it also as after an upload to this site" + (" (%(default)s)" if default else "")
    parser.add_argument("--as", dest="upload", choices=sorted(UPLOADS), default=default, help=words)


def _protect(options: argparse.Namespace) -> int:
    from pmask.people import Album
    from pmask.record import Record

    names = ("seed", "upload", "again", "metadata")
    given = {name: value for name in ("delta", "omega") if (value := getattr(options, name)) is not None}
    strength = {**PRESETS[options.preset], **given}
    mask = MaskOptions(team=_team(options), **strength, **{name: getattr(options, name) for name in names})
    options.photos = _without_copies(options)
    targets = _targets(options)
    protector = _protector(options, Album(photos=len(options.photos), seconds=math.inf), Record())
    gallery = _gallery(options.gallery, protector, mask.team, _say_unkept) if options.gallery else None
    for photo in options.photos if len(options.photos) > 1 else ():
        with contextlib.suppress(Exception):  # its own turn says what is wrong with it
            protector.remember(files.read(photo), mask.team)
    worst = OK
    for photo, target in zip(options.photos, targets, strict=True):
        result: dict[str, Any] = {"input": str(photo), "output": None, "status": "failed", "code": None, "faces": []}
        try:
            files.require_writable(target)  # before the search, which takes seconds
            protection = _with_progress(protector, photo, mask, gallery)
            files.write(target, protection.data, like=photo)
            result |= {"output": str(target), **protection.report.to_json()}
        except Exception as error:  # whatever it is, the other photos have their turn
            worst = FAILED
            result |= {"code": _code(error), "message": _words(error)}
        print(json.dumps(result) if options.json else _protect_words(result), flush=True)
    return worst


def _without_copies(options: argparse.Namespace) -> list[Path]:
    """The photos but for what PMask wrote beside them before: `pmask protect *.jpg` a second time names both."""
    from pmask.record import Record

    def is_copy(photo: Path) -> bool:
        sources = [other for other in options.photos if other != photo and files.same(photo, _copy(options, other))]
        if not sources:
            return False
        with contextlib.suppress(PMaskError, OSError):
            data = files.read(photo)  # as it came where there was no face; that is never on record
            return any(data == files.read(other) for other in sources) or Record().holds(*decode(data).frames)
        return False

    copies = [] if options.file else [photo for photo in options.photos if is_copy(photo)]
    for copy in copies:
        say(f"{copy}: made by PMask from a photo that is named too; left out")
    return [photo for photo in options.photos if photo not in copies]


def _copy(options: argparse.Namespace, photo: Path) -> Path:
    """Where the protected copy of a photo goes."""
    return Path(options.file or (options.out or photo.parent) / f"{photo.stem}.protected{photo.suffix}")


def _targets(options: argparse.Namespace) -> list[Path]:
    """Where the protected copies go. Raises BadOption rather than overwrite a photo, or one copy by another, and where
    the place that was named cannot be written to."""
    if options.file is not None and len(options.photos) > 1:
        raise BadOption(f"-o names one file, but there are {len(options.photos)} photos; use --out DIR")
    targets: list[Path] = []
    for photo in options.photos:
        target = _copy(options, photo)
        if any(files.same(target, other) for other in options.photos):
            raise BadOption(f"{target} is one of the photos; originals are never overwritten")
        if target.absolute() in {other.absolute() for other in targets}:
            raise BadOption(f"two photos would be written to {target}; protect them one after the other, with -o")
        if options.file or options.out:
            _refuse_unwritable(target)
        targets.append(target)
    if options.file is not None:
        _refuse_another_kind(options.photos[0], options.file)
    return targets


def _refuse_unwritable(target: Path) -> None:
    """Raises BadOption before all photos are looked at for nothing."""
    try:
        files.require_writable(target)
    except OSError as error:
        raise BadOption(f"{_words(error)}; choose another place") from error


def _refuse_another_kind(photo: Path, target: Path) -> None:
    """Raises BadOption where a copy, which is of the photo's own kind, would go by another kind's name."""
    try:
        kind = inspect_image(files.read(photo)).media_type
    except (PMaskError, OSError):
        return  # its turn says what is wrong with it
    named = MEDIA_TYPES.get(Image.registered_extensions().get(target.suffix.lower(), ""), kind)
    if named != kind and target.suffix.lower() != photo.suffix.lower():
        raise BadOption(
            f"{photo} is {kind}, and so is its copy, but {target} is a name for {named}; choose another name"
        )


def _protector(options: argparse.Namespace, album: Album | None = None, record: Record | None = None) -> Protector:
    from pmask.protect import Protector

    return Protector(device=options.device, detector=options.detector, say=say, album=album, record=record)


def _gallery(
    folder: Path, protector: Protector, team: Sequence[str], on_unkept: Callable[[OSError], None] | None = None
) -> dict[str, Embeddings]:
    """The faces of a folder, as team and judges see them; on a terminal, under a progress bar on standard error."""
    from pmask.gallery import build

    require_known(team)
    if not folder.is_dir():
        raise BadOption(f"the gallery {folder} is no folder")
    names, _ = protector.panel(team)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"looking at {folder}", total=None)
        return build(
            folder, protector, names, lambda done, total: bar.update(task, completed=done, total=total), on_unkept
        )


def _say_unkept(error: OSError) -> None:
    say(f"the gallery could not be kept, and will be looked at again the next time ({_words(error)})")


def _with_progress(
    protector: Protector, photo: Path, mask: MaskOptions, gallery: dict[str, Embeddings] | None
) -> Protection:
    """Protects one photo; on a terminal, under a progress bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[stage]}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(photo.name, total=1.0, stage="")
        return protector.protect(
            files.read(photo),
            mask,
            lambda step: bar.update(task, completed=step.fraction, stage=STAGE_WORDS[step.stage]),
            gallery=gallery,
        )


def _protect_words(result: dict[str, Any]) -> str:
    """What happened to one photo, for people."""
    if result["status"] == "failed":
        return f"{result['input']}: failed ({result['code']}): {result['message']}"
    notes = [f"  note: {warning}" for warning in result["warnings"]]
    if result["status"] == "no_face":
        return "\n".join([f"{result['input']}: no face found; {result['output']} is an unchanged copy", *notes])
    if result["status"] == "already_protected":
        copy = f"{result['output']} is an unchanged copy (--again masks it anew)"
        but = f", but for {result['bare']} of its faces" if result["bare"] else ""
        return "\n".join([f"{result['input']}: protected by PMask before{but}; {copy}", *notes])
    lines = [f"{result['input']} -> {result['output']}  ({result['seconds']:.1f} s)"]
    for number, face in enumerate(result["faces"], 1):
        state = "only partly hidden" if face["matched"] else "protected"
        goal = "" if face["converged"] else ", short of the full goal"
        look = f"SSIM {face['ssim']:.4f}, PSNR {face['psnr']:.1f} dB"
        lines.append(f"  face {number}: {state}{goal} after {face['iterations']} iterations; {look}")
        if face["references"] > 1:
            lines.append(f"    angles from the nearest of {face['references']} faces of this person")
        for model, distance in face["distances"].items():
            hidden = distance["after"] > distance["other"]
            verdict = "looks like somebody else" if hidden else "still looks like this person"
            lines.append(
                f"    {model}: {distance['before']:.0f} -> {distance['after']:.0f} degrees"
                f" (goal {distance['goal']:.0f}, nearest stranger {distance['other']:.0f}): {verdict}"
            )
        lines += [f"    {line}" for line in verdict_words(face["verdicts"])]
    lines += [f"  {tally_words(result['judged'])}"] if result["judged"] else []
    return "\n".join([*lines, *notes])


def _check(options: argparse.Namespace) -> int:
    from pmask.check import check_films, everyone

    models = tuple(everyone()) if options.models == "all" else tuple(options.models.split(","))
    team = _team(options)
    require_known([*models, *team])
    photo, *references = map(_frames, (options.photo, *options.against))
    uploads = (BARE, options.upload) if options.upload else (BARE,)
    found = check_films(_protector(options), photo, references, models, uploads=uploads, team=team)
    faces = [[verdict.to_json() for verdict in face] for face in found]
    if options.json:
        print(json.dumps({"photo": str(options.photo), "faces": faces, "judged": tally(found)}))
    else:
        for number, face in enumerate(faces, 1):
            print("\n".join([f"face {number}:", *(f"  {line}" for line in verdict_words(face))]))
        if judged := tally(found):
            print(tally_words(judged))
    return FAILED if any(verdict["matches"] for face in faces for verdict in face) else OK


def _frames(path: Path) -> list[RGB]:
    """The upright pixels of a photo and its other frames. Raises OSError, and any PMaskError with the file's name."""
    try:
        return decode(files.read(path)).frames
    except PMaskError as error:
        raise type(error)(f"{path}: {error}") from error


def _gallery_build(options: argparse.Namespace) -> int:
    team = _team(options)
    faces = len(_gallery(options.folder, _protector(options), team)[team[0]])
    if not faces:
        raise NoFace(f"no face was found in the photos of {options.folder}; a gallery needs photos of people")
    print(f"{faces} faces, kept in the cache; `pmask gallery list` shows them, `pmask gallery delete` deletes them")
    return OK


def _gallery_list(options: argparse.Namespace) -> int:
    from pmask import gallery

    rows = [
        {"folder": str(kept.folder), "photos": len(kept.shelf), "faces": kept.faces, "file": str(kept.file)}
        for kept in gallery.kept()
    ]
    if options.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print("{folder}: {faces} faces in {photos} photos, kept in {file}".format(**row))
        if not rows:
            print("no gallery is kept")
    return OK


def _gallery_delete(options: argparse.Namespace) -> int:
    from pmask import gallery

    if options.all:
        print(f"{gallery.delete_all()} galleries deleted")
    elif gallery.delete(options.folder):
        print(f"what was kept of {options.folder} is deleted")
    else:
        raise BadOption(f"nothing is kept of {options.folder}; `pmask gallery list` shows what is")
    return OK


def _team(options: argparse.Namespace) -> tuple[str, ...]:
    """The team that was named, or the default one."""
    return default_team() if options.team is None else tuple(options.team.split(","))


def _code(error: Exception) -> str:
    """A stable code for whatever went wrong."""
    if isinstance(error, OSError):
        return files.code(error)
    return error.code if isinstance(error, PMaskError) else PMaskError.code


def _words(error: Exception) -> str:
    """An error in words, with the file's name where the system names one."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, OSError | PMaskError):
        return str(error)
    kind = type(error).__name__
    return f"PMask failed in a way that was not foreseen ({kind}: {error}); please report it, and save the photo as PNG"


if __name__ == "__main__":
    sys.exit(main())
