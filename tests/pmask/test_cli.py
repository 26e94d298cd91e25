"""The command line's contract: what is written, what is printed, how it exits."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pmask import cli, gallery, protect
from pmask.errors import BrokenImage
from pmask.images import decode
from pmask.mask import Search
from pmask.options import PRESETS
from pmask.recognisers.specs import DEFAULT_TEAM, REGISTRY, SPECS
from pmask.record import Record


@pytest.fixture(autouse=True)
def _quick(monkeypatch, protector, tmp_path_factory):
    """The real engine, warm, with a short search: strength is tested elsewhere. State and galleries are the test's."""

    def quick(options, album=None, record=None):
        made = protect.Protector(device="cpu", search=Search(iterations=4), album=album, record=record)
        made._recognisers = protector._recognisers
        return made

    monkeypatch.setattr(cli, "_protector", quick)
    monkeypatch.setenv("PMASK_HOME", str(tmp_path_factory.mktemp("state")))
    cache = tmp_path_factory.mktemp("cache")  # of galleries; the weights stay where they are
    monkeypatch.setattr(gallery, "cache_dir", lambda: cache)


@pytest.fixture
def photos(tmp_path, astronaut, coffee):
    """A folder with a face, a cup of coffee and half a JPEG."""
    Image.fromarray(astronaut).save(tmp_path / "face.png")
    Image.fromarray(coffee).save(tmp_path / "coffee.jpg")
    whole = (tmp_path / "coffee.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    return tmp_path


def printed(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_protect_writes_beside_the_photo_and_prints_the_contract(photos, capsys):
    """Other programs read this JSON."""
    original = (photos / "face.png").read_bytes()
    assert 0 == cli.main(["protect", str(photos / "face.png"), "--json"])
    (result,) = printed(capsys)
    assert str(photos / "face.protected.png") == result["output"]
    assert ("protected", None) == (result["status"], result["code"])
    (face,) = result["faces"]
    expected = {
        "box",
        "landmarks",
        "hidden",
        "matched",
        "converged",
        "iterations",
        "seconds",
        "ssim",
        "psnr",
        "distances",
    }
    assert expected | {"references", "verdicts"} == set(face)
    verdict = {"recogniser", "in_team", "upload", "angle", "threshold", "nearest_other", "matches", "sentence"}
    assert verdict == set(face["verdicts"][0])
    assert {"bare", "instagram"} == {verdict["upload"] for verdict in face["verdicts"]}
    assert {"recognisers", "fooled", "unseen", "upload"} == set(result["judged"])
    assert set(DEFAULT_TEAM) == set(face["distances"])
    assert original == (photos / "face.png").read_bytes()
    with Image.open(photos / "face.protected.png") as image:
        assert (512, 512) == image.size
    assert stat.S_IMODE((photos / "face.protected.png").stat().st_mode) & 0o400


def test_one_bad_photo_does_not_stop_the_others(photos, capsys):
    """Exit 1 tells that something failed; the good ones are done."""
    names = ["half.jpg", "coffee.jpg", "absent.jpg"]
    code = cli.main(["protect", *(str(photos / name) for name in names), "--out", str(photos / "new"), "--json"])
    results = printed(capsys)
    assert 1 == code
    assert ["failed", "no_face", "failed"] == [result["status"] for result in results]
    assert ["broken_image", None, "not_found"] == [result["code"] for result in results]
    assert ["coffee.protected.jpg"] == [path.name for path in (photos / "new").iterdir()]
    assert (photos / "coffee.jpg").read_bytes() == (photos / "new" / "coffee.protected.jpg").read_bytes()


def test_not_even_a_fault_of_pmasks_own_stops_the_others(photos, capsys, monkeypatch):
    """A library that chokes on one picture must not cost the evening's other five hundred."""
    decode = protect.decode

    def choke(data, *choice):
        if data == (photos / "half.jpg").read_bytes():
            raise ArithmeticError("nobody thought of this")
        return decode(data, *choice)

    monkeypatch.setattr(protect, "decode", choke)
    assert 1 == cli.main(["protect", str(photos / "half.jpg"), str(photos / "coffee.jpg"), "--json"])
    choked, whole = printed(capsys)
    assert ("failed", "internal", "no_face") == (choked["status"], choked["code"], whole["status"])
    assert "ArithmeticError: nobody thought of this" in choked["message"]


def test_people_get_words(photos, capsys):
    """Angles mean little without a verdict."""
    assert 0 == cli.main(["protect", str(photos / "face.png"), str(photos / "coffee.jpg")])
    words = capsys.readouterr().out
    assert "nearest stranger" in words
    assert "no face found" in words
    assert f"{next(name for name in SPECS if name not in DEFAULT_TEAM)}, which never saw the mask," in words
    assert "recognisers no longer match any face (also after Instagram)" in words


def test_presets_and_what_stands_in_their_place(photos, monkeypatch):
    """A preset by itself, the default without one, and a value of one's own before both."""
    taken = []

    def refuse(protector, photo, mask, gallery):
        taken.append((mask.delta, mask.omega))
        raise BrokenImage("enough was seen")

    monkeypatch.setattr(cli, "_with_progress", refuse)
    for arguments in ([], ["--preset", "fine"], ["--preset", "fine", "--omega", "0.02"], ["--delta", "0.4"]):
        assert 1 == cli.main(["protect", str(photos / "face.png"), *arguments])
    fine, strong = PRESETS["fine"], PRESETS["strong"]
    expected = [(strong["delta"], strong["omega"]), (fine["delta"], fine["omega"]), (fine["delta"], 0.02)]
    assert [*expected, (0.4, strong["omega"])] == taken


def test_photos_of_one_command_find_one_another(photos, capsys, astronaut):
    """All are looked at before the first is masked, so the first is hidden from the last too."""
    Image.fromarray(np.ascontiguousarray(astronaut[:, ::-1])).save(photos / "mirror.png")
    names = ["face.png", "half.jpg", "mirror.png"]
    assert 1 == cli.main(["protect", *(str(photos / name) for name in names), "--json"])
    first, _, last = printed(capsys)
    assert [2, 2] == [result["faces"][0]["references"] for result in (first, last)]


def test_a_photo_is_protected_once(photos, capsys):
    """Picked again, PMask's own work passes unchanged; --again masks it anew."""
    assert 0 == cli.main(["protect", str(photos / "face.png"), "--as", "x", "--json"])
    assert "X" == printed(capsys)[0]["judged"]["upload"]
    again = ["protect", str(photos / "face.protected.png"), "--out", str(photos / "twice")]
    assert 0 == cli.main(again)
    assert "protected by PMask before" in capsys.readouterr().out
    once, twice = photos / "face.protected.png", photos / "twice" / "face.protected.protected.png"
    assert once.read_bytes() == twice.read_bytes()
    Record().add(*decode(once.read_bytes()).frames, bare=1)  # as where one was left out in a browser
    assert 0 == cli.main(again)
    assert "protected by PMask before, but for 1 of its faces" in capsys.readouterr().out
    assert 0 == cli.main([*again, "--again", "--json"])
    assert "protected" == printed(capsys)[0]["status"]


def test_a_second_time_over_a_folder_leaves_out_the_first_ones_copies(photos, capsys):
    """`pmask protect *.png` again names them too, and was refused whole."""
    face, copy = str(photos / "face.png"), str(photos / "face.protected.png")
    cup, same = str(photos / "coffee.jpg"), str(photos / "coffee.protected.jpg")  # without a face: as it came
    assert 0 == cli.main(["protect", face, cup])
    assert 0 == cli.main(["protect", cup, copy, same, face])
    said = capsys.readouterr()
    assert f"{copy}: made by PMask" in said.err
    assert f"{same}: made by PMask" in said.err
    assert f"{face} -> {copy}" in said.out
    assert not (photos / "face.protected.protected.png").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["protect"],
        ["protect", "face.png", "--team", "nobody"],
        ["protect", "face.png", "--delta", "0"],
        ["protect", "face.png", "--omega", "2"],
        ["protect", "face.png", "-o", "face.png"],
        ["protect", "face.png", "-o", "new.jpg"],
        ["protect", "face.png", "coffee.jpg", "-o", "both.png"],
        ["protect", "face.png", "--out", "a", "-o", "b"],
        ["protect", "face.png", "-o", "new/"],
        ["protect", "face.png", "coffee.jpg", "--out", "half.jpg/new"],
        ["protect", "face.png", "--gallery", "absent"],
        ["protect", "face.png", "--as", "myspace"],
        ["gallery", "build", "absent"],
        ["gallery", "delete"],
        ["check", "face.png"],
        ["check", "face.png", "--against", "face.png", "--models", "nobody"],
        ["models", "fetch", "nobody"],
        ["dance"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2_and_writes_nothing(arguments, photos, monkeypatch):
    """A script can tell its own mistake from a photo's."""
    monkeypatch.chdir(photos)
    before = sorted(photos.iterdir())
    try:
        code = cli.main(arguments)
    except SystemExit as stop:
        code = stop.code
    assert 2 == code
    assert before == sorted(photos.iterdir())


def test_an_original_is_never_overwritten(photos, capsys, monkeypatch):
    """Not even as the copy of another photo, or through a link."""
    monkeypatch.chdir(photos)
    (photos / "coffee.jpg").rename("face.protected.png")
    assert 2 == cli.main(["protect", "face.png", "face.protected.png"])
    (photos / "link.png").symlink_to(photos / "face.png")
    assert 2 == cli.main(["protect", "face.png", "-o", "link.png"])
    assert "never overwritten" in capsys.readouterr().err


@pytest.mark.parametrize("place", [["-o", "pipe.png"], ["-o", "linked.png"], ["-o", "folder"], ["--out", "coffee.jpg"]])
def test_what_no_photo_can_stand_in_for_is_refused_before_the_search(place, photos, capsys, monkeypatch):
    """A pipe or a device would be replaced by a photo, for all programs; and a wrong --out cost minutes of search."""
    monkeypatch.chdir(photos)
    monkeypatch.setattr(cli, "_protector", lambda *arguments: pytest.fail("it went on to the photos"))
    os.mkfifo("pipe.png")
    Path("linked.png").symlink_to("pipe.png")
    Path("folder").mkdir()
    before = sorted(photos.iterdir())
    assert 2 == cli.main(["protect", "face.png", *place])
    assert f"{place[1]}: not a" in capsys.readouterr().err.replace(f"{photos}/", "")
    assert before == sorted(photos.iterdir())
    assert stat.S_ISFIFO(os.stat("pipe.png").st_mode)


def test_a_place_beside_the_photo_that_cannot_be_written_leaves_nothing(photos, capsys):
    """Half a file looks like a photo; and the others have their turn."""
    (photos / "coffee.protected.jpg").mkdir()
    (photos / "more.jpg").write_bytes((photos / "coffee.jpg").read_bytes())
    assert 1 == cli.main(["protect", str(photos / "coffee.jpg"), str(photos / "more.jpg"), "--json"])
    refused, done = printed(capsys)
    assert ("not_a_file", "no_face") == (refused["code"], done["status"])
    assert not list((photos / "coffee.protected.jpg").iterdir())


def test_check_says_who_matches(photos, capsys, astronaut):
    """Exit 1 when a recogniser still knows the face: the unprotected photo, mirrored."""
    Image.fromarray(np.ascontiguousarray(astronaut[:, ::-1])).save(photos / "mirror.png")
    arguments = ["check", str(photos / "mirror.png"), "--against", str(photos / "face.png")]
    assert 1 == cli.main([*arguments, "--as", "instagram", "--json"])
    (result,) = printed(capsys)
    verdicts = result["faces"][0]
    assert [(upload, name) for upload in ("bare", "instagram") for name in REGISTRY] == [
        (verdict["upload"], verdict["recogniser"]) for verdict in verdicts
    ]
    assert all(verdict["matches"] for verdict in verdicts)
    assert 1 == cli.main([*arguments, "--models", "dlib"])
    assert "dlib, which never saw the mask, still matches it" in capsys.readouterr().out
    assert 1 == cli.main([*arguments, "--models", "dlib", "--team", "dlib,faceres"])
    assert "dlib still matches it" in capsys.readouterr().out


def test_check_looks_at_every_frame(photos, capsys, astronaut, coffee):
    """One bare frame is enough, and a film's first may show nobody, or somebody who is hidden."""
    empty, bare = (Image.fromarray(pixels[:400, :400]) for pixels in (coffee, astronaut))
    hidden = bare.resize((40, 40)).resize((400, 400))
    for name, frames in (("film", [hidden, bare]), ("reference", [empty, bare])):
        frames[0].save(photos / f"{name}.png", save_all=True, append_images=frames[1:])
    bare.save(photos / "bare.png")
    for photo, reference in (("film", "bare"), ("bare", "reference")):
        arguments = ["check", str(photos / f"{photo}.png"), "--against", str(photos / f"{reference}.png")]
        assert 1 == cli.main([*arguments, "--models", "sface", "--json"])
        (result,) = printed(capsys)
        assert any(verdict["angle"] < 1 for face in result["faces"] for verdict in face)


def test_check_needs_a_face(photos, capsys):
    """Comparing nothing must not read as "no match"."""
    assert 1 == cli.main(["check", str(photos / "coffee.jpg"), "--against", str(photos / "face.png")])
    assert "no face was found in the photo" in capsys.readouterr().err


def test_check_says_which_file_is_bad_and_waits_for_none(photos, capsys):
    """Of twenty references one is cut; and a pipe would never end."""
    os.mkfifo(photos / "pipe.jpg")
    face = str(photos / "face.png")
    for name, words in (("half.jpg", "truncated"), ("pipe.jpg", "not a regular file"), ("absent.jpg", "No such file")):
        assert 1 == cli.main(["check", face, "--against", face, str(photos / name)])
        said = capsys.readouterr().err
        assert f"{photos / name}: " in said
        assert words in said


def run(*arguments: str | bytes, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "pmask", *arguments], capture_output=True, check=False, **options)


def test_a_cache_that_is_no_folder_is_told_in_words(photos):
    """A page of Python's own words says nothing to whoever mistyped PMASK_CACHE."""
    told = run("models", "fetch", "sface", env=os.environ | {"PMASK_CACHE": str(photos / "face.png")})
    assert 1 == told.returncode
    assert b"Not a directory" in told.stderr
    assert b"Traceback" not in told.stderr


def test_a_name_in_no_encoding_is_printed_all_the_same(tmp_path):
    """An old disk's names are not UTF-8, and the batch went no further than the first of them."""
    told = run(
        "protect", os.fsencode(tmp_path) + b"/\xe9t\xe9.jpg", env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    )
    assert 1 == told.returncode
    assert rb"\udce9t\udce9.jpg: failed (not_found)" in told.stdout
    assert b"Traceback" not in told.stderr


def test_a_reader_that_has_seen_enough_ends_the_command_quietly():
    """As in `pmask models list | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    told = subprocess.run(
        [sys.executable, "-m", "pmask", "models", "list"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (1, b"") == (told.returncode, told.stderr)


def test_a_closed_output_is_no_failure():
    """Some service managers close it; the copy was written, and the command ended in Python's own words."""
    command = f"exec {sys.executable} -m pmask gallery list >&-"
    told = subprocess.run(
        ["sh", "-c", command], capture_output=True, check=False, env=os.environ | {"PMASK_CACHE": "no"}
    )
    assert (0, b"") == (told.returncode, told.stderr)


def test_a_gallery_is_built_listed_and_deleted(photos, capsys):
    """Embeddings of real people are private: their owner sees what is kept and can be rid of it."""
    assert 0 == cli.main(["gallery", "build", str(photos), "--team", "sface"])
    assert "1 faces" in capsys.readouterr().out
    assert 0 == cli.main(["gallery", "list", "--json"])
    (row,) = printed(capsys)[0]
    assert (str(photos), 3, 1) == (row["folder"], row["photos"], row["faces"])
    assert 0o600 == stat.S_IMODE(Path(row["file"]).stat().st_mode)
    assert 0 == cli.main(["gallery", "delete", str(photos)])
    assert not Path(row["file"]).exists()
    assert 2 == cli.main(["gallery", "delete", str(photos)])
    assert 0 == cli.main(["gallery", "build", str(photos), "--team", "sface"])
    assert 0 == cli.main(["gallery", "delete", "--all"])
    capsys.readouterr()
    assert 0 == cli.main(["gallery", "list"])
    assert "no gallery is kept" in capsys.readouterr().out


def test_protect_takes_a_gallery(photos, capsys, astronaut, tmp_path_factory):
    """A folder of only one's own faces works too: the strangers are the decoys."""
    own = tmp_path_factory.mktemp("own")
    Image.fromarray(np.ascontiguousarray(astronaut[:, ::-1])).save(own / "mirror.png")
    assert 0 == cli.main(["protect", str(photos / "face.png"), "--gallery", str(own), "--json"])
    assert 2 == printed(capsys)[0]["faces"][0]["references"]


def test_a_gallery_without_a_face_is_told(photos, capsys):
    """A folder that was mistyped must not read as built."""
    (photos / "face.png").unlink()
    assert 1 == cli.main(["gallery", "build", str(photos), "--team", "sface"])
    assert "no face was found" in capsys.readouterr().err


def test_models_are_listed_and_verified(capsys, protector):
    """What is here, and whether it is what was published."""
    assert 0 == cli.main(["models", "list", "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(SPECS) == set(rows)
    assert {"sface", "mobilefacenet", "faceres", "dlib"} <= {name for name, row in rows.items() if row["present"]}
    assert 0 == cli.main(["models", "verify"])
    assert "as published" in capsys.readouterr().out


def test_help_needs_no_torch():
    """A command that answers after five seconds looks broken."""
    command = "try: cli.main(['protect', '-h'])\nfinally: assert 'torch' not in sys.modules"
    code = f"import sys; from pmask import cli\n{command}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 0 == result.returncode, result.stderr
    assert "--delta" in result.stdout


def test_the_place_is_told_of_where_it_stays_and_goes_where_there_is_a_face(photos, capsys, astronaut, coffee):
    """Who believes that the place is gone must not be wrong."""
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    exif.get_ifd(0x8825)[1] = "N"
    for name, pixels in (("face.jpg", astronaut), ("cup.jpg", coffee)):
        Image.fromarray(pixels).save(photos / name, exif=exif)
    assert 0 == cli.main(["protect", str(photos / "face.jpg"), str(photos / "cup.jpg"), "--json"])
    face, cup = printed(capsys)
    assert any("(GPS) was removed" in warning for warning in face["warnings"])
    assert ["its file still says where it was taken (GPS)"] == cup["warnings"]
    assert 0 == cli.main(["protect", str(photos / "face.jpg"), "-o", str(photos / "kept.jpg"), "--metadata", "keep"])
    places = {}
    for name in ("face.protected.jpg", "cup.protected.jpg", "kept.jpg"):
        with Image.open(photos / name) as image:
            places[name] = bool(image.getexif().get_ifd(0x8825))
            assert "a maker" == image.getexif()[0x010F]
    assert {"face.protected.jpg": False, "cup.protected.jpg": True, "kept.jpg": True} == places
