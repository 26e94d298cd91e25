"""docs/routes.md: written by the test run where PMASK_WRITE_ROUTES is set, read by a test that holds it to cases.py."""

from __future__ import annotations

import subprocess
from pathlib import Path

import browser as browsers
import packages
from cases import GROUPS
from stage import ROOT

TABLE = ROOT / "docs" / "routes.md"
KINDS = ("chromium", "firefox")
UNSEEN = "not played yet"
# ruff: noqa: E501 -- paragraphs of a document
HEAD = """# Ways in which a photo reaches a page, and what was seen

Written by the test run (`PMASK_WRITE_ROUTES=1 python3 scripts/test.py tests/e2e/test_routes.py`), not by hand. Each row
was played twice in each browser: without the extension, where the site had to receive the original, and with it. Gestures
are trusted: a file dialog, a drag, Ctrl+V with a picture on the clipboard. The site counts as public, so the browsers'
rules for local network access hold.

- **protected**: every photo that arrived is the daemon's, under the name, type and place among the others that the page
  would have had; no {run} bytes in a row of an original are in anything that the server received, plain or as base64; what
  is no photo came byte for byte.
- **declined**: nothing arrived, and the card says why.
- **cannot be**, or **cannot be tested**: why.
"""
TAIL = """
## What this does not show

- Real sites ask for an account and change daily. Their replicas here were written after what is publicly known of their
  pages, and no test has visited one.
- The dialog of `showOpenFilePicker` cannot be pressed by a tool. The tests give the page a real handle in its place; a page
  gets a stand-in that reads the protected photo, which can be neither stored nor sent to a worker.
- Firefox's drop is one that the tests make with the browser's own rights. It has no place on the screen.
- Files that reach a site without a page, by an installed web app's share target or file handler, and pictures of a
  camera that a page films itself, do not pass the extension.
- A page that accepts only events of the browser's own making (`isTrusted`) gets nothing; the card's "Save protected copy"
  is for that.
"""


def version_of(kind: str) -> str:
    found = browsers.find_browser(kind)  # type: ignore[arg-type]
    if found is None:
        return kind.title()
    said = subprocess.run([str(found[1]), "--version"], capture_output=True, text=True, timeout=60).stdout
    number = next((word for word in said.split() if word[0].isdigit()), "")
    return f"{kind.title()} {number.split('.')[0]}"


def rows(path: Path = TABLE) -> dict[str, list[str]]:
    """The table's cells by the name of the way: one for each browser."""
    cells = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        parts = [part.strip() for part in line.strip("|").split("|")]
        if line.startswith("| ") and len(parts) == 1 + len(KINDS):
            cells[parts[0]] = parts[1:]
    return cells


def write(kind: str, seen: dict[str, str], run: int) -> None:
    """Puts what was seen in one browser into its column; what this run did not play keeps its words."""
    before = rows()
    head = f"| way | {' | '.join(version_of(kind) for kind in KINDS)} |\n|---|{'---|' * len(KINDS)}\n"
    text = HEAD.format(run=run)
    for group, cases in GROUPS.items():
        text += f"\n## {group}\n\n{head}"
        for case in cases:
            cells = before.get(case.name, [UNSEEN] * len(KINDS))
            if kind in case.never:
                cells[KINDS.index(kind)] = f"— {case.never[kind]}"
            elif case.name in seen:
                cells[KINDS.index(kind)] = seen[case.name]
            text += f"| {case.name} | {' | '.join(cells)} |\n"
    quirks = [f"- {case.name}: {case.quirk}" for cases in GROUPS.values() for case in cases if case.quirk]
    text += "\n## Quirks of the replicas\n\n" + "\n".join(quirks) + "\n" if quirks else ""
    used = sorted({f"{package.name} {package.version}" for package in packages.PACKAGES.values()})
    text += f"\n## Packages\n\nFrom the npm registry, unchanged: {', '.join(used)}.\n"
    TABLE.write_text(text + TAIL, encoding="utf-8")
