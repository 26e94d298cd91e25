"""What a person may choose, and what is refused before any work is done."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pmask.errors import BadOption, UnknownOption, UnknownRecogniser
from pmask.options import PRESETS, MaskOptions


def test_the_defaults_are_the_papers():
    """delta 1.0 and omega 0.017: section 6."""
    options = MaskOptions().to_json()
    assert {"delta": 1.0, "omega": 0.017} == {name: options[name] for name in ("delta", "omega")}


def test_presets_go_from_the_finest_to_the_default():
    """Pages offer the next finer and the next stronger one in this order."""
    assert MaskOptions() == MaskOptions(**PRESETS["strong"])
    assert ["fine", "balanced", "strong"] == sorted(PRESETS, key=lambda name: PRESETS[name]["omega"]) == list(PRESETS)


def test_options_survive_json():
    """The extension sends what the options page shows."""
    options = MaskOptions(
        delta=0.4,
        omega=0.01,
        team=("dlib", "faceres"),
        seed=7,
        upload="x",
        again=True,
        look=True,
        leave_out=((1.0, 2.0, 30.0, 40.0),),
        metadata="strip",
    )
    assert options == MaskOptions.from_mapping(options.to_json())


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"strength": 1}, UnknownOption),
        ({"delta": 0}, BadOption),
        ({"delta": -1}, BadOption),
        ({"delta": 11}, BadOption),
        ({"delta": float("nan")}, BadOption),
        ({"delta": float("inf")}, BadOption),
        ({"delta": 10**400}, BadOption),
        ({"delta": "1"}, BadOption),
        ({"delta": True}, BadOption),
        ({"omega": 0.6}, BadOption),
        ({"seed": 1.5}, BadOption),
        ({"seed": -1}, BadOption),
        ({"upload": "myspace"}, BadOption),
        ({"upload": ["x"]}, BadOption),
        ({"again": 1}, BadOption),
        ({"look": 1}, BadOption),
        ({"metadata": "some"}, BadOption),
        ({"metadata": ["keep"]}, BadOption),
        ({"leave_out": [1, 2, 3, 4]}, BadOption),
        ({"leave_out": [[1, 2, 3]]}, BadOption),
        ({"leave_out": [[1, 2, 3, float("nan")]]}, BadOption),
        ({"leave_out": [[1, 2, 3, True]]}, BadOption),
        ({"leave_out": [[0, 0, 1, 1]] * 1001}, BadOption),
        ({"team": "sface"}, BadOption),
        ({"team": []}, BadOption),
        ({"team": [1]}, BadOption),
        ({"team": ["sface", "sface"]}, BadOption),
        ({"team": ["sface", "facebook"]}, UnknownRecogniser),
    ],
)
def test_each_wrong_option_has_its_error(values, error):
    """A wrong option must fail loudly, not fall back to a weaker mask."""
    with pytest.raises(error):
        MaskOptions.from_mapping(values)


def test_an_unknown_recogniser_is_told_the_known_ones():
    """The message is the documentation that people read."""
    with pytest.raises(ValueError, match="known: casia-irv1, dlib, faceres, facexzoo, glint360k-r100"):
        MaskOptions(team=("vgg",))


def test_options_and_images_load_no_torch():
    """The daemon checks them at rest, and torch would take 300 MB."""
    code = "import sys, pmask.options, pmask.images, pmask.report; print('torch' in sys.modules)"
    assert "False" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
