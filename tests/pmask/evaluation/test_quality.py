"""Figures of what people see, held against answers that are known without them."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from pmask import store
from pmask.evaluation import quality
from pmask.evaluation.quality import LPIPS_HEADS, Colour, lpips_unavailable, measure
from pmask.faces import Face
from pmask.uploads import Upload

BACKBONE = "alexnet-owt-7be5be79.pth"


@pytest.fixture
def face() -> Face:
    """The astronaut's, as YuNet finds it."""
    landmarks = np.array([[200.1, 101.8], [247.2, 102.6], [220.3, 124.7], [198.9, 143.2], [239.8, 143.9]])
    return Face(box=(178.0, 62.6, 90.4, 113.9), landmarks=landmarks, score=0.93)


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """torch's hub cache for one test: nothing in it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def random_backbone(hub):
    """AlexNet's file where torchvision keeps it, with random weights; its classifier, which LPIPS has no use for, is
    left out, being 224 MB."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    features = alexnet(weights=None).features
    hub.mkdir(parents=True)
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, hub / BACKBONE)
    store.fetch([LPIPS_HEADS])


def masked(rgb, face, grain, reach):
    """The photo with a grey mask of some 6 levels in the face's box, which fades over ``reach`` of its sides on each.

    grain: sigma of its noise in pixels; None for even shading.
    """
    x, y, width, height = face.box
    edges = []
    for pixels, low, side in ((rgb.shape[0], y, height), (rgb.shape[1], x, width)):
        inside = side / 2 - np.abs(np.arange(pixels) - low - side / 2)
        edges.append(np.clip(inside / (reach * side), 0, 1) if reach else (inside > 0).astype(float))
    mask = np.full(rgb.shape[:2], 6.0)
    if grain is not None:
        noise = cv2.GaussianBlur(np.random.default_rng(0).normal(size=rgb.shape[:2]), (0, 0), grain)
        mask = noise * 8 / noise.std()
    return np.clip(np.rint(rgb + (mask * np.outer(*edges))[..., None]), 0, 255).astype(np.uint8)


def test_nothing_changed_is_nothing_seen(astronaut, face):
    same = measure(astronaut, astronaut.copy(), face)
    none = Colour(median=0.0, p99=0.0)
    assert (1.0, 99.0, None) == (same.ssim, same.psnr, same.lpips)
    assert (none, none, none) == (same.face, same.eyes, same.lips)
    assert (0.0, 0.0) == (same.chroma_p99, same.rim)


def test_figures_become_json(astronaut, face):
    """numpy's own numbers would stop json at the end of a long evaluation."""
    written = json.loads(json.dumps(measure(astronaut, masked(astronaut, face, 1.0, 0.1), face).to_json()))
    assert {"ssim", "psnr", "lpips", "face", "eyes", "lips", "chroma_p99", "rim"} == set(written)
    assert {"median", "p99"} == set(written["eyes"])


def test_photos_of_unlike_shapes_are_refused(astronaut, face):
    with pytest.raises(ValueError, match=r"\(512, 512, 3\) cannot be compared with one of \(511, 512, 3\)"):
        measure(astronaut, astronaut[1:], face)


def test_a_known_shift_of_grey_gives_its_ciede2000(astronaut, face):
    """By the formula for greys: the step in L* over S_L, and no step in a* or b*; PSNR by its own formula."""
    grey = [np.full_like(astronaut, level) for level in (118, 124)]
    lightness = [116 * (((level / 255 + 0.055) / 1.055) ** 2.4) ** (1 / 3) - 16 for level in (118, 124)]
    middle = (sum(lightness) / 2 - 50) ** 2
    expected = (lightness[1] - lightness[0]) / (1 + 0.015 * middle / math.sqrt(20 + middle))
    found = measure(*grey, face)
    for region in (found.face, found.eyes, found.lips):
        assert pytest.approx((expected, expected), abs=1e-3) == (region.median, region.p99)
    assert found.chroma_p99 < 0.01
    assert pytest.approx(20 * math.log10(255 / 6)) == found.psnr
    assert 0.0 == found.rim, "the whole photo changed, so there is no edge beside the face"


def test_a_shift_of_hue_shows_as_chroma(astronaut, face):
    """Pure blue to pure red of sRGB: (79.19, -107.86) and (80.09, 67.20) in a*b* under D65."""
    colours = np.zeros((2, *astronaut.shape), np.uint8)
    colours[0, ..., 2] = colours[1, ..., 0] = 255
    assert pytest.approx(math.hypot(80.09 - 79.19, 67.20 + 107.86), abs=0.1) == measure(*colours, face).chroma_p99


@pytest.mark.parametrize(("part", "places"), [("eyes", [0, 1]), ("lips", [3, 4])])
def test_a_change_shows_where_it_is(part, places, astronaut, face):
    """Green eyes must not hide in the mean of the face, nor pass for lips."""
    changed = astronaut.copy()
    for x, y in face.landmarks[places].round().astype(int):
        changed[y - 3 : y + 4, x - 3 : x + 4, 1] ^= 64
    found = measure(astronaut, changed, face)
    other = {"eyes": found.lips, "lips": found.eyes}[part]
    assert getattr(found, part).p99 > 10
    assert 0.0 == other.p99
    assert 0.0 == found.face.median


def test_regions_turn_with_the_face(astronaut, face):
    """A head laid on its side has its eyes above one another."""
    turned = replace(face, box=(62.6, 243.6, 113.9, 90.4), landmarks=face.landmarks[:, ::-1] * (1, -1) + (0, 511))
    other = masked(astronaut, face, 1.0, 0.1)
    upright, lying = measure(astronaut, other, face), measure(np.rot90(astronaut), np.rot90(other), turned)
    assert pytest.approx(upright.eyes.median, rel=0.02) == lying.eyes.median
    assert pytest.approx(upright.lips.p99, rel=0.02) == lying.lips.p99


def test_a_face_that_leaves_the_photo_is_measured(astronaut, face):
    """Detectors put boxes and landmarks beyond the edge."""
    photo = np.ascontiguousarray(astronaut[110:, 225:])
    moved = replace(face, box=(-47.0, -47.4, 90.4, 113.9), landmarks=face.landmarks - (225, 110))
    found = measure(photo, 255 - photo, moved)
    assert found.eyes.median > 1
    assert found.lips.median > 1


@pytest.mark.parametrize("size", [1, 8])
def test_a_tiny_photo_is_measured(size, face):
    photo = np.full((size, size, 3), 100, np.uint8)
    small = replace(face, box=(0.0, 0.0, float(size), float(size)), landmarks=face.landmarks * 0)
    small.landmarks[1] = (4.0, 0.0)
    small.landmarks[4] = (4.0, 4.0)
    assert 1.0 == measure(photo, photo, small).ssim


@pytest.mark.parametrize("quality_kept", [None, 90])
@pytest.mark.parametrize("grain", [None, 0.5, 1.5])
def test_the_rim_tells_a_hard_edge_from_a_feathered_one(grain, quality_kept, astronaut, face):
    """People see the outline of a mask before the mask, which neither SSIM nor colours count."""

    def rim(reach):
        kept = (lambda rgb: rgb) if quality_kept is None else Upload(None, quality_kept)
        photo = kept(astronaut)
        return measure(photo, kept(masked(photo, face, grain, reach)), face).rim

    assert 0.0 < rim(0.14) < 0.4
    assert 0.5 < rim(0.0) < 1.1


def test_lpips_is_none_without_its_weights(astronaut, face):
    """Most machines have no AlexNet; an evaluation must run there, and say so."""
    assert f"LPIPS was not computed: {BACKBONE} is not on this machine." == lpips_unavailable()
    assert measure(astronaut, masked(astronaut, face, 1.0, 0.1), face).lpips is None


def test_lpips_is_computed_with_its_weights(random_backbone, astronaut, face):
    """From the file in torch's cache to the figure; more change gives more of it."""
    assert lpips_unavailable() is None
    weak, strong = (masked(astronaut, face, grain, 0.1) for grain in (0.5, 3.0))
    assert 0.0 == measure(astronaut, astronaut, face).lpips
    assert 0.0 < measure(astronaut, weak, face).lpips < 1
    doubled = np.clip(astronaut + 3.0 * (strong.astype(float) - astronaut), 0, 255).astype(np.uint8)
    assert measure(astronaut, strong, face).lpips < measure(astronaut, doubled, face).lpips


def test_lpips_takes_faces_smaller_than_its_network(random_backbone, astronaut, face):
    small = replace(face, box=(200.0, 100.0, 9.0, 12.0))
    assert measure(astronaut, 255 - astronaut, small).lpips > 0


def test_broken_weights_of_lpips_stop_nothing(hub, astronaut, face):
    """A cut download must not end an evaluation of hours."""
    hub.mkdir(parents=True)
    (hub / BACKBONE).write_bytes(b"\x80\x02 no weights")
    assert lpips_unavailable().startswith("LPIPS was not computed: its weights are broken")
    assert measure(astronaut, astronaut, face).lpips is None


def test_weights_are_fetched_only_when_asked(tmp_path, hub, monkeypatch):
    """PMask fetches nothing unasked; what it fetches must have the checksum in its name."""
    content = tmp_path / "content"
    torch.save({"features.0.weight": torch.zeros(1)}, content)
    named = tmp_path / f"tiny-{hashlib.sha256(content.read_bytes()).hexdigest()[:8]}.pth"
    content.rename(named)
    monkeypatch.setattr(quality, "LPIPS_BACKBONE", named.as_uri())
    assert f"{named.name} is not on this machine" in lpips_unavailable()
    assert not hub.exists()
    assert "its weights are broken" in lpips_unavailable(fetch=True), "fetched, and not AlexNet"
    assert named.read_bytes() == (hub / named.name).read_bytes()


@pytest.mark.parametrize("name", ["absent-00000000.pth", "wrong-00000000.pth"])
def test_a_failed_fetch_is_a_reason(name, tmp_path, hub, monkeypatch):
    """No network and a forged file: neither raises, neither leaves anything."""
    (tmp_path / "wrong-00000000.pth").write_bytes(b"something else")
    monkeypatch.setattr(quality, "LPIPS_BACKBONE", (tmp_path / name).as_uri())
    assert lpips_unavailable(fetch=True).startswith("LPIPS was not computed: its weights ")
    assert [] == list(hub.iterdir())
