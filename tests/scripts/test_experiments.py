"""The paper's experiments: every file is made, figures are sound, and nobody is named."""

from __future__ import annotations

import csv
import math
import os
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import figure_11_diversity
import plan
import pytest
import reproduce
import validation
from plan import QUICK, Ask, parser, planned
from publish import Table

from pmask.errors import BadOption
from pmask.evaluation.svg import HEIGHT, Axis, Bars, Boxes, Lines, Points, figure, quantile

SHARED = Path(os.environ.get("PMASK_SHARED", Path(__file__).parents[3] / "shared"))
SVG = "{http://www.w3.org/2000/svg}"


def elements(text, kind):
    return list(ElementTree.fromstring(text).iter(f"{SVG}{kind}"))


def test_a_figure_is_valid_xml_whatever_its_words_hold():
    """Names of recognisers come from users' files."""
    bars = Bars(title='a < b & "c"', unit="%", groups=["x<y", "z"], series={"one & two": [0.0, 50.0], "3": [100, 7]})
    boxes = Boxes(title="boxes", unit="dB", series={"a": [1.0, 2.0, 3.0], "b": [2.0, 2.0]})
    points = Points(title="p", across="d", unit="%", points=[(0.1, 20.0, "<a>"), (math.nan, 3.0, "unknown")])
    lines = Lines(title="l", across="delta", unit="s", places=[0.1, 1, 10], series={"s": [1.0, 2.0, 4.0]})
    text = figure([bars, boxes, points, lines])
    root = ElementTree.fromstring(text)
    assert str(4 * HEIGHT) == root.get("height")
    words = [element.text for element in elements(text, "text")]
    assert {'a < b & "c"', "x<y", "one & two", "<a>"} <= set(words)
    assert "unknown" not in words, "a diversity that nobody knows has no place"
    assert 5 + 1 + 3 == len(elements(text, "circle")), "every value of the boxes, the known point, three places"


def test_bars_are_as_high_as_their_values():
    """Half of the axis is half of its pixels, and what is below zero hangs down."""
    text = figure([Bars(title="", unit="", groups=["a", "b", "c"], series={"": [100.0, 50.0, -100.0]}, top=100.0)])
    heights = [float(bar.get("height")) for bar in elements(text, "rect")[1:]]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[0] == pytest.approx(heights[2], abs=0.2)


def test_crowded_teams_have_an_upright_line_for_each_member_within_the_figure():
    """Twenty triples of a large pool; with room, a team's name is one line."""
    names = [f"mobilefacenet + recogniser{i} + lightcnn" for i in range(20)]
    crowded = elements(figure([Bars(title="", unit="", groups=names, series={"": [50.0] * 20})]), "text")
    labels = [label for label in crowded if "rotate(-90" in label.get("transform", "") and label.text]
    assert [member for name in names for member in name.split(" + ")] == [label.text for label in labels]
    assert all(6 * len(label.text) <= HEIGHT - float(label.get("y")) for label in labels)
    assert "a + b" in [
        label.text
        for label in elements(figure([Bars(title="", unit="", groups=["a + b"], series={"": [1.0]})]), "text")
    ]


def test_many_points_have_numbers_and_a_key():
    """Names of twenty triples would cover one another; a few are named in their place."""
    many = [(0.1 * i, 90.0 + i, f"team {i}") for i in range(10)]
    words = [text.text for text in elements(figure([Points(title="", across="", unit="", points=many)]), "text")]
    assert {"1  team 0", "10  team 9", "1", "10"} <= set(words)
    assert "team 3" not in words
    few = [text.text for text in elements(figure([Points(title="", across="", unit="", points=many[:5])]), "text")]
    assert "team 3" in few


def test_a_scatter_begins_at_the_ten_below_its_lowest_point():
    """With an axis from zero all teams would lie on one line."""
    text = figure([Points(title="", across="", unit="", points=[(0.1, 93.0, "a"), (0.2, 98.0, "b")])])
    low, high = (float(dot.get("cy")) for dot in elements(text, "circle"))
    assert (low - high) / 240 == pytest.approx(0.5, abs=0.001), "5 of the 10 from 90 to 100, on 240 pixels"
    assert "90" in [element.text for element in elements(text, "text")]


def test_axes_are_linear_or_logarithmic():
    """Where a value lies, to the pixel."""
    assert 25.0 == Axis(0.0, 4.0, 0.0, 100.0).at(1.0)
    assert 50.0 == pytest.approx(Axis(0.1, 10.0, 0.0, 100.0, log=True).at(1.0))


def test_quantiles_are_those_of_numpy():
    """Between two values where there is none."""
    assert (1.0, 2.5, 4.0) == tuple(quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 1.0))


def test_a_table_is_the_same_in_markdown_and_csv():
    """Commas in cells and all."""
    table = Table(["team", "PSR"], [["sface, dlib", "50"]])
    assert "| team | PSR |\n| --- | --- |\n| sface, dlib | 50 |" == table.markdown()
    assert [["team", "PSR"], ["sface, dlib", "50"]] == list(csv.reader(table.csv().splitlines()))


def test_rank_correlation_counts_order_only():
    """With ties, and where there is nothing to correlate."""
    assert "have a rank correlation of 1.00" == figure_11_diversity._together([(0, 1, ""), (1, 5, ""), (2, 90, "")])
    assert "-0.87" in figure_11_diversity._together([(0, 9, ""), (1, 1, ""), (2, 1, "")])
    assert "does not vary" in figure_11_diversity._together([(0, 9, ""), (1, 9, "")])
    assert "does not vary" in figure_11_diversity._together([(0, 9, ""), (1, 9, ""), (2, 9, "")])
    assert "fewer than three" in figure_11_diversity._together([(0, 9, ""), (1, 8, "")])


def test_the_size_may_be_changed_in_part():
    """--quick, but more people."""
    small = planned(parser("").parse_args(["--faces", "f", "--people", "7", "--same", "a=b"]), "typed")
    assert (7, QUICK.photos, (("a", "b"),)) == (small.size.people, small.size.photos, small.same)
    assert (15, 20) == (len(small.teams(2)), len(small.teams(3)))


def test_teams_are_ranked_as_stored_where_the_pool_is_the_same(monkeypatch, faces):
    """All pairs and triples, the most diverse first; a pool that nobody ranked is ranked on the faces at hand."""
    small = planned(parser("").parse_args([*faces, *TINY]), "typed")
    for size, count in ((2, 15), (3, 20)):
        ranked = validation.ranking(small, size)
        assert count == len(ranked.teams)
        diversity = [team.diversity for team in ranked.teams]
        assert sorted(diversity, reverse=True) == diversity
        assert "docs/teaming.md" in ranked.words[0]
    monkeypatch.setattr(plan.teams, "pool", lambda: ["sface", "dlib"])
    ranked = validation.ranking(replace(small, size=replace(small.size, gallery_people=6)), 2)
    assert [("sface", "dlib")] == [team.members for team in ranked.teams]
    assert "not under protection" in ranked.words[0]


def test_an_estimate_counts_the_members_that_look_in_one_iteration():
    """PMask's own search lets two of a team look, in turn; the paper's and the baselines let all."""
    team = ("sface", "mobilefacenet", "faceres")
    assert [2, 3, 3] == [reproduce.looking(Ask(method=method, team=team)) for method in ("pmask", "paper", "fawkes")]
    assert 1 == reproduce.looking(Ask(team=("sface",)))


def test_an_unknown_experiment_is_refused():
    """With the names there are."""
    with pytest.raises(BadOption, match=r"figure-8-table-2"):
        reproduce.chosen("figure-13")
    assert list(reproduce.EXPERIMENTS) == list(reproduce.chosen(""))


@pytest.fixture(scope="module")
def faces():
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here (PMASK_SHARED names another place)")
    return ["--faces", str(SHARED / "faces"), "--intruders", str(SHARED / "intruders"), "--device", "cpu"]


TINY = ["--people", "2", "--probes", "1", "--photos", "1", "--gallery-people", "8", "--jobs", "1"]


def test_one_experiment_makes_its_three_files(faces, tmp_path, monkeypatch):
    """From real photos, with real masks of few iterations: table, figure, and what made them. Again, it is free."""
    shorten(monkeypatch)
    where = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    assert 0 == reproduce.main([*faces, *TINY, *where, "--only", "figure-8-table-2,table-3"])
    assert 6 == len(list((tmp_path / "out").iterdir()))
    check(tmp_path / "out", "figure-8-table-2")
    kept = sorted((tmp_path / "work" / "protected").iterdir())
    assert 2 * 2 * 5 == len(kept), "two photos by five methods, each with its record"
    assert 0 == reproduce.main([*faces, *TINY, *where, "--only", "figure-9-figure-10,table-6"])
    assert kept == sorted((tmp_path / "work" / "protected").iterdir()), "the same masks serve other tables"
    check(tmp_path / "out", "table-6")


@pytest.mark.skipif("PMASK_SLOW" not in os.environ, reason="minutes; set PMASK_SLOW=1")
def test_everything_is_made(faces, tmp_path, monkeypatch, capsys):
    """The smallest setting of all there is, after saying how long it takes."""
    shorten(monkeypatch)
    where = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    assert 0 == reproduce.main([*faces, *TINY, *where, "--estimate"])
    assert "all of it will take about" in capsys.readouterr().out
    assert 0 == reproduce.main([*faces, *TINY, *where])
    assert 3 * len(reproduce.EXPERIMENTS) == len(list((tmp_path / "out").iterdir()))
    for name in reproduce.EXPERIMENTS:
        check(tmp_path / "out", name)


def shorten(monkeypatch):
    """Searches of two iterations: what is tested is the way to the files."""
    short = {name: method and replace(method, iterations=2) for name, method in plan.METHODS.items()}
    monkeypatch.setattr(plan, "METHODS", short)


def check(folder, name):
    """The three files of an experiment hold together, and name nobody."""
    text = (folder / f"{name}.md").read_text()
    rows = list(csv.reader((folder / f"{name}.csv").read_text().splitlines()))
    assert all(f"| {' | '.join(row)} |" in text for row in rows)
    assert "seed 0" in text
    assert "cores" in text
    assert elements((folder / f"{name}.svg").read_text(), "text")
    people = [person.name.split("_")[-1] for person in (SHARED / "faces" / "people").iterdir()]
    words = set(text.replace("|", " ").split())
    assert not words & set(people)
