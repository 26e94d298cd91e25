"""Downloads large files so that a cut connection costs only what was lost, by range requests (RFC 9110, section 14)."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from pmask.errors import WeightsUnavailable

TIMEOUT_S = 60.0
"""Without a byte. The whole may take as long as it takes."""
ATTEMPTS = 3
"""In a row without a single new byte; as long as some come, it goes on."""
CHUNK = 1 << 18
LARGEST = 2 << 30
"""Bytes. A server that never stops sending must not fill the disk; the largest known archive has 361 MB."""

Meter = Callable[[str, int, int | None], None]
"""Hears the name of what is being downloaded, bytes so far, and bytes in all where the server says."""


def download(url: str, part: Path, meter: Meter = lambda name, done, total: None) -> None:
    """Brings ``part`` to the whole content of ``url``, going on from what it already holds of it.

    Beside it lies what the server called that version of the file (its ETag); when the file has changed there since, it
    is fetched anew. Nobody has checked the bytes yet. Raises WeightsUnavailable, and ``part`` stays for the next time.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    name, failures, problem = url.rsplit("/", 1)[-1], 0, ""
    while failures < ATTEMPTS:
        before = _size(part)
        try:
            if _more(url, part, lambda done, total: meter(name, done, total)):
                return
            problem = "the connection was cut"
        except urllib.error.HTTPError as error:
            error.close()
            problem = f"the server answered {error.code}"
            if error.code < 500:
                break
        except (OSError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        failures = 0 if _size(part) > before else failures + 1
    kept = f"; {_size(part):,} bytes are kept, and the next try goes on from there" if _size(part) else ""
    raise WeightsUnavailable(f"could not fetch {url} ({problem}); check the network and run it again{kept}")


def forget(part: Path) -> None:
    """Deletes what was downloaded."""
    part.unlink(missing_ok=True)
    _version(part).unlink(missing_ok=True)


def _more(url: str, part: Path, meter: Callable[[int, int | None], None]) -> bool:
    """One request for what ``part`` lacks, written to it as it comes. Whether it is whole."""
    done = _size(part)
    try:
        answer = urllib.request.urlopen(_request(url, part, done), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        if error.headers.get("Content-Range") == f"bytes */{done}":
            return True
        forget(part)  # it holds more than there is: of another file
        return False
    with answer:
        resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT and _first(answer) == done
        done = done if resumed else 0
        _version(part).write_text(answer.headers.get("ETag", ""), encoding="utf-8")
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with part.open("ab" if resumed else "wb") as target:
            meter(done, total)
            while chunk := answer.read1(CHUNK):
                done += len(chunk)
                if done > LARGEST:
                    raise WeightsUnavailable(f"{url} sent more than {LARGEST:,} bytes; it is no file of weights")
                target.write(chunk)
                meter(done, total)
    return total is None or done == total


def _request(url: str, part: Path, done: int) -> urllib.request.Request:
    headers = {"User-Agent": "pmask", "Accept-Encoding": "identity"}
    version = _version(part).read_text(encoding="utf-8") if _version(part).is_file() else ""
    if done and version and not version.startswith("W/"):  # without a strong name the parts may be of two versions
        headers |= {"Range": f"bytes={done}-", "If-Range": version}
    return urllib.request.Request(url, headers=headers)


def _first(answer: http.client.HTTPResponse) -> int:
    """The first byte of a partial answer: Content-Range is "bytes FIRST-LAST/TOTAL"."""
    span = answer.headers.get("Content-Range", "")
    first = span.removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else -1


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _version(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")
