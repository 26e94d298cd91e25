"""What the record remembers, and what it gives away."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import stat

import numpy as np
import pytest

from pmask.record import Record


@pytest.fixture
def pictures():
    """Small pictures (4, 6, 3), each unlike the others."""
    return list(np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8))


def test_it_remembers_pixels_across_processes(tmp_path, pictures):
    """The command line and the daemon share it."""
    Record(tmp_path).add(pictures[0])
    assert [True, False] == [Record(tmp_path).holds(picture) for picture in pictures[:2]]
    assert not Record(tmp_path).holds(pictures[0].reshape(6, 4, 3)), "the same bytes in another shape"


def test_a_picture_that_changed_is_not_on_record(tmp_path, pictures):
    """What a site has compressed, or an editor has touched, may need a mask again."""
    Record(tmp_path).add(pictures[0])
    pictures[0][0, 0, 0] ^= 1
    assert not Record(tmp_path).holds(pictures[0])


def test_an_animation_is_all_of_its_frames(tmp_path, pictures):
    """Its first is often a title or a black screen, and the same in films that are still bare."""
    Record(tmp_path).add(*pictures[:2])
    films = [pictures[:2], pictures[:1], pictures[:3], [pictures[0], pictures[2]], pictures[1::-1]]
    assert [True, False, False, False, False] == [Record(tmp_path).holds(*film) for film in films]


def test_only_its_owner_can_read_it(tmp_path, pictures):
    """It would tell which photos were posted."""
    Record(tmp_path / "state").add(pictures[0])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    assert {"protected.sqlite": 0o600, "protected.key": 0o600} == modes
    assert 0o700 == stat.S_IMODE((tmp_path / "state").stat().st_mode)


def test_the_file_tells_nothing_without_the_key(tmp_path, pictures):
    """Who finds it cannot try whether a photo is in it, and two machines' records have nothing in common."""
    for name in ("one", "two"):
        Record(tmp_path / name).add(pictures[0])
    content = (tmp_path / "one" / "protected.sqlite").read_bytes()
    assert hashlib.sha256(pictures[0].tobytes()).digest() not in content
    assert content != (tmp_path / "two" / "protected.sqlite").read_bytes()
    (tmp_path / "one" / "protected.key").unlink()
    assert not Record(tmp_path / "one").holds(pictures[0])


def test_the_oldest_are_dropped(tmp_path, pictures):
    """It does not grow for ever; what is added again counts as new."""
    record = Record(tmp_path, most=3)
    for picture in [pictures[0], pictures[1], pictures[0], pictures[2], pictures[3]]:
        record.add(picture)
    assert [True, False, True, True, False] == [record.holds(picture) for picture in pictures]


def test_asking_makes_no_files(tmp_path, pictures):
    """Whoever only looks leaves no trace."""
    assert not Record(tmp_path / "state").holds(pictures[0])
    assert not (tmp_path / "state").exists()


def test_how_many_faces_are_bare_is_on_record_too(tmp_path, pictures):
    """Also where an older PMask, which did not count them, has made the record."""
    Record(tmp_path / "new").add(pictures[0], bare=2)
    old = tmp_path / "old"
    Record(old).add(pictures[0])
    with contextlib.closing(sqlite3.connect(old / "protected.sqlite")) as database, database:
        database.execute("ALTER TABLE protected DROP COLUMN bare")
    assert [2, 0] == [Record(folder).bare(pictures[0]) for folder in (tmp_path / "new", old)]
    Record(old).add(pictures[1], bare=1)
    assert [0, 1, None] == [Record(old).bare(picture) for picture in pictures[:3]]


def test_a_record_whose_folder_cannot_be_entered_holds_nothing(tmp_path, pictures):
    """Every photo failed where the folder was another account's. Nobody can enter this one: its name is too long."""
    assert not Record(tmp_path / ("n" * 300)).holds(pictures[0])


def test_a_damaged_record_holds_nothing_and_says_so(tmp_path, pictures):
    """It can be lost without harm: the photo is masked once more."""
    record = Record(tmp_path)
    record.add(pictures[0])
    (tmp_path / "protected.sqlite").write_bytes(b"this is no database" * 100)
    assert not record.holds(pictures[0])
    with pytest.raises(OSError, match="could not be used"):
        record.add(pictures[1])
