"""What `run.py` and `test.py` take from their command lines, and one demo in a real browser."""

from __future__ import annotations

import importlib.util

import pytest
import run
from setup_environment import ROOT


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "80"], "must be a number from 1024 to 65535"),
        (["--port", "many"], "must be a number from 1024 to 65535"),
        (["--photo", "nowhere.jpg"], "there is no file"),
        (["--browser", "lynx"], "invalid choice"),
        (["--browser", "firefox", "--no-browser"], "not allowed with"),
        (["--device", "tpu"], "invalid choice"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_made(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        run.main(arguments)
    assert 2 == caught.value.code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("expected", "environment", "platform"),
    [
        (True, {"DISPLAY": ":0"}, "linux"),
        (True, {"WAYLAND_DISPLAY": "wayland-0"}, "linux"),
        (False, {"DISPLAY": ""}, "linux"),
        (True, {}, "darwin"),
        (True, {}, "win32"),
    ],
)
def test_where_a_window_can_open(expected, environment, platform):
    assert expected == run.has_display(environment, platform)


def test_pytest_gets_what_is_given():
    """--fast is ours."""
    spec = importlib.util.spec_from_file_location("scripts_test", ROOT / "scripts" / "test.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert ["-k", "door"] == module.pytest_arguments(["-k", "door"])
    assert ["-x", "--ignore=tests/e2e"] == module.pytest_arguments(["--fast", "-x"])
