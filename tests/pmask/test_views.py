"""Where in a photo a mask may be."""

import numpy as np
import pytest
import torch

from pmask.faces import Face
from pmask.geometry import FRAME_SIZE, TEMPLATE
from pmask.mask import Mask
from pmask.views import View

FACE = Face(box=(120.0, 110.0, 160.0, 190.0), landmarks=TEMPLATE * 2 + [88, 96], score=1.0)


@pytest.fixture(scope="module")
def rgb():
    """Texture, but for a plain wall from the left edge into the face."""
    photo = np.random.default_rng(0).integers(90, 160, (400, 400, 3), dtype=np.uint8)
    photo[:, :150] = 200
    return photo


@pytest.fixture(scope="module")
def view(rgb):
    return View(rgb, FACE, torch.device("cpu"))


@pytest.fixture(scope="module")
def delta(view):
    """(400, 400): what a mask of half of the photo's range everywhere changes."""
    values = torch.full((1, 3, FRAME_SIZE, FRAME_SIZE), 0.5)
    changes = np.zeros((400, 400))
    changes[view.rows, view.columns] = view.delta(Mask(values=values, layers=(), iterations=0, seconds=0.0))[:, :, 0]
    return changes


def test_beside_the_face_a_mask_leaves_plain_walls_alone(delta):
    """Ripples on a wall are seen at once."""
    assert float(delta[150:250, 95:105].max()) == 0
    assert float(delta[150:250, 295:302].min()) > 0.05


def test_in_the_face_smooth_skin_is_masked_like_any_other(delta):
    """Make-up and small JPEG files make skin as plain as a wall, and recognisers read it still."""
    assert float(delta[150:250, 135:145].min()) == pytest.approx(0.5, abs=1e-3)


def test_what_the_search_sees_is_what_the_photo_gets(view, delta):
    """The search's window and that of the delivery are one."""
    assert np.allclose(view.patch_window[0, 0] * 0.5, delta[view.rows, view.columns], atol=1e-3)
