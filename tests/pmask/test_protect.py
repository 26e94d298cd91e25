"""The whole way of one photo, on the real recognisers."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pmask.check import check
from pmask.errors import BrokenImage, Cancelled, DeviceUnavailable
from pmask.images import decode
from pmask.options import MaskOptions
from pmask.protect import Protector, choose_device
from pmask.uploads import UPLOADS


@pytest.fixture(scope="module")
def original(astronaut, encoded):
    return encoded(astronaut, "PNG")


@pytest.fixture(scope="module")
def steps():
    return []


@pytest.fixture(scope="module")
def protection(protector, original, steps):
    """The astronaut with the default options, made once for this file."""
    return protector.protect(original, MaskOptions(), steps.append)


def test_only_the_face_changes(protection, original, astronaut):
    """People see no difference, and the rest of the photo is theirs to the bit."""
    result = decode(protection.data)
    assert ("PNG", (512, 512)) == ((image := Image.open(io.BytesIO(protection.data))).format, image.size)
    (face,) = protection.report.faces
    x, y, width, height = face.box
    changed = np.argwhere((result.rgb != astronaut).any(2))
    assert len(changed) > 1000
    assert changed[:, 1].min() >= x - 0.25 * width
    assert changed[:, 1].max() <= x + 1.25 * width
    assert changed[:, 0].min() >= y - 0.25 * height
    assert changed[:, 0].max() <= y + 1.25 * height


def test_the_report_is_true_of_the_delivered_bytes(protection, astronaut, protector):
    """Every figure again, from nothing but the two files."""
    (face,) = protection.report.faces
    assert (1 - face.ssim) / 2 <= 0.017
    assert face.psnr > 28
    reached = True
    delivered = decode(protection.data).rgb
    original, masked = (protector.embeddings(rgb, list(face.distances)) for rgb in (astronaut, delivered))
    for name, distance in face.distances.items():
        assert distance.before < 1 < distance.other < distance.after
        assert pytest.approx(min(180, 2 * distance.other), abs=0.01) == distance.goal
        reached &= distance.after >= distance.goal
        again = np.degrees(np.arccos(float((original[name][0] * masked[name][0]).sum())))
        assert abs(again - distance.after) < 15, "a fresh detection moves the angle a little"
    assert reached == face.converged
    assert face.hidden


def test_recognisers_no_longer_match_it_not_even_those_outside_the_team(protection, astronaut, protector):
    """The promise of the product, judged as an intruder would: detected and aligned afresh, after an upload."""
    delivered = decode(protection.data).rgb
    for upload in (lambda rgb: rgb, UPLOADS["jpeg70"], UPLOADS["instagram"]):
        (verdicts,) = check(protector, delivered, [astronaut], upload=upload)
        assert [] == [verdict.recogniser for verdict in verdicts if verdict.matches]
    (verdicts,) = check(protector, astronaut, [astronaut[:, ::-1].copy()])
    assert all(verdict.matches for verdict in verdicts), "the unprotected face, mirrored, is matched by all"


def test_progress_goes_forward_through_every_stage(protection, steps):
    """The overlay shows it."""
    assert ["decoding", "detecting", "loading", "masking", "encoding", "checking"] == list(
        dict.fromkeys(step.stage for step in steps)
    )
    assert steps[0].faces is None
    assert 1 == steps[-1].faces
    assert all(0 <= step.fraction <= 1 for step in steps)


def test_the_report_is_plain_json(protection):
    """It crosses HTTP and the command line."""
    report = protection.report.to_json()
    assert "protected" == json.loads(json.dumps(report))["status"]
    assert {"before", "after", "other", "goal"} == set(report["faces"][0]["distances"]["sface"])


def test_a_photo_without_a_face_passes_byte_for_byte(protector, coffee, encoded):
    """Nothing to hide, nothing to touch."""
    data = encoded(coffee, "JPEG")
    protection = protector.protect(data)
    assert data == protection.data
    assert ("no_face", ()) == (protection.report.status, protection.report.faces)


@pytest.fixture(scope="module")
def hasty(protector):
    """The same engine with a short search, where strength does not matter."""
    quick = Protector(device="cpu", search=replace(protector._settings, iterations=8))
    quick._recognisers = protector._recognisers
    return quick


def test_a_jpeg_stays_a_jpeg_and_its_mask_survives(hasty, astronaut, encoded):
    """Most photos are JPEGs; the figures are of the compressed file."""
    data = encoded(astronaut, "JPEG", quality=85)
    protection = hasty.protect(data)
    assert "jpeg" == protection.report.format
    assert 0.85 < len(protection.data) / len(data) < 1.15
    (face,) = protection.report.faces
    assert all(distance.after > 10 + distance.before for distance in face.distances.values())


def test_a_grey_photo_stays_grey(hasty, astronaut):
    """To the file's mode."""
    out = io.BytesIO()
    Image.fromarray(astronaut).convert("L").save(out, "PNG")
    assert "L" == Image.open(io.BytesIO(hasty.protect(out.getvalue()).data)).mode


def test_a_turned_photo_is_protected_upright(hasty, astronaut, encoded):
    """Phones store photos lying down."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(np.rot90(astronaut).copy(), "PNG", exif=exif)
    protection = hasty.protect(data)
    assert 1 == len(protection.report.faces)
    assert 6 == Image.open(io.BytesIO(protection.data)).getexif()[0x0112]


def test_every_face_of_a_photo_is_masked(hasty, astronaut, encoded):
    """One bare face in a group is one person found."""
    group = np.concatenate([astronaut, astronaut[:, ::-1], astronaut], axis=1)
    protection = hasty.protect(encoded(group, "PNG"))
    assert 3 == len(protection.report.faces)
    assert all(min(d.after for d in face.distances.values()) > 10 for face in protection.report.faces)


def test_a_face_cut_by_the_border_is_masked(hasty, astronaut, encoded):
    """Half a face at the edge is still matched."""
    cut = astronaut[:300, 200:].copy()
    protection = hasty.protect(encoded(cut, "PNG"))
    assert all(min(d.after for d in face.distances.values()) > 10 for face in protection.report.faces)


def test_the_gallery_of_others_decides_the_goal(hasty, astronaut, encoded, protector):
    """With a near stranger in the gallery the goal is nearer."""
    near = {
        name: part.cpu().numpy() for name, part in protector.embeddings(astronaut[:, ::-1].copy(), ["dlib"]).items()
    }
    options = MaskOptions(team=("dlib",))
    (usual,), (other,) = (
        hasty.protect(encoded(astronaut, "PNG"), options, others=o).report.faces for o in (None, near)
    )
    assert other.distances["dlib"].goal < usual.distances["dlib"].goal


def test_cancelling_raises(hasty, original):
    """The daemon frees the device."""
    with pytest.raises(Cancelled):
        hasty.protect(original, MaskOptions(), lambda step: None, lambda: True)


def test_a_broken_photo_raises_before_any_mask(hasty, original):
    """Its code reaches the person."""
    with pytest.raises(BrokenImage):
        hasty.protect(original[:2000])


def test_a_device_that_is_not_here_is_refused_with_those_that_are():
    """A typing error must not fall back to an hour on the CPU."""
    with pytest.raises(DeviceUnavailable, match=r"auto.*cpu"):
        choose_device("tpu")
