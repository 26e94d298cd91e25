"""One contract over the whole pool: how each recogniser's weights become a network, and its input a crop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pmask import store
from pmask.errors import WeightsUnavailable
from pmask.geometry import FRAME_SIZE, box_to_frame, sample, sampling_grid
from pmask.recognisers.dlib import DlibResNet
from pmask.recognisers.facexzoo import MobileFaceNet
from pmask.recognisers.lightcnn import LightCNN
from pmask.recognisers.onnx_graphs import load_onnx
from pmask.recognisers.records import Kind, RecogniserSpec
from pmask.recognisers.specs import SPECS, require_known
from pmask.recognisers.tfjs import MobileNetV1


class Recogniser(nn.Module):
    """A frozen network behind the pool's one contract.

    forward: (B, 3, FRAME_SIZE, FRAME_SIZE) face frames, RGB in [0, 1], to (B, dim) embeddings of length one.
    """

    def __init__(self, spec: RecogniserSpec, network: nn.Module) -> None:
        super().__init__()
        intake = spec.intake
        self.spec, self.network, self.bgr = spec, network, intake.bgr
        shape = (FRAME_SIZE, FRAME_SIZE)
        matrix = box_to_frame(*intake.box, intake.size)
        grid = sampling_grid(matrix, (intake.size, intake.size), shape, torch.device("cpu"))
        self.grid: Tensor
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("grid", grid)
        self.register_buffer("mean", torch.tensor(intake.mean).reshape(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(intake.deviation).reshape(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, frames: Tensor) -> Tensor:
        crops = sample(frames, self.grid) * 255
        crops = crops.flip(1) if self.bgr else crops
        return F.normalize(self.network((crops - self.mean) / self.deviation), dim=1)


def _inception_resnet(path: Path) -> nn.Module:
    """facenet-pytorch's network with the weights of its releases, whose classifier's layer is left out."""
    from facenet_pytorch import InceptionResnetV1  # imports torchvision, and few have these weights

    network: nn.Module = InceptionResnetV1(pretrained=None)
    state = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict({name: values for name, values in state.items() if not name.startswith("logits.")})
    return network


def _torchscript(path: Path) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit")  # torch recommends newer formats; people have files in this
        network: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    return network


_BUILDERS: dict[Kind, Callable[[Sequence[Path]], nn.Module]] = {
    "onnx": lambda files: load_onnx(files[0]),
    "mobilenet-tfjs": lambda files: MobileNetV1(files[0], files[1]),
    "dlib-tfjs": lambda files: DlibResNet(files[0], files[1]),
    "facexzoo": lambda files: MobileFaceNet(files[0]),
    "lightcnn": lambda files: LightCNN(files[0]),
    "inception-resnet-v1": lambda files: _inception_resnet(files[0]),
    "torchscript": lambda files: _torchscript(files[0]),
}


def load(name: str, device: torch.device | str = "cpu", say: store.Say = lambda line: None) -> Recogniser:
    """The recogniser ``name`` on ``device``. Weights of the registry's are fetched if they are not in the store yet.

    Raises UnknownRecogniser or WeightsUnavailable.
    """
    require_known([name])
    spec = SPECS[name]
    files = store.provide(spec, say)
    if spec.source == "registry":
        return Recogniser(spec, _BUILDERS[spec.kind](files)).to(device)
    try:
        recogniser = Recogniser(spec, _BUILDERS[spec.kind](files))
        with torch.no_grad():
            (embedding,) = recogniser(torch.full((1, 3, FRAME_SIZE, FRAME_SIZE), 0.5))
    except Exception as error:  # the readers of these formats raise whatever they come upon
        raise WeightsUnavailable(f"{name} ({files[0]}) could not be loaded as {spec.kind}: {error}") from error
    if embedding.shape != (spec.dim,):
        raise WeightsUnavailable(f"{name} ({files[0]}) gives embeddings of {tuple(embedding.shape)}, not ({spec.dim},)")
    return recogniser.to(device)
