"""Who is chosen, and that nobody's probe is ever in the gallery."""

from __future__ import annotations

import pytest

from pmask.errors import BadOption
from pmask.evaluation.people import find_people, normalised, split


@pytest.fixture
def folder(tmp_path):
    """Six people in two sets, one of them in both, and four strangers with a photo each. Files stand for photos."""
    for number in range(5):
        for photo in range(6):
            _file(tmp_path / "people" / f"Person_{number}" / f"{photo}.jpg", f"{number} {photo}")
    for photo in range(5):
        _file(tmp_path / "stills" / "person 0" / f"{photo}.PNG", f"still {photo}")
        _file(tmp_path / "stills" / "Zoë" / f"{photo}.png", f"Zoë {photo}")
    for number in range(4):
        _file(tmp_path / "distractors" / f"Stranger_{'ABCD'[number]}_0001.jpg", f"stranger {number}")
    _file(tmp_path / "people" / "Person_1" / "notes.txt", "no photo")
    return tmp_path


def _file(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_person_is_a_folder_or_a_distractor(folder):
    """The same name in two sets is one person: with two, the second's photos would give the first away."""
    people = {person.name: person for person in find_people(folder)}
    strangers = [f"stranger_{letter}" for letter in "abcd"]
    assert ["person_0", "person_1", "person_2", "person_3", "person_4", *strangers, "zoe"] == list(people)
    assert {"people", "stills"} == {photo.source for photo in people["person_0"].photos}
    assert [11, 6, 1] == [len(people[name].photos) for name in ("person_0", "person_1", "stranger_a")]


def test_two_names_can_be_said_to_be_one_person(folder):
    """Else the unprotected photos under the other name would count as somebody else's, and every probe as hidden."""
    people = {person.name: person for person in find_people(folder, [("Stranger A", "person_1")])}
    assert "stranger_a" not in people
    assert 7 == len(people["person_1"].photos)
    for names in (("nobody", "person_1"), ("person_1", "Person 1")):
        with pytest.raises(BadOption, match="must be two different names"):
            find_people(folder, [names])


@pytest.mark.parametrize("name", ["Zoë_Ball", "zoe ball", "ZOE-BALL", "Zoe__Ball_"])
def test_names_are_compared_without_accents_case_and_punctuation(name):
    """Folders of one person are seldom written alike."""
    assert "zoe_ball" == normalised(name)


def test_a_photo_that_is_there_twice_counts_once(folder):
    """A copy could be the probe and in the gallery at once, which no mask can hide."""
    (folder / "people" / "Person_2" / "copy.jpg").write_text("2 3")
    assert 6 == next(len(person.photos) for person in find_people(folder) if person.name == "person_2")


def test_probes_and_gallery_share_nothing(folder):
    """Every photo has one part; what is left out is nowhere, above all not bare in the gallery."""
    people = find_people(folder)
    parts = split(people, count=3, probes=2, photos=3)
    assert [(2, 3)] * 3 == [(len(person.probes), len(person.gallery)) for person in parts.chosen]
    names = {person.name for person in parts.chosen}
    assert not names & {person.name for person in parts.others}
    assert {person.name for person in people} == names | {person.name for person in parts.others}
    digests = [photo.digest for photo in parts.bare]
    assert len(digests) == len(set(digests))
    for person in parts.chosen:
        everything = next(whole for whole in people if whole.name == person.name)
        assert len(everything.photos) == len(person.probes) + len(person.gallery) + person.left_out
        rest = {p.digest for p in everything.photos} - {p.digest for p in (*person.probes, *person.gallery)}
        assert not rest & set(digests)


def test_the_split_depends_on_the_seed_and_on_nothing_else(folder):
    """Figures can be had again; and more people or photos make use of what was protected for fewer."""
    people = find_people(folder)
    assert split(people, count=3, probes=2, seed=5) == split(find_people(folder), count=3, probes=2, seed=5)
    assert len({split(people, count=3, probes=2, seed=seed).chosen for seed in range(8)}) > 4
    few, many = (split(people, count=count, probes=2, photos=photos) for count, photos in ((2, 1), (4, 3)))
    assert [person.name for person in few.chosen] == [person.name for person in many.chosen[:2]]
    for one, other in zip(few.chosen, many.chosen, strict=False):
        assert (one.probes, one.gallery) == (other.probes, other.gallery[:1])


def test_only_photos_of_the_named_set_are_protected(folder):
    """Full-size photos are another question than small crops; photos of the other set are left out."""
    parts = split(find_people(folder), count=2, probes=2, source="stills")
    assert {"person_0", "zoe"} == {person.name for person in parts.chosen}
    assert {"stills"} == {photo.source for person in parts.chosen for photo in (*person.probes, *person.gallery)}
    assert {"person_0": 6, "zoe": 0} == {person.name: person.left_out for person in parts.chosen}


def test_the_gallery_can_be_limited(folder):
    """For a quick look; the same people whatever else is asked."""
    parts = split(find_people(folder), count=2, probes=2, others=3)
    assert 3 == len(parts.others)
    assert parts.others == split(find_people(folder), count=2, probes=1, others=3).others


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": 7, "probes": 2}, "only 6 people have more than 2 photos"),
        ({"count": 1, "probes": 20}, "only 0 people"),
        ({"count": 1, "probes": 1, "source": "selfies"}, "distractors, people, stills, all"),
    ],
)
def test_what_cannot_be_split_is_refused(folder, settings, words):
    """Fewer people than asked for would pass unseen."""
    with pytest.raises(BadOption, match=words):
        split(find_people(folder), **settings)


def test_folders_without_photos_are_refused(tmp_path):
    """Most often a wrong path."""
    with pytest.raises(BadOption, match="holds no photos"):
        find_people(tmp_path)
    with pytest.raises(BadOption, match="is no folder"):
        find_people(tmp_path / "nowhere")
