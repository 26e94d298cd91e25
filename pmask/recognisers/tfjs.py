"""Reads weights that TensorFlow.js published: a JSON manifest beside one binary file.

Format: https://github.com/tensorflow/tfjs/blob/master/tfjs-core/src/io/types.ts (WeightsManifestConfig).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Weights = dict[str, npt.NDArray[np.float32]]


def read_weights(groups: list[dict[str, Any]], binary: bytes) -> Weights:
    """Every tensor of the manifest's groups, dequantised to float32, by name.

    Raises ValueError when the binary is shorter or longer than the manifest says.
    """
    weights: Weights = {}
    offset = 0
    for entry in (entry for group in groups for entry in group["weights"]):
        quantisation = entry.get("quantization", {})
        kind = np.dtype(quantisation.get("dtype", entry["dtype"])).newbyteorder("<")
        count = int(np.prod(entry["shape"], dtype=np.int64))
        values = np.frombuffer(binary, kind, count, offset).astype(np.float32)
        offset += count * kind.itemsize
        if kind.kind in "ui" and quantisation:
            values = values * np.float32(quantisation["scale"]) + np.float32(quantisation["min"])
        weights[entry["name"]] = values.reshape(entry["shape"])
    if offset != len(binary):
        raise ValueError(f"the manifest describes {offset} bytes, the binary has {len(binary)}")
    return weights


class MobileNetV1(nn.Module):
    """The chain of a MobileNetV1 graph from its image input to its global average pooling.

    Input (B, 3, 224, 224) in the network's own scale and channel order, output (B, 1024). Batch normalisation, which
    the graph holds as multiplications and additions, is folded into the convolutions.
    """

    def __init__(self, graph: Path, binary: Path) -> None:
        super().__init__()
        model = json.loads(graph.read_text(encoding="utf-8"))
        weights = read_weights(model["weightsManifest"], binary.read_bytes())
        self.layers = nn.ModuleList(_layers(model["modelTopology"]["node"], weights))

    def forward(self, image: Tensor) -> Tensor:
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)  # for the type checker: a ModuleList forgets
            image = F.relu6(layer(_padded(image, layer)))
        return image.mean((2, 3))


def _padded(image: Tensor, layer: nn.Conv2d) -> Tensor:
    """TensorFlow's SAME padding for even sides: at stride 2, a 3 x 3 kernel's extra row is below and right."""
    if layer.kernel_size[0] == 1:
        return image
    return F.pad(image, (0, 1, 0, 1) if layer.stride[0] == 2 and image.shape[-1] % 2 == 0 else (1, 1, 1, 1))


def _layers(nodes: list[dict[str, Any]], weights: Weights) -> list[nn.Conv2d]:
    """One convolution with its folded scale and bias for each Conv2D or depthwise node on the way to the pooling."""
    layers: list[nn.Conv2d] = []
    for node in nodes:
        constants = [weights[name] for name in node.get("input", []) if name in weights]
        if node["op"] in {"Conv2D", "DepthwiseConv2dNative"}:
            layers.append(_convolution(node, constants[0]))
        elif node["op"] == "Mul":
            layers[-1].weight.data *= torch.from_numpy(constants[0]).reshape(-1, 1, 1, 1)
        elif node["op"] == "Add" and layers[-1].bias is not None:
            layers[-1].bias.data += torch.from_numpy(constants[0]).reshape(-1)
    return layers


def _convolution(node: dict[str, Any], kernel: npt.NDArray[np.float32]) -> nn.Conv2d:
    """A 1 x 1 or 3 x 3 convolution without padding, from a kernel laid out (height, width, in, out or multiplier)."""
    stride = int(node["attr"]["strides"]["list"]["i"][1])
    padding = base64.b64decode(node["attr"]["padding"]["s"]).decode()
    height, width, inputs, outputs = kernel.shape
    if padding != "SAME" or height != width or height not in {1, 3}:
        raise ValueError(f"{node['name']} is no MobileNetV1 convolution: {kernel.shape}, padding {padding}")
    depthwise = node["op"] == "DepthwiseConv2dNative"
    layer = nn.Conv2d(inputs, inputs if depthwise else outputs, height, stride, groups=inputs if depthwise else 1)
    layer.weight.data = torch.from_numpy(kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)).copy())
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
