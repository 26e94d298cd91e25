"""Face recognisers that stand for an intruder: ONNX files that no mask was made against, or members of the pool."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from pmask.errors import BadOption, WeightsUnavailable
from pmask.faces import Face
from pmask.geometry import TEMPLATE, similarity
from pmask.images import RGB
from pmask.recognisers.pool import load
from pmask.recognisers.specs import SPECS, require_known
from pmask.views import View

CATALOGUE = "intruders.json"
CROP = 112
"""Side in pixels of the aligned face that an intruder of the catalogue takes: ArcFace's crop."""

Vector = npt.NDArray[np.float32]
Recognise = Callable[[RGB, Face], Vector]
"""Upright pixels and a face in them to the face's embedding (dim), of length one."""


@dataclass(frozen=True, kw_only=True)
class Intruder:
    """sha256 is of the weights. path: the ONNX file, or None for a recogniser of the pool. words: what it is."""

    name: str
    sha256: str
    words: str
    path: Path | None = None


def catalogue(folder: Path) -> list[Intruder]:
    """The intruders of ``folder``/intruders.json: [{"name", "file", "sha256", "description"}, ...].

    Raises BadOption when there is no such list, WeightsUnavailable when a file is absent or is not what it says.
    """
    listing = folder / CATALOGUE
    try:
        rows: list[dict[str, Any]] = json.loads(listing.read_text(encoding="utf-8"))
        return [_verified(folder, row) for row in rows]
    except FileNotFoundError as error:
        raise BadOption(
            f"--intruders {folder}: {listing} is not there; it lists the recognisers and checksums"
        ) from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise BadOption(f"{listing} must be a list of objects with name, file and sha256 ({error!r})") from error


def _verified(folder: Path, row: dict[str, Any]) -> Intruder:
    path = folder / row["file"]
    if not path.is_file():
        raise WeightsUnavailable(f"{path}, the intruder {row['name']} of {CATALOGUE}, is not there")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != row["sha256"]:
        raise WeightsUnavailable(
            f"{path} has SHA-256 {found}, not {row['sha256']} as {CATALOGUE} says; get the file of the list again"
        )
    return Intruder(name=row["name"], sha256=found, words=row.get("description", ""), path=path.resolve())


def judges(names: Sequence[str], team: Sequence[str], white_box: bool = False) -> list[Intruder]:
    """Recognisers of the pool as intruders. Raises BadOption for one that masks are made against, unless white_box."""
    require_known(names)
    known = [name for name in names if name in team]
    if known and not white_box:
        raise BadOption(
            f"{', '.join(known)} judges masks that were made against it; take it out of --team or --judges, or ask for "
            "it with --white-box"
        )
    return [
        Intruder(
            name=name,
            sha256=hashlib.sha256(SPECS[name].mark.encode()).hexdigest(),
            words=f"{SPECS[name].network}, of the pool{' and the team' if name in team else ''}",
        )
        for name in names
    ]


def recognise(intruder: Intruder, *, device: str = "cpu", threads: int = 1) -> Recognise:
    """The intruder, loaded. device: of a recogniser of the pool; ONNX files run on the CPU, on ``threads`` threads."""
    return _of_pool(intruder.name, device) if intruder.path is None else _of_file(intruder.path, threads)


def _of_pool(name: str, device: str) -> Recognise:
    recogniser = load(name, device)

    def embed(rgb: RGB, face: Face) -> Vector:
        with torch.no_grad():
            return np.asarray(recogniser(View(rgb, face, torch.device(device)).frame(rgb))[0].cpu())

    return embed


def _of_file(path: Path, threads: int) -> Recognise:
    try:
        import onnxruntime  # only an evaluation needs it
    except ImportError as error:
        raise WeightsUnavailable(
            "intruders run in onnxruntime, which is not installed: python3 scripts/setup_environment.py evaluate"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()

    def embed(rgb: RGB, face: Face) -> Vector:
        crop = aligned(rgb, face).astype(np.float32).transpose(2, 0, 1)[None]
        (vectors,) = session.run(None, {entry.name: crop})
        vector = np.asarray(vectors[0], dtype=np.float32)
        return vector / np.linalg.norm(vector)

    return embed


def aligned(rgb: RGB, face: Face) -> RGB:
    """The face (CROP, CROP, 3) warped onto ArcFace's template, bilinear, black beyond the photo: what InsightFace's
    norm_crop does (https://github.com/deepinsight/insightface, utils/face_align.py)."""
    to_template = similarity(TEMPLATE, face.landmarks)
    return np.asarray(cv2.warpAffine(rgb, to_template, (CROP, CROP), flags=cv2.INTER_LINEAR), dtype=np.uint8)
