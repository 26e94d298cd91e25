"""The warps between photo, face frame and crops: a mask that lands half a pixel off does not work."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pmask.geometry import (
    FRAME_SIZE,
    TEMPLATE,
    box_to_frame,
    compose,
    frame_to,
    invert,
    sample,
    sampling_grid,
    scale_of,
    similarity,
)

CPU = torch.device("cpu")


def moved(turn: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    rotation = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return np.hstack([rotation, np.array(shift)[:, None]])


@pytest.mark.parametrize(("turn", "scale", "shift"), [(0, 1, (0, 0)), (0.5, 2.5, (40, -7)), (-2, 0.3, (3, 900))])
def test_similarity_finds_the_one_that_was_applied(turn, scale, shift):
    """Any other matrix would align another face than recognisers see."""
    matrix = moved(turn, scale, shift)
    landmarks = TEMPLATE @ matrix[:, :2].T + matrix[:, 2]
    assert np.allclose(matrix, similarity(landmarks))
    assert math.isclose(scale, scale_of(similarity(landmarks)))


def test_landmarks_that_coincide_are_refused():
    """A detector's nonsense must not become a division by zero."""
    with pytest.raises(ValueError, match="coincide"):
        similarity(np.ones((5, 2)))


def test_invert_and_compose():
    """There and back again is where one was."""
    matrix = moved(0.7, 1.9, (5, 6))
    assert np.allclose(np.eye(2, 3), compose(invert(matrix), matrix))


def test_a_crop_of_the_template_square_averages_whole_frame_pixels():
    """The frame has two pixels to a unit, so a 112 crop is the mean of each four: no blur, no shift."""
    frame = torch.rand(1, 3, FRAME_SIZE, FRAME_SIZE)
    grid = sampling_grid(box_to_frame(0, 0, 112, 112, 112), (112, 112), (FRAME_SIZE, FRAME_SIZE), CPU)
    inner = frame[:, :, 32:256, 32:256]
    assert torch.allclose(torch.nn.functional.avg_pool2d(inner, 2), sample(frame, grid), atol=1e-4)


def test_a_photo_pixel_lands_where_the_template_says():
    """A dot painted on the nose is at the nose of the face frame."""
    matrix = moved(0.3, 1.5, (60, 20))
    landmarks = TEMPLATE @ matrix[:, :2].T + matrix[:, 2]
    x, y = np.rint(landmarks[2]).astype(int)
    photo = torch.zeros(1, 1, 300, 300)
    photo[0, 0, y, x] = 1
    frame = sample(photo, sampling_grid(frame_to(matrix), (FRAME_SIZE, FRAME_SIZE), (300, 300), CPU))
    row, column = np.unravel_index(int(frame[0, 0].argmax()), (FRAME_SIZE, FRAME_SIZE))
    expected = (TEMPLATE[2] + 16.5) * 2 - 0.5
    assert np.allclose(expected, (column, row), atol=1.5)


def test_the_warp_has_gradients():
    """The search descends through it."""
    photo = torch.rand(1, 3, 64, 64, requires_grad=True)
    grid = sampling_grid(frame_to(similarity(TEMPLATE / 2)), (FRAME_SIZE, FRAME_SIZE), (64, 64), CPU)
    sample(photo, grid).sum().backward()
    assert photo.grad is not None
    assert float(photo.grad.abs().sum()) > 0
