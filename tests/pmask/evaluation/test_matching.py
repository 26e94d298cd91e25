"""The counting, on hand-made embeddings whose answers are known."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest

from pmask.evaluation import matching, work
from pmask.evaluation.matching import Shots
from pmask.faces import central
from pmask.marks import code_mark


def shots(rows):
    """From (person, degrees): unit vectors in the plane; None is a photo in which no face was found."""
    vectors = [
        (p, None if a is None else np.array([math.cos(math.radians(a)), math.sin(math.radians(a))])) for p, a in rows
    ]
    return Shots.of([(p, None if v is None else v.astype(np.float32)) for p, v in vectors], 2)


GALLERY = shots([("ann", 0), ("ann", 10), ("bob", 60), ("bob", 70), ("cas", 120)])


def test_nobody_is_hidden_where_nothing_is_masked():
    """Three people who lie apart: PSR is 0 at every rank, every pair of one person matches."""
    probes = shots([("ann", 5), ("bob", 65), ("cas", 125)])
    assert [0, 0, 0] == matching.outranked(probes, GALLERY).tolist()
    for psr in matching.protection(probes, GALLERY).values():
        assert (0.0, 0.0, 0.0, 0.0) == (psr.mean, psr.std, psr.low, psr.high)
    cosine = matching.match_cosine(GALLERY)
    assert 0.0 == matching.unverified(probes, GALLERY, cosine).mean


def test_ranks_count_the_photos_that_are_nearer():
    """ann's nearest photo is at 85 degrees from her probe: four others lie nearer."""
    gallery = shots([("ann", 90), ("bob", 6), ("bob", 7), ("cas", 8), ("cas", 50), ("ann", 180)])
    assert [4] == matching.outranked(shots([("ann", 5)]), gallery).tolist()
    psr = matching.protection(shots([("ann", 5)]), gallery)
    assert {1: 100.0, 10: 0.0, 20: 0.0} == {rank: share.mean for rank, share in psr.items()}


def test_the_nearest_of_the_person_and_of_others_are_told_apart():
    """ann's probe at 5 degrees: her own nearest is 5 away, bob's 55; who has no photo with a face is at 180."""
    own, other = matching.nearest(shots([("ann", 5), ("dot", 65)]), GALLERY)
    assert [5, 180] == np.rint(np.degrees(np.arccos(own))).tolist()
    assert [55, 5] == np.rint(np.degrees(np.arccos(other))).tolist()


def test_a_tie_counts_as_recognised():
    """What the intruder could see counts against the protection."""
    assert [0] == matching.outranked(shots([("ann", 0)]), shots([("bob", 30), ("ann", -30), ("ann", 90)])).tolist()


def test_a_photo_without_a_face_hides_its_person():
    """It matches nothing, neither its own person nor a stranger; and nobody is at home where there is no other."""
    probes = shots([("ann", 5)])
    assert [1] == matching.outranked(probes, shots([("ann", None), ("ann", 90), ("bob", 50)])).tolist()
    gone = shots([("ann", None), ("bob", 5), ("cas", None)])
    assert 100.0 == matching.protection(probes, gone)[20].mean
    assert 100.0 == matching.unverified(probes, gone.where(gone.people == "ann"), -1.0).mean
    assert [False, True, False] == gone.found.tolist()


def test_the_match_angle_lets_one_in_a_thousand_strangers_through():
    """Exactly, where cosines are distinct; and it leaves one person's pairs out of account."""
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(200, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    people = np.array([f"p{i // 2}" for i in range(200)])
    vectors[1] = vectors[0]
    cosine = matching.match_cosine(Shots(vectors, people))
    scores = [float(vectors[i] @ vectors[j]) for i in range(200) for j in range(i) if people[i] != people[j]]
    assert len(scores) // 1000 == sum(score > cosine for score in scores)
    few = shots([("ann", 0), ("bob", 40), ("cas", 100)])
    assert pytest.approx(math.cos(math.radians(40)), abs=1e-6) == matching.match_cosine(few)


def test_verification_is_judged_pair_by_pair():
    """Of ann's 2 x 2 pairs three are within the angle, of bob's one pair none: the mean is over people."""
    probes, photos = shots([("ann", 0), ("ann", 20), ("bob", 90)]), shots([("ann", 5), ("ann", 35), ("bob", 180)])
    share = matching.unverified(probes, photos, math.cos(math.radians(30)))
    assert {"ann": 25.0, "bob": 100.0} == share.people
    assert (62.5, pytest.approx(53.033, abs=1e-3)) == (share.mean, share.std)


def test_averages_are_one_template_for_each_person():
    """Of the photos with a face; opposite masks would cancel out."""
    templates = shots([("ann", 10), ("ann", 30), ("bob", None), ("ann", None)]).templates()
    assert ["ann", "bob"] == templates.people.tolist()
    expected = shots([("ann", 20), ("bob", None)])
    assert pytest.approx(expected.vectors, abs=1e-6) == templates.vectors


def test_one_persons_photos_link_to_one_another_but_never_to_themselves():
    """Three of ann's lie together, bob's two are parted by cas; cas has one, so there is nothing to link."""
    photos = shots([("ann", 0), ("ann", 2), ("ann", 4), ("bob", 60), ("bob", 120), ("cas", 90)])
    share = matching.linked(photos, photos + shots([("dan", 61)]))
    assert {"ann": 100.0, "bob": 0.0} == share.people
    pairs = matching.verified_pairs(photos, math.cos(math.radians(3)))
    assert {"ann": pytest.approx(200 / 3), "bob": 0.0} == pairs.people
    alone = shots([("ann", 0), ("bob", 1)])
    assert matching.linked(alone, alone) is None
    assert matching.verified_pairs(alone, 0.5) is None


def test_one_person_under_two_names_is_noticed():
    """Such names hide one another's photos from the counting, whatever the mask does."""
    photos = shots([("ann", 0), ("ann", 20), ("bob", 60), ("bob", 80), ("cas", 120), ("eve", 11), ("dan", None)])
    assert {("ann", "eve")} == matching.twins(photos)
    assert set() == matching.twins(shots([("ann", 0), ("bob", 0)])), "nobody has two photos to compare with"


def test_the_interval_is_over_people_and_seeded():
    """The mean of a few people is unsure however many photos they have; the figures are the same each time."""
    values = {f"p{i}": 100.0 * (i % 2) for i in range(20)}
    share = matching.summary(values, seed=1)
    assert share == matching.summary(values, seed=1)
    assert share.low != share.mean != share.high
    # the mean of 20 coins has a standard error of 11.2: 95 % lie within 1.96 of them
    assert abs(share.low - 28) <= 4
    assert abs(share.high - 72) <= 4
    with pytest.raises(ValueError, match="nobody"):
        matching.summary({})


def test_a_photo_is_about_the_face_in_its_middle():
    """Else about the largest: a bystander who is nearer to the camera is not the person."""
    large, middle, small = (0.0, 0.0, 90.0, 90.0), (80.0, 80.0, 40.0, 40.0), (5.0, 5.0, 9.0, 9.0)
    assert 1 == central([large, middle, small], (200, 200, 3))
    assert 0 == central([large, small], (200, 200, 3))
    assert central([], (200, 200, 3)) is None


def test_the_mark_of_code_is_the_codes_own():
    """What is kept under it was made by the same code."""
    assert code_mark("mask") == code_mark("mask")
    assert len({code_mark("mask"), code_mark("sights"), code_mark("mask", "sights"), code_mark("recognisers")}) == 4


def test_a_kept_file_knows_all_the_code_that_made_it():
    """A module that is split off must not leave results behind that are taken for those of other code."""
    library = Path(work.__file__).parents[1]
    files = [library / f"{name}.py" for name in work.PROTECTING if (library / f"{name}.py").exists()]
    assert len(files) >= 10
    imported = {
        name.removeprefix("pmask.").split(".")[0]
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pmask")
        for name in ([node.module] if node.module != "pmask" else [alias.name for alias in node.names])
    }
    decide_nothing = {"check", "errors", "options", "record", "report", "store", "teams"}
    assert imported - decide_nothing <= set(work.PROTECTING)
