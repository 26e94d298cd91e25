"""A folder of people, kept as embeddings: looked at once, and again where it has changed."""

from __future__ import annotations

import errno
import os

import networks
import numpy as np
import pytest
from PIL import Image

from pmask import gallery
from pmask.images import decode
from pmask.protect import Protector
from pmask.recognisers import own

NAMES = ("sface",)


@pytest.fixture
def folder(tmp_path, monkeypatch, astronaut):
    """A folder with a face and a file that is no photo; its embeddings are kept beside it."""
    monkeypatch.setattr(gallery, "cache_dir", lambda: tmp_path / "cache")
    people = tmp_path / "people"
    people.mkdir()
    Image.fromarray(astronaut).save(people / "face.png")
    (people / "notes.txt").write_text("no photo")
    return people


class Looks(list):
    """Hears which photos were looked at, as (done, in all)."""

    def __call__(self, done, total):
        self.append((done, total))


def test_a_photo_is_looked_at_once(folder, protector):
    """Thousands of photos take an hour the first time, and no time after that."""
    first, second = Looks(), Looks()
    built = gallery.build(folder, protector, NAMES, first)
    again = gallery.build(folder, protector, NAMES, second)
    assert ([(1, 2), (2, 2)], []) == (first, second)
    np.testing.assert_array_equal(built["sface"], again["sface"])
    assert (1, 128) == built["sface"].shape


def test_a_changed_folder_is_looked_at_where_it_changed(folder, protector, astronaut):
    """A photo more, and one that was replaced."""
    gallery.build(folder, protector, NAMES)
    Image.fromarray(np.ascontiguousarray(astronaut[:, ::-1])).save(folder / "mirror.png")
    looks = Looks()
    assert 2 == len(gallery.build(folder, protector, NAMES, looks)["sface"])
    assert [(1, 1)] == looks
    os.utime(folder / "face.png", (1, 1))
    assert 2 == len(gallery.build(folder, protector, NAMES, looks)["sface"])
    assert [(1, 1), (1, 1)] == looks


def test_what_is_gone_is_forgotten(folder, protector):
    """A photo that was taken out of the folder must not live on in the cache."""
    gallery.build(folder, protector, NAMES)
    (folder / "face.png").unlink()
    assert 0 == len(gallery.build(folder, protector, NAMES)["sface"])
    (kept,) = gallery.kept()
    assert (["notes.txt"], 0) == ([stamp.split("|")[0] for stamp in kept.shelf], kept.faces)


def test_another_recogniser_looks_at_all(folder, protector):
    """Embeddings of one recogniser say nothing to another."""
    gallery.build(folder, protector, NAMES)
    looks = Looks()
    built = gallery.build(folder, protector, ("sface", "dlib"), looks)
    assert ([(1, 2), (2, 2)], {"sface": (1, 128), "dlib": (1, 128)}) == (
        looks,
        {name: rows.shape for name, rows in built.items()},
    )


OWN = """[mine]
file = "mine.pt"
dim = {dim}
size = 64
colour = "rgb"
mean = 127.5
deviation = 127.5
licence = "mine"
"""


@pytest.mark.parametrize("dim", [32, 48])
def test_other_weights_under_the_same_name_look_at_all(dim, folder, tmp_path, monkeypatch):
    """What the old ones said would be taken for what the new ones say: strangers for the person, and the other way."""
    monkeypatch.setenv("PMASK_HOME", str(tmp_path / "home"))
    own.path().parent.mkdir()
    built = {}
    for seed, width in ((1, 32), (2, dim)):
        own.path().write_text(OWN.format(dim=width))
        networks.torchscript(own.path().parent / "mine.pt", width, seed)
        built[seed] = gallery.build(folder, Protector(device="cpu"), ("sface", "mine"))["mine"]
    fresh = Protector(device="cpu").embeddings(decode((folder / "face.png").read_bytes()).rgb, ("mine",))["mine"]
    np.testing.assert_allclose(fresh.numpy(), built[2], atol=1e-5)
    assert not np.array_equal(built[1], built[2])


def test_a_recogniser_that_is_gone_is_forgotten(folder, protector, tmp_path, monkeypatch):
    """Whoever takes their own network out of the settings has a gallery all the same, of those that are left."""
    monkeypatch.setenv("PMASK_HOME", str(tmp_path / "home"))
    own.path().parent.mkdir()
    own.path().write_text(OWN.format(dim=32))
    networks.torchscript(own.path().parent / "mine.pt")
    gallery.build(folder, Protector(device="cpu"), ("sface", "mine"))
    own.path().unlink()
    (folder / "new.txt").write_text("no photo either")
    looks = Looks()
    assert (1, 128) == gallery.build(folder, protector, NAMES, looks)["sface"].shape
    assert [(1, 1)] == looks
    (kept,) = gallery.kept()
    assert ["sface"] == list(kept.marks)


def test_what_is_too_long_for_a_photo_is_not_read(folder, protector):
    """Phones put films beside photos; each was read whole, into memory."""
    with (folder / "film.mp4").open("wb") as film:
        film.truncate(1 << 40)
    assert 1 == len(gallery.build(folder, protector, NAMES)["sface"])


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may enter every folder")
def test_a_folder_that_may_be_listed_but_not_entered_holds_no_photos(folder, protector):
    """Another person's, on a shared disk."""
    closed = folder / "closed"
    closed.mkdir()
    (closed / "photo.jpg").write_text("")
    closed.chmod(0o444)
    try:
        assert 1 == len(gallery.build(folder, protector, NAMES)["sface"])
    finally:
        closed.chmod(0o755)


def test_a_photo_that_could_not_be_read_once_is_looked_at_again(folder, protector, monkeypatch):
    """It counted as one without a face for good, for its rights change neither its size nor its time. And while it
    cannot be read, the others are not written again for each photo that is protected."""
    read = gallery.files.read

    def refuse(photo):
        if photo.suffix == ".png":
            raise PermissionError(errno.EACCES, "Permission denied", str(photo))
        return read(photo)

    with monkeypatch.context() as closed:
        closed.setattr(gallery.files, "read", refuse)
        assert 0 == len(gallery.build(folder, protector, NAMES)["sface"])
        (kept,) = gallery.kept()
        written = kept.file.stat()
        assert 0 == len(gallery.build(folder, protector, NAMES)["sface"])
        assert os.path.samestat(written, kept.file.stat()) and written.st_mtime_ns == kept.file.stat().st_mtime_ns
    assert 1 == len(gallery.build(folder, protector, NAMES)["sface"])


def test_a_cache_that_cannot_be_written_costs_a_word_where_one_is_heard(folder, protector, tmp_path):
    """After minutes of looking, nothing was protected."""
    (tmp_path / "cache").write_text("no folder")
    said: list[OSError] = []
    assert 1 == len(gallery.build(folder, protector, NAMES, on_unkept=said.append)["sface"])
    assert 1 == len(said)
    with pytest.raises(OSError, match="cache"):
        gallery.build(folder, protector, NAMES)


def test_a_stopped_build_goes_on_where_it_was(folder, protector, astronaut):
    """Hours of work are not lost to a cancel."""
    Image.fromarray(np.ascontiguousarray(astronaut[:, ::-1])).save(folder / "mirror.png")

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gallery.build(folder, protector, NAMES, stop)
    looks = Looks()
    assert 2 == len(gallery.build(folder, protector, NAMES, looks)["sface"])
    assert [(1, 2), (2, 2)] == looks


@pytest.mark.parametrize("damage", ["cut", "empty", "other words", "other bytes", "no archive"])
def test_a_damaged_file_is_made_again(damage, folder, protector):
    """It is a cache; and one file that a power cut had emptied ended every command that takes a gallery."""
    gallery.build(folder, protector, NAMES)
    (kept,) = gallery.kept()
    whole = bytearray(kept.file.read_bytes())
    whole[200:210] = bytes(10)
    if damage == "other words":
        np.savez(kept.file, about=np.array('{"faces": [1], "marks": {}, "photos": {"a": 1}}'))
    else:
        content = {"cut": whole[:100], "empty": b"", "other bytes": whole, "no archive": b"\x80\x04N."}[damage]
        kept.file.write_bytes(content)
    assert [] == gallery.kept()
    assert 1 == len(gallery.build(folder, protector, NAMES)["sface"])
    assert 1 == gallery.delete_all()
    assert [] == gallery.kept()
