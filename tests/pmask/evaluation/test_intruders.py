"""Intruders are who they say they are, and see faces as others would align them."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from pmask.errors import BadOption, UnknownRecogniser, WeightsUnavailable
from pmask.evaluation.intruders import CROP, aligned, catalogue, judges, recognise
from pmask.faces import Face
from pmask.geometry import TEMPLATE


def test_the_catalogue_is_read_and_checked(tiny_intruders):
    """Each intruder with its checksum, ready to run."""
    (intruder,) = catalogue(tiny_intruders)
    data = (tiny_intruders / "tiny.onnx").read_bytes()
    assert ("tiny", hashlib.sha256(data).hexdigest()) == (intruder.name, intruder.sha256)


def test_other_weights_than_listed_are_refused(tiny_intruders):
    """Figures would be said of a recogniser that they are not of."""
    with (tiny_intruders / "tiny.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(WeightsUnavailable, match=r"tiny\.onnx has SHA-256 \w+, not \w+"):
        catalogue(tiny_intruders)


def test_missing_weights_are_named(tiny_intruders):
    """With the intruder that wants them."""
    (tiny_intruders / "tiny.onnx").unlink()
    with pytest.raises(WeightsUnavailable, match=r"tiny\.onnx, the intruder tiny"):
        catalogue(tiny_intruders)


@pytest.mark.parametrize("listing", [None, "{", '{"name": "tiny"}', '[{"name": "tiny"}]', "[1]"])
def test_a_listing_that_cannot_be_read_is_refused(tmp_path, listing):
    """In words, whatever is in it."""
    if listing is not None:
        (tmp_path / "intruders.json").write_text(listing)
    with pytest.raises(BadOption, match=r"intruders\.json"):
        catalogue(tmp_path)


def test_a_judge_of_the_team_is_refused_unless_asked_for():
    """The mask was made against it, so it stands for no unknown intruder."""
    with pytest.raises(BadOption, match="sface judges masks that were made against it"):
        judges(["dlib", "sface"], ["sface", "mobilefacenet"])
    assert ["dlib", "sface"] == [judge.name for judge in judges(["dlib", "sface"], ["sface"], white_box=True)]
    assert "team" in judges(["sface"], ["sface"], white_box=True)[0].words
    with pytest.raises(UnknownRecogniser, match=r"known: .*dlib"):
        judges(["nobody"], [])


def test_a_face_is_warped_onto_the_template():
    """A face that lies on the template already stays as it is, and one twice as large and shifted comes back."""
    crop = np.random.default_rng(0).integers(0, 256, (CROP, CROP, 3), np.uint8)
    assert (crop == aligned(crop, _face(TEMPLATE))).all()
    large = np.zeros((300, 300, 3), np.uint8)
    large[20 : 20 + 2 * CROP, 10 : 10 + 2 * CROP] = crop.repeat(2, 0).repeat(2, 1)
    # pixel i of the crop covers 2 i and 2 i + 1 of the large one: its centre is at 2 i + 1/2
    again = aligned(large, _face(2 * TEMPLATE + 0.5 + [10, 20]))
    assert np.abs(again.astype(int) - crop).max() <= 1


def test_an_intruder_gives_unit_vectors_of_rgb_crops(tiny_intruders):
    """The tiny network's embedding is its input, shrunk: so the order of channels and the scale can be seen."""
    (intruder,) = catalogue(tiny_intruders)
    crop = np.zeros((CROP, CROP, 3), np.uint8)
    crop[..., 0], crop[..., 2] = 200, 100
    vector = recognise(intruder)(crop, _face(TEMPLATE)).reshape(3, -1)
    assert pytest.approx(1.0) == float((vector**2).sum())
    assert (vector[1] == 0).all()
    assert pytest.approx(2 * vector[2]) == vector[0]


def test_a_judge_of_the_pool_knows_a_face_again(protector, astronaut):
    """Through the pool's own cut of the face; the figures of both ways agree."""
    (face,) = protector.detect(astronaut)
    (judge,) = judges(["sface"], [])
    vector = recognise(judge)(astronaut, face)
    expected = protector.embeddings(astronaut, ["sface"])["sface"][0].numpy()
    assert pytest.approx(expected, abs=1e-5) == vector


def _face(landmarks):
    return Face(box=(0.0, 0.0, 112.0, 112.0), landmarks=np.asarray(landmarks), score=1.0)


def test_a_catalogue_is_json_of_plain_rows(tiny_intruders):
    """The form that a person writes by hand."""
    (row,) = json.loads((tiny_intruders / "intruders.json").read_text())
    assert {"name", "file", "sha256"} <= set(row)
