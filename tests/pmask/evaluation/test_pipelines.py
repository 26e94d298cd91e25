"""Each way to an intruder does what its name says, and nothing else: an evaluation is worth what its pipelines are."""

from __future__ import annotations

import numpy as np
import pytest

from pmask.evaluation import pipelines
from pmask.evaluation.pipelines import PAPER_LIKE, PIPELINES, window

BOX = (175.0, 60.0, 95.0, 120.0)
"""The astronaut's face."""


@pytest.fixture
def square():
    """Middle grey, 21 x 21, with one pixel that is brighter by 64."""
    rgb = np.full((21, 21, 3), 128, np.uint8)
    rgb[10, 10] += 64
    return rgb


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_keeps_the_contract(name, astronaut):
    """Tables compare pipelines, so one that draws lots, enlarges, spoils its input or does nothing would mislead."""
    given = astronaut.copy()
    result = pipelines.apply(name, given, BOX)
    assert name == PIPELINES[name].name
    assert PIPELINES[name].words
    assert np.uint8 == result.dtype
    assert (3, 3) == (result.ndim, result.shape[2])
    assert result.shape[0] <= 512
    assert result.shape[1] <= 512
    assert np.array_equal(result, pipelines.apply(name, given, BOX)), "deterministic"
    assert np.array_equal(astronaut, given), "the input stays as it was"
    assert (name == "bare") == np.array_equal(astronaut, result)


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), (-30.0, -30.0, 100.0, 100.0), (19.6, 19.6, 5.0, 5.0)])
def test_every_pipeline_takes_boxes_at_the_edge_of_small_photos(name, box, square):
    """Detectors give boxes that leave the photo."""
    assert 0 < pipelines.apply(name, square, box).size


def test_an_unknown_name_lists_the_known_ones(astronaut):
    with pytest.raises(ValueError, match=r"unknown pipeline jpeg71; known: bare, jpeg70, "):
        pipelines.apply("jpeg71", astronaut, BOX)


def test_the_papers_pipelines_exist():
    assert set(PAPER_LIKE) <= set(PIPELINES)


@pytest.mark.parametrize(
    ("name", "middle", "beside"),
    [
        ("mean3", 135, 135),  # 64 / 9
        ("mean5", 131, 131),  # 64 / 25
        ("gaussian3", 144, 136),  # 64 / 16 * 4 and * 2
        ("gaussian5", 137, 134),  # 64 / 256 * 36 and * 24
        ("median3", 128, 128),
        ("median5", 128, 128),
    ],
)
def test_a_filter_spreads_a_lone_pixel_as_its_kernel_says(name, middle, beside, square):
    """OpenCV chooses sigma by itself; this holds the kernels that tables name."""
    result = pipelines.apply(name, square, BOX)
    assert [middle] * 3 == result[10, 10].tolist()
    assert [beside] * 3 == result[10, 11].tolist()
    assert (result[:7] == 128).all()


def test_five_bits_leave_32_levels_from_black_to_white():
    ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    result = pipelines.apply("bits5", ramp, BOX)
    levels = np.unique(result)
    assert (32, 0, 255) == (len(levels), levels[0], levels[-1])
    assert np.abs(result.astype(int) - ramp).max() <= 7


def test_a_face_of_64_pixels_has_lost_its_detail():
    """Stripes of one pixel vanish where the face is 128 px, and stay where it is small already."""
    stripes = np.zeros((200, 200, 3), np.uint8)
    stripes[:, ::2] = 200
    assert pipelines.apply("face64", stripes, (30.0, 30.0, 128.0, 140.0)).std() < 5
    assert np.array_equal(stripes, pipelines.apply("face64", stripes, (30.0, 30.0, 60.0, 140.0)))


@pytest.mark.parametrize(("name", "shape"), [("crop", (240, 190, 3)), ("crop-shift", (204, 161, 3))])
def test_a_crop_holds_the_whole_face(name, shape, astronaut):
    """One that cut into the face would hide it by itself."""
    marked = np.zeros_like(astronaut)
    marked[window(astronaut, BOX)] = 255
    cut = pipelines.apply(name, marked, BOX)
    assert shape == cut.shape
    assert 95 * 120 == (cut[..., 0] == 255).sum()


def test_the_second_crop_is_off_the_middle(astronaut):
    marked = np.zeros_like(astronaut)
    marked[window(astronaut, BOX)] = 255
    rows, columns = np.nonzero(pipelines.apply("crop-shift", marked, BOX)[..., 0])
    assert rows.mean() < 0.4 * 204
    assert columns.mean() < 0.4 * 161


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("edge1080-jpeg75", (540, 1080, 3)),
        ("edge2048-jpeg85", (1024, 2048, 3)),
        ("screenshot", (1125, 2250, 3)),
        ("small-jpeg", (750, 1500, 3)),
    ],
)
def test_photos_are_shrunk_to_size(name, shape):
    assert shape == pipelines.apply(name, np.full((1250, 2500, 3), 90, np.uint8), BOX).shape


def test_a_small_photo_is_never_enlarged(astronaut):
    assert astronaut.shape == pipelines.apply("edge1080-jpeg75", astronaut, BOX).shape


def test_a_lower_jpeg_quality_changes_more(astronaut):
    """Quality numbers handed to the wrong place would show here."""
    errors = [
        np.abs(pipelines.apply(name, astronaut, BOX).astype(int) - astronaut).mean()
        for name in ("jpeg70", "jpeg75", "jpeg85")
    ]
    assert errors == sorted(errors, reverse=True)
    assert len(set(errors)) == 3


def test_denoising_takes_noise_of_a_masks_strength_out_of_the_face():
    """An intruder who denoises must be given a denoiser that works; the rest of the photo stays as it is."""
    noise = np.random.default_rng(0).normal(128, 8, (400, 400, 1)).repeat(3, axis=2)
    rgb = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    result = pipelines.apply("denoise", rgb, (150.0, 150.0, 60.0, 60.0))
    assert result[150:210, 150:210].std() < 4
    assert np.array_equal(rgb[:80], result[:80])
