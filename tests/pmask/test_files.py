"""Files are written whole or not at all, and what is read may be anything."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pmask import cli, files
from pmask.errors import TooManyBytes
from pmask.images import MAX_BYTES


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (32, 32), "teal").save(path)
    return path


def test_a_copy_may_be_read_by_those_who_may_read_the_photo(photo, tmp_path):
    """A private photo's protected copy is private."""
    photo.chmod(0o600)
    files.write(tmp_path / "copy.jpg", b"copy", like=photo)
    assert 0o600 == stat.S_IMODE((tmp_path / "copy.jpg").stat().st_mode)
    photo.chmod(0o444)
    files.write(tmp_path / "copy.jpg", b"another", like=photo)
    assert 0o644 & ~files._umask() == stat.S_IMODE((tmp_path / "copy.jpg").stat().st_mode)
    assert b"another" == (tmp_path / "copy.jpg").read_bytes()


def test_a_name_as_long_as_names_can_be_is_written(photo, tmp_path):
    """The unfinished file's name must not be what is too long."""
    target = tmp_path / ("n" * 251 + ".jpg")
    files.write(target, b"copy", like=photo)
    assert b"copy" == target.read_bytes()


def test_a_link_where_the_copy_goes_is_replaced_and_not_followed(photo, tmp_path):
    """What it points to may be precious."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    link = tmp_path / "link.jpg"
    link.symlink_to(precious)
    files.write(link, b"copy", like=photo)
    assert b"precious" == precious.read_bytes()
    assert not link.is_symlink()


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit of a file's size on this system")
def test_a_disk_that_fills_up_leaves_nothing_half_written(photo, tmp_path):
    """The write fails in the middle; neither a part nor a cut photo stays, and what was there before does."""
    target = tmp_path / "copy.jpg"
    target.write_bytes(b"before")
    script = (
        "import resource, signal, sys; from pathlib import Path; from pmask import files;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));\n"
        "try: files.write(Path(sys.argv[1]), b'x' * 5000, like=Path(sys.argv[2]))\n"
        "except OSError as error: print(files.code(error))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(target), str(photo)], capture_output=True, text=True, check=True
    )
    assert "disk_full" == run.stdout.strip()
    assert b"before" == target.read_bytes()
    assert {"photo.jpg", "copy.jpg"} == {path.name for path in tmp_path.iterdir()}


def test_a_kept_file_that_fails_half_way_leaves_the_old_one_alone(tmp_path):
    """Rankings, calibrations, galleries and weights left a part behind each time, under a name that nobody deletes."""
    kept = tmp_path / "new" / "kept"
    with files.replacing(kept) as stream:
        stream.write(b"before")
    with pytest.raises(ArithmeticError), files.replacing(kept) as stream:
        stream.write(b"half")
        raise ArithmeticError
    assert b"before" == kept.read_bytes()
    assert [kept] == list(kept.parent.iterdir())
    assert 0o600 == stat.S_IMODE(kept.stat().st_mode)


def test_a_process_killed_while_writing_leaves_the_old_file(photo, tmp_path):
    """Power cuts do not ask."""
    target = tmp_path / "copy.jpg"
    target.write_bytes(b"before")
    script = (
        "import os, signal, sys; from pathlib import Path; from pmask import files;"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL);"
        "files.write(Path(sys.argv[1]), b'x' * 5000, like=Path(sys.argv[2]))"
    )
    run = subprocess.run([sys.executable, "-c", script, str(target), str(photo)], check=False)
    assert -signal.SIGKILL == run.returncode
    assert b"before" == target.read_bytes()


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    """Reading a pipe or a device would never end."""
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match=r"regular file|directory") as caught:
            files.read(path)
        assert "not_a_file" == files.code(caught.value)


def test_what_is_no_regular_file_is_not_replaced(photo, tmp_path):
    """As root, /dev/null would have been a JPEG for all programs of the machine."""
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    for target in (pipe, tmp_path, photo / "copy.jpg"):
        with pytest.raises(OSError, match="no photo is written"):
            files.write(target, b"copy", like=photo)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_drive_that_is_not_there_has_a_code(tmp_path, monkeypatch):
    """Z: on Windows, whose disk is unplugged; elsewhere the root of all folders is always there."""
    target = tmp_path / "new" / "copy.jpg"
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    with pytest.raises(FileNotFoundError, match="drive") as caught:
        files.require_writable(target)
    assert ("not_found", target.anchor) == (files.code(caught.value), caught.value.filename)


@pytest.mark.skipif(not os.path.exists("/dev/fd/1"), reason="no files that stand for descriptors on this system")
def test_a_link_to_standard_output_is_not_replaced(photo, tmp_path):
    """With its output in a file, /dev/stdout is a regular file, and as root it would have been a photo ever after."""
    link = tmp_path / "stdout"
    link.symlink_to("/dev/fd/1")
    with open(tmp_path / "a.jpg", "wb") as output:
        command = [sys.executable, "-m", "pmask", "protect", photo, "-o", link]
        ended = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True)
    assert cli.USAGE == ended.returncode
    assert f"{link}: standard input or output goes there" in ended.stderr
    assert link.is_symlink()


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_known_before_a_photo_is_written(tmp_path):
    """Its search would have been for nothing."""
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match="may not be written to"):
        files.require_writable(tmp_path / "new" / "copy.jpg")


def test_a_file_that_is_too_long_is_not_read(tmp_path):
    """A sparse file of a terabyte costs its maker nothing."""
    huge = tmp_path / "huge.jpg"
    with open(huge, "wb") as stream:
        stream.truncate(MAX_BYTES * 1000)
    with pytest.raises(TooManyBytes):
        files.read(huge)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_has_a_code(photo):
    """It is not the photo that is broken."""
    photo.chmod(0)
    with pytest.raises(PermissionError) as caught:
        files.read(photo)
    assert "not_permitted" == files.code(caught.value)


def test_links_in_circles_and_into_nothing_have_a_code(tmp_path):
    """A dangling link is what a moved folder leaves."""
    circle = tmp_path / "circle.jpg"
    circle.symlink_to(circle)
    nothing = tmp_path / "nothing.jpg"
    nothing.symlink_to(tmp_path / "gone.jpg")
    for path in (circle, nothing):
        with pytest.raises(OSError, match=r".") as caught:
            files.read(path)
        assert "not_found" == files.code(caught.value)


@pytest.mark.parametrize("link", ["itself", "symlink", "hardlink", "through a folder"])
def test_the_original_is_never_the_target(link, photo, tmp_path, capsys):
    """By no name."""
    before = photo.read_bytes()
    target = tmp_path / "link.jpg"
    if link == "itself":
        target = photo
    elif link == "symlink":
        target.symlink_to(photo)
    elif link == "hardlink":
        target.hardlink_to(photo)
    else:
        (tmp_path / "folder").symlink_to(tmp_path)
        target = tmp_path / "folder" / photo.name
    assert cli.USAGE == cli.main(["protect", str(photo), "-o", str(target)])
    assert "never overwritten" in capsys.readouterr().err
    assert before == photo.read_bytes()


def test_two_photos_of_one_name_do_not_overwrite_each_other(tmp_path, capsys):
    """IMG_0001.jpg of two phones, into one folder."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        Image.new("RGB", (32, 32)).save(folder / "x.jpg")
    names = [str(folder / "x.jpg") for folder in folders]
    assert cli.USAGE == cli.main(["protect", *names, "--out", str(tmp_path / "new")])
    assert "two photos" in capsys.readouterr().err
