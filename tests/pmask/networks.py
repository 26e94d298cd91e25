"""Tiny random recognisers in the forms in which real ones are published, where weights do not matter."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

DIM = 512


def arcface_onnx(path: Path, seed: int = 0, dim: int = DIM, output: str = "683") -> Path:
    """As in InsightFace's packs: input "input.1" (batch, 3, 112, 112), one numbered output (batch, dim); batch
    normalisation before, between and behind convolutions, PReLU, a shortcut, Flatten and Gemm."""
    chance = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {
        "conv1.weight": chance.normal(0, 0.2, (8, 3, 3, 3)),
        "conv2.weight": chance.normal(0, 0.1, (8, 8, 3, 3)),
        "prelu.weight": chance.uniform(0.1, 0.4, (8, 1, 1)),
        "fc.weight": chance.normal(0, 0.05, (dim, 8 * 7 * 7)),
        "fc.bias": chance.normal(0, 0.01, dim),
    }
    for name, channels in (("bn1", 8), ("bn2", 8), ("bn3", 8), ("features", dim)):
        tensors |= {
            f"{name}.weight": chance.uniform(0.5, 1.5, channels),
            f"{name}.bias": chance.normal(0, 0.1, channels),
            f"{name}.running_mean": chance.normal(0, 0.1, channels),
            f"{name}.running_var": chance.uniform(0.5, 1.5, channels),
        }

    def normalised(name: str, source: str, target: str) -> onnx.NodeProto:
        parts = [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        return helper.make_node("BatchNormalization", [source, *parts], [target], epsilon=1e-5, momentum=0.9)

    same = {"kernel_shape": [3, 3], "pads": [1] * 4}
    nodes = [
        helper.make_node("Conv", ["input.1", "conv1.weight"], ["c1"], strides=[4, 4], **same),
        normalised("bn1", "c1", "b1"),
        helper.make_node("PRelu", ["b1", "prelu.weight"], ["p1"]),
        normalised("bn2", "p1", "b2"),
        helper.make_node("Conv", ["b2", "conv2.weight"], ["c2"], **same),
        helper.make_node("Add", ["c2", "p1"], ["sum"]),
        normalised("bn3", "sum", "b3"),
        helper.make_node("AveragePool", ["b3"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["small"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["fc"], transB=1),
        normalised("features", "fc", output),
    ]
    entry = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, ["None", 3, 112, 112])
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["None", dim])
    weights = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in tensors.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "torch-jit-export", [entry], [result], weights),
        opset_imports=[helper.make_opsetid("", 11)],
        ir_version=6,
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def inception_resnet(path: Path, classes: int = 17, seed: int = 0) -> Path:
    """As facenet-pytorch publishes its own: a state dict with the classifier that the network was trained with."""
    from facenet_pytorch import InceptionResnetV1

    torch.manual_seed(seed)
    torch.save(InceptionResnetV1(pretrained=None, classify=True, num_classes=classes).state_dict(), path)
    return path


def torchscript(path: Path, dim: int = 32, seed: int = 0) -> Path:
    """A traced convolution and a linear layer over 64 x 64 pixels."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 15 * 15, dim)).eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit")  # torch recommends newer formats; people have files in this
        torch.jit.trace(network, torch.rand(2, 3, 64, 64)).save(str(path))
    return path
