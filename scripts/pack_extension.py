"""Packs the extension for both browsers: ``dist/pmask-VERSION.zip`` for Chromium, ``.xpi`` for Firefox.

The same folder, and byte for byte the same archives whenever and wherever they are made from it: entries in order of
their names, one fixed time and mode, and stored rather than deflated, since zlibs deflate unlike one another.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTENSION = ROOT / "extension"
LEFT_OUT = {"README.md"}
"""For those who read the source."""
TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip archive knows."""
MODE = 0o100644
UNIX = 3


def files(folder: Path) -> list[Path]:
    """What belongs into an archive, in order."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    kept = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return sorted(
        (path for path in kept if path.name not in LEFT_OUT), key=lambda path: path.relative_to(folder).as_posix()
    )


def pack(folder: Path, target: Path) -> str:
    """Writes the archive; returns its SHA-256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in files(folder):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), TIME)
            entry.create_system, entry.external_attr = UNIX, MODE << 16
            archive.writestr(entry, path.read_bytes())
    return hashlib.sha256(target.read_bytes()).hexdigest()


def main() -> int:
    """Packs both archives and prints where they lie."""
    parser = argparse.ArgumentParser(description="Packs the extension into a .zip (Chromium) and an .xpi (Firefox).")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="the folder to write into (default: dist)")
    out = parser.parse_args().out
    version = json.loads((EXTENSION / "manifest.json").read_text(encoding="utf-8"))["version"]
    for suffix in ("zip", "xpi"):
        target = out / f"pmask-{version}.{suffix}"
        print(f"{pack(EXTENSION, target)}  {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
