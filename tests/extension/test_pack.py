"""The archives that are handed out, and what the browsers' own checker says of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "extension"
WEB_EXT = "web-ext@10.7.0"
KNOWN_WARNINGS = {
    "BACKGROUND_SERVICE_WORKER_IGNORED",  # it is Chromium's; Firefox takes background.scripts
    "KEY_FIREFOX_ANDROID_UNSUPPORTED_BY_MIN_VERSION",  # data_collection_permissions; PMask is for computers
}


def pack(folder: Path, target: Path) -> str:
    """Packs by the script's own function, in a process of its own; the archive's SHA-256."""
    code = (
        "import sys; from pathlib import Path; from pack_extension import pack; print(pack(*map(Path, sys.argv[1:])))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", code, str(folder), str(target)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_the_same_source_makes_the_same_archive(tmp_path):
    """Whoever wants to know what a store hands out can pack the source and compare."""
    copy = tmp_path / "copy"
    for path in sorted(EXTENSION.rglob("*"), reverse=True):  # other times, another order on disk, other modes
        if path.is_file():
            target = copy / path.relative_to(EXTENSION)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            target.chmod(0o600)
            os.utime(target, (1, 1))
    (copy / ".DS_Store").write_text("not ours")
    assert pack(EXTENSION, tmp_path / "a.zip") == pack(copy, tmp_path / "b.xpi")


def test_an_archive_holds_the_extension_and_nothing_else(tmp_path):
    """The manifest at its root, every file that it needs, none for readers of the source."""
    pack(EXTENSION, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        assert (EXTENSION / "manifest.json").read_bytes() == archive.read("manifest.json")
    expected = {path.relative_to(EXTENSION).as_posix() for path in EXTENSION.rglob("*") if path.is_file()}
    assert sorted(expected - {"README.md"}) == names


def test_both_archives_are_made(tmp_path):
    """As the person who hands them out makes them."""
    script = ROOT / "scripts" / "pack_extension.py"
    subprocess.run([sys.executable, script, "--out", tmp_path], capture_output=True, check=True)
    version = json.loads((EXTENSION / "manifest.json").read_text(encoding="utf-8"))["version"]
    assert {f"pmask-{version}.zip", f"pmask-{version}.xpi"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.skipif(shutil.which("npx") is None, reason="npx (node) is not installed; web-ext lint is skipped")
def test_web_ext_lint(tmp_path):
    """Mozilla's own checker: no error, and no warning but the known ones."""
    command = ["npx", "--yes", WEB_EXT, "lint", "--source-dir", str(EXTENSION), "--output", "json"]
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
        found = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        pytest.skip(f"{WEB_EXT} could not be fetched from npm; its check is skipped")
    assert [] == found["errors"]
    assert KNOWN_WARNINGS >= {warning["code"] for warning in found["warnings"]}
    assert [] == found["notices"]
