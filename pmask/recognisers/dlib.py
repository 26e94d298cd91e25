"""dlib's face recognition ResNet, from the weights that face-api.js published for it.

Architecture: http://dlib.net/dnn_face_recognition_ex.cpp.html (anet_type), 29 convolutions, each followed by a
per-channel scale and shift, which are folded into it here.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pmask.recognisers.tfjs import Weights, read_weights

_BLOCKS = (
    *("conv32_1", "conv32_2", "conv32_3"),
    *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2"),
    *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)


class DlibResNet(nn.Module):
    """Input (B, 3, 150, 150), RGB minus its means, over 256; output (B, 128)."""

    def __init__(self, manifest: Path, binary: Path) -> None:
        super().__init__()
        weights = read_weights(json.loads(manifest.read_text(encoding="utf-8")), binary.read_bytes())
        self.stem = _convolution(weights, "conv32_down", stride=2, padding=0)
        self.blocks = nn.Sequential(*(_Residual(weights, name) for name in _BLOCKS))
        self.head = nn.Linear(256, 128, bias=False)
        self.head.weight.data = torch.from_numpy(weights["fc"].T.copy())

    def forward(self, image: Tensor) -> Tensor:
        features = F.max_pool2d(F.relu(self.stem(image)), 3, 2)
        return torch.as_tensor(self.head(self.blocks(features).mean((2, 3))))


class _Residual(nn.Module):
    """Two convolutions beside a shortcut; a "down" block halves the sides and may double the channels."""

    def __init__(self, weights: Weights, name: str) -> None:
        super().__init__()
        self.down = "down" in name
        self.first = _convolution(weights, f"{name}/conv1", *((2, 0) if self.down else (1, 1)))
        self.second = _convolution(weights, f"{name}/conv2", 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.second(F.relu(self.first(features)))
        if not self.down:
            return F.relu(out + features)
        shortcut = F.avg_pool2d(features, 2, 2)
        # dlib adds tensors of unlike shapes by filling the smaller one up with zeros, channels and sides alike
        shape = [max(sizes) for sizes in zip(out.shape, shortcut.shape, strict=True)]
        return F.relu(_filled(out, shape) + _filled(shortcut, shape))


def _filled(features: Tensor, shape: list[int]) -> Tensor:
    _, channels, height, width = (want - have for want, have in zip(shape, features.shape, strict=True))
    return F.pad(features, (0, width, 0, height, 0, channels))


def _convolution(weights: Weights, name: str, stride: int, padding: int) -> nn.Conv2d:
    """The convolution ``name`` with dlib's scale and shift folded in; kernels are laid out (height, width, in, out)."""
    prefix = f"{name}/conv" if f"{name}/conv/filters" in weights else name
    kernel = torch.from_numpy(weights[f"{prefix}/filters"].transpose(3, 2, 0, 1).copy())
    scale = torch.from_numpy(weights[f"{name}/scale/weights"])
    shift = torch.from_numpy(weights[f"{name}/scale/biases"])
    layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2], stride, padding)
    layer.weight.data = kernel * scale.reshape(-1, 1, 1, 1)
    layer.bias = nn.Parameter(torch.from_numpy(weights[f"{prefix}/bias"]) * scale + shift)
    return layer
