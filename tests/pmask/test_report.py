"""What a report says of a face in short."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pmask.report import BARE, FaceReport, Report, Verdict, tally

FACE = FaceReport(
    box=(0.0, 0.0, 9.0, 9.0),
    landmarks=(),
    hidden=False,
    converged=False,
    iterations=60,
    seconds=1.0,
    ssim=0.97,
    psnr=32.0,
    distances={},
)


def verdict(angle: float, upload: str = BARE, *, in_team: bool = True) -> Verdict:
    return Verdict(
        recogniser="sface" if in_team else "dlib",
        in_team=in_team,
        upload=upload,
        angle=angle,
        threshold=60.0,
        nearest_other=80.0,
    )


@pytest.mark.parametrize(
    ("verdicts", "matched"),
    [
        ([verdict(70), verdict(75, in_team=False)], False),
        ([verdict(50), verdict(75, in_team=False)], True),
        ([verdict(70), verdict(55, in_team=False)], True),
        ([verdict(70), verdict(59, "instagram")], True),
    ],
)
def test_a_face_is_matched_where_any_recogniser_matches_it(verdicts, matched):
    """In either form, whether the mask was made against it or not: what is said of the face agrees with the tally,
    though to some of the team nobody may be more alike than the person."""
    face = replace(FACE, verdicts=tuple(verdicts))
    assert matched == face.matched == face.to_json()["matched"]
    judged = tally([face.verdicts])
    assert matched == (judged["fooled"] < judged["recognisers"])


@pytest.mark.parametrize("hidden", [True, False])
def test_where_nobody_judged_the_team_decides(hidden):
    """No verdict is no good verdict."""
    assert replace(FACE, hidden=hidden).matched == (not hidden)


def test_a_photo_tells_of_each_face():
    """Other programs read this JSON."""
    faces = (replace(FACE, verdicts=(verdict(50),)), replace(FACE, verdicts=(verdict(70),)))
    report = Report(status="protected", faces=faces, seconds=1, width=9, height=9, format="png", device="cpu")
    assert [True, False] == [face["matched"] for face in report.to_json()["faces"]]


def test_boxes_that_are_sent_back_are_short():
    """A crowd's hundreds of boxes have to fit into one header; a tenth of a pixel is more than is needed."""
    report = Report(status="looked", faces=(), seconds=1.0, width=9, height=9, format="jpeg", device="cpu")
    found = replace(report, found=((1234.567890123456, -0.04, 33.33333333333333, 40.0),)).to_json()["found"]
    assert [[1234.6, -0.0, 33.3, 40.0]] == found
