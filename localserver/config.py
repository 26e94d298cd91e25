"""What the daemon can be told: one TOML file, the environment, flags. Each later one wins; `docs/daemon.md` lists all.

A setting is a field of `Config` with its meaning and its bounds; file, environment, flags and the test of the document
are made from that.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from pmask.folders import state_dir

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HOST = "127.0.0.1"
"""The only address, on purpose not a setting: whoever binds another one hands their photos to the network."""
DEFAULT_PORT = 28737
ENVIRONMENT = "PMASK_SERVER_"
"""Before a setting's name in capitals: PMASK_SERVER_PORT."""
CONFIG_NAME = "server.toml"
"""The file in the state folder. PMASK_SERVER_CONFIG, or `--config`, names another one."""
_MB = 1024 * 1024
_UNITS = {"": 1, "B": 1, "KB": 1024, "MB": _MB, "GB": 1024 * _MB}
_SIZE = re.compile(r"(\d+) ?([KMG]?B)?", re.IGNORECASE)


class ConfigError(ValueError):
    """A setting that is not known or has a value that it cannot have. The message says where it was read."""


def _says(meaning: str, read: Callable[[object], object]) -> dict[str, Any]:
    """A setting's metadata. ``read`` makes its value of a text or of TOML's, or raises ValueError("must be ...")."""
    return {"meaning": meaning, "read": read}


def _number(least: float, most: float = math.inf, *, whole: bool = False) -> Callable[[object], float]:
    bounds = f"from {least:g} to {most:g}" if most < math.inf else f"of at least {least:g}"
    wanted = f"must be a {'whole ' if whole else ''}number {bounds}"

    def read(value: object) -> float:
        try:
            number = (int if whole else float)(value) if isinstance(value, str) else value
        except ValueError:
            number = None
        kinds = int if whole else int | float
        # NaN is in no range, and infinity is no time.
        if isinstance(number, bool) or not isinstance(number, kinds) or not least <= number <= min(most, 1e15):
            raise ValueError(wanted)
        return number

    return read


def _size(value: object) -> int:
    match = _SIZE.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if match is None:
        raise ValueError("must be a number of bytes, or one such as 512MB")
    return int(match[1]) * _UNITS[(match[2] or "").upper()]


def _some_bytes(value: object) -> int:
    if not (size := _size(value)):
        raise ValueError("must be at least 1 byte")
    return size


def _choice(*known: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return str(value)

    return read


def _folder(value: object) -> Path:
    """One that is not there is taken: its disk may be plugged in later."""
    path = _path(value)
    if os.path.exists(path) and not os.path.isdir(path):
        raise ValueError("must be a folder")
    return path.resolve()


def _path(value: object) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a path")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        raise ValueError("must be a path in the home of somebody who is known here") from None


_CONNECTIONS = "Connections at once, at most; beyond it, the oldest that no paired client uses is closed."


@dataclass(frozen=True, kw_only=True)
class Config:
    """One daemon's settings. Times are in seconds, sizes in bytes. state_dir: of clients, pairing codes and logs."""

    state_dir: Path = field(default_factory=state_dir)
    # Above 1023: a port 80 would not show in the Host header, and needs rights that the daemon must not have.
    port: int = field(
        default=DEFAULT_PORT, metadata=_says("The port of 127.0.0.1 to listen on.", _number(1024, 65535, whole=True))
    )
    device: str = field(
        default="auto",
        metadata=_says("What makes the masks: `auto`, `cpu`, `cuda` or `mps`.", _choice("auto", "cpu", "cuda", "mps")),
    )
    gallery: Path | None = field(
        default=None, metadata=_says("A folder with more photos, of you and of other people.", _folder)
    )
    queue_jobs: int = field(
        default=128, metadata=_says("Photos waiting, arriving or at work, at most.", _number(1, 10_000, whole=True))
    )
    client_jobs: int = field(
        default=64, metadata=_says("Of these, one client's at most.", _number(1, 10_000, whole=True))
    )
    queue_bytes: int = field(
        default=512 * _MB, metadata=_says("Bytes of photos waiting and of results kept, at most.", _size)
    )
    client_bytes: int = field(default=384 * _MB, metadata=_says("Of these, one client's at most.", _size))
    photo_bytes: int = field(
        default=50 * _MB, metadata=_says("Bytes of one photo, at most; 50 MB is PMask's own limit.", _size)
    )
    photo_pixels: int = field(
        default=100_000_000,
        metadata=_says("Pixels of one photo, at most; 100 million is PMask's own limit.", _number(1, 1e8, whole=True)),
    )
    free_memory: int = field(
        default=256 * _MB,
        metadata=_says("While this machine has less memory free, no photo is taken; 0: never mind.", _size),
    )
    connections: int = field(default=256, metadata=_says(_CONNECTIONS, _number(8, 10_000, whole=True)))
    keep_result: float = field(
        default=600.0, metadata=_says("How long a photo that is done is remembered, in memory.", _number(1, 3600))
    )
    cache_bytes: int = field(
        default=64 * _MB, metadata=_says("Bytes of results that answer for the same photo again; 0: none.", _size)
    )
    idle_stop: float = field(
        default=900.0, metadata=_says("How long the recognisers stay in memory unused.", _number(1))
    )
    cancel_grace: float = field(
        default=0.7,
        metadata=_says("How long the worker may take to obey a cancel before it is killed.", _number(0, 60)),
    )
    stall: float = field(
        default=900.0,
        metadata=_says("How long a worker may show no sign of life; fetching weights is silent.", _number(1)),
    )
    upload: float = field(default=60.0, metadata=_says("How long a photo may take to arrive.", _number(0.1, 3600)))
    gpu_pause: float = field(
        default=600.0,
        metadata=_says("How long the processor stands in for a graphics card that has failed.", _number(0)),
    )
    log_level: str = field(
        default="info", metadata=_says("`info`, `warning` or `error`.", _choice("info", "warning", "error"))
    )
    log_dir: Path | None = field(
        default=None, metadata=_says("The folder of the log files; by default `log` in the state folder.", _path)
    )
    log_bytes: int = field(
        default=1 * _MB, metadata=_says("Bytes of a log file before the next one is begun.", _some_bytes)
    )
    log_files: int = field(
        default=4, metadata=_says("Log files that are kept; 0: none is written.", _number(0, 100, whole=True))
    )


SETTINGS: tuple[Field[Any], ...] = tuple(entry for entry in fields(Config) if "meaning" in entry.metadata)
"""All settings, in the document's order."""


def load(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    path: Path | None = None,
) -> Config:
    """The settings of the file, the environment and ``flags`` (those that are None were not given), the last winning.

    path: the file; by default what PMASK_SERVER_CONFIG names, or server.toml in the state folder if it is there.
    Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    values = _from_file(path, environ)
    for name, text in environ.items():
        if name.startswith(ENVIRONMENT) and name != f"{ENVIRONMENT}CONFIG":
            values[name.removeprefix(ENVIRONMENT).lower()] = (name, text)
    values |= {name: (flag(name), value) for name, value in (flags or {}).items() if value is not None}
    known = {entry.name: entry for entry in SETTINGS}
    settings: dict[str, Any] = {}
    for name, (where, value) in values.items():
        if name not in known:
            raise ConfigError(f"{where} is not a setting; there are: {', '.join(known)}")
        try:
            settings[name] = known[name].metadata["read"](value) if not isinstance(value, Path) else value
        except ValueError as error:
            raise ConfigError(f"{where} {error}, not {value!r}") from None
    return Config(**settings)


def flag(name: str) -> str:
    """The command line's name of a setting."""
    return "--" + name.replace("_", "-")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting, None where it is not given; and `--config`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"settings (default: {state_dir() / CONFIG_NAME})")
    for entry in SETTINGS:
        shown = "" if entry.default in (None, MISSING) else f" (default: {entry.default})"
        help_text = (entry.metadata["meaning"] + shown).replace("`", "").replace("%", "%%")
        kind = _argument(entry.metadata["read"])
        parser.add_argument(flag(entry.name), type=kind, metavar="VALUE", help=help_text)


def given(args: argparse.Namespace) -> dict[str, object]:
    """What `load` takes as flags, out of the parsed command line."""
    return {entry.name: getattr(args, entry.name) for entry in SETTINGS if hasattr(args, entry.name)}


def _argument(read: Callable[[object], object]) -> Callable[[str], object]:
    def of(text: str) -> object:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return of


def _from_file(path: Path | None, environ: Mapping[str, str]) -> dict[str, tuple[str, object]]:
    """Name to where it stands and its value."""
    named = path or (Path(environ[f"{ENVIRONMENT}CONFIG"]) if environ.get(f"{ENVIRONMENT}CONFIG") else None)
    path = named or state_dir() / CONFIG_NAME
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        if named is None:
            return {}
        raise ConfigError(f"{path} is not there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    return {name: (f"{path}: {name}", value) for name, value in table.items()}
