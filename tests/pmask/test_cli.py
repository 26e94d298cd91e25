"""The command line's contract: what is written, what is printed, how it exits."""

from __future__ import annotations

import json
import stat
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pmask import cli, protect
from pmask.gallery import gallery_path
from pmask.mask import Search


@pytest.fixture(autouse=True)
def _quick(monkeypatch, protector):
    """The real engine, warm, with a short search: strength is tested elsewhere."""
    quick = protect.Protector(device="cpu", search=Search(iterations=4))
    quick._recognisers = protector._recognisers
    monkeypatch.setattr(cli, "_protector", lambda options: quick)


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
    expected = {"box", "landmarks", "hidden", "converged", "iterations", "seconds", "ssim", "psnr", "distances"}
    assert expected == set(face)
    assert {"sface", "mobilefacenet"} == set(face["distances"])
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
    assert ["broken_image", None, "file_error"] == [result["code"] for result in results]
    assert ["coffee.protected.jpg"] == [path.name for path in (photos / "new").iterdir()]
    assert (photos / "coffee.jpg").read_bytes() == (photos / "new" / "coffee.protected.jpg").read_bytes()


def test_people_get_words(photos, capsys):
    """Angles mean little without a verdict."""
    assert 0 == cli.main(["protect", str(photos / "face.png"), str(photos / "coffee.jpg")])
    words = capsys.readouterr().out
    assert "nearest stranger" in words
    assert "no face found" in words


@pytest.mark.parametrize(
    "arguments",
    [
        ["protect"],
        ["protect", "face.png", "--team", "nobody"],
        ["protect", "face.png", "--delta", "0"],
        ["protect", "face.png", "--omega", "2"],
        ["protect", "face.png", "-o", "face.png"],
        ["protect", "face.png", "coffee.jpg", "-o", "both.png"],
        ["protect", "face.png", "--out", "a", "-o", "b"],
        ["protect", "face.png", "--gallery", "absent"],
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
    (photos / "face.protected.png").write_bytes((photos / "face.png").read_bytes())
    assert 2 == cli.main(["protect", "face.png", "face.protected.png"])
    (photos / "link.png").symlink_to(photos / "face.png")
    assert 2 == cli.main(["protect", "face.png", "-o", "link.png"])
    assert "never overwritten" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_leaves_nothing(photos, capsys):
    """Half a file looks like a photo."""
    (photos / "file").write_text("")
    assert 1 == cli.main(["protect", str(photos / "coffee.jpg"), "--out", str(photos / "file"), "--json"])
    (result,) = printed(capsys)
    assert "file_error" == result["code"]


def test_check_says_who_matches(photos, capsys, astronaut):
    """Exit 1 when a recogniser still knows the face: the unprotected photo, mirrored."""
    Image.fromarray(np.ascontiguousarray(astronaut[:, ::-1])).save(photos / "mirror.png")
    arguments = ["check", str(photos / "mirror.png"), "--against", str(photos / "face.png")]
    assert 1 == cli.main([*arguments, "--as", "instagram", "--json"])
    (result,) = printed(capsys)
    verdicts = result["faces"][0]
    assert ["sface", "mobilefacenet", "faceres", "dlib"] == [verdict["recogniser"] for verdict in verdicts]
    assert all(verdict["matches"] for verdict in verdicts)
    assert 1 == cli.main([*arguments, "--models", "dlib"])
    assert "dlib still matches it" in capsys.readouterr().out


def test_check_needs_a_face(photos, capsys):
    """Comparing nothing must not read as "no match"."""
    assert 1 == cli.main(["check", str(photos / "coffee.jpg"), "--against", str(photos / "face.png")])
    assert "no face was found in the photo" in capsys.readouterr().err


def test_a_gallery_is_built_once_and_only_for_its_owner(photos, capsys, monkeypatch, tmp_path_factory):
    """Embeddings of real people are private."""
    monkeypatch.setenv("PMASK_CACHE", str(tmp_path_factory.mktemp("cache")))
    assert 0 == cli.main(["gallery", "build", str(photos), "--team", "sface"])
    assert "1 faces" in capsys.readouterr().out
    kept = gallery_path(photos, ["sface"])
    assert 0o600 == stat.S_IMODE(kept.stat().st_mode)
    made = kept.stat().st_mtime_ns
    assert 0 == cli.main(["gallery", "build", str(photos), "--team", "sface"])
    assert made == kept.stat().st_mtime_ns


def test_models_are_listed_and_verified(capsys, protector):
    """What is here, and whether it is what was published."""
    assert 0 == cli.main(["models", "list", "--json"])
    assert {"sface", "mobilefacenet", "faceres", "dlib"} == {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert 0 == cli.main(["models", "verify"])
    assert "as published" in capsys.readouterr().out


def test_help_needs_no_torch():
    """A command that answers after five seconds looks broken."""
    command = "try: cli.main(['protect', '-h'])\nfinally: assert 'torch' not in sys.modules"
    code = f"import sys; from pmask import cli\n{command}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 0 == result.returncode, result.stderr
    assert "--delta" in result.stdout
