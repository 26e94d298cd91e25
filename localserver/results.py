"""What was made of the last photos, so that the same photo with the same options is not made again. In memory only."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_REPORT_BYTES = 8192
"""What a report is taken to need beside the picture, so that results without one are counted too."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an engine makes of a photo: the bytes (empty if it has no face, those that came if PMask had protected it
    before), and `pmask.report.Report` as JSON types."""

    data: bytes
    report: dict[str, Any]


@dataclass(frozen=True)
class Key:
    """Whose photo, which photo (SHA-256), made how (the options as JSON). One client's results never answer another's:
    how fast an answer comes would tell what the other has sent."""

    client_id: str
    photo: bytes
    options: str


class Results:
    """At most ``most`` bytes of results, each for at most ``lifetime`` seconds; the one that was used longest ago goes
    first. ``clock`` is monotonic, in seconds."""

    def __init__(self, most: int, lifetime: float, clock: Callable[[], float]) -> None:
        self._most, self._lifetime, self._clock = most, lifetime, clock
        self._kept: OrderedDict[Key, tuple[float, Result]] = OrderedDict()
        self.size = 0

    def get(self, key: Key) -> Result | None:
        """The result, if it is still there."""
        self.sweep()
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][1]

    def put(self, key: Key, result: Result) -> None:
        """Keeps a result, at the cost of older ones. One that is too large for all the room is not kept."""
        self._drop(key)
        size = _size(result)
        if size > self._most:
            return
        while self.size + size > self._most:
            self._drop(next(iter(self._kept)))
        self._kept[key] = (self._clock(), result)
        self.size += size

    def forget_client(self, client_id: str) -> None:
        """Drops all that a client has here."""
        for key in [key for key in self._kept if key.client_id == client_id]:
            self._drop(key)

    def sweep(self) -> None:
        """Drops what is too old."""
        limit = self._clock() - self._lifetime
        for key in [key for key, (made, _) in self._kept.items() if made <= limit]:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        if key in self._kept:
            self.size -= _size(self._kept.pop(key)[1])


def _size(result: Result) -> int:
    return len(result.data) + _REPORT_BYTES
