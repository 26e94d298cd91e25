"""Logging that cannot give a photo, a name or a token away.

Exceptions are logged by type and place only: their texts quote what was being handled (aiohttp's parser quotes the
header line that it could not read, and that may be the token).
"""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType
from typing import Any


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
    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        return describe(ei[1]) if ei[1] is not None else ""


def configure() -> None:
    """Sends this process's log to stderr, where a service manager or a terminal picks it up."""
    handler: logging.StreamHandler[Any] = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
