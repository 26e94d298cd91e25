"""Animations: every frame is masked, for one frame with the bare face is enough for an intruder."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from pmask import still
from pmask.faces import Face, iou
from pmask.images import decode
from pmask.mask import Search, angle
from pmask.options import MaskOptions
from pmask.protect import Protector
from pmask.record import Record
from pmask.tracks import GAP, SHOT, Sight, aligned, by_frame, follow, lead, shots, watch

ANNA, BERT = ({"sface": look} for look in torch.eye(128)[:2])


def face(x: float, y: float = 0.0) -> Face:
    return Face(box=(x, y, 100.0, 100.0), landmarks=np.zeros((5, 2)), score=1.0)


def test_faces_are_followed_and_kept_apart():
    """A mask on the neighbour's face hides nobody."""
    found = [[Sight(n, face(10 * n), ANNA), Sight(n, face(500 - 10 * n), BERT)] for n in range(5)]
    tracks = follow(found)
    assert [[0, 1, 2, 3, 4]] * 2 == [[sight.frame for sight in track] for track in tracks]
    assert [10 * n for n in range(5)] == [sight.face.box[0] for sight in tracks[0]]


def test_an_overlooked_frame_does_not_end_a_face_but_an_absence_does():
    """A detector blinks."""
    for gap, expected in ((GAP - 1, 1), (GAP, 2)):
        assert expected == len(follow([[Sight(0, face(0), ANNA)], *[[]] * gap, [Sight(gap + 1, face(0), ANNA)]]))


def test_another_person_in_the_same_place_is_another_face():
    """Slideshows have everybody in the middle, and a mask hides only whom it was made for. On pages nobody moves."""
    slides = [[Sight(n, face(0), who)] for n, who in enumerate((ANNA, ANNA, BERT, ANNA))]
    assert [[0, 1, 3], [2]] == [[sight.frame for sight in track] for track in follow(slides)]
    assert 4 == len(follow(slides, gap=0))


class OneFace:
    """Recognisers who see one person wherever they look."""

    def embed(self, rgb, faces, names):
        return {name: ANNA["sface"].repeat(len(faces), 1) for name in names}


def test_a_face_that_the_detector_loses_for_long_is_one_with_one_mask():
    """Known in all frames between, it got two masks there, each weakened for the other's sake, and counted as two."""
    found = [[face(0)] if n < 3 else [face(10)] if n > 16 else [] for n in range(20)]
    (track,) = watch(OneFace(), [np.zeros((100, 110, 3), np.uint8)] * 20, found, ["sface"])
    assert list(range(20)) == [sight.frame for sight in track]
    assert [0.0] * 10 + [10.0] * 10 == [sight.face.box[0] for sight in track], "each end stands for what is near it"


def test_faces_that_do_not_meet_stay_two():
    """One person may be in a film twice, beside a mirror or cut together."""
    found = [[face(0)] if n < 3 else [face(300)] if n > 16 else [] for n in range(20)]
    tracks = watch(OneFace(), [np.zeros((100, 400, 3), np.uint8)] * 20, found, ["sface"])
    assert [list(range(20))] * 2 == [[sight.frame for sight in track] for track in tracks]


def test_a_long_track_is_cut_into_shots_of_about_a_second():
    """Every sight is in exactly one."""
    track = [Sight(n, face(0)) for n in range(2 * SHOT + 1)]
    parts = list(shots(track))
    assert track == [sight for part in parts for sight in part]
    assert 3 == len(parts)
    assert max(map(len, parts)) <= SHOT
    assert lead(parts[0]) in parts[0]
    assert [1] * len(track) == [len(scene) for scene in by_frame(parts, len(track))]


def test_each_frame_has_its_own_among_those_that_were_written():
    """Encoders write equal neighbours once, and a frame judged by another's pixels says nothing."""
    wanted = [np.full((2, 2, 3), level, np.uint8) for level in (10, 10, 90, 10, 200, 200)]
    for kept in ([0, 2, 3, 4], [1, 2, 3, 5], [0, 1, 2, 3, 4]):
        written = [wanted[number] + np.uint8(1) for number in kept]  # as a lossy file has them
        assert [11, 11, 91, 11, 201, 201] == [int(frame[0, 0, 0]) for frame in aligned(written, wanted)]
    assert [wanted[0]] * 2 == aligned(wanted[:1], wanted[:2])


@pytest.fixture
def hasty(protector) -> Protector:
    """The real engine with a short search, judged by the team alone."""
    made = Protector(device="cpu", search=Search(iterations=12), judges=())
    made._recognisers = protector._recognisers
    return made


def saved(frames: Sequence[Image.Image], kind: str) -> bytes:
    out = io.BytesIO()
    how = {"WEBP": {"lossless": True}, "AVIF": {"quality": 80}}.get(kind, {})
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=80, **how)
    return out.getvalue()


def portrait(astronaut, across: int = 0, down: int = 0) -> Image.Image:
    """The face in 300 x 300 pixels, so far from its place."""
    return Image.fromarray(astronaut).crop((60 + across, down, 360 + across, 300 + down))


def faceless(astronaut) -> Image.Image:
    """300 x 300 pixels of the same photo without the face."""
    return Image.fromarray(astronaut).crop((0, 330, 300, 512)).resize((300, 300))


def film(astronaut, kind: str) -> bytes:
    """A face that moves and tilts, in four frames, the last of them without it."""
    first = portrait(astronaut)
    return saved([first, portrait(astronaut, 10, 4), first.rotate(6), faceless(astronaut)], kind)


@pytest.mark.parametrize("kind", ["WEBP", "GIF"])
def test_every_frame_with_the_face_is_masked(kind, astronaut, hasty):
    """Also those that no search looked at; and the frame without a face stays to the bit."""
    data = film(astronaut, kind)
    result = hasty.protect(data, MaskOptions(team=("sface",)))
    assert "protected" == result.report.status
    (report,) = result.report.faces
    before, after = decode(data), decode(result.data)
    frames = [[photo, *photo.more] for photo in (before, after)]
    away = []
    for one, other in zip(*frames, strict=True):
        faces = hasty.detect(one.rgb)
        if not faces:
            assert np.array_equal(one.rgb, other.rgb)
            continue
        bare, masked = (hasty.embed(photo.rgb, faces[:1], ["sface"])["sface"] for photo in (one, other))
        away.append(float(torch.rad2deg(angle(masked, bare))[0]))
    assert 3 == len(away)
    assert min(away) > 20
    assert report.distances["sface"].after < max(away) + 1
    assert {"bare", "instagram"} == {verdict.upload for verdict in report.verdicts}


def test_a_film_without_faces_comes_back_to_the_byte(coffee, hasty):
    """Most animations show cats."""
    frame = Image.fromarray(coffee)
    out = io.BytesIO()
    frame.save(out, "GIF", save_all=True, append_images=[frame.rotate(20)])
    result = hasty.protect(out.getvalue())
    assert ("no_face", out.getvalue()) == (result.report.status, result.data)


def test_only_a_film_that_was_protected_passes_as_protected(astronaut, hasty, tmp_path, monkeypatch):
    """It is told by all of its frames: the first, without a face, is left as it came."""
    monkeypatch.setattr(hasty, "record", Record(tmp_path))
    bare, other = (saved([faceless(astronaut), portrait(astronaut, across)], "PNG") for across in (0, 10))
    first = hasty.protect(bare, MaskOptions(team=("sface",)))
    again = [hasty.protect(data, MaskOptions(team=("sface",))) for data in (bare, other, first.data)]
    assert ["protected", "protected", "already_protected"] == [result.report.status for result in again]
    assert first.data == again[-1].data


def test_a_film_whose_frames_its_encoder_made_equal_is_known_again(astronaut, hasty, tmp_path, monkeypatch):
    """A still shot differs by its noise alone, and comes out with fewer frames than were masked."""
    monkeypatch.setattr(hasty, "record", Record(tmp_path))
    monkeypatch.setattr(hasty, "search", Search(iterations=2))
    noise = np.random.default_rng(0).normal(0, 0.5, (6, 300, 300, 3))
    shot = [np.clip(np.array(portrait(astronaut)) + np.rint(grain), 0, 255).astype(np.uint8) for grain in noise]
    film = saved(list(map(Image.fromarray, shot)), "AVIF")
    first = hasty.protect(film, MaskOptions(team=("sface",)))
    assert len(decode(first.data).frames) < len(decode(film).frames)
    again = hasty.protect(first.data, MaskOptions(team=("sface",)))
    assert ["protected", "already_protected"] == [result.report.status for result in (first, again)]


def test_what_no_mask_has_changed_is_not_on_record(encoded, astronaut, hasty, tmp_path, monkeypatch):
    """Black and white has no colours to draw a mask with; asked again, PMask must not call the bare face protected."""
    monkeypatch.setattr(hasty, "record", Record(tmp_path))
    bare = encoded(astronaut, "PNG")
    monkeypatch.setattr(still, "encode", lambda photo, *frames: bare)
    assert ["protected"] * 2 == [hasty.protect(bare, MaskOptions(team=("sface",))).report.status for _ in range(2)]


def test_a_slideshow_of_portraits_is_as_many_faces_as_people(shared, astronaut, hasty):
    """All look out of the middle of their pictures; a slide held longer, and moved a little, is no other person."""
    people = sorted((shared / "faces/distractors").iterdir())[:2]
    others = [Image.open(path).convert("RGB").resize((300, 300)) for path in people]
    slides = saved([portrait(astronaut), portrait(astronaut, 4, 4), *others], "PNG")
    report = hasty.protect(slides, MaskOptions(look=True)).report
    assert (3, (1, 2, 3)) == (len(report.found), report.found_frames)


def test_pages_are_not_followed(astronaut, hasty):
    """The next page is another photo."""
    for kind, expected in (("PNG", 1), ("TIFF", 2)):
        data = saved([portrait(astronaut), portrait(astronaut, 4, 4)], kind)
        assert expected == len(hasty.protect(data, MaskOptions(team=("sface",), look=True)).report.found)


def test_a_face_that_the_detector_overlooks_is_masked_where_it_must_have_been(astronaut, hasty, monkeypatch):
    """Another detector finds it, and one bare frame is enough. Where nobody is, nothing changes."""
    frames = [portrait(astronaut), portrait(astronaut, 8, 8), faceless(astronaut), portrait(astronaut, 16, 16)]
    detect, overlooked = hasty.detect, np.array(frames[1])
    monkeypatch.setattr(hasty, "detect", lambda rgb: [] if np.array_equal(rgb, overlooked) else detect(rgb))
    result = hasty.protect(saved(frames, "PNG"), MaskOptions(team=("sface",)))
    delivered = decode(result.data).frames
    bare, masked = (hasty.embed(rgb, detect(overlooked), ["sface"])["sface"] for rgb in (overlooked, delivered[1]))
    assert float(torch.rad2deg(angle(bare, masked))[0]) > 25
    assert np.array_equal(np.array(frames[2]), delivered[2])
    assert 1 == len(result.report.faces)


def test_a_face_is_masked_before_it_is_found_first_and_after_it_is_found_last(astronaut, hasty, monkeypatch):
    """As long as recognisers know it there: films fade in and out. Beyond, nothing changes."""
    faces = [portrait(astronaut, n, n) for n in range(5)]
    frames = [faceless(astronaut), *faces, faceless(astronaut)]
    detect, seen = hasty.detect, np.array(faces[2])
    monkeypatch.setattr(hasty, "detect", lambda rgb: detect(rgb) if np.array_equal(rgb, seen) else [])
    delivered = decode(hasty.protect(saved(frames, "PNG"), MaskOptions(team=("sface",))).data).frames
    for rgb, masked in zip(map(np.array, faces), delivered[1:-1], strict=True):
        bare, away = (hasty.embed(one, detect(rgb), ["sface"])["sface"] for one in (rgb, masked))
        assert float(torch.rad2deg(angle(bare, away))[0]) > 25
    assert all(np.array_equal(np.array(frames[n]), delivered[n]) for n in (0, -1))


def test_frames_without_colour_stay_so_beside_others_with_it(astronaut, hasty):
    """A film that fades to black and white is one shot, with one mask."""
    colour = portrait(astronaut)
    delivered = decode(hasty.protect(saved([colour, colour.rotate(1), colour.convert("L").convert("RGB")], "PNG")).data)
    assert [False, False, True] == [photo.colourless for photo in (delivered, *delivered.more)]
    assert not np.array_equal(delivered.frames[2], np.array(colour.convert("L").convert("RGB")))


def test_who_is_left_out_of_a_slideshow_is_left_out_alone(shared, astronaut, hasty):
    """The next slide has somebody else in the same place."""
    slide = portrait(astronaut)
    ours, other = np.array(slide), Image.open(sorted((shared / "faces/distractors").iterdir())[0]).convert("RGB")
    (place,), (face,) = hasty.detect(ours), hasty.detect(np.array(other))
    scale, (x, y, *_) = face.box[2] / place.box[2], face.box
    moved = (scale, 0, x - scale * place.box[0], 0, scale, y - scale * place.box[1])  # its face where ours is
    slides = saved([slide, other.transform(slide.size, Image.Transform.AFFINE, moved)], "PNG")
    found = hasty.protect(slides, MaskOptions(team=("sface",), look=True)).report.found
    assert 0.5 < iou(*found)
    for number, box in enumerate(found):
        result = hasty.protect(slides, MaskOptions(team=("sface",), leave_out=(box,)))
        frames = zip(decode(slides).frames, decode(result.data).frames, strict=True)
        assert [number != 0, number != 1] == [not np.array_equal(*pair) for pair in frames]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_mask_keeps_its_budget_in_every_frame(kind, astronaut, hasty):
    """One that was made for a bright frame is seen much more in a dark one."""
    bright = portrait(astronaut)
    dark = [ImageEnhance.Brightness(bright).enhance(light) for light in (0.25, 0.35)]
    film = saved([dark[0], bright, dark[1]], kind)
    options = MaskOptions(team=("sface",))
    (face,) = hasty.protect(film, options).report.faces
    assert (1 - face.ssim) / 2 <= options.omega
    assert face.distances["sface"].after > face.distances["sface"].before + 10
