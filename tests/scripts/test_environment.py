"""When the environment is made again and when not, what a person is told where it cannot be made, and its versions."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys

import check
import pytest
import run
import setup_environment
from setup_environment import ROOT, STAMP, check_python, ensure, is_ready, python_of, torch_builds, wanted
from steps import Failed


@pytest.fixture
def root(tmp_path):
    """A repository whose environment was made with the extra "demo"; its Python is an empty file that cannot run."""
    (tmp_path / "pyproject.toml").write_text("[project]")
    (tmp_path / "constraints.txt").write_text("torch==2.15.0")
    python = python_of(tmp_path / ".venv")
    python.parent.mkdir(parents=True)
    python.touch()
    stamp = {"wanted": wanted(tmp_path), "extras": ["demo"]}
    (tmp_path / ".venv" / STAMP).write_text(json.dumps(stamp))
    return tmp_path


def test_a_second_run_installs_nothing(root, capsys):
    """It runs nothing at all: the Python of this environment could not even start."""
    assert python_of(root / ".venv") == ensure(["demo"], root)
    assert "up to date" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_what_decides_the_versions_decides_the_environment(root, name):
    """A changed pin that is not installed would be tested by nobody."""
    (root / name).write_text("changed")
    assert not is_ready(root, ["demo"])


def test_extras_add_up(root):
    assert is_ready(root, [])
    assert not is_ready(root, ["demo", "dev"])


@pytest.mark.parametrize("stamp", ["", "{", "[]", '{"wanted": 1}', '{"wanted": "", "extras": 7}'])
def test_a_stamp_that_says_nothing_counts_as_none(root, stamp):
    """The installation that wrote it was cut, or it is from another version of this script."""
    (root / ".venv" / STAMP).write_text(stamp)
    assert not is_ready(root, [])


def test_a_copied_environment_is_installed_again(root, tmp_path_factory):
    """The project in it is the one at the old place."""
    copy = tmp_path_factory.mktemp("copy") / "pmask"
    shutil.copytree(root, copy)
    assert not is_ready(copy, ["demo"])


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_debian_without_venv_is_told_what_to_install(tmp_path, monkeypatch, module):
    """Debian's python3 has no ensurepip: the first thing that a person would meet."""
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find_spec(name))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Failed, match=rf"no `{module}` module.*\n.*apt install python3\.\d+-venv"):
        ensure([], tmp_path)
    assert not (tmp_path / ".venv").exists()


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path):
    """--clear would empty it."""
    for name in ("pyproject.toml", "constraints.txt", ".venv/thesis.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(Failed, match="is no Python environment"):
        ensure([], tmp_path)
    assert (tmp_path / ".venv/thesis.txt").exists()


@pytest.mark.parametrize(
    ("platform", "has_card", "builds"),
    [
        ("linux", False, [["--torch-backend", "cpu"], []]),
        ("linux", True, [["--torch-backend", "auto"], []]),
        ("win32", True, [["--torch-backend", "auto"], []]),
        ("win32", False, [[]]),
        ("darwin", False, [[]]),
    ],
)
def test_pytorch_is_the_build_for_this_machine(monkeypatch, platform, has_card, builds):
    """A laptop without a card would fetch gigabytes of libraries for one, and Windows would leave a card idle."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(shutil, "which", lambda name: name if has_card and name == "nvidia-smi" else None)
    assert builds == torch_builds()


@pytest.mark.parametrize("works", ["cpu", "uv", "pip", "nothing"])
def test_an_installer_that_fails_is_followed_by_the_next(root, monkeypatch, works):
    """PyTorch's own server may be out of reach where PyPI's mirror is not, and uv where pip is not."""
    (root / ".venv" / "pyvenv.cfg").touch()
    tried = []

    def run(command, one, *, cwd):
        words = [str(word) for word in command]
        if "ensurepip" in words or words[:2] == ["uv", "venv"]:
            return
        way = "cpu" if "cpu" in words else "uv" if words[0] == "uv" else "pip"
        tried.append(way)
        if way != works:
            raise Failed(f"{way} failed")

    monkeypatch.setattr(setup_environment, "run", run)
    monkeypatch.setattr(setup_environment, "torch_builds", lambda: [["--torch-backend", "cpu"], []])
    monkeypatch.setattr(shutil, "which", lambda name: name)
    ways = ["cpu", "uv", "pip"]
    if works == "nothing":
        with pytest.raises(Failed, match=r"pip failed\n.*neither by uv nor by pip"):
            ensure(["dev"], root)
        assert not is_ready(root, ["dev"])
    else:
        ensure(["dev"], root)
        ways = ways[: ways.index(works) + 1]
        assert is_ready(root, ["dev"])
    assert ways == tried


def test_the_extras_are_those_of_the_project():
    """A mistyped one would be installed as nothing, and stamped as there."""
    known = importlib.metadata.metadata("pmask").get_all("Provides-Extra")
    assert sorted(known) == sorted(setup_environment.EXTRAS)


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["dmo"], 2)])
def test_what_is_no_extra_installs_nothing(monkeypatch, words, code):
    monkeypatch.setattr(sys, "argv", ["setup_environment.py", *words])
    monkeypatch.setattr(setup_environment, "ensure", lambda extras: pytest.fail("it installs"))
    with pytest.raises(SystemExit) as end:
        setup_environment.main()
    assert code == end.value.code


def test_an_old_python_is_refused_with_its_version():
    with pytest.raises(Failed, match=r"needs Python 3\.10 or newer, and this is Python 3\.9 "):
        check_python((3, 9))


def test_before_the_environment_only_the_standard_library_is_there():
    """-S and -I: without site-packages, as on a fresh machine."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); import run, check, setup_environment, steps"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_every_dependency_is_pinned():
    """What is not in constraints.txt would be another version tomorrow, and CI's result with it."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {line.split("==")[0] for line in text.splitlines() if "==" in line and not line.startswith("#")}
    required = {re.split(r"[\s<>=!~;\[]", need)[0].lower() for need in importlib.metadata.requires("pmask")}
    assert set() == required - pinned


def test_the_extras_of_the_scripts_exist():
    """An installer only warns of an unknown extra, and the import fails much later."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    assert {*run.EXTRAS, *check.EXTRAS} <= set(re.findall(r"^(\w+) = \[", extras, re.MULTILINE))
