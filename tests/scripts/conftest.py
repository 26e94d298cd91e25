"""The scripts are programs, not packages: their folder goes on the path, as when they are run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS / "experiments")]


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """The state folder of the daemons that a test starts: the tester's own daemon may hold the lock of theirs."""
    monkeypatch.setenv("PMASK_HOME", str(tmp_path / "home"))
