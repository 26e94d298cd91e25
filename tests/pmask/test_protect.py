"""The whole way of one photo, on the real recognisers."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pmask import protect
from pmask.check import check
from pmask.errors import BrokenImage, Cancelled, DeviceUnavailable, WeightsUnavailable
from pmask.images import decode
from pmask.job import Job
from pmask.mask import angle
from pmask.options import MaskOptions
from pmask.people import Album
from pmask.protect import Protector, choose_device
from pmask.recognisers.specs import DEFAULT_TEAM, SPECS
from pmask.record import Record
from pmask.report import BARE


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
    assert face.psnr > 27
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
    (verdicts,) = check(protector, delivered, [astronaut], uploads=(BARE, "jpeg70", "instagram"))
    assert [] == [verdict.sentence for verdict in verdicts if verdict.matches]


def test_the_verdicts_are_those_of_a_check_of_the_two_files(protection, astronaut, protector):
    """The report tells nothing that the person could not find out from the files alone."""
    (face,) = protection.report.faces
    (again,) = check(protector, decode(protection.data).rgb, [astronaut], uploads=(BARE, "instagram"))
    assert [(v.recogniser, v.upload, v.in_team) for v in again] == [
        (v.recogniser, v.upload, v.in_team) for v in face.verdicts
    ]
    assert [v.angle for v in again] == pytest.approx([v.angle for v in face.verdicts], abs=0.1)


def test_others_than_the_team_judge(protection):
    """A mask that only its own team no longer matches proves nothing."""
    (face,) = protection.report.faces
    judged = {verdict.recogniser: verdict.in_team for verdict in face.verdicts}
    assert list(DEFAULT_TEAM) == [name for name, in_team in judged.items() if in_team]
    assert not judged[next(name for name in SPECS if name not in DEFAULT_TEAM)]
    tally = protection.report.to_json()["judged"]
    assert (len(judged), len(judged) - len(DEFAULT_TEAM)) == (tally["recognisers"], tally["unseen"])


def test_a_judge_that_cannot_be_had_costs_a_warning(hasty, astronaut, encoded, monkeypatch):
    """Without a network the photo is protected all the same, and the person knows who was not asked."""

    def unavailable(name, device, say):
        raise WeightsUnavailable("no network")

    monkeypatch.setattr(protect, "load", unavailable)
    monkeypatch.setattr(hasty, "_recognisers", {name: hasty.recogniser(name) for name in DEFAULT_TEAM})
    report = hasty.protect(encoded(astronaut, "PNG")).report
    assert "protected" == report.status
    assert any("could not judge the result: no network" in warning for warning in report.warnings)
    assert set(DEFAULT_TEAM) == {verdict.recogniser for verdict in report.faces[0].verdicts}


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
    quick = Protector(device="cpu", search=replace(protector.search, iterations=16))
    quick._recognisers = protector._recognisers
    return quick


@pytest.mark.parametrize(("quality", "growth"), [(92, 1.15), (75, 1.4)])
def test_a_jpeg_stays_a_jpeg_and_its_mask_survives(quality, growth, hasty, astronaut, encoded):
    """Most photos are JPEGs; the figures are of the compressed file. What is written finer costs its share of SSIM."""
    data = encoded(astronaut, "JPEG", quality=quality)
    protection = hasty.protect(data)
    assert "jpeg" == protection.report.format
    assert 0.85 < len(protection.data) / len(data) < growth
    (face,) = protection.report.faces
    assert decode(data).way.refined == (quality < 90)
    assert quality > 90 or (1 - face.ssim) / 2 <= 0.017
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


def turned(embeddings, degrees):
    """Unit embeddings (n, dim) at an angle from others, each in its own random direction."""
    rng = np.random.default_rng(0)
    aside = rng.standard_normal(embeddings.shape)
    aside -= (aside * embeddings).sum(1, keepdims=True) * embeddings
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    return (np.cos(np.radians(degrees)) * embeddings + np.sin(np.radians(degrees)) * aside).astype(np.float32)


def test_a_near_stranger_in_the_gallery_decides_the_goal(hasty, astronaut, encoded):
    """N(x) is looked for among the gallery's strangers and the decoys together."""
    own = hasty.embeddings(astronaut, ["dlib"])["dlib"].numpy()
    near, far = {"dlib": turned(own, 22.5)}, {"dlib": turned(own, 90)}
    goals = [
        hasty.protect(encoded(astronaut, "PNG"), MaskOptions(team=("dlib",)), gallery=gallery).report.faces[0].distances
        for gallery in (None, near, far)
    ]
    usual, nearer, farther = (distances["dlib"].goal for distances in goals)
    assert usual > 45 + 0.1
    assert 45 == pytest.approx(nearer, abs=0.1)
    assert usual == pytest.approx(farther, abs=0.1)


def test_the_persons_other_photos_count(hasty, astronaut, encoded):
    """Hidden means hidden from all photos of the person: `after` is the angle to the nearest of them (D_l in Eq. 4)."""
    mirrored = astronaut[:, ::-1].copy()
    gallery = {name: rows.numpy() for name, rows in hasty.embeddings(mirrored, DEFAULT_TEAM).items()}
    protection = hasty.protect(encoded(astronaut, "PNG"), gallery=gallery)
    (face,) = protection.report.faces
    assert 2 == face.references
    where = hasty.detect(astronaut)
    own = hasty.embed(astronaut, where, DEFAULT_TEAM)
    after = hasty.embed(decode(protection.data).rgb, where, DEFAULT_TEAM)
    for name, distance in face.distances.items():
        references = (own[name], torch.from_numpy(gallery[name]))
        angles = [math.degrees(angle(after[name], reference).item()) for reference in references]
        assert min(angles) == pytest.approx(distance.after, abs=0.1)
        assert distance.other > 45, "the person's own photo is no stranger"


def test_photos_of_one_upload_find_one_another(hasty, astronaut, encoded, monkeypatch):
    """Two photos of one person in one post: each must be hidden from the other too, and from no copy of itself."""
    monkeypatch.setattr(hasty, "album", Album())
    first, second = encoded(astronaut, "PNG"), encoded(astronaut[:, ::-1].copy(), "PNG")
    assert 1 == hasty.protect(first).report.faces[0].references
    assert 1 == hasty.protect(first).report.faces[0].references
    hasty.remember(second, DEFAULT_TEAM)
    assert 2 == hasty.protect(first).report.faces[0].references


def test_a_photo_that_was_protected_is_not_masked_again(hasty, original, tmp_path, monkeypatch):
    """A second mask costs quality and hides nothing more; the person may want it nevertheless."""
    monkeypatch.setattr(hasty, "record", Record(tmp_path))
    first = hasty.protect(original)
    again = hasty.protect(first.data)
    assert (first.data, "already_protected", ()) == (again.data, again.report.status, again.report.faces)
    assert "protected" == hasty.protect(original).report.status
    assert "protected" == hasty.protect(first.data, MaskOptions(again=True)).report.status


def test_the_protected_file_carries_no_mark(hasty, original, tmp_path, monkeypatch):
    """What a scraper could read, it would: with the record and without it, the same bytes."""
    bare = hasty.protect(original).data
    monkeypatch.setattr(hasty, "record", Record(tmp_path))
    assert bare == hasty.protect(original).data


def test_a_record_that_cannot_be_written_costs_a_warning(hasty, original, tmp_path, monkeypatch):
    """A full disk must not hold back a photo that is protected."""
    (tmp_path / "state").write_text("a file where a folder should be")
    monkeypatch.setattr(hasty, "record", Record(tmp_path / "state"))
    report = hasty.protect(original).report
    assert "protected" == report.status
    assert any("masked a second time" in warning for warning in report.warnings)


def test_the_person_chooses_among_the_faces(hasty, encoded, astronaut):
    """A look masks nothing; then the face that was left out stays as it is, to the bit, and the other does not."""
    both = np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)
    photo = encoded(both, "PNG")
    look = hasty.protect(photo, MaskOptions(look=True))
    assert (photo, "looked", ()) == (look.data, look.report.status, look.report.faces)
    boxes = look.report.to_json()["found"]
    result = hasty.protect(photo, MaskOptions.from_mapping({"leave_out": [min(boxes)]}))
    assert ("protected", 1, 2) == (result.report.status, len(result.report.faces), len(result.report.found))
    changed = (decode(result.data).rgb != both).any(2)
    assert not changed[:, :512].any()
    assert changed[:, 512:].any()
    none = hasty.protect(photo, MaskOptions.from_mapping({"leave_out": boxes}))
    assert (photo, "left_out", ()) == (none.data, none.report.status, none.report.faces)


def test_faces_that_were_left_out_are_told_of_when_the_copy_comes_again(
    hasty, encoded, astronaut, tmp_path, monkeypatch
):
    """It is PMask's work, and passes; but its bare face should surprise nobody."""
    monkeypatch.setattr(hasty, "record", Record(tmp_path))
    photo = encoded(np.concatenate([astronaut, astronaut[:, ::-1]], axis=1), "PNG")
    boxes = hasty.protect(photo, MaskOptions(look=True)).report.found
    copy = hasty.protect(photo, MaskOptions(leave_out=boxes[:1])).data
    again = hasty.protect(copy).report
    assert ("already_protected", 1) == (again.status, again.bare)
    assert 0 == hasty.protect(hasty.protect(photo).data).report.bare


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


@pytest.mark.parametrize(("stronger", "searches"), [(1.02, 1), (1.3, 2)])
def test_a_mask_a_little_over_its_budget_is_made_weaker_not_searched_again(
    protector, original, monkeypatch, stronger, searches
):
    """Files take a little more or less than the search foresaw, and a second search takes seconds."""
    quick = Protector(device="cpu", search=replace(protector.search, iterations=8), judges=())
    search, made = Job.search, []

    def heavy_handed(*args):
        made.append(1)
        scale = stronger if len(made) == 1 else 1
        return [replace(mask, values=mask.values * scale) for mask in search(*args)]

    monkeypatch.setattr(Job, "search", heavy_handed)
    (face,) = quick.protect(original, MaskOptions(team=("sface",))).report.faces
    assert len(made) == searches
    assert 0.007 < (1 - face.ssim) / 2 <= 0.017
