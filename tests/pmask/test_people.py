"""Whose face it is: the person's own photos, and strangers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pmask.people import Album, persons, same_person
from pmask.population import DECOYS
from pmask.recognisers.specs import SPECS

TEAM = ("sface", "dlib")


def face(seed: int) -> dict[str, torch.Tensor]:
    """A unit embedding (1, dim) of each recogniser of the team."""
    chance = torch.Generator().manual_seed(seed)
    return {name: F.normalize(torch.randn(1, SPECS[name].dim, generator=chance), dim=1) for name in TEAM}


def beside(embedding: torch.Tensor, degrees: float) -> torch.Tensor:
    """A unit embedding (1, dim) at an angle from another."""
    aside = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(9))
    aside = F.normalize(aside - (aside * embedding).sum() * embedding, dim=1)
    return math.cos(math.radians(degrees)) * embedding + math.sin(math.radians(degrees)) * aside


@pytest.mark.parametrize(
    ("sface", "dlib", "expected"), [(60, 20, True), (60, 30, True), (75, 20, True), (75, 30, False)]
)
def test_half_of_the_team_must_match(sface, dlib, expected):
    """The thresholds of both are 69 and 22 degrees: one recogniser's blind spot must not hide an own photo."""
    own = face(0)
    other = {"sface": beside(own["sface"], sface), "dlib": beside(own["dlib"], dlib)}
    assert [expected] == same_person({name: rows[0] for name, rows in own.items()}, other, TEAM).tolist()


def test_the_gallery_is_parted_into_own_faces_and_strangers():
    """Eq. 4: D_l is what the mask must get away from, N(x) the nearest of the others, decoys included."""
    own = face(0)
    gallery = {name: torch.cat([beside(own[name], 15), beside(own[name], 80)]) for name in TEAM}
    (person,) = persons(own, TEAM, {}, gallery)
    assert [2, 2] == [len(person.references[name]) for name in TEAM]
    assert [DECOYS + 1] * 2 == [len(person.strangers[name]) for name in TEAM]
    torch.testing.assert_close(own["dlib"][0], person.references["dlib"][0])
    (bare,) = persons(own, TEAM, {}, {})
    assert [1, DECOYS] == [len(bare.references["dlib"]), len(bare.strangers["dlib"])]


def test_the_albums_strangers_are_passed_over():
    """Friends in the other photos of a post are no gallery that somebody chose."""
    own = face(0)
    album = {name: torch.cat([beside(own[name], 15), beside(own[name], 80)]) for name in TEAM}
    (person,) = persons(own, TEAM, album, {})
    assert (2, DECOYS) == (len(person.references["sface"]), len(person.strangers["sface"]))


def test_a_judge_that_the_gallery_lacks_has_the_face_itself():
    """A gallery that was built for the team alone still serves."""
    own = face(0)
    (person,) = persons(own, ("sface",), {}, {"sface": own["sface"]})
    assert {"sface": 2, "dlib": 1} == {name: len(rows) for name, rows in person.references.items()}


def test_a_face_is_never_beside_itself():
    """Else every photo that is picked twice would count as another photo of the person."""
    album = Album()
    album.add("a", face(0))
    album.add("a", face(0))
    assert {} == album.besides("a", TEAM)
    album.add("b", face(1))
    assert [1, 1] == [len(album.besides(name, TEAM)["dlib"]) for name in "ab"]
    np.testing.assert_array_equal(face(1)["dlib"], album.besides("a", TEAM)["dlib"])


def test_the_album_forgets():
    """Embeddings of people stay for minutes, and of some photos only."""
    now = 0.0
    album = Album(photos=2, seconds=600, clock=lambda: now)
    for i, name in enumerate("abc"):
        album.add(name, face(i))
    assert 2 == len(album.besides("z", TEAM)["dlib"])
    now = 601.0
    assert {} == album.besides("z", TEAM)


def test_the_album_answers_with_whom_all_were_seen_by():
    """Jobs may name other teams; rows must stay the same faces for all recognisers."""
    album = Album()
    album.add("a", face(0))
    album.add("b", {"sface": face(1)["sface"]})
    assert 1 == len(album.besides("z", TEAM)["sface"])
    assert 2 == len(album.besides("z", ("sface",))["sface"])
