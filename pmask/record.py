"""What PMask has made on this machine, so that a photo that was protected once is not masked a second time.

Nothing is written into the photo itself: a mark would tell scrapers which photos are masked. The record holds keyed
hashes only; without the key beside it, which never leaves the machine, nobody can ask it about a photo.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pmask.folders import state_dir
from pmask.images import RGB

MOST = 5000
"""Photos remembered; the oldest are dropped. 32 bytes each, and years of posting."""
_PATIENCE_S = 10.0
"""For another process, the command line's or the daemon's, to finish its write."""
_KEY_BYTES = 32


class Record:
    """The record in ``folder``, by default this user's. Its files are made at the first add, mode 0600."""

    def __init__(self, folder: Path | None = None, most: int = MOST) -> None:
        folder = folder or state_dir()
        self._path, self._key_path, self._most = folder / "protected.sqlite", folder / "protected.key", most

    def holds(self, *frames: RGB) -> bool:
        """Whether PMask has delivered a file of just these frames: upright pixels (height, width, 3) of the one photo,
        or of all of an animation. A record that cannot be read holds nothing."""
        return self.bare(*frames) is not None

    def bare(self, *frames: RGB) -> int | None:
        """How many faces the person left out of the file of just these frames; None where PMask has delivered none."""
        try:
            if not self._path.is_file() or not self._key_path.is_file():
                return None
            with self._open() as database:
                found = database.execute("SELECT bare FROM protected WHERE hash = ?", [self._hash(frames)]).fetchone()
        except OSError:
            return None
        return found and int(found[0])

    def add(self, *frames: RGB, bare: int = 0) -> None:
        """Puts the frames of a protected file, as they decode to, on record, and how many of its faces are bare. Raises
        OSError."""
        with self._open() as database:
            row = [self._hash(frames), bare]
            database.execute("INSERT OR REPLACE INTO protected (hash, bare) VALUES (?, ?)", row)
            oldest = "(SELECT max(place) FROM protected) - ?"
            database.execute(f"DELETE FROM protected WHERE place <= {oldest}", [self._most])

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The database, made when it is not there; committed at the end. Raises OSError."""
        columns = "place INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB UNIQUE"
        bare = "bare INTEGER NOT NULL DEFAULT 0"
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))  # sqlite's own files take its mode
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=_PATIENCE_S)) as database, database:
                database.execute(f"CREATE TABLE IF NOT EXISTS protected ({columns}, {bare})")
                present = database.execute("SELECT 1 FROM pragma_table_info('protected') WHERE name = 'bare'")
                if present.fetchone() is None:  # a record of version 0.1
                    database.execute(f"ALTER TABLE protected ADD COLUMN {bare}")
                yield database
        except sqlite3.Error as error:
            raise OSError(f"the record {self._path} could not be used ({error})") from error

    def _hash(self, frames: Sequence[RGB]) -> bytes:
        mark = hmac.new(self._key(), digestmod=hashlib.sha256)
        for rgb in frames:  # each one's shape says where it ends
            mark.update(repr(rgb.shape).encode())
            mark.update(np.ascontiguousarray(rgb).data)
        return mark.digest()

    def _key(self) -> bytes:
        """The machine's own key; the first of two processes that make it at once wins."""
        with contextlib.suppress(FileExistsError):
            part = self._key_path.with_name(f"{self._key_path.name}.{secrets.token_hex(4)}")
            if not self._key_path.exists():
                with open(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as stream:
                    stream.write(secrets.token_bytes(_KEY_BYTES))
                try:
                    os.link(part, self._key_path)
                finally:
                    part.unlink()
        return self._key_path.read_bytes()
