"""Finding faces: a missed one is posted unprotected."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageOps

from pmask.faces import iou, load_detector

COUNTED = {
    "bbt3.jpg": 5,
    "bbt4.jpg": 6,
    "couple.jpg": 2,
    "example.png": 12,
    "kit_with_rose.jpg": 2,
    "office4.jpg": 12,
    "office5.jpg": 12,
    "selfie-many-people.jpg": 6,
    "two_people.jpg": 2,
}
"""Faces in group photos, each checked by eye. The half face that the selfie's border cuts is found by neither."""


@pytest.fixture(scope="module", params=["yunet", "mtcnn"])
def detector(request):
    return load_detector(request.param)


def test_one_face_with_landmarks_in_their_places(detector, astronaut):
    """Every recogniser aligns by these five points."""
    (face,) = detector(astronaut)
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    x, y, width, height = face.box
    assert x < nose[0] < x + width
    assert y < nose[1] < y + height
    assert np.allclose((224, 124), nose, atol=15)


def test_no_face_in_a_cup_of_coffee(detector, coffee):
    """A false find scars a photo for nothing."""
    assert [] == detector(coffee)


@pytest.mark.parametrize("side", [1800, 2500])
def test_nothing_but_the_face_of_a_photo_as_large_as_a_phones(astronaut, side):
    """In a large picture YuNet takes the shuttle and the badge for faces, which would be scarred for nothing."""
    large = np.array(Image.fromarray(astronaut).resize((side, side), Image.Resampling.LANCZOS))
    assert 1 == len(load_detector("yunet")(large))


def test_a_large_page_of_text_has_no_face():
    """Screenshots and scans are uploaded too."""
    page = Image.fromarray(skimage.data.page()).convert("RGB")
    assert [] == load_detector("yunet")(np.array(page.resize((2560, 1273), Image.Resampling.LANCZOS)))


def test_a_close_up_and_a_far_head_are_found(astronaut):
    """Phones make faces of 1,500 pixels; group photos make them of 20."""
    detect = load_detector("yunet")
    large = np.array(Image.fromarray(astronaut[20:240, 120:340]).resize((2200, 2200)))
    small = np.zeros((1600, 2000, 3), np.uint8)
    small[700:828, 900:1028] = np.array(Image.fromarray(astronaut).resize((128, 128), Image.Resampling.LANCZOS))
    assert 1 == len(detect(large))
    assert 1 == len(detect(small))


@pytest.mark.parametrize("shape", [(1, 1), (15, 15), (3, 2000), (1300, 1), (1, 5000)])
def test_tiny_and_thin_pictures_are_no_error(detector, shape):
    """An icon is a picture too, and so is the rule of a web page."""
    assert [] == detector(np.full((*shape, 3), 128, np.uint8))


def test_an_unknown_detector_is_told_the_known_ones():
    """A typing error must not fall back in silence."""
    with pytest.raises(ValueError, match="yunet, mtcnn"):
        load_detector("viola-jones")


def test_overlap():
    """Two finds of one face are merged by this figure."""
    assert 1.0 == iou((0, 0, 2, 2), (0, 0, 2, 2))
    assert 0.0 == iou((0, 0, 2, 2), (2, 0, 2, 2))
    assert pytest.approx(1 / 7) == iou((0, 0, 2, 2), (1, 1, 2, 2))


def test_every_face_of_group_photos_is_found(shared):
    """YuNet is the default because it finds these; MTCNN misses six of them."""
    detect = load_detector("yunet")
    found = {}
    for name in COUNTED:
        with Image.open(shared / "photos/multiface" / name) as image:
            found[name] = len(detect(np.array(ImageOps.exif_transpose(image).convert("RGB"))))
    assert COUNTED == found
