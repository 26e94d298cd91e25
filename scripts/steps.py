"""Says what is being done and how long it takes: a line that counts the seconds on a terminal, plain lines elsewhere.

Only the standard library: `setup_environment.py` prints with it before anything is installed.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

TICK_S = 0.2
QUIET_S = 10.0
"""Seconds between signs of life where nothing can be redrawn, as in a log."""
KEPT_LINES = 25
"""Lines of a failed command's output that are shown."""


class Failed(Exception):
    """Something did not work. The message says what, to what, and what to do; it is all that is printed."""


class Step:
    """One step under way. ``detail`` is what it is at now: the installer's last line, a percentage."""

    def __init__(self, title: str, out: TextIO | None = None) -> None:
        self.title = title
        self.detail = ""
        self._out = out or sys.stdout
        self._redraws = self._out.isatty()
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def say(self, detail: str) -> None:
        """What it is at now."""
        self.detail = " ".join(detail.split())

    def begin(self) -> None:
        """Prints the title, and from now on that it is still going."""
        if not self._redraws:
            self._print(f"- {self.title} ...")
        self._thread.start()

    def end(self, ended: str) -> None:
        """Prints how it ended and the seconds."""
        self._ended.set()
        self._thread.join()
        detail = f": {self.detail}" if self.detail and ended == "done" else ""
        if self._redraws:
            self._redraw("")
        head = f"- {self.title} ... " if self._redraws else "  "
        self._print(f"{head}{ended} in {self.seconds:.1f} s{detail}")

    def _tick(self) -> None:
        while not self._ended.wait(TICK_S if self._redraws else QUIET_S):
            if self._redraws:
                self._redraw(f"- {self.title} ... {self.seconds:.0f} s  {self.detail}")
            else:
                self._print(f"  {self.seconds:.0f} s  {self.detail}".rstrip())

    def _redraw(self, line: str) -> None:
        """Puts this in the line's place, and the cursor at its beginning. By spaces: Windows' classic console prints
        the control sequence that clears a line."""
        width = shutil.get_terminal_size().columns - 1
        self._out.write(f"\r{line[:width]:{width}}\r")
        self._out.flush()

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)


def print_anything() -> None:
    """From now on "?" stands for what the output's encoding does not know: into a file Windows writes few letters."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def step(title: str) -> Iterator[Step]:
    """Announces what is done inside, and ends with the seconds that it took."""
    one = Step(title)
    one.begin()
    try:
        yield one
    except BaseException as error:
        one.end("failed" if isinstance(error, Exception) else "stopped")
        raise
    one.end("done")


def run(command: Sequence[str | Path], one: Step, *, cwd: Path, env: Mapping[str, str] | None = None) -> None:
    """Runs a command inside a step and shows its last line. Raises Failed with the end of its output."""
    words = [str(word) for word in command]
    kept: deque[str] = deque(maxlen=KEPT_LINES)
    process = subprocess.Popen(
        words,
        cwd=str(cwd),
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    with process:
        try:
            for line in process.stdout or ():
                if line.strip():
                    kept.append(line.rstrip())
                    one.say(line)
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
    if code != 0:
        raise Failed("\n".join([f"`{' '.join(words)}` ended with code {code}:", *(f"  {line}" for line in kept)]))
    one.detail = ""
