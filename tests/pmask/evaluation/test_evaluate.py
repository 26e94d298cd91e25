"""The whole evaluation: real masks, detectors and files, few of each."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pmask.cli import main
from pmask.errors import BadOption, BrokenImage
from pmask.evaluation import quality
from pmask.evaluation.protocol import evaluate
from pmask.evaluation.settings import METHODS, Settings
from pmask.evaluation.tables import markdown
from pmask.evaluation.work import Done
from pmask.evaluation.worst import HEIGHT, write_worst
from pmask.images import decode
from pmask.mask import Search
from pmask.options import MaskOptions

QUICK = Search(iterations=3)


@pytest.fixture
def faces(tmp_path, astronaut, encoded):
    """Three people that may be shown: the astronaut in three colours, each in three crops."""
    for name, order in {"red": (0, 1, 2), "blue": (2, 1, 0), "green": (1, 0, 2)}.items():
        folder = tmp_path / "faces" / "people" / name
        folder.mkdir(parents=True)
        for shift in range(3):
            crop = np.ascontiguousarray(astronaut[:240, 110 + 10 * shift : 350 + 10 * shift, order])
            (folder / f"{shift}.jpg").write_bytes(encoded(crop, "JPEG", quality=92))
    return tmp_path / "faces"


@pytest.fixture
def settings(tmp_path, faces, tiny_intruders):
    """A quick evaluation of one person under protection with two protected photos."""
    return Settings(
        faces=faces,
        work=tmp_path / "work",
        intruders=tiny_intruders,
        people=1,
        probes=1,
        pipelines=("jpeg70",),
        search=QUICK,
        device="cpu",
    )


def test_work_that_is_done_is_never_done_again(settings):
    """Hours of it are kept: another intruder's question, another pipeline, or a killed run cost what is missing."""
    first = evaluate(settings)
    # 9 photos as they are; 2 behind the pipeline, bare and protected, and 2 protected as delivered
    assert Done(protected=2, detected=15, embedded=15, measured=2) == first.done
    kept = {path: path.stat().st_mtime_ns for path in (settings.work / "protected").iterdir()}
    assert 4 == len(kept), "two files and their records"
    again = evaluate(settings)
    assert Done() == again.done
    assert first.rows == again.rows
    assert kept == {path: path.stat().st_mtime_ns for path in (settings.work / "protected").iterdir()}
    more = evaluate(replace(settings, pipelines=("jpeg70", "mean3")))
    assert Done(detected=4, embedded=4) == more.done
    other = evaluate(replace(settings, search=replace(QUICK, iterations=2), pipelines=()))
    assert 2 == other.done.protected, "masks that were searched for otherwise are other masks"


def test_a_run_that_is_cut_off_goes_on_where_it_was(settings):
    """After each photo, in either stage."""

    class CutError(Exception):
        pass

    def cut(step):
        if (step.stage, step.done) == ("protecting and judging", 1):
            raise CutError

    with pytest.raises(CutError):
        evaluate(settings, cut)
    assert 2 == len(list((settings.work / "protected").iterdir())), "one file and its record"
    assert Done(protected=1, detected=3, embedded=3, measured=1) == evaluate(settings).done


def test_processes_come_to_the_same_results(settings):
    """Whoever does the work, the figures are of the same files."""
    settings = replace(settings, pipelines=(), search=replace(QUICK, iterations=1))
    two = evaluate(replace(settings, work=settings.work / "two", jobs=2))
    assert two.rows == evaluate(settings).rows
    assert Done(protected=2, detected=11, embedded=11, measured=2) == two.done


@pytest.mark.parametrize("alone", [{"people": 3}, {"gallery_people": 0}], ids=str)
def test_nobody_else_need_be_in_the_gallery(alone, settings):
    """All that work ended in an error where everyone is under protection; there is then no other to be taken for."""
    results = evaluate(replace(settings, search=METHODS["none"], pipelines=(), **alone))
    assert results.census.people == results.census.gallery_people
    assert 0.0 == results.rows[0].bare.psr[1].mean


def test_where_nothing_protects_the_figures_are_those_of_the_bare_files(settings):
    """The evaluation itself must not hide anybody."""
    results = evaluate(replace(settings, search=METHODS["none"]))
    assert 0 == results.done.protected
    for row in results.rows:
        assert row.bare == row.protected
        assert 0.0 == row.bare.psr[1].mean
    assert results.masked == ()


def test_a_baseline_is_judged_as_pmask_is(settings, faces):
    """By the same protocol, its files kept as its own; towards people of the gallery unless others are given."""
    method = replace(METHODS["tipim"], iterations=2)
    settings = replace(settings, search=method, pipelines=(), options=MaskOptions(team=("mobilefacenet",)))
    first = evaluate(settings)
    assert 2 == first.done.protected
    assert all(2 == photo.face["iterations"] for photo in first.masked)
    assert Done() == evaluate(settings).done
    given = evaluate(replace(settings, targets=faces))
    assert 2 == given.done.protected, "other targets, other masks"
    note = "LowKey was held back by SSIM over 3 scales in place of LPIPS"
    lowkey = evaluate(replace(settings, search=replace(METHODS["lowkey"], iterations=1)))
    assert (note in lowkey.notes) == (quality.lpips_unavailable() is not None)


def test_the_results_are_written_and_told(settings):
    """With the command; JSON for programs, Markdown for people, pictures for eyes."""
    results = evaluate(replace(settings, command="pmask evaluate --faces here"))
    written = json.loads((settings.work / f"results-{settings.mark}.json").read_text())
    assert json.loads(json.dumps(results.to_json())) == written
    assert written["rows"][0]["protected"]["psr"]["1"]["people"].keys() == {results.masked[0].person}
    text = markdown(results)
    for words in (
        "pmask evaluate --faces here",
        "| tiny | JPEG, quality 70 |",
        "averaged for each person",
        "1 people are few",
    ):
        assert words in text
    pictures = write_worst(results)
    assert 4 == len(pictures), "two photos, in two orders"
    assert all(cv2.imread(str(path)).shape[0] >= HEIGHT for path in pictures)
    for photo in results.masked:
        before, after = (decode(Path(path).read_bytes()).rgb for path in (photo.photo, photo.protected))
        assert before.shape == after.shape
        assert (before != after).any()


def test_a_broken_photo_is_named(settings, faces):
    """In a folder of thousands."""
    (faces / "people" / "red" / "9.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    with pytest.raises(BrokenImage, match=r"red/9\.jpg: "):
        evaluate(settings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"intruders": None}, "nobody would judge"),
        ({"judges": ("sface",)}, "white-box"),
        ({"pipelines": ("sepia",)}, "unknown pipeline sepia; known: bare, jpeg70"),
        ({"probes": 0}, "--probes must be 1 or more"),
        ({"photos": 0}, "--photos must be 1 or more"),
        ({"jobs": 0}, "--jobs must be 1 or more"),
        ({"people": 4}, "only 3 people"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(settings, change, words):
    """With what to do."""
    with pytest.raises(BadOption, match=words):
        evaluate(replace(settings, **change))
    assert not (settings.work / "protected").exists()


def test_the_command_prints_json_and_wrong_usage_exits_with_2(settings, capsys):
    """As the other commands do."""
    command = ["evaluate", "--faces", str(settings.faces), "--intruders", str(settings.intruders), "--people", "1"]
    command += ["--probes", "1", "--pipelines", "bare", "--work", str(settings.work), "--device", "cpu"]
    assert 0 == main([*command, "--method", "none", "--json"])
    output = capsys.readouterr()
    assert 9 == json.loads(output.out)["done"]["detected"]
    assert "looking at unprotected photos: 9 of 9 photos" in output.err
    assert 2 == main([*command, "--method", "lowkey", "--mmd", "1"])
    assert "--mmd is tipim's" in capsys.readouterr().err
    assert 2 == main([*command, "--method", "magic"])
    assert "known: pmask, paper, fawkes, tipim, lowkey, none" in capsys.readouterr().err


def test_real_intruders_find_real_people_bare(shared, tmp_path):
    """Two people among fifteen, against real recognisers: they know the unprotected ones."""
    results = evaluate(
        Settings(
            faces=shared / "faces",
            work=tmp_path,
            intruders=shared / "intruders",
            people=2,
            photos=2,
            gallery_people=15,
            source="people",
            pipelines=("jpeg70",),
            search=Search(iterations=4),
            device="cpu",
        )
    )
    assert {"people": 2, "gallery_people": 17, "probes": 6, "protected": 4, "unmasked": 0}.items() <= vars(
        results.census
    ).items()
    for row in results.rows:
        assert 0.0 == row.bare.psr[1].mean, "the intruder works"
        assert row.protected.unverified.mean >= row.bare.unverified.mean
    assert {"ssim", "psnr", "face p99", "seconds"} <= set(results.quality)
    assert len(results.rows) == 3 * len(results.intruders)
    assert all(45 < threshold.degrees < 80 for threshold in results.thresholds.values())


def test_what_an_evaluation_needs_beside_is_said(tmp_path):
    """scikit-image is not installed with PMask, only with its extra."""
    code = "import sys; sys.modules['skimage'] = None; from pmask.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "evaluate", "--faces", str(tmp_path), "--work", str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert 1 == done.returncode
    assert "python3 scripts/setup_environment.py evaluate" in done.stderr
    assert "Traceback" not in done.stderr
