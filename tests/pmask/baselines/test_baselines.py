"""The baselines on a real face, with real recognisers: fewer iterations than published, the same budgets."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from pmask.baselines import BASELINES
from pmask.baselines.lowkey import scaled_ssim_distance, smoothed
from pmask.baselines.protector import BaselineProtector
from pmask.baselines.tipim import maximum_mean_discrepancy
from pmask.errors import BadOption
from pmask.evaluation import quality
from pmask.geometry import FRAME_SIZE
from pmask.images import decode
from pmask.options import MaskOptions

SURROGATES = MaskOptions(team=("mobilefacenet",))
ITERATIONS = {"fawkes": 25, "tipim": 24, "lowkey": 15}
"""Few, for tests; what is asked of them holds at any number."""


@pytest.fixture(scope="module")
def portrait(astronaut):
    """(250, 250, 3): the face some 90 pixels wide."""
    return np.ascontiguousarray(astronaut[:250, 100:350])


@pytest.fixture(scope="module")
def others(tmp_path_factory, portrait, encoded):
    """Photos of three "other people": the portrait in other colours, mirrored."""
    folder = tmp_path_factory.mktemp("others")
    for i, order in enumerate(((2, 1, 0), (1, 0, 2), (0, 2, 1))):
        (folder / f"{i}.png").write_bytes(encoded(np.ascontiguousarray(portrait[:, ::-1, order]), "PNG"))
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def protected(portrait, others, encoded):
    """By method: the pixels of the written file, and its report."""
    found = {}
    for name, method in BASELINES.items():
        short = replace(method, iterations=ITERATIONS[name])
        result = BaselineProtector(short, device="cpu", others=others).protect(encoded(portrait, "PNG"), SURROGATES)
        found[name] = decode(result.data).rgb, result.report
    return found


@pytest.mark.parametrize("name", BASELINES)
def test_a_mask_leads_away_from_the_face(protected, name):
    """Farther than recompressing a photo ever would, for a recogniser that it was made against."""
    _, report = protected[name]
    assert ("protected", 1) == (report.status, len(report.faces))
    (face,) = report.faces
    assert ITERATIONS[name] == face.iterations
    assert {"mobilefacenet"} == set(face.distances)
    assert face.distances["mobilefacenet"].after > 35


@pytest.mark.parametrize("name", BASELINES)
def test_only_the_face_changes(protected, portrait, name):
    """Baselines are pasted as PMask's masks are, so none is judged by its cropping."""
    pixels, report = protected[name]
    x, y, width, height = report.faces[0].box
    outside = np.ones(portrait.shape[:2], bool)
    outside[
        max(0, int(y - 0.2 * height)) : int(y + 1.2 * height) + 1, int(x - 0.2 * width) : int(x + 1.2 * width) + 1
    ] = False
    assert (pixels[outside] == portrait[outside]).all()
    assert (pixels != portrait).any()


def test_tip_im_keeps_every_pixel_within_12_levels(protected, portrait):
    """On the file itself, and it uses what it has."""
    change = np.abs(protected["tipim"][0].astype(int) - portrait)
    assert 12 == change.max()


def test_fawkes_keeps_to_its_dssim(protected):
    """On the file itself, rounded to whole levels."""
    (face,) = protected["fawkes"][1].faces
    assert 0.010 < (1 - face.ssim) / 2 <= 0.017


def test_fawkes_scales_down_what_never_came_within_the_budget(portrait, encoded):
    """A first step that is far too large must not leave the face bare, nor over the budget."""
    method = replace(BASELINES["fawkes"], iterations=2, rate=1500.0)
    (face,) = BaselineProtector(method, device="cpu").protect(encoded(portrait, "PNG"), SURROGATES).report.faces
    assert 0.010 < (1 - face.ssim) / 2 <= 0.017


def test_lowkey_moves_at_most_its_steps_and_says_what_held_it_back(protected, portrait):
    """15 steps of 0.32 levels; and no table may pass a substitute off as LPIPS."""
    pixels, report = protected["lowkey"]
    assert np.abs(pixels.astype(int) - portrait).max() <= 5
    words = "LowKey was held back by SSIM over 3 scales in place of LPIPS"
    assert (words in report.warnings) == (quality.lpips_unavailable() is not None)


def test_tip_im_without_anybody_to_lead_to_is_refused():
    """With the option that helps."""
    with pytest.raises(BadOption, match="--targets"):
        BaselineProtector(BASELINES["tipim"], device="cpu")


def test_a_photo_without_a_face_passes(coffee, encoded):
    """Byte for byte, as with PMask."""
    data = encoded(coffee, "PNG")
    result = BaselineProtector(BASELINES["lowkey"], device="cpu").protect(data, SURROGATES)
    assert (data, "no_face") == (result.data, result.report.status)


def test_a_grey_photo_stays_grey(portrait, encoded):
    """Whatever a method does to colours."""
    grey = np.repeat(portrait.mean(2, keepdims=True).astype(np.uint8), 3, 2)
    method = replace(BASELINES["lowkey"], iterations=3)
    pixels = decode(BaselineProtector(method, device="cpu").protect(encoded(grey, "PNG"), SURROGATES).data).rgb
    assert (pixels != grey).any()
    assert (pixels == pixels[..., :1]).all()


def test_the_naturalness_weight_of_tip_im_holds_it_back(portrait, others, encoded):
    """The option of the paper: other steps than without it."""
    files = [
        BaselineProtector(replace(BASELINES["tipim"], iterations=3, mmd=weight), device="cpu", others=others)
        .protect(encoded(portrait, "PNG"), SURROGATES)
        .data
        for weight in (0.0, 10.0)
    ]
    assert files[0] != files[1]


def test_maximum_mean_discrepancy_of_an_image_and_itself_is_nothing():
    """And it grows with the distance."""
    a, b, c = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.1), torch.full((1, 3, 4, 4), 0.5)
    assert 0.0 == float(maximum_mean_discrepancy(a, a))
    assert float(maximum_mean_discrepancy(a, b)) < float(maximum_mean_discrepancy(a, c))


def test_smoothing_keeps_flat_pictures_and_brightness():
    """A Gaussian filter, to the rim."""
    flat = torch.full((1, 3, 64, 64), 0.3)
    torch.testing.assert_close(smoothed(flat, 7, 3.0), flat)
    point = torch.zeros(1, 3, FRAME_SIZE, FRAME_SIZE)
    point[..., 144, 144] = 1
    spread = smoothed(point, 7, 3.0)
    torch.testing.assert_close(spread.sum((2, 3)), torch.ones(1, 3))
    assert 15**2 == int((spread[0, 0] > 0).sum()), "7 template units, at two pixels each"


def test_the_substitute_for_lpips_is_a_distance():
    """Zero for the same, with a gradient otherwise."""
    a = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    assert pytest.approx(0, abs=1e-6) == float(scaled_ssim_distance(a, a))
    b = (a + 0.1).requires_grad_()
    scaled_ssim_distance(a, b).backward()
    assert bool((b.grad != 0).any())


def test_the_product_never_imports_the_baselines():
    """They live apart: whoever protects a photo loads none of them."""
    code = "import sys, pmask.protect, pmask.cli; print([name for name in sys.modules if 'baselines' in name])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == run.stdout.strip()
