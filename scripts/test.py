"""Everything that can be checked: ``python3 scripts/test.py [--fast] [pytest's arguments]``.

Makes the environment where it is needed, checks style and types, then runs pytest: the library, the daemon, the
extension (by node) and real browsers. ``--fast`` leaves the browsers out. Photos of faces that some tests want are
looked for in $PMASK_SHARED, by default the folder `shared` beside the repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import setup_environment
from check import EXTRAS, check
from setup_environment import ROOT
from steps import Failed, run, step

FAST = "--fast"


def pytest_arguments(argv: Sequence[str]) -> list[str]:
    """What pytest gets."""
    given = [word for word in argv if word != FAST]
    return [*given, "--ignore=tests/e2e"] if FAST in argv else given


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: pytest's, or 1 when only a check before it failed."""
    if {"-h", "--help"} & set(argv):
        print(__doc__)
        return 0
    shared = os.environ.get("PMASK_SHARED") or str(ROOT.parent / "shared")
    try:
        python = setup_environment.ensure(EXTRAS)
        with step("Fetching the weights of every recogniser that is not here yet") as one:
            run([python, "-m", "pmask", "models", "fetch"], one, cwd=ROOT)
        failed = check(python)
        print(f"- pytest, with PMASK_SHARED={shared} ...", flush=True)
        command = [str(python), "-m", "pytest", *pytest_arguments(argv)]
        code = subprocess.run(command, cwd=str(ROOT), env={**os.environ, "PMASK_SHARED": shared}).returncode
    except Failed as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if failed:  # otherwise pytest's closing line is the last one
        print(f"\nFailed before the tests: {', '.join(failed)}")
    return code or (1 if failed else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
