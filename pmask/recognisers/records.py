"""What is written down of a recogniser and of each file of its weights. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

Source = Literal["registry", "on request", "own"]
Kind = Literal["onnx", "mobilenet-tfjs", "dlib-tfjs", "lightcnn", "facexzoo", "inception-resnet-v1", "torchscript"]


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """One file of a package in a registry. sha256 and size (bytes) are of the file itself, as kept in the cache."""

    registry: Literal["pypi", "npm"]
    package: str
    version: str
    member: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class WebFile:
    """One file at a URL, or one member of a zip archive there. sha256 and size (bytes) are of the file that is kept.

    homes: where other programs keep the same file, "~" being the person's folder; it is used there, not copied.
    """

    url: str
    member: str
    sha256: str
    size: int
    homes: tuple[str, ...] = ()

    @property
    def archived(self) -> bool:
        """Whether the URL is of an archive that the file is a member of."""
        return self.url.endswith(".zip")


@dataclass(frozen=True, kw_only=True)
class OwnFile:
    """A person's own file, used where it lies. Nobody has published a checksum of it."""

    path: Path

    @property
    def member(self) -> str:
        """Its path, which messages name it by."""
        return str(self.path)

    @property
    def size(self) -> int:
        """Bytes, 0 where it is not there."""
        return self.path.stat().st_size if self.path.is_file() else 0


AnyFile = WeightFile | WebFile | OwnFile


def name_of(file: AnyFile) -> str:
    """The file's name without its folder."""
    return PurePosixPath(file.member).name


def mark_of(file: AnyFile) -> str:
    """Changes when the file does: its checksum, or, of a person's own, size and time."""
    if not isinstance(file, OwnFile):
        return file.sha256
    stat = file.path.stat() if file.path.is_file() else None
    return f"{file.path}|{stat.st_size}|{stat.st_mtime_ns}" if stat else f"{file.path}|absent"


@dataclass(frozen=True, kw_only=True)
class Intake:
    """How a network wants its face: a box of ArcFace's 112 x 112 template (left, top, width, height, as
    geometry.box_to_frame reads them), brought to ``size`` x ``size`` pixels, values (255 x - mean) / deviation."""

    size: int = 112
    box: tuple[float, float, float, float] = (0.0, 0.0, 112.0, 112.0)
    bgr: bool = False
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class RecogniserSpec:
    """What a recogniser is, where its weights are, how it wants its face and how wide its embedding is.

    source: whether it is fetched when first needed, only on request, or a person's own. kind: what its files are.
    match_angle: degrees under which two embeddings are said to be one person at one false match in a thousand.
    rank_one: percent of photos whose nearest other photo is of the same person; None where nobody measured it.
    calibrated: whether both figures and the population were measured: for the registry's on LFW, aligned by YuNet
    (1,365 photos of 108 people, and 400 strangers); for others on this machine (``pmask models calibrate``). Until then
    match_angle is an assumption on the safe side.
    """

    name: str
    source: Source
    kind: Kind
    files: tuple[AnyFile, ...]
    intake: Intake
    dim: int
    match_angle: float
    rank_one: float | None
    calibrated: bool
    network: str
    training: str
    licence: str
    origin: str

    @property
    def mark(self) -> str:
        """Changes when the weights or the way into the network do."""
        return "|".join([*map(mark_of, self.files), repr(self.intake)])
