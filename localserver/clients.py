"""Who may use the daemon: paired clients, the codes that pair them, and the daemon's proof towards them.

One small private file per client, so that `pmask-server clients revoke`, another process, needs no lock and takes
effect at the next request. Only hashes of tokens are kept. A pairing code travels from `pmask-server pair` to the
daemon in a private file too: whoever can read it already is the same user.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from localserver.errors import BadCode, BadRequest, TooManyAttempts

log = logging.getLogger(__name__)

CODE_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without I, O, 0 and 1, which people mistake for one another."""
CODE_LENGTH = 8
CODE_LIFETIME = 120.0
"""Seconds: long enough to switch windows and type eight characters."""
PAGE_LIFETIME = 24 * 3600.0
"""Seconds: the daemon's own page keeps its token for one tab, so older ones are nobody's any more."""
WRONG_PER_CODE = 5
WRONG_PER_MINUTE = 10
_NAME_LENGTH = 80
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")  # 256 bits, base64url
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{16,128}")


@dataclass(frozen=True, kw_only=True)
class Client:
    """A paired client. origin is the extension's or the local page's, None for a program; created is in seconds since
    1970."""

    id: str
    name: str
    origin: str | None
    token_sha256: str
    created: float


class Clients:
    """The store in ``folder`` (0700, made when needed). ``clock``: seconds since 1970, the same in all processes;
    ``steady``: monotonic, in seconds."""

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder / "clients"
        self._code_file = folder / "pairing.json"
        self._clock, self._steady = clock, steady
        self._wrong_times: deque[float] = deque(maxlen=WRONG_PER_MINUTE)
        self._wrong_for_code: tuple[str, int] = ("", 0)

    def paired(self) -> list[Client]:
        """All paired clients, oldest first. A file that cannot be read is reported and skipped; a page's that is over,
        deleted."""
        found = []
        for path in self._folder.glob("*.json"):
            try:
                client = _client_of(json.loads(path.read_bytes()))
                if self._is_over(client):
                    path.unlink(missing_ok=True)
                else:
                    found.append(client)
            except FileNotFoundError:
                continue  # revoked since the folder was listed
            except (OSError, ValueError, TypeError):
                log.warning("client file %s is not readable and is ignored", path.name)
        return sorted(found, key=lambda client: client.created)

    def is_paired(self, client_id: str) -> bool:
        """Whether a client that was paired still is: one look at the folder, which needs no descriptor."""
        return os.path.exists(self._folder / f"{client_id}.json")

    def authenticate(self, token: str) -> Client | None:
        """The client with this token. Looks at every client whatever the outcome, so that time tells nothing."""
        if not _TOKEN.fullmatch(token):
            return None
        digest = _sha256(token)
        matches = [client for client in self.paired() if hmac.compare_digest(client.token_sha256, digest)]
        return matches[0] if matches else None

    def revoke(self, client_id: str) -> bool:
        """Forgets a client; False if there is none of this id."""
        if client_id not in {client.id for client in self.paired()}:
            return False
        (self._folder / f"{client_id}.json").unlink(missing_ok=True)
        return True

    def rename(self, client_id: str, name: str) -> bool:
        """Gives a client another name; False if there is none of this id. Raises BadRequest for what is no name."""
        _check_name(name)
        for client in self.paired():
            if client.id == client_id:
                _write_private(self._folder / f"{client_id}.json", asdict(replace(client, name=name)))
                return True
        return False

    def new_code(self) -> str:
        """Makes a pairing code and leaves its hash for the daemon; the code before, if any, is void."""
        code = "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
        _write_private(self._code_file, {"code_sha256": _sha256(code), "expires": self._clock() + CODE_LIFETIME})
        return code

    def pair(self, code: str, name: str, origin: str | None) -> tuple[str, Client]:
        """A token and its client, for the right code. Raises BadRequest, BadCode or TooManyAttempts."""
        _check_name(name)
        self._check_rate()
        if not self._is_right(_normalised(code)):
            raise BadCode(
                f"this code is wrong, used or over {CODE_LIFETIME:g} s old; make a new one: pmask-server pair"
            )
        self._code_file.unlink(missing_ok=True)
        token = secrets.token_urlsafe(32)
        client = Client(
            id=secrets.token_hex(8), name=name, origin=origin, token_sha256=_sha256(token), created=self._clock()
        )
        _write_private(self._folder / f"{client.id}.json", asdict(client))
        return token, client

    def proof(self, client_id: str, challenge: str, port: int) -> str | None:
        """What only the paired daemon, listening on ``port``, can answer; None for an unknown client."""
        if not _CHALLENGE.fullmatch(challenge):
            raise BadRequest("challenge must be 16 to 128 characters of A-Z a-z 0-9 _ -")
        for client in self.paired():
            if client.id == client_id:
                text = f"pmask-proof-1\n{challenge}\n{port}".encode()
                return hmac.new(bytes.fromhex(client.token_sha256), text, hashlib.sha256).hexdigest()
        return None

    def _is_over(self, client: Client) -> bool:
        is_page = client.origin is not None and client.origin.startswith("http://")
        return is_page and abs(self._clock() - client.created) >= PAGE_LIFETIME  # a clock may be set back a little

    def _check_rate(self) -> None:
        if len(self._wrong_times) == WRONG_PER_MINUTE and (wait := self._wrong_times[0] + 60 - self._steady()) > 0:
            raise TooManyAttempts("too many wrong codes; wait a minute", retry_after=wait)

    def _is_right(self, code: str) -> bool:
        """Compares with the code that is valid now, and counts what is wrong."""
        expected = self._valid_code_hash()
        if expected is not None and hmac.compare_digest(_sha256(code).encode(), expected.encode()):
            return True
        self._wrong_times.append(self._steady())
        if expected is not None:
            before = self._wrong_for_code[1] if self._wrong_for_code[0] == expected else 0
            self._wrong_for_code = (expected, before + 1)
            if before + 1 >= WRONG_PER_CODE:
                self._code_file.unlink(missing_ok=True)
        return False

    def _valid_code_hash(self) -> str | None:
        try:
            stored = json.loads(self._code_file.read_bytes())
            digest, expires = str(stored["code_sha256"]), float(stored["expires"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError):
            log.warning("the file of the pairing code is not readable and is ignored")
            return None
        # A clock that was set back must not give a code a longer life.
        return digest if 0 < expires - self._clock() <= CODE_LIFETIME else None


def _client_of(stored: dict[str, Any]) -> Client:
    client = Client(**stored)
    texts = (client.id, client.name, "" if client.origin is None else client.origin, client.token_sha256)
    if not all(isinstance(text, str) for text in texts) or not isinstance(client.created, int | float):
        raise TypeError("a value of another type than ours")
    bytes.fromhex(client.token_sha256)
    return client


def _check_name(name: str) -> None:
    """Control characters would reach the terminal that lists clients."""
    if not 1 <= len(name) <= _NAME_LENGTH or not name.isprintable():
        raise BadRequest(f"name must be 1 to {_NAME_LENGTH} printable characters")


def _normalised(code: str) -> str:
    return code.upper().replace(" ", "").replace("-", "")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _write_private(path: Path, value: dict[str, Any]) -> None:
    """Writes JSON that only this user can read, all or nothing, even if the power fails."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
