"""What all commands say, and how: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

OK, FAILED, USAGE = 0, 1, 2
"""Exit codes."""
LINE_EVERY_S = 30.0
"""Between lines of progress where there is no terminal."""


def say(line: str) -> None:
    """Tells the person something that is no result."""
    print(line, file=sys.stderr, flush=True)


class Meter:
    """Shows how many photos each stage has done: a bar on a terminal, else a line now and then, with what is left."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self._stage, self._began, self._said = "", 0.0, 0.0

    def __enter__(self) -> Meter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._began, self._said = stage, now, 0.0
            self._task = self._bar.add_task(stage, total=total)
        if done == 1:
            self._began = now  # until then recognisers were being loaded
        self._bar.update(self._task, completed=done, total=total)
        if self._bar.disable and (now - self._said >= LINE_EVERY_S or done == total):
            self._said = now
            rest = _left((now - self._began) / (done - 1) * (total - done)) if done > 1 else ""
            say(f"{stage}: {done} of {total} photos{rest}")


def _left(seconds: float) -> str:
    return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"
