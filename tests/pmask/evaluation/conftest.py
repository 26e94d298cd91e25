"""An intruder that tests make themselves, where real weights do not matter."""

from __future__ import annotations

import hashlib
import json

import pytest
from onnx import TensorProto, checker, helper, save


@pytest.fixture
def tiny_intruders(tmp_path):
    """A folder with a catalogue of one: its embedding is the face, averaged over squares of 14 pixels."""
    folder = tmp_path / "intruders"
    folder.mkdir()
    nodes = [
        helper.make_node("AveragePool", ["face"], ["small"], kernel_shape=[14, 14], strides=[14, 14]),
        helper.make_node("Flatten", ["small"], ["flat"]),
        helper.make_node("LpNormalization", ["flat"], ["embedding"], axis=1, p=2),
    ]
    entry = helper.make_tensor_value_info("face", TensorProto.FLOAT, ["n", 3, 112, 112])
    result = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 192])
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", [entry], [result]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    checker.check_model(model)
    save(model, folder / "tiny.onnx")
    digest = hashlib.sha256((folder / "tiny.onnx").read_bytes()).hexdigest()
    row = {"name": "tiny", "file": "tiny.onnx", "sha256": digest, "description": "squares of the face"}
    (folder / "intruders.json").write_text(json.dumps([row]))
    return folder
