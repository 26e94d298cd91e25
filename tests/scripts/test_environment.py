"""When the environment is made again and when not, what a person is told where it cannot be made, and its versions."""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig

import check
import pytest
import run
import setup_environment
from setup_environment import (
    ROOT,
    STAMP,
    check_machine,
    ensure,
    is_ready,
    pips_indexes,
    python_of,
    torch_builds,
    wanted,
)
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


@pytest.mark.parametrize("script", ["setup_environment.py", "run.py", "test.py", "check.py"])
def test_what_the_output_cannot_spell_is_printed_all_the_same(root, script):
    """Into a file or pipe Windows writes its code page, and a person's folder may have any name."""
    copy = shutil.copytree(root, root / "Иван")
    shutil.copytree(ROOT / "scripts", copy / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / ".venv" / STAMP).write_text(json.dumps({"wanted": wanted(copy), "extras": [*setup_environment.EXTRAS]}))
    command = [sys.executable, copy / "scripts" / script]
    ended = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "cp1252"})
    assert b"????" in ended.stdout  # what comes after fails: the environment's Python here is none
    assert b"UnicodeEncodeError" not in ended.stderr


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

    def run(command, one, *, cwd, env=None):
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


def test_uv_uses_the_indexes_that_pip_is_told_to_use(monkeypatch, tmp_path):
    """A company's mirror, where PyPI is out of reach: uv reads nothing of pip's settings."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = https://a.test/simple\nextra-index-url = https://b.test\n  https://c.test\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    more = {"UV_INDEX": "https://b.test https://c.test"}
    assert {"UV_DEFAULT_INDEX": "https://a.test/simple", **more} == pips_indexes()
    monkeypatch.setenv("PIP_INDEX_URL", "https://d.test/simple")
    assert {"UV_DEFAULT_INDEX": "https://d.test/simple", **more} == pips_indexes()
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://e.test/simple")
    assert {} == pips_indexes()


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
    """In words: what it cannot read, it would call a syntax error. `python3` is 3.6 on what is still in use."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); sys.version_info = (3, 6, 9)\n"
        f"import runpy; runpy.run_path({str(ROOT / 'scripts' / 'run.py')!r}, run_name='__main__')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 1 == ended.returncode
    assert f"PMask needs Python 3.10 or newer, and this is Python 3.6 ({sys.executable}).\n" == ended.stderr
    for name in ("run.py", "python_version.py"):
        text = (ROOT / "scripts" / name).read_text(encoding="utf-8")
        ast.parse(text, feature_version=(3, 7))  # the oldest that is known there
        assert "from __future__ import annotations" not in text, "3.6 does not know it"


@pytest.mark.parametrize(
    ("system", "machine", "built_for", "said"),
    [
        ("darwin", "x86_64", "macosx-10.13-universal2", "no longer made for Macs with an Intel processor"),
        ("darwin", "arm64", "macosx-10.13-universal2", None),
        ("win32", "ARM64", "win-arm64", "install Python's 64-bit x64 version"),
        ("win32", "ARM64", "win-amd64", None),  # the version that is asked for, on such a machine
        ("win32", "AMD64", "win-amd64", None),
        ("linux", "x86_64", "linux-x86_64", None),
    ],
)
def test_a_python_that_pytorch_is_not_made_for_is_refused(monkeypatch, system, machine, built_for, said):
    """An installer would look for what is not there, and its failure would be taken for the network's."""
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sysconfig, "get_platform", lambda: built_for)
    with pytest.raises(Failed, match=said) if said else contextlib.nullcontext():
        check_machine()


@pytest.mark.skipif(os.name != "posix", reason="sends a Ctrl-C as a terminal does")
def test_what_was_handed_over_to_may_clean_up_after_ctrl_c():
    """As on Windows, where the parent waits: it must not kill the child, whose browser and daemon would stay behind."""
    child = (
        "import time\n"
        "try: print('ready', flush=True); time.sleep(60)\n"
        "except KeyboardInterrupt: time.sleep(0.6); print('cleaned up'); raise SystemExit(7)"
    )
    parent = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job with & ignores it
        f"import os, sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); import setup_environment\n"
        "from types import SimpleNamespace\n"
        "setup_environment.os = SimpleNamespace(name='nt')\n"
        f"setup_environment.hand_over(sys.executable, ['-c', {child!r}])"
    )
    command = [sys.executable, "-c", parent]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert "ready\n" == process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        assert ("cleaned up\n", 7) == (process.stdout.read(), process.wait())


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
