"""A step says what it does, that it is still going, and how it ended."""

from __future__ import annotations

import io
import re
import sys
import time

import pytest
import steps
from steps import Failed, Step, run, step


class Terminal(io.StringIO):
    def isatty(self):
        return True


def comes(pattern, read):
    """Whether ``read`` gives this in the end: a step's own thread says it, when the machine lets it."""
    said, end = "", time.monotonic() + 10
    while re.search(pattern, said) is None and time.monotonic() < end:
        time.sleep(0.01)
        said += read()
    return re.search(pattern, said) is not None


def test_a_log_gets_plain_lines(capsys):
    """No control characters: they would litter CI's log."""
    with step("Making tea") as one:
        one.say("boiling\n  water")
    out = capsys.readouterr().out
    assert re.fullmatch(r"- Making tea \.\.\.\n  done in \d+\.\d s: boiling water\n", out)
    assert "\033" not in out and "\r" not in out


def test_a_log_hears_that_it_is_still_going(capsys, monkeypatch):
    monkeypatch.setattr(steps, "QUIET_S", 0.05)
    with step("Making tea") as one:
        one.say("boiling")
        assert comes(r"\n  \d+ s  boiling\n", lambda: capsys.readouterr().out)


def test_a_terminal_gets_one_line_that_counts(monkeypatch):
    monkeypatch.setattr(steps, "TICK_S", 0.02)
    out = Terminal()
    one = Step("Making tea", out)
    one.begin()
    one.say("boiling " * 50)
    assert comes(r"\d s  boiling", out.getvalue)
    one.end("done")
    assert 1 == out.getvalue().count("\n")
    assert "\033" not in out.getvalue(), "Windows' classic console prints it as it stands"
    assert re.match(r"- Making tea \.\.\. done in \d", out.getvalue().rpartition("\r")[2])


def test_a_failure_is_said(capsys):
    with pytest.raises(ValueError, match="cold"), step("Making tea"):
        raise ValueError("cold")
    assert "  failed in " in capsys.readouterr().out


def test_a_failed_command_shows_the_end_of_what_it_said(tmp_path, capsys):
    """Its reason is at the end, and nobody reads a thousand lines."""
    code = "print(*range(1000), sep='\\n'); import sys; print('no route', file=sys.stderr); sys.exit(3)"
    with pytest.raises(Failed, match="ended with code 3") as caught, step("Fetching") as one:
        run([sys.executable, "-c", code], one, cwd=tmp_path)
    lines = str(caught.value).splitlines()
    assert steps.KEPT_LINES + 1 == len(lines)
    assert "  999" in lines and "  no route" in lines
