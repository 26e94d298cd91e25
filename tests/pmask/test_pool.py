"""The pool beyond the package registries: recognisers that are fetched on request, and a person's own.

Their weights are not at hand where tests run, so files of the same form take their place.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import networks
import numpy as np
import onnxruntime
import pytest
import torch
from facenet_pytorch import InceptionResnetV1

from pmask import cli, store
from pmask.check import everyone, judges
from pmask.errors import BadOption, UnknownRecogniser, WeightsUnavailable
from pmask.geometry import FRAME_SIZE, box_to_frame, sample, sampling_grid
from pmask.options import MaskOptions
from pmask.population import decoys
from pmask.recognisers import own, specs
from pmask.recognisers.pool import load
from pmask.recognisers.records import WebFile, mark_of
from pmask.recognisers.specs import DEFAULT_TEAM, ON_REQUEST, REGISTRY, SPECS

OWN = """
[mine]
file = "mine.onnx"
dim = 64
size = 112
colour = "bgr"
mean = [104, 117, 123]
deviation = 127.5
crop = [8, 8, 96]
licence = "mine alone"
"""


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    """No weights, settings or home of the person who runs the tests."""
    monkeypatch.setenv("PMASK_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("PMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "settings").mkdir()


@pytest.fixture
def published(web, tmp_path, monkeypatch):
    """Serves a file of the form of a member's, and points the pool there. Returns the file."""

    def publish(name: str) -> Path:
        spec = ON_REQUEST[name]
        (file,) = spec.files
        make = networks.arcface_onnx if spec.kind == "onnx" else networks.inception_resnet
        path = make(tmp_path / file.member)
        content, address = path.read_bytes(), "/" + file.url.rsplit("/", 1)[-1]
        web.files[address] = _zipped(f"folder/{file.member}", content) if file.archived else content
        digest = hashlib.sha256(content).hexdigest()
        served = replace(file, url=web.url(address), sha256=digest, size=len(content))
        monkeypatch.setitem(ON_REQUEST, name, replace(spec, files=(served,)))
        return path

    return publish


def _zipped(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("folder/other.onnx", b"other")
        made.writestr(name, content)
    return out.getvalue()


def settings(text: str) -> None:
    own.path().write_text(text)


def frames(count: int = 3) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(count, 3, FRAME_SIZE, FRAME_SIZE)


def crop(spec, image: torch.Tensor) -> np.ndarray:
    """What a member's network gets, cut and scaled as its makers say, apart from the pool's own code for it."""
    size = spec.intake.size
    grid = sampling_grid(
        box_to_frame(*spec.intake.box, size), (size, size), (FRAME_SIZE, FRAME_SIZE), torch.device("cpu")
    )
    return (sample(image, grid) * 255).numpy()


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("name", sorted(ON_REQUEST))
def test_members_on_request_keep_the_contract(name, published, capsys):
    """From the makers' server to unit embeddings with gradients; their licence is shown before the first byte."""
    with pytest.raises(WeightsUnavailable, match=f"pmask models fetch {name}"):
        load(name)
    path = published(name)
    assert 0 == cli.main(["models", "fetch", name])
    said = capsys.readouterr()
    assert f"its licence: {SPECS[name].licence}" in said.err
    assert f"pmask models calibrate {name}" in said.out
    recogniser = load(name)
    images = frames().requires_grad_()
    embeddings = recogniser(images)
    assert (3, SPECS[name].dim) == tuple(embeddings.shape)
    assert torch.allclose(torch.ones(3), embeddings.norm(dim=1), atol=1e-5)
    assert torch.allclose(embeddings[1], recogniser(images[1:2])[0], atol=1e-4)
    embeddings[0].mul(torch.arange(SPECS[name].dim)).sum().backward()
    assert float(images.grad[0].abs().sum()) > 0
    assert 0.0 == float(images.grad[1:].abs().sum())
    assert not any(parameter.requires_grad for parameter in recogniser.parameters())
    pixels = crop(SPECS[name], images.detach())
    if SPECS[name].kind == "onnx":  # InsightFace: RGB, (x - 127.5) / 127.5
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (expected,) = session.run(None, {"input.1": (pixels - 127.5) / 127.5})
    else:  # facenet-pytorch's fixed_image_standardization
        network = InceptionResnetV1(pretrained=None, classify=True, num_classes=17)
        network.load_state_dict(torch.load(path, weights_only=True))
        network.classify = False
        with torch.no_grad():
            expected = network.eval()(torch.from_numpy((pixels - 127.5) / 128)).numpy()
    assert np.allclose(unit(expected), embeddings.detach().numpy(), atol=1e-4)


def test_a_pack_may_be_named_instead(published, capsys):
    """It is the name that people know."""
    published("webface600k-mbf")
    assert 0 == cli.main(["models", "fetch", "buffalo_s"])
    assert store.is_here(SPECS["webface600k-mbf"])
    assert 2 == cli.main(["models", "fetch", "buffalo_x"])
    assert "known: casia-irv1" in capsys.readouterr().err


def test_torch_s_own_folder_may_be_elsewhere(tmp_path, monkeypatch):
    """facenet-pytorch keeps its weights where TORCH_HOME says."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (file,) = ON_REQUEST["casia-irv1"].files
    there = tmp_path / "torch/checkpoints" / file.member
    there.parent.mkdir(parents=True)
    with there.open("wb") as stream:
        stream.truncate(file.size)
    assert there == store.weight_path(file)


def test_plain_fetch_leaves_members_on_request_alone(web, published, monkeypatch, protector):
    """Hundreds of megabytes, and licences that forbid some uses: only by name."""
    monkeypatch.delenv("PMASK_CACHE")
    monkeypatch.delenv("HOME")
    published("webface600k-r50")
    fetched: list[str] = []
    monkeypatch.setattr(store, "fetch", lambda files, *rest: fetched.extend(file.member for file in files) or [])
    assert 0 == cli.main(["models", "fetch"])
    assert {file.member for spec in REGISTRY.values() for file in spec.files} < set(fetched)
    assert not any("w600k" in member for member in fetched)
    assert [] == web.asked


def test_who_is_not_here_neither_judges_nor_is_asked(published, capsys):
    """An absent pack must not be fetched behind anybody's back, and an uncalibrated one has no say."""
    assert list(REGISTRY) == everyone()
    assert ["dlib"] == judges(DEFAULT_TEAM)
    assert [] == judges(tuple(REGISTRY))
    published("webface600k-mbf")
    assert 0 == cli.main(["models", "fetch", "webface600k-mbf"])
    assert list(REGISTRY) == everyone()
    assert 0 == cli.main(["models", "list", "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out.splitlines()[-1])}
    row = rows["webface600k-mbf"]
    assert (True, False, None) == (row["present"], row["calibrated"], row["rank_one"])
    assert "non-commercial" in row["licence"]
    assert not rows["glint360k-r100"]["present"]
    assert "pmask models fetch glint360k-r100" in rows["glint360k-r100"]["state"]


def test_insightface_s_own_folder_is_used(tmp_path):
    """What its users have already is neither copied nor fetched, unless it is not what was published."""
    (file,) = ON_REQUEST["webface600k-r50"].files
    assert file.homes[0] == "~/.insightface/models/buffalo_l/w600k_r50.onnx"
    assert not store.is_here(SPECS["webface600k-r50"])
    there = tmp_path / "home/.insightface/models/buffalo_l/w600k_r50.onnx"
    there.parent.mkdir(parents=True)
    with there.open("wb") as stream:
        stream.truncate(file.size)  # as long, and all zeros
    assert store.is_here(SPECS["webface600k-r50"])
    with pytest.raises(WeightsUnavailable, match="SHA-256 differs"):
        load("webface600k-r50")


def test_checksums_and_addresses_of_members_on_request():
    """A slip in one digit would make a member useless, and nobody here could tell by fetching it."""
    for spec in ON_REQUEST.values():
        (file,) = spec.files
        assert isinstance(file, WebFile)
        assert 64 == len(bytes.fromhex(file.sha256)) * 2
        assert file.url.startswith("https://github.com/")
        assert file.sha256 == mark_of(file)
    assert not {file.sha256 for spec in REGISTRY.values() for file in spec.files} & {
        file.sha256 for spec in ON_REQUEST.values() for file in spec.files
    }


def test_a_person_s_own_onnx(tmp_path, capsys):
    """A table of recognisers.toml is a full member: colour order, scale and crop are as it says."""
    settings(OWN)
    with pytest.raises(WeightsUnavailable, match="is not there"):
        load("mine")
    path = networks.arcface_onnx(own.path().parent / "mine.onnx", dim=64)
    spec = SPECS["mine"]
    assert ("own", 64, False) == (spec.source, spec.dim, spec.calibrated)
    images = frames()
    found = load("mine")(images)
    pixels = crop(spec, images)[:, ::-1]
    assert (8.0, 8.0, 96.0, 96.0) == spec.intake.box
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    mean = np.array([104, 117, 123], np.float32).reshape(1, 3, 1, 1)
    (expected,) = session.run(None, {"input.1": (pixels - mean) / np.float32(127.5)})
    assert np.allclose(unit(expected), found.numpy(), atol=1e-4)
    assert ("mine",) == MaskOptions(team=("mine",)).team
    assert (1000, 64) == decoys("mine").shape
    assert 0 == cli.main(["models", "list", "mine"])
    said = capsys.readouterr().out
    assert "mine alone" in said
    assert "not calibrated" in said


def test_a_person_s_own_torchscript():
    """The other format that people's networks come in."""
    settings(OWN.replace("mine.onnx", "mine.pt").replace("dim = 64", "dim = 32").replace("size = 112", "size = 64"))
    networks.torchscript(own.path().parent / "mine.pt")
    images = frames(2).requires_grad_()
    embeddings = load("mine")(images)
    assert (2, 32) == tuple(embeddings.shape)
    embeddings.sum().backward()
    assert float(images.grad.abs().sum()) > 0


def test_weights_that_are_not_what_the_file_says(tmp_path):
    """Said with what is wrong, not as a stack of torch's."""
    settings(OWN.replace("dim = 64", "dim = 128"))
    networks.arcface_onnx(own.path().parent / "mine.onnx", dim=64)
    with pytest.raises(WeightsUnavailable, match=r"gives embeddings of \(64,\), not \(128,\)"):
        load("mine")
    (own.path().parent / "mine.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsUnavailable, match="could not be loaded as onnx"):
        load("mine")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[mine]", "[sface]", "has that name"),
        ("[mine]", '["../mine"]', "small letters"),
        ("dim = 64", "", "dim is missing"),
        ("dim = 64", "dim = true", "whole number from 2"),
        ("dim = 64", "dim = 64\ndims = 3", "dims is not known; known: file"),
        ("mine.onnx", "mine.exe", "must end in one of .onnx"),
        ('"bgr"', '"yuv"', '"rgb" or "bgr"'),
        ("[104, 117, 123]", "[104, 117]", r"1 or 3 number\(s\)"),
        ("deviation = 127.5", "deviation = 0", "must not be 0"),
        ("[8, 8, 96]", "[8, 8, 0]", "a side above 0"),
        ("[8, 8, 96]", '["a", 8, 96]', r"3 or 4 number\(s\)"),
        ('licence = "mine alone"', "licence = 3", "licence must be a text"),
        ("size = 112", "size = 5000", "from 16 to 1024"),
        ("dim = 64", "dim = ", "is not TOML"),
        ('licence = "mine alone"', 'licence = "mine"\nmatch_angle = 200', "between 0 and 180"),
    ],
)
def test_a_mistake_in_the_file_is_named(old, new, words):
    """Which file, which table, what is wrong with it."""
    settings(OWN.replace(old, new))
    with pytest.raises(BadOption, match=words) as caught:
        list(SPECS)
    assert "recognisers.toml" in str(caught.value)


def test_a_mistake_there_leaves_pmask_s_own_recognisers_alone():
    """A photo can still be protected; only who asks for an unknown name, or for all of the pool, is told."""
    settings("nonsense")
    assert DEFAULT_TEAM == MaskOptions(team=DEFAULT_TEAM).team
    with pytest.raises(BadOption, match="is not TOML"):
        MaskOptions(team=("mine",))


def test_the_file_is_read_again_when_it_changes():
    """The daemon runs for weeks."""
    assert "mine" not in SPECS
    settings(OWN)
    assert "mine" in SPECS
    assert len(REGISTRY) + len(ON_REQUEST) + 1 == len(SPECS)
    os.utime(own.path(), (1, 1))
    settings(OWN.replace("[mine]", "[yours]"))
    assert ("yours" in SPECS, "mine" in SPECS) == (True, False)
    own.path().unlink()
    with pytest.raises(UnknownRecogniser, match="known: "):
        specs.require_known(["yours"])


def test_naming_the_pool_loads_no_torch():
    """The daemon checks options without it."""
    code = (
        "import sys; from pmask.recognisers import specs; assert list(specs.SPECS); assert 'torch' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 0 == result.returncode, result.stderr
