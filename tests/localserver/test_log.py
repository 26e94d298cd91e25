"""The log: what it says, where, and what it never says."""

from __future__ import annotations

import json
import logging
import stat
import sys

import pytest

from localserver.config import Config
from localserver.log import FILE_NAME, configure, facts

log = logging.getLogger("localserver.test")
SECRET = "A-_9" * 11  # 44 characters


@pytest.fixture
def configured(tmp_path):
    """Sets logging up as the daemon does, and takes it down again."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def go(**settings) -> Config:
        config = Config(state_dir=tmp_path, **settings)
        root.handlers = []  # pytest's own, which basicConfig would close
        configure(config)
        return config

    yield go
    logging.captureWarnings(False)
    for handler in root.handlers:
        handler.close()
    root.handlers = before
    root.setLevel(level)


def lines(tmp_path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "log" / FILE_NAME).read_text().splitlines()]


def test_a_line_is_an_object_in_the_file_and_a_sentence_on_stderr(configured, tmp_path, capsys):
    """Programs and people read the same facts."""
    configured()
    log.info("a job ended", extra=facts(client="c1", outcome="done", seconds=1.23456))
    [line] = lines(tmp_path)
    assert {"time", "level", "logger", "message", "client", "outcome", "seconds"} == set(line)
    assert ("info", "localserver.test", "a job ended", 1.235) == (
        *(line["level"], line["logger"], line["message"]),
        line["seconds"],
    )
    assert "INFO localserver.test: a job ended client=c1 outcome=done seconds=1.235\n" in capsys.readouterr().err


def test_an_exception_is_its_type_and_place(configured, tmp_path, capsys):
    """Its text may quote a photo's name or a token; where it happened is what helps."""
    configured()
    try:
        raise RuntimeError("secret.jpg")
    except RuntimeError:
        log.exception("it failed")
    [line] = lines(tmp_path)
    assert "builtins.RuntimeError" in line["where"]
    assert "test_log.py" in line["where"]
    for text in (json.dumps(line), capsys.readouterr().err):
        assert "secret.jpg" not in text


def test_what_looks_like_a_token_is_blotted_out(configured, tmp_path, capsys):
    """A library may quote a header; the token in it opens the door."""
    configured()
    log.warning("bad header: Bearer %s", SECRET)
    assert "bad header: Bearer [hidden]" == lines(tmp_path)[0]["message"]
    assert SECRET not in capsys.readouterr().err


def test_files_take_turns(configured, tmp_path):
    """A year of lines must not fill a disk."""
    config = configured(log_bytes=2000, log_files=3)
    for number in range(200):
        log.info("line %d", number)
    files = sorted((tmp_path / "log").iterdir())
    assert [FILE_NAME, f"{FILE_NAME}.1", f"{FILE_NAME}.2"] == [path.name for path in files]
    assert all(path.stat().st_size <= config.log_bytes for path in files)
    assert "line 199" == lines(tmp_path)[-1]["message"]


def test_one_file_alone_begins_anew(configured, tmp_path):
    """It has no turn to take, and must not fill a disk either."""
    config = configured(log_bytes=2000, log_files=1)
    for number in range(200):
        log.info("line %d", number)
    [file] = (tmp_path / "log").iterdir()
    assert file.stat().st_size <= config.log_bytes
    assert "line 199" == lines(tmp_path)[-1]["message"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes; its profile folder is private")
def test_the_files_are_private(configured, tmp_path):
    """When somebody protects photos is nobody else's business."""
    configured(log_bytes=300)
    for number in range(9):
        log.info("line %d", number)
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "log").iterdir()}
    assert 0o700 == stat.S_IMODE((tmp_path / "log").stat().st_mode)


def test_the_level_and_the_files_can_be_chosen(configured, tmp_path, capsys):
    """Quieter, or nothing on disk at all."""
    configured(log_level="error", log_files=0)
    log.warning("quiet")
    log.error("loud")
    assert not (tmp_path / "log").exists()
    said = capsys.readouterr().err
    assert ("loud" in said, "quiet" in said) == (True, False)


def test_a_folder_that_cannot_be_made_costs_a_warning(configured, tmp_path, capsys):
    """Photos are protected all the same."""
    (tmp_path / "file").write_text("in the way")
    configured(log_dir=tmp_path / "file")
    log.info("still here")
    said = capsys.readouterr().err
    assert "no log file is written" in said
    assert "still here" in said
