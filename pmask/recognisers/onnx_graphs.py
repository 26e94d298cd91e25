"""Repairs published ONNX recognisers that no runtime takes as they are, and turns them into torch modules."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, MutableSequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from torch import nn

NEWEST_OPSET = 16
"""What onnx2torch 1.5 knows. What is left of these graphs after folding means the same in later operator sets."""


class Named(Protocol):
    """A protobuf message with a name."""

    name: str


Array = npt.NDArray[np.float32]


def load_onnx(path: Path) -> nn.Module:
    """The graph of ``path`` as a module with gradients, in eval mode: any batch size, weights in float32, batch
    normalisation folded into the convolutions (a quarter less time on a CPU)."""
    model = onnx.load(path)
    _fold_constants(model.graph)
    _fold_normalisation(model.graph)
    _drop_dropout(model.graph)
    _free_batch(model.graph)
    for opset in model.opset_import:
        opset.version = min(opset.version, NEWEST_OPSET)
    return _converter()(model).eval()


@cache
def _converter() -> Callable[[onnx.ModelProto], nn.Module]:
    """onnx2torch's convert. It imports torchvision for two operators, NonMaxSuppression and RoiAlign, which are for
    detectors; and torchvision takes as long to load as all the rest, and 150 MB, since it brings torch's compiler. So
    where nobody has loaded it yet, empty modules stand in for it meanwhile."""
    stand_ins = {name: ModuleType(name) for name in ("torchvision", "torchvision.ops")}
    stand_ins["torchvision.ops"].__dict__["roi_align"] = None
    is_loaded = "torchvision" in sys.modules
    if not is_loaded:
        sys.modules.update(stand_ins)
    try:
        from onnx2torch import convert
    finally:
        if not is_loaded:
            for name in stand_ins:
                del sys.modules[name]
    converter: Callable[[onnx.ModelProto], nn.Module] = convert
    return converter


def _fold_constants(graph: onnx.GraphProto) -> None:
    """Replaces DequantizeLinear and Reshape over constants by their result, and drops graph inputs that are not needed.

    OpenCV's block-quantised files (https://github.com/opencv/opencv_zoo, tools/quantize) keep a weight as int8 with a
    scale per block, reshape it at run time, and still list inputs that are long gone: onnxruntime refuses them.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type not in {"DequantizeLinear", "Reshape"} or not all(name in constants for name in node.input):
            continue
        inputs = [constants[name] for name in node.input]
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        folded = (
            _dequantised(*inputs, **settings) if node.op_type == "DequantizeLinear" else inputs[0].reshape(inputs[1])
        )
        constants[node.output[0]] = folded
        graph.initializer.append(numpy_helper.from_array(folded, node.output[0]))
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    _keep(graph.initializer, lambda name: name in used)
    _keep(graph.input, lambda name: name in used and name not in constants)


def _fold_normalisation(graph: onnx.GraphProto) -> None:
    """Folds every BatchNormalization that alone follows a Conv into that Conv's weight and bias."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    readers = Counter(name for node in graph.node for name in node.input)
    for node in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        conv = makers.get(node.input[0])
        if conv is None or conv.op_type != "Conv" or readers[node.input[0]] > 1:
            continue
        gamma, beta, mean, variance = (numpy_helper.to_array(tensors[name]) for name in node.input[1:5])
        epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
        scale = gamma / np.sqrt(variance + epsilon)
        weight = numpy_helper.to_array(tensors[conv.input[1]])
        bias = numpy_helper.to_array(tensors[conv.input[2]]) if len(conv.input) > 2 else np.float32(0)
        folded = {"weight": weight * scale.reshape(-1, 1, 1, 1), "bias": (bias - mean) * scale + beta}
        names = [f"{conv.output[0]}_folded_{part}" for part in folded]
        graph.initializer.extend(map(numpy_helper.from_array, folded.values(), names))
        conv.input[:] = [conv.input[0], *names]
        conv.output[0] = node.output[0]
        graph.node.remove(node)


def _dequantised(values: Array, scales: Array, zeros: Array, *, axis: int = 1, block_size: int = 0) -> Array:
    """ONNX DequantizeLinear, a scale per block of ``block_size`` along ``axis``: https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html"""
    if not block_size:
        raise ValueError("only block-wise DequantizeLinear is known")
    length = values.shape[axis]
    scales, zeros = (np.repeat(part, block_size, axis).take(range(length), axis) for part in (scales, zeros))
    return (values.astype(np.float32) - zeros.astype(np.float32)) * scales


def _keep(entries: MutableSequence[Named], wanted: Callable[[str], bool]) -> None:
    """Drops from a list of named protobuf messages those whose name is not wanted."""
    for entry in [entry for entry in entries if not wanted(entry.name)]:
        entries.remove(entry)


def _drop_dropout(graph: onnx.GraphProto) -> None:
    """Takes out every Dropout, which does nothing in eval mode, but for asking a graphics card what its ratio is."""
    for node in [node for node in graph.node if node.op_type == "Dropout"]:
        for reader in graph.node:
            reader.input[:] = [node.input[0] if name == node.output[0] else name for name in reader.input]
        for output in graph.output:
            output.name = node.input[0] if output.name == node.output[0] else output.name
        graph.node.remove(node)


def _free_batch(graph: onnx.GraphProto) -> None:
    """Lets a Reshape to (1, dim) take any batch, as a Flatten. A shape of constants is read back from a graphics card,
    each time."""
    shapes = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in graph.initializer if tensor.dims == [2]}
    for node in graph.node:
        if node.op_type == "Reshape" and shapes.get(node.input[1], [0])[0] == 1:
            node.op_type, node.input[:] = "Flatten", node.input[:1]
