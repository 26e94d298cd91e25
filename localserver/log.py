"""Logging that cannot give a photo, a name or a token away.

Exceptions are logged by type and place only: their texts quote what was being handled (aiohttp's parser quotes the
header line that it could not read, and that may be the token). Whatever looks like a token is blotted out as well.

Lines go to stderr, for people and service managers, and as JSON into files that take turns, for programs:
`docs/daemon.md`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import os
import re
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from localserver.config import Config

FILE_NAME = "server.log"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43,}")
"""A token, or anything as long without a space: no word of a message is."""


def log_dir(config: Config) -> Path:
    """The folder of the log files."""
    return config.log_dir or config.state_dir / "log"


def facts(**values: str | float | None) -> dict[str, Any]:
    """What a line says beside its message, for ``extra``: short names, numbers and codes."""
    return {"facts": values}


def describe(error: BaseException) -> str:
    """Where an exception and its causes were raised: file, line and function, but no message and no value."""
    lines = []
    cause: BaseException | None = error
    while cause is not None:
        lines.append(f"{type(cause).__module__}.{type(cause).__qualname__}, raised at")
        lines += [f"  {at.filename}:{at.lineno} in {at.name}" for at in traceback.extract_tb(cause.__traceback__)]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n".join(lines)


class _Formatter(logging.Formatter):
    """For people: one line, the facts behind the message."""

    def format(self, record: logging.LogRecord) -> str:
        said = "".join(f" {name}={_short(value)}" for name, value in _facts(record).items())
        text = f"{self.formatTime(record)} {record.levelname} {record.name}: {_message(record)}{said}"
        return text + (f"\n{where}" if (where := _where(record)) else "")


class _JsonFormatter(logging.Formatter):
    """For programs: one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        line |= {"message": _message(record), **{name: _short(value) for name, value in _facts(record).items()}}
        return json.dumps(line | ({"where": where} if (where := _where(record)) else {}))


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """A log file that only this user can read. A disk that is full costs the line, not the daemon."""

    def _open(self) -> Any:  # noqa: ANN401 (as the base has it)
        return open(
            self.baseFilename, "a", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, mode=0o600)
        )

    def doRollover(self) -> None:
        """One file alone begins anew; the base would go on with it for ever."""
        super().doRollover()
        if not self.backupCount:
            os.truncate(self.baseFilename, 0)

    def handleError(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            sys.stderr.write("a line could not be written to the log file\n")


def _facts(record: logging.LogRecord) -> dict[str, str | float | None]:
    found: dict[str, str | float | None] = getattr(record, "facts", {})
    return found


def _short(value: str | float | None) -> str | float | None:
    return (
        round(value, 3)
        if isinstance(value, float)
        else _TOKEN.sub("[hidden]", value)
        if isinstance(value, str)
        else value
    )


def _message(record: logging.LogRecord) -> str:
    return _TOKEN.sub("[hidden]", record.getMessage())


def _where(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    return describe(error) if error is not None else ""


def configure(config: Config) -> None:
    """Sends this process's log to stderr and, unless there shall be none, to the log files. A folder that cannot be
    written costs a warning: photos matter more than lines."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers[0].setFormatter(_Formatter())
    trouble = None
    if config.log_files:
        folder = log_dir(config)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handlers.append(
                _PrivateFile(folder / FILE_NAME, maxBytes=config.log_bytes, backupCount=config.log_files - 1)
            )
            handlers[-1].setFormatter(_JsonFormatter())
        except OSError as error:
            trouble = error.strerror
    logging.basicConfig(level=config.log_level.upper(), handlers=handlers, force=True)
    logging.captureWarnings(True)
    if trouble:
        logging.getLogger(__name__).warning("no log file is written: %s", trouble)
