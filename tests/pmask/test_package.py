"""What importing the package sets up."""

from __future__ import annotations

import os
import subprocess
import sys


def test_waiting_threads_leave_their_core_to_others():
    """A browser is always busy beside the daemon: with spinning threads a mask takes thirty times as long."""
    code = "import pmask, os; print(os.environ['GOMP_SPINCOUNT'])"
    free = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    for environment, expected in ((free, "3000"), ({**free, "GOMP_SPINCOUNT": "7"}, "7")):
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert expected == run.stdout.strip()
