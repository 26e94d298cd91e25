"""One contract over the whole pool: how each recogniser cuts, scales and orders its input is known here only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pmask import store
from pmask.geometry import FRAME_SIZE, sample, sampling_grid, square_to_frame
from pmask.recognisers.dlib import DlibResNet
from pmask.recognisers.onnx_graphs import load_onnx
from pmask.recognisers.specs import SPECS, RecogniserSpec, require_known
from pmask.recognisers.tfjs import MobileNetV1


@dataclass(frozen=True, kw_only=True)
class Intake:
    """How a network wants its face: a square of the template (left, top, side in template units, as
    geometry.square_to_frame reads them), ``size`` pixels wide, values (255 x - mean) / deviation."""

    size: int = 112
    square: tuple[float, float, float] = (0.0, 0.0, 112.0)
    bgr: bool = False
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviation: float = 1.0


class Recogniser(nn.Module):
    """A frozen network behind the pool's one contract.

    forward: (B, 3, FRAME_SIZE, FRAME_SIZE) face frames, RGB in [0, 1], to (B, dim) embeddings of length one.
    """

    def __init__(self, spec: RecogniserSpec, network: nn.Module, intake: Intake) -> None:
        super().__init__()
        self.spec, self.network, self.bgr = spec, network, intake.bgr
        matrix = square_to_frame(*intake.square, intake.size)
        shape = (FRAME_SIZE, FRAME_SIZE)
        grid = sampling_grid(matrix, (intake.size, intake.size), shape, torch.device("cpu"))
        self.grid: Tensor
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("grid", grid)
        self.register_buffer("mean", torch.tensor(intake.mean).reshape(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(intake.deviation))
        self.eval().requires_grad_(False)

    def forward(self, frames: Tensor) -> Tensor:
        crops = sample(frames, self.grid) * 255
        crops = crops.flip(1) if self.bgr else crops
        return F.normalize(self.network((crops - self.mean) / self.deviation), dim=1)


_BUILDERS: dict[str, tuple[Callable[[Sequence[Path]], nn.Module], Intake]] = {
    "sface": (lambda files: load_onnx(files[0]), Intake()),
    "mobilefacenet": (lambda files: load_onnx(files[0]), Intake(bgr=True, mean=(127.0,) * 3, deviation=128.0)),
    "faceres": (
        lambda files: MobileNetV1(files[0], files[1]),
        Intake(size=224, bgr=True, mean=(103.939, 116.779, 123.68)),
    ),
    "dlib": (
        lambda files: DlibResNet(files[0], files[1]),
        Intake(size=150, square=(6.4, 20.0, 100.5), mean=(122.782, 117.001, 104.298), deviation=256.0),
    ),
}


def load(name: str, device: torch.device | str = "cpu", say: store.Say = lambda line: None) -> Recogniser:
    """The recogniser ``name`` on ``device``, its weights fetched if they are not in the store yet.

    Raises UnknownRecogniser or WeightsUnavailable.
    """
    require_known([name])
    build, intake = _BUILDERS[name]
    files = store.fetch(SPECS[name].files, say)
    return Recogniser(SPECS[name], build(files), intake).to(device)
