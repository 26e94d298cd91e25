"""What importing the package sets up."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import localserver
import pmask


def test_waiting_threads_leave_their_core_to_others():
    """A browser is always busy beside the daemon: with spinning threads a mask takes thirty times as long."""
    code = "import pmask, os; print(os.environ['GOMP_SPINCOUNT'])"
    free = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    for environment, expected in ((free, "3000"), ({**free, "GOMP_SPINCOUNT": "7"}, "7")):
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert expected == run.stdout.strip()


def test_numbers_are_read_in_a_named_order_of_bytes():
    """Python 3.10 has no default for it, and every photo would fail there."""
    unnamed = []
    for package in (pmask, localserver):
        for path in Path(package.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_bytes())):
                called = getattr(getattr(node, "func", None), "attr", None)
                if called in {"from_bytes", "to_bytes"} and len(node.args) + len(node.keywords) < 2:
                    unnamed.append(f"{path}:{node.lineno}")
    assert [] == unnamed
