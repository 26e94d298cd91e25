"""Settings: where they may stand, which place wins, what is refused, and that the document lists them all."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path

import pytest

import localserver
from localserver import config as module
from localserver.cli import main
from localserver.config import SETTINGS, Config, ConfigError, add_flags, flag, given, load
from localserver.lock import single_instance

ROOT = Path(localserver.__file__).resolve().parent.parent
MB = 1024 * 1024


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A state folder of the test's own."""
    monkeypatch.setenv("PMASK_HOME", str(tmp_path))
    return tmp_path


def write(home: Path, text: str) -> None:
    (home / "server.toml").write_text(text, encoding="utf-8")


def parse(*args: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return given(parser.parse_args(args))


def example(name: str) -> tuple[str, object]:
    """A text for a setting that is not its default, and what it means."""
    default = getattr(Config(), name)
    special = {
        "cancel_grace": ("9", 9),
        "device": ("cpu", "cpu"),
        "log_level": ("error", "error"),
        "port": ("2000", 2000),
    }
    if name in special:
        return special[name]
    if name in ("gallery", "log_dir"):
        return str(ROOT), ROOT
    return ("99", 99) if default != 99 else ("98", 98)


def test_without_anything_the_defaults_hold():
    """Nobody must write a file to start the daemon."""
    assert Config() == load({}, {})


@pytest.mark.parametrize("name", [entry.name for entry in SETTINGS])
def test_every_setting_can_stand_in_every_place(home, name):
    """File, environment and flags know the same settings by the same names."""
    text, value = example(name)
    expected = replace(Config(), **{name: value})
    write(home, f"{name} = {text if isinstance(value, int | float) else repr(text)}")
    assert expected == load({}, {})
    write(home, "")
    assert expected == load({}, {f"PMASK_SERVER_{name.upper()}": text})
    assert expected == load(parse(flag(name), text), {})


def test_flags_win_over_the_environment_and_that_over_the_file(home):
    """What was said last, for this run alone, is what is meant."""
    write(home, "port = 2001\nidle_stop = 60\nlog_files = 2\n")
    environ = {"PMASK_SERVER_PORT": "2002", "PMASK_SERVER_IDLE_STOP": "61"}
    loaded = load(parse("--port", "2003"), environ)
    assert (2003, 61, 2) == (loaded.port, loaded.idle_stop, loaded.log_files)


def test_another_file_can_be_named(home, tmp_path):
    """For a second daemon beside the first. One that is named must be there."""
    other = tmp_path / "other.toml"
    other.write_text("port = 2004")
    assert 2004 == load({}, {"PMASK_SERVER_CONFIG": str(other)}).port
    assert 2004 == load({}, {}, other).port
    with pytest.raises(ConfigError, match=r"no\.toml is not there"):
        load({}, {"PMASK_SERVER_CONFIG": str(tmp_path / "no.toml")})


def test_a_file_of_windows_notepad_is_read(home):
    """It may begin with a byte order mark."""
    write(home, "\ufeffport = 2006")
    assert 2006 == load({}, {}).port


def test_sizes_may_have_a_unit(home):
    """Nobody counts the zeros of half a gigabyte."""
    for text, size in [('"512MB"', 512 * MB), ('"2 gb"', 2048 * MB), ('"10KB"', 10240), ("7", 7), ('"7B"', 7)]:
        write(home, f"queue_bytes = {text}")
        assert size == load({}, {}).queue_bytes


@pytest.mark.parametrize(
    "line",
    [
        *("port = 80", "port = 65536", "port = true", "port = 2000.5", 'port = "x"', "idle_stop = nan"),
        *("idle_stop = inf", "idle_stop = 0", 'device = "tpu"', "device = 1", f"gallery = {__file__!r}"),
        *('queue_bytes = "lots"', "queue_bytes = -1", "queue_bytes = true", "log_dir = 1", "keep_result = 3601"),
        *("log_bytes = 0", "gallery = 1", 'gallery = "~nobody-here/photos"', 'log_dir = "~nobody-here/log"'),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(home, line):
    """A person finds the line, what is wrong with it, and what may stand there."""
    write(home, line)
    with pytest.raises(ConfigError, match=rf"server\.toml: {line.split()[0]} must be "):
        load({}, {})


def test_a_setting_that_is_not_known_is_refused(home):
    """A typing error must not pass for the default in silence; the message lists what there is."""
    write(home, "prot = 2000")
    with pytest.raises(ConfigError, match=r"server\.toml: prot is not a setting; there are: port, device"):
        load({}, {})
    write(home, "")
    with pytest.raises(ConfigError, match="PMASK_SERVER_PROT is not a setting"):
        load({}, {"PMASK_SERVER_PROT": "2000"})


@pytest.mark.parametrize("data", [b"port = = 2", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_named(home, data, capsys):
    """A sentence and the exit code of wrong usage, not a traceback."""
    (home / "server.toml").write_bytes(data)
    assert 2 == main(["pair"])
    assert re.fullmatch(r"pmask-server: .+server\.toml .+\n", capsys.readouterr().err)


def test_pair_takes_the_port_of_the_settings(home, capsys):
    """Where the daemon that runs could not write its own, since the disk was full."""
    write(home, "port = 2005")
    with single_instance(home, 2005):
        (home / "daemon.lock").write_bytes(b"")
        assert 0 == main(["pair", "--json"])
    assert '"port": 2005' in capsys.readouterr().out


def test_the_document_lists_every_setting():
    """Name, default and meaning, word for word: what is not in the document is not a setting, and the reverse."""
    document = (ROOT / "docs" / "daemon.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", document.split("## Settings")[1].split("\n## ")[0], re.M)
    assert [(entry.name, shown(entry.default), entry.metadata["meaning"]) for entry in SETTINGS] == rows
    for word in (f"`{module.ENVIRONMENT}PORT`", f"`{module.CONFIG_NAME}`", f"`{module.ENVIRONMENT}CONFIG`"):
        assert word in document


def shown(default: object) -> str:
    """A default as the document writes it."""
    if default is None:
        return "none"
    if isinstance(default, int) and default >= MB and default % MB == 0:
        return f"{default // MB} MB"
    return f"{default:g}" if isinstance(default, float) else str(default)
