"""A person's own recognisers: the file recognisers.toml beside PMask's other settings, a table for each.

[my-net]
file = "my-net.onnx"        # ONNX, or TorchScript (.pt, .ts); beside this file, or a full path
dim = 512                   # length of its embedding
size = 112                  # side of its input in pixels
colour = "rgb"              # or "bgr"
mean = 127.5                # of values 0 to 255; one, or one per channel in the order of its input
deviation = 127.5           # (value - mean) / deviation goes in
crop = [0, 0, 112]          # left, top, side of ArcFace's 112 x 112 template; or left, top, width, height
licence = "mine"
network = "ResNet18"        # optional, shown in lists, as is training
match_angle = 72            # optional, degrees; pmask models calibrate measures it
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

from pmask.errors import BadOption
from pmask.folders import state_dir
from pmask.recognisers.calibration import even_match_angle
from pmask.recognisers.records import Intake, Kind, OwnFile, RecogniserSpec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REQUIRED = ("file", "dim", "size", "colour", "mean", "deviation", "licence")
OPTIONAL = ("crop", "network", "training", "match_angle")
KINDS: dict[str, Kind] = {".onnx": "onnx", ".pt": "torchscript", ".ts": "torchscript", ".torchscript": "torchscript"}
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
"""Names get into file names and command lines."""
MOST_PIXELS = 1024
"""Largest side of an input."""
TEMPLATE_SIDE = 112.0


def path() -> Path:
    """The file that is read."""
    return state_dir() / "recognisers.toml"


def recognisers(taken: Collection[str]) -> dict[str, RecogniserSpec]:
    """The person's own, by name; none where there is no file. taken: names that they may not have.

    Raises BadOption, saying what to mend, when the file is wrong. Whether the weights are there is not looked at.
    """
    file = path()
    try:
        stat = file.stat()
    except OSError:
        return {}
    return _read(file, tuple(taken), stat.st_mtime_ns, stat.st_size)


@lru_cache
def _read(file: Path, taken: tuple[str, ...], changed: int, size: int) -> dict[str, RecogniserSpec]:
    """changed (ns), size: of the file, so that a new one is read."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadOption(f"{file} is not TOML: {error}") from error
    return {name: _Entry(file, name, table, taken).spec() for name, table in tables.items()}


class _Entry:
    """One table, read value by value."""

    def __init__(self, file: Path, name: str, table: object, taken: tuple[str, ...]) -> None:
        self._file, self._name = file, name
        if not NAME.fullmatch(name):
            raise self._bad("its name may have small letters, digits, - and _ only, 40 at most")
        if name in taken:
            raise self._bad("a recogniser of PMask's has that name; choose another one")
        if not isinstance(table, dict):
            raise self._bad(f"write [{name}] and its values below")
        missing = [key for key in REQUIRED if key not in table]
        unknown = [key for key in table if key not in REQUIRED + OPTIONAL]
        if missing:
            raise self._bad(f"{', '.join(missing)} is missing")
        if unknown:
            raise self._bad(f"{', '.join(unknown)} is not known; known: {', '.join(REQUIRED + OPTIONAL)}")
        self._table: dict[str, Any] = table

    def spec(self) -> RecogniserSpec:
        """The entry as a record of the pool."""
        weights = self._file.parent / Path(self._text("file")).expanduser()
        if weights.suffix.lower() not in KINDS:
            raise self._bad(f"file must end in one of {', '.join(KINDS)}, not {weights.suffix or weights.name}")
        colour = self._text("colour")
        if colour not in ("rgb", "bgr"):
            raise self._bad(f'colour must be "rgb" or "bgr", not "{colour}"')
        dim = self._whole("dim", 2, 1 << 16)
        angle = self._numbers("match_angle", (1,), [even_match_angle(dim)])[0]
        if not 0 < angle < 180:
            raise self._bad(f"match_angle must lie between 0 and 180 degrees, not {angle:g}")
        return RecogniserSpec(
            name=self._name,
            source="own",
            kind=KINDS[weights.suffix.lower()],
            files=(OwnFile(path=weights),),
            intake=Intake(
                size=self._whole("size", 16, MOST_PIXELS),
                box=self._box(),
                bgr=colour == "bgr",
                mean=self._channels("mean"),
                deviation=self._channels("deviation"),
            ),
            dim=dim,
            match_angle=angle,
            rank_one=None,
            calibrated=False,
            network=self._text("network", "not stated"),
            training=self._text("training", "not stated"),
            licence=self._text("licence"),
            origin=f"your own, {self._file.name}",
        )

    def _bad(self, words: str) -> BadOption:
        return BadOption(f"{self._file}: [{self._name}]: {words}")

    def _text(self, key: str, default: str = "") -> str:
        value = self._table.get(key, default)
        if not isinstance(value, str) or not value:
            raise self._bad(f"{key} must be a text")
        return value

    def _whole(self, key: str, low: int, high: int) -> int:
        value = self._table[key]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._bad(f"{key} must be a whole number from {low} to {high}, not {value!r}")
        return value

    def _numbers(self, key: str, counts: tuple[int, ...], default: list[float]) -> list[float]:
        value = self._table.get(key, default)
        values = value if isinstance(value, list) else [value]
        if len(values) not in counts or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
            raise self._bad(f"{key} must be {' or '.join(map(str, counts))} number(s), not {value!r}")
        return [float(number) for number in values]

    def _channels(self, key: str) -> tuple[float, float, float]:
        values = self._numbers(key, (1, 3), [])
        if key == "deviation" and 0 in values:
            raise self._bad("deviation must not be 0")
        first, second, third = values if len(values) == 3 else values * 3
        return first, second, third

    def _box(self) -> tuple[float, float, float, float]:
        values = self._numbers("crop", (3, 4), [0.0, 0.0, TEMPLATE_SIDE])
        left, top, width, height = values if len(values) == 4 else [*values, values[2]]
        if min(width, height) <= 0:
            raise self._bad(f"crop must have a side above 0, not {min(width, height):g}")
        return left, top, width, height
