"""One contract over every recogniser of the pool, and that each still recognises."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from pmask import store
from pmask.geometry import FRAME_SIZE
from pmask.recognisers import facexzoo, lightcnn, onnx_graphs
from pmask.recognisers.pool import load
from pmask.recognisers.specs import REGISTRY, SPECS
from pmask.recognisers.tfjs import read_weights
from pmask.views import View

PEOPLE, PHOTOS = 12, 4
"""Of the test photos: few enough for seconds, enough that a wrong crop or colour order shows."""


@pytest.fixture(scope="module", params=sorted(SPECS))
def recogniser(request):
    if request.param not in REGISTRY and not store.is_here(SPECS[request.param]):
        pytest.skip(f"{request.param} is not on this machine (pmask models fetch {request.param})")
    return load(request.param)


def test_the_contract(recogniser):
    """Face frames in [0, 1] in, unit embeddings out, each face on its own, with gradients to the pixels."""
    torch.manual_seed(0)
    frames = torch.rand(3, 3, FRAME_SIZE, FRAME_SIZE, requires_grad=True)
    embeddings = recogniser(frames)
    assert (3, recogniser.spec.dim) == tuple(embeddings.shape)
    assert torch.allclose(torch.ones(3), embeddings.norm(dim=1), atol=1e-5)
    assert torch.allclose(embeddings[1], recogniser(frames[1:2])[0], atol=1e-4)
    embeddings[0].square().mul(torch.arange(recogniser.spec.dim)).sum().backward()
    assert float(frames.grad[0].abs().sum()) > 0
    assert 0.0 == float(frames.grad[1:].abs().sum())
    assert not any(parameter.requires_grad for parameter in recogniser.parameters())


def test_it_recognises(recogniser, protector, shared):
    """A wrong colour order, crop or scale still gives embeddings, but not the right neighbours."""
    names, frames = [], []
    folders = sorted((shared / "faces/people").iterdir())[:PEOPLE]
    for path in (path for folder in folders for path in sorted(folder.iterdir())[:PHOTOS]):
        with Image.open(path) as image:
            rgb = np.array(image.convert("RGB"))
        middle = np.array(rgb.shape[1::-1]) / 2
        face = min(protector.detect(rgb), key=lambda face: float(np.abs(face.landmarks[2] - middle).sum()))
        frames.append(View(rgb, face, torch.device("cpu")).frame(rgb))
        names.append(path.parent.name)
    with torch.no_grad():
        embeddings = torch.cat([recogniser(torch.cat(frames[i : i + 16])) for i in range(0, len(frames), 16)])
    similarity = embeddings @ embeddings.T
    similarity.fill_diagonal_(-1)
    nearest = similarity.argmax(1)
    right = sum(names[i] == names[int(other)] for i, other in enumerate(nearest))
    assert right >= len(names) - 1, f"rank-1 {right} of {len(names)}"


def test_mobilefacenet_computes_what_onnxruntime_does():
    """The conversion to torch must not change the network."""
    (path,) = store.fetch(SPECS["mobilefacenet"].files)
    crops = np.random.default_rng(0).standard_normal((1, 3, 112, 112)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: crops})
    with torch.no_grad():
        found = onnx_graphs.load_onnx(path)(torch.from_numpy(crops)).numpy()
    assert np.allclose(expected, found, atol=1e-4 * np.abs(expected).max())


def test_sface_computes_what_onnxruntime_does_once_it_is_repaired(tmp_path):
    """As published the file does not load there: with its constants folded it does, and must agree."""
    (path,) = store.fetch(SPECS["sface"].files)
    model = onnx.load(path)
    onnx_graphs._fold_constants(model.graph)
    onnx.save(model, tmp_path / "repaired.onnx")
    crops = np.random.default_rng(0).uniform(0, 255, (1, 3, 112, 112)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / "repaired.onnx"), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: crops})
    with torch.no_grad():
        found = onnx_graphs.load_onnx(path)(torch.from_numpy(crops)).numpy()
    assert np.allclose(expected, found, atol=1e-4 * np.abs(expected).max())


def test_the_team_loads_without_torchvision_and_torchs_compiler():
    """They take as long to load as all the rest, and no mask needs them. Who asks later gets the real one."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pmask.recognisers.pool import load; from pmask.recognisers.specs import DEFAULT_TEAM\n"
            "for name in DEFAULT_TEAM: load(name)\n"
            "print(sorted({'torchvision', 'torch._dynamo', 'sympy'} & {*sys.modules}))\n"
            "from torchvision.ops import roi_align; print(callable(roi_align))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ["[]", "True"] == done.stdout.splitlines()


def test_lightcnns_activation_is_the_larger_of_two_maps():
    """Of three maps each, the first half of the convolution's channels against the second, and without a sum."""
    layer = lightcnn._Max(1, 3)
    weights = torch.tensor([1.0, -1.0, 2.0, -1.0, 1.0, 1.0])
    layer.filter.weight.data = torch.zeros(6, 1, 3, 3)
    layer.filter.weight.data[:, 0, 1, 1] = weights
    layer.filter.bias.data.zero_()
    with torch.no_grad():
        found = layer(torch.full((1, 1, 4, 4), 3.0))
    assert [3.0, 3.0, 6.0] == found[0, :, 2, 2].tolist()


def test_lightcnns_activation_has_the_gradient_of_torchs_own():
    """Each of a pair's values gets what belongs to the larger, here with no equal ones among them."""
    pairs = torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(1))
    (expected,) = torch.autograd.grad((torch.maximum(*pairs.chunk(2, dim=1)) * weights).sum(), pairs)
    (found,) = torch.autograd.grad((lightcnn._Larger.apply(pairs) * weights).sum(), pairs)
    assert torch.equal(expected, found)


def test_folding_normalisation_into_a_convolution_changes_nothing_but_rounding():
    """With statistics and scales that are not those of a fresh layer."""
    layer = facexzoo._Normalised(3, 4, 3).eval()
    chance = torch.Generator().manual_seed(0)
    for values in (layer.bn.weight.data, layer.bn.bias.data, layer.bn.running_mean, layer.bn.running_var):
        values.copy_(torch.rand(4, generator=chance) + 0.5)
    image = torch.rand(1, 3, 8, 8, generator=chance)
    with torch.no_grad():
        expected = layer(image)
        layer.fold()
        assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in layer.modules())
        assert torch.allclose(expected, layer(image), atol=1e-5)


def test_a_pickled_network_gives_its_tensors_and_calls_nothing(tmp_path):
    """Names as in its state; of what else the pickle names to be called, nothing is."""

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "called"),)

    network = torch.nn.DataParallel(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)))
    network.trap = Trap()
    expected = network.module.state_dict()
    torch.save(network, tmp_path / "network.pkl", _use_new_zipfile_serialization=False)
    found = dict(facexzoo._tensors(facexzoo._read(tmp_path / "network.pkl")))
    assert expected.keys() == found.keys()
    assert all(torch.equal(values, found[name]) for name, values in expected.items())
    assert not (tmp_path / "called").exists()


def test_tfjs_weights_are_dequantised():
    """Three ways of writing a number, worked by hand."""
    groups = [
        {
            "weights": [
                {"name": "plain", "shape": [2], "dtype": "float32"},
                {"name": "half", "shape": [1], "dtype": "float32", "quantization": {"dtype": "float16"}},
                {
                    "name": "byte",
                    "shape": [2, 1],
                    "dtype": "float32",
                    "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0},
                },
            ]
        }
    ]
    binary = np.array([1, 2], "<f4").tobytes() + np.array([0.25], "<f2").tobytes() + bytes([0, 4])
    weights = read_weights(groups, binary)
    assert {"plain": [1.0, 2.0], "half": [0.25], "byte": [[-1.0], [1.0]]} == {k: v.tolist() for k, v in weights.items()}
    with pytest.raises(ValueError, match="12 bytes"):
        read_weights(groups, binary + b"more")
