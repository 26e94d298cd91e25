"""``pmask team`` and the validation folder behind it, on made-up people whose faces the detector finds."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from xml.etree import ElementTree

import networks
import numpy as np
import pytest
import torch
from PIL import Image

from pmask import calibrate, cli, degradations, teaming, teams, validation
from pmask.degradations import BARE, degrade
from pmask.errors import BadOption
from pmask.evaluation.people import find_people
from pmask.geometry import FRAME_SIZE
from pmask.options import MaskOptions
from pmask.recognisers import own
from pmask.recognisers.specs import DEFAULT_TEAM, REGISTRY, SPECS
from pmask.teaming import FEW_NEGATIVES

OWN = """
[{name}]
file = "{name}.onnx"
dim = 64
size = 112
colour = "rgb"
mean = 127.5
deviation = 127.5
licence = "mine"
"""
NAMES = ("one", "two", "three", "four", "five")


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    """Settings, embeddings and own recognisers are the test's; the weights of the registry's stay where they are."""
    monkeypatch.setenv("PMASK_HOME", str(tmp_path / "settings"))
    monkeypatch.setattr(validation, "cache_dir", lambda: tmp_path / "cache")
    (tmp_path / "settings").mkdir()


@pytest.fixture
def tiny():
    """Five tiny random recognisers of a person's own."""
    own.path().write_text("".join(OWN.format(name=name) for name in NAMES))
    for seed, name in enumerate(NAMES):
        networks.arcface_onnx(own.path().parent / f"{name}.onnx", seed=seed, dim=64)
    return list(NAMES)


@pytest.fixture
def faces(tmp_path, astronaut):
    """Four made-up people: one face in four colours, three photos each, lit from three sides; and a stranger."""
    folder = tmp_path / "faces"
    tints = ((1.0, 1.0, 1.0), (1.0, 0.7, 0.6), (0.6, 0.8, 1.0), (0.7, 1.0, 0.7), (0.9, 0.9, 0.5))
    across = np.linspace(0, 1, astronaut.shape[1])[None, :, None]
    for person, tint in enumerate(tints):
        lights = (0.7 + 0.3 * across, 1.0 - 0.3 * across, np.full_like(across, 0.9))
        for number, light in enumerate(lights if person < 4 else lights[:1]):
            pixels = (astronaut * light * np.array(tint)).astype(np.uint8)
            path = folder / f"people/p{person}/{number}.png" if person < 4 else folder / "distractors/s_0001.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[:260, 90:350]).save(path)
    return folder


@pytest.fixture
def folder(faces):
    return validation.Folder.read(faces)


def test_a_search_leaves_out_the_photo_itself_and_who_has_but_one(folder, tiny):
    """Everyone would be recognised by the very same photo, and a stranger's single photo by none."""
    assert (13, 12) == (len(folder.photos), int(folder.probes.sum()))
    searches = validation.search(folder, tiny, [BARE], device="cpu")
    assert {name: (12,) for name in tiny} == {name: fails.shape for name, fails in searches.wrong.items()}
    found = validation.embeddings(folder, tiny)
    for name in tiny:
        rows = found[name, BARE]
        assert np.allclose(1, np.linalg.norm(rows, axis=1), atol=1e-4)
        scores = rows @ rows.T
        np.fill_diagonal(scores, -1)
        expected = folder.people[scores.argmax(1)] != folder.people
        assert expected[folder.probes].tolist() == searches.wrong[name].tolist()


def test_people_with_many_photos_may_count_as_others(faces, folder):
    """The same few of each, whatever else is there."""
    few = validation.Folder.read(faces, most=2)
    assert {"p0": 2, "p1": 2, "p2": 2, "p3": 2, "s": 1} == Counter(few.people.tolist())
    assert {photo.digest for photo in few.photos} < {photo.digest for photo in folder.photos}


def test_what_is_kept_is_not_looked_at_again(folder, tiny, monkeypatch):
    """Two thousand photos take minutes, their ranking seconds; but a changed network or a new photo is looked at."""
    first = validation.embeddings(folder, tiny, [BARE, "blur-6"], device="cpu")
    looked: list[int] = []
    real = validation._look

    def look(photos, shelves, device, on_photo):
        looked.append(len(photos))
        real(photos, shelves, device, on_photo)

    monkeypatch.setattr(validation, "_look", look)
    again = validation.embeddings(folder, tiny, [BARE, "blur-6"], device="cpu")
    assert [] == looked
    assert all(np.array_equal(first[key], again[key]) for key in first)
    networks.arcface_onnx(own.path().parent / "one.onnx", seed=9, dim=64)
    changed = validation.embeddings(folder, tiny[:1], device="cpu")
    assert [13] == looked
    assert not np.allclose(first["one", BARE], changed["one", BARE], atol=1e-3)
    assert 0 < validation.forget()
    validation.embeddings(folder, tiny[1:2], device="cpu")
    assert [13, 13] == looked


def test_photos_get_harder_until_there_are_negatives_enough(folder, tiny):
    """Good recognisers hardly fail on good photos; the ranking says how they were made worse."""
    enough = validation.search(folder, tiny, enough=0, device="cpu")
    assert {BARE} == set(enough.degradations)
    never = validation.search(folder, tiny, enough=10**6, device="cpu")
    assert {BARE, *(how for level in degradations.LEVELS for how in level)} == set(never.degradations)
    assert 12 * (1 + sum(map(len, degradations.LEVELS))) == len(never.people)
    by_hand = np.column_stack([never.wrong[name] for name in tiny])
    telling = ~by_hand.all(1)
    assert dict(zip(tiny, (by_hand & telling[:, None]).sum(0).tolist(), strict=True)) == never.negatives()
    parts = [never.negatives(how) for how in dict.fromkeys(never.degradations.tolist())]
    assert never.negatives() == {name: sum(part[name] for part in parts) for name in tiny}


def test_a_photo_without_a_face_is_in_no_search(faces, coffee, tiny):
    """Nobody fails on it more than others; nor does one that is cut off stop the ranking of thousands."""
    Image.fromarray(coffee).save(faces / "people/p0/cup.png")
    (faces / "people/p0/half.png").write_bytes((faces / "people/p0/cup.png").read_bytes()[:1000])
    searches = validation.search(validation.Folder.read(faces), tiny, [BARE], device="cpu")
    assert (2, 12) == (searches.faceless, len(searches.people))


@pytest.mark.parametrize("how", [how for level in degradations.LEVELS for how in level])
def test_degradations_change_a_face_and_always_alike(how):
    """The same photo gives the same samples, and whole levels of 8 bits; harder levels are farther from the face."""
    torch.manual_seed(0)
    frames = torch.nn.functional.interpolate(torch.rand(2, 3, 36, 36), (FRAME_SIZE, FRAME_SIZE), mode="bilinear")
    worse = degrade(how, frames, [1, 2])
    assert worse.shape == frames.shape
    assert torch.equal(worse, degrade(how, frames, [1, 2]))
    assert torch.equal(worse[1:], degrade(how, frames[1:], [2]))
    assert torch.allclose((worse * 255).round(), worse * 255, atol=1e-3)
    assert (0.0, 1.0) <= (float(worse.min()), 1.0)
    assert float((worse - frames).abs().mean()) > 0.01
    kind, _, amount = how.rpartition("-")
    harder = f"{kind}-{int(amount) * 2 if kind != 'low-resolution' else int(amount) // 2}"
    assert (degrade(harder, frames, [1, 2]) - frames).abs().mean() > (worse - frames).abs().mean()


@pytest.mark.parametrize("how", ["blur", "blur-0", "blur-x", "rotate-9", ""])
def test_an_unknown_degradation_is_refused(how):
    """With those that there are."""
    with pytest.raises(BadOption, match="known: bare, low-resolution-N, blur-N, noise-N"):
        degradations.words(how)


def rank(faces, *more: str) -> list[str]:
    return ["team", "rank", "--faces", str(faces), "--device", "cpu", *more]


def psr_of(ranking: dict) -> dict:
    return {frozenset(team["members"]): team["psr"] for team in ranking["teams"]}


def test_team_rank_prints_writes_and_warns(faces, tiny, tmp_path, capsys):
    """The table, the JSON with how many negatives each score rests on, and the scatter against PSR."""
    psr = tmp_path / "psr.csv"
    with psr.open("w", newline="") as stream:
        rows = [["team", "psr"], ["two, one", "50"], ["one+three", "75"], ["three, two", "90"]]
        csv.writer(stream).writerows(rows)
    arguments = rank(
        faces, "--size", "2", "--models", ",".join(tiny[:3]), "--degrade", "bare,low-resolution-10,noise-100"
    )
    assert 0 == cli.main([*arguments, "--out", str(tmp_path / "out"), "--psr", str(psr)])
    said = capsys.readouterr()
    assert "focal diversity" in said.out
    assert "shrunk until an aligned face has 10 pixels a side" in said.out
    assert "too few negative samples" in said.err
    ranking = json.loads((tmp_path / "out/ranking-2.json").read_text())
    assert 36 == ranking["searches"]
    assert [BARE, "low-resolution-10", "noise-100"] == list(ranking["degradations"])
    expected = {frozenset(("one", "two")): 50, frozenset(("one", "three")): 75, frozenset(("two", "three")): 90}
    assert expected == psr_of(ranking)
    searches = validation.search(validation.Folder.read(faces), tiny[:3], list(ranking["degradations"]), device="cpu")
    expected = [team.to_json() for team in teaming.rank_teams(searches.wrong, 2)]
    assert expected == [{key: team[key] for key in expected[0]} for team in ranking["teams"]]
    assert searches.negatives() == ranking["negatives"]
    scatter = ElementTree.parse(tmp_path / "out/diversity-psr-2.svg")
    words = [text.text for text in scatter.iter("{http://www.w3.org/2000/svg}text")]
    assert "focal diversity" in words
    assert sum(team["diversity"] is not None for team in ranking["teams"]) == sum(" + " in word for word in words)
    assert 0 == cli.main([*arguments, "--json"])
    assert ranking["teams"][0]["members"] == json.loads(capsys.readouterr().out)["teams"][0]["members"]
    assert teams.kept(2) is None  # not the whole pool


def test_an_own_table_of_psr_may_be_json(faces, tiny, tmp_path):
    """As the experiments write it, or by hand."""
    psr = tmp_path / "psr.json"
    psr.write_text(json.dumps({"one,two": 40, "one, three": 60.5}))
    arguments = rank(faces, "--size", "2", "--models", ",".join(tiny[:3]), "--psr", str(psr), "--out", str(tmp_path))
    assert 0 == cli.main(arguments)
    expected = {frozenset(("one", "two")): 40, frozenset(("one", "three")): 60.5, frozenset(("two", "three")): None}
    assert expected == psr_of(json.loads((tmp_path / "ranking-2.json").read_text()))
    psr.write_text("[]")
    assert 2 == cli.main(arguments)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--size", "1"], "has 2 to 5 members"),
        (["--size", "6"], "has 2 to 5 members"),
        (["--degrade", "bare,rotate-9"], "unknown degradation"),
        (["--same", "p0"], "must be two names"),
        (["--models", "one,nobody"], "unknown recogniser nobody"),
        (["--psr", "absent.csv"], "must be JSON"),
    ],
)
def test_wrong_usage_is_said(faces, tiny, capsys, more, words):
    """Exit 2, and what to do instead."""
    assert 2 == cli.main([*rank(faces, "--models", ",".join(tiny), "--degrade", BARE), *more])
    assert words in capsys.readouterr().err


def test_with_packs_present_the_default_team_is_the_most_diverse(faces, tiny, monkeypatch, capsys):
    """The whole pool that is here is ranked; its first team is the default until the ranking is forgotten."""
    assert DEFAULT_TEAM == teams.default_team() == MaskOptions().team
    assert [*REGISTRY, *tiny] == teams.pool()
    monkeypatch.setattr(teams, "pool", lambda: tiny)  # the registry's would take their time
    monkeypatch.setattr(teaming, "FEW_NEGATIVES", 0)
    assert 0 == cli.main(rank(faces, "--degrade", "low-resolution-2,blur-30,noise-250"))
    first = teams.kept(len(DEFAULT_TEAM))["teams"][0]
    assert set(tiny) == set(first["members"])
    assert first["diversity"] is not None
    assert tuple(first["members"]) == teams.default_team() == MaskOptions().team
    assert "the default team is now" in capsys.readouterr().err
    assert 0 == cli.main(["team", "show"])
    assert f"default team: {', '.join(first['members'])}" in capsys.readouterr().out
    (own.path().parent / "one.onnx").unlink()
    monkeypatch.setattr(teams, "pool", lambda: [*REGISTRY, *tiny[1:]])
    assert DEFAULT_TEAM == teams.default_team()  # a member is gone
    assert 0 == cli.main(["team", "forget"])
    assert teams.kept(len(DEFAULT_TEAM)) is None


def test_a_ranking_that_rests_on_little_changes_nothing(faces, tiny, monkeypatch, capsys):
    """Twelve photos choose no team."""
    monkeypatch.setattr(teams, "pool", lambda: tiny)
    assert 0 == cli.main(rank(faces, "--degrade", BARE))
    assert "not kept" in capsys.readouterr().err
    assert DEFAULT_TEAM == teams.default_team()


def test_the_default_team_comes_with_its_evidence(capsys):
    """Anyone can ask why."""
    evidence = teams.evidence()
    assert list(DEFAULT_TEAM) == evidence["members"]
    for size in range(2, len(DEFAULT_TEAM) + 1):
        ranking = evidence["rankings"][str(size)]
        assert set(REGISTRY) == set(ranking["pool"])
        assert all(count >= FEW_NEGATIVES for team in ranking["teams"] for count in team["negatives"])
        assert all(0 <= team["diversity"] <= 1 for team in ranking["teams"])
    assert 0 == cli.main(["team", "show"])
    assert evidence["why"] in capsys.readouterr().out


def test_calibration_measures_on_this_machine(faces, tiny, monkeypatch, capsys):
    """Match angle, rank-1 and population come from the folder; with too few people nothing is measured."""
    arguments = ["models", "calibrate", "one", "--faces", str(faces), "--device", "cpu"]
    assert 2 == cli.main(arguments)
    assert "at least 100" in capsys.readouterr().err
    monkeypatch.setattr(calibrate, "FEW_PEOPLE", 5)
    assert not SPECS["one"].calibrated
    evenly = SPECS["one"].match_angle
    assert 0 == cli.main(arguments)
    assert "rank-1" in capsys.readouterr().out
    spec = SPECS["one"]
    assert spec.calibrated
    assert 0 < spec.match_angle < evenly  # tiny networks crowd their embeddings
    people = find_people(faces)
    folder = validation.Folder.of(people)
    rows = validation.embeddings(folder, ["one"])["one", BARE]
    cosines = (rows @ rows.T)[folder.people[:, None] != folder.people[None]]
    assert spec.match_angle == pytest.approx(np.degrees(np.arccos(cosines.max())), abs=0.1)
    searches = validation.search(folder, ["one", "two"], [BARE], device="cpu")
    assert pytest.approx(100 * (1 - searches.wrong["one"].mean()), abs=0.1) == spec.rank_one
    decoys = calibrate.decoys("one")
    assert np.median((rows @ decoys.T).max(1)) > 0.5  # decoys lie where these faces do, not all around
    assert 2 == cli.main(["models", "calibrate", "sface", "--faces", str(faces)])
    networks.arcface_onnx(own.path().parent / "one.onnx", seed=7, dim=64)
    assert not SPECS["one"].calibrated  # another network


def test_a_ranking_of_what_is_kept_needs_no_torch(faces, tiny):
    """Loading it would take longer than all triples of nine recognisers."""
    arguments = rank(faces, "--size", "2", "--models", ",".join(tiny), "--degrade", BARE)
    assert 0 == cli.main(arguments)
    code = (
        "import sys; from pathlib import Path; from pmask import cli, validation\n"
        f"validation.cache_dir = lambda: Path({str(validation.cache_dir())!r})\n"
        f"assert 0 == cli.main({arguments!r}); assert 'torch' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 0 == result.returncode, result.stderr
