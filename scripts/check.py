"""The one check of style and types: ``python3 scripts/check.py``. Ruff's rules, ruff's format, mypy."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import setup_environment
from setup_environment import ROOT
from steps import Failed

EXTRAS = ("demo", "dev")
CHECKS = {
    "ruff check": ["ruff", "check"],
    "ruff format": ["ruff", "format", "--check"],
    "mypy": ["mypy"],
    "mypy, scripts": ["mypy", "--strict", "--untyped-calls-exclude=skimage", "--exclude=demo/", "scripts"],
}
"""Modules to run, with their arguments; mypy's packages are in pyproject.toml."""


def check(python: Path) -> list[str]:
    """Runs every check; returns the names of those that found something."""
    failed = []
    for name, command in CHECKS.items():
        print(f"- {name} ...", flush=True)
        if subprocess.run([str(python), "-m", *command], cwd=str(ROOT)).returncode != 0:
            failed.append(name)
    return failed


def main() -> int:
    """Returns the exit code."""
    argparse.ArgumentParser(description="Checks style and types: ruff's rules, ruff's format, mypy.").parse_args()
    try:
        failed = check(setup_environment.ensure(EXTRAS))
    except Failed as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"\nFailed: {', '.join(failed)}" if failed else "\nAll is well.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
