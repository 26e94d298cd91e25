"""Focal diversity, against matrices worked by hand and as properties of any matrix."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from pmask.errors import BadOption
from pmask.teaming import FEW_NEGATIVES, few, focal_correlation, focal_diversity, intervals, rank_teams, telling


def matrix(*rows: str) -> np.ndarray:
    """Photos by recognisers from rows like "x.." (x: misrecognised)."""
    return np.array([[letter == "x" for letter in row] for row in rows])


def test_recognisers_that_fail_together_have_no_diversity():
    """All agree: where one fails so do the others, lambda is 1."""
    wrong = matrix("xxx", "xxx", "...")
    assert [1.0, 1.0, 1.0] == [focal_correlation(wrong, focal) for focal in range(3)]
    assert 0.0 == focal_diversity(wrong)


def test_recognisers_that_never_fail_together_are_most_diverse():
    """All disjoint: "the failure of one member is accompanied by the correct recognition by the other", lambda is 0."""
    wrong = matrix("x..", ".x.", "..x", "..x")
    assert [0.0, 0.0, 0.0] == [focal_correlation(wrong, focal) for focal in range(3)]
    assert 1.0 == focal_diversity(wrong)


def test_one_model_alone_has_no_score():
    """Who never fails shows no negative samples to judge by: unknown is said, and not taken for perfect diversity."""
    wrong = matrix("x..", "x..")
    assert 0.0 == focal_correlation(wrong, 0)
    assert math.isnan(focal_correlation(wrong, 1))
    assert math.isnan(focal_diversity(wrong))
    with pytest.raises(BadOption, match="at least 2 members, not 1"):
        focal_correlation(matrix("x", "."), 0)


def test_eq_9_by_hand():
    """Focal member 0 fails on four photos: alone on one, with one other on two, with both on one.

    p = (1/4, 2/4, 1/4). p(1) = 1/3 * 1/4 + 2/3 * 2/4 + 1 * 1/4 = 2/3; p(2) = 2/6 * 2/4 + 6/6 * 1/4 = 5/12;
    lambda = 5/8. Member 1 fails with one other twice and with both once: p(1) = 7/9, p(2) = 5/9, lambda = 5/7. Member
    2 fails with both once and alone once: p(1) = 2/3, p(2) = 1/2, lambda = 3/4. So Eq. 10 is the mean of 3/8, 2/7, 1/4.
    """
    wrong = matrix("x..", "xx.", "xx.", "xxx", "..x", "...")
    assert pytest.approx([5 / 8, 5 / 7, 3 / 4]) == [focal_correlation(wrong, focal) for focal in range(3)]
    assert pytest.approx((3 / 8 + 2 / 7 + 1 / 4) / 3) == focal_diversity(wrong)


def test_a_team_of_two_by_hand():
    """With S = 2, lambda is 2q / (1 + q), q the share of the focal member's failures that the other one shares."""
    wrong = matrix("x.", "x.", "x.", "xx", ".x")
    assert pytest.approx([2 * 0.25 / 1.25, 2 * 0.5 / 1.5]) == [focal_correlation(wrong, focal) for focal in (0, 1)]


def test_what_the_whole_pool_fails_is_removed_and_no_more():
    """NS(F_1) n ... n NS(F_N) is over the pool: what only a team fails on together stays, and counts against it."""
    assert matrix("xx.", "...").tolist() == telling(matrix("xxx", "xx.", "...")).tolist()
    pool = {"a": [1, 1, 1, 0, 0], "b": [1, 1, 0, 0, 0], "c": [1, 0, 0, 1, 0]}
    best, *_, worst = rank_teams({name: np.array(row, bool) for name, row in pool.items()}, 2)
    assert (("a", "c"), 1.0, (2, 1)) == (best.members, best.diversity, best.negatives)
    assert ("a", "b") == worst.members
    # a fails on two, one of them with b: q = 1/2, lambda = 2/3; b fails on one, with a: lambda = 1
    assert pytest.approx((2 / 3, 1.0)) == worst.correlations
    assert pytest.approx(1 / 6) == worst.diversity


def test_teams_without_a_score_come_last_and_are_null_in_json():
    """A recogniser that never failed must not win by having shown nothing."""
    wrong = {"good": np.zeros(3, bool), "a": np.array([1, 1, 0], bool), "b": np.array([0, 1, 1], bool)}
    teams = rank_teams(wrong, 2)
    assert [("a", "b"), ("good", "a"), ("good", "b")] == [team.members for team in teams]
    expected = {"members": ["good", "a"], "diversity": None, "correlations": [None, 0.0], "negatives": [0, 2]}
    assert expected == teams[1].to_json()
    assert {"good": 0, "a": 2, "b": 2} == few(teams)
    many = rank_teams({"a": np.arange(300) < FEW_NEGATIVES, "b": np.arange(300) > FEW_NEGATIVES}, 2)
    assert {} == few(many)


@pytest.mark.parametrize("size", [0, 1, 4])
def test_a_size_that_no_team_can_have_is_refused(size):
    """With the sizes that there are."""
    with pytest.raises(BadOption, match="2 to 3 members"):
        rank_teams({name: np.array([True, False]) for name in "abc"}, size)


@pytest.mark.parametrize("seed", range(25))
def test_range_symmetry_and_invariance_to_order(seed):
    """Of any matrix: scores lie in [0, 1]; the order of members, of photos and of the pool changes nothing; and a photo
    that nobody, or everybody, fails on changes nothing either."""
    chance = np.random.default_rng(seed)
    members = int(chance.integers(2, 6))
    wrong = chance.random((60, members)) < chance.uniform(0.1, 0.9, members)
    wrong[np.arange(members), np.arange(members)] = True  # everybody fails somewhere ...
    wrong[0] = np.arange(members) == 0  # ... and not all together
    diversity = focal_diversity(wrong)
    assert 0.0 <= diversity <= 1.0
    for focal in range(members):
        assert 0.0 <= focal_correlation(wrong, focal) <= 1.0
    for order in permutations(range(members)):
        assert pytest.approx(diversity) == focal_diversity(wrong[:, order])
    assert pytest.approx(diversity) == focal_diversity(chance.permutation(wrong))
    names = [f"r{i}" for i in range(members)]
    pool = {name: wrong[:, i] for i, name in enumerate(names)}
    ranked = rank_teams(pool, 2)
    assert math.comb(members, 2) == len(ranked)
    assert sorted(ranked, key=lambda team: -team.diversity) == ranked
    scores = {frozenset(team.members): team.diversity for team in ranked}
    padded = np.vstack([wrong, np.ones((3, members), bool), np.zeros((4, members), bool)])[chance.permutation(67)]
    shuffled = {name: padded[:, names.index(name)] for name in chance.permutation(names)}
    again = {frozenset(team.members): team.diversity for team in rank_teams(shuffled, 2)}
    assert scores.keys() == again.keys()
    assert all(pytest.approx(scores[team]) == again[team] for team in scores)


def test_intervals_are_about_the_score_and_narrow_with_more_people():
    """By people, not by photos: photos of one person fail together."""
    chance = np.random.default_rng(3)
    pool = {name: chance.random(2000) < 0.3 for name in "abc"}
    widths = []
    for photos in (2000, 200):
        wrong = {name: fails[:photos] for name, fails in pool.items()}
        teams = rank_teams(wrong, 2)
        bounds = intervals(wrong, teams, np.arange(photos).astype(str))
        assert all(low < team.diversity < high for team, (low, high) in zip(teams, bounds, strict=True))
        assert bounds == intervals(wrong, teams, np.arange(photos).astype(str))
        widths.append(bounds[0][1] - bounds[0][0])
    assert 2 * widths[0] < widths[1]
    tens = np.repeat(np.arange(200), 10).astype(str)
    alike = {name: np.repeat(fails[:200], 10) for name, fails in pool.items()}
    (low, high), *_ = intervals(alike, rank_teams(alike, 2), tens)
    assert pytest.approx(widths[1], rel=0.35) == high - low  # ten photos each tell no more than one
    never = {"a": np.zeros(9, bool), "b": np.arange(9) < 5}
    assert all(math.isnan(bound) for bound in intervals(never, rank_teams(never, 2), np.arange(9).astype(str))[0])


def test_an_interval_does_without_the_draws_that_say_nothing():
    """Where a member hardly ever fails, some draws of people have none of its failures: one of them took all away."""
    chance = np.random.default_rng(0)
    wrong = {name: chance.random(400) < 0.3 for name in "ab"} | {"c": np.arange(400) == 3}
    wrong["a"][3], wrong["b"][3] = True, False
    teams = rank_teams(wrong, 2)
    bounds = intervals(wrong, teams, (np.arange(400) // 4).astype(str))
    assert all(low <= team.diversity <= high for team, (low, high) in zip(teams, bounds, strict=True))
