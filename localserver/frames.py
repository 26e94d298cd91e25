"""The frames in which the daemon and its worker talk over a pipe: two lengths, a JSON header, a binary body."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any, BinaryIO, NamedTuple

_LENGTHS = struct.Struct(">IQ")  # of the header and of the body, in bytes
_MAX_HEADER = 16 * 1024 * 1024
_MAX_BODY = 1024 * 1024 * 1024
"""No photo comes near: a length beyond these means that the stream is corrupt."""


class Frame(NamedTuple):
    """One message. The header is a JSON object; the body is a photo's bytes or empty."""

    header: dict[str, Any]
    body: bytes


class CorruptStream(Exception):
    """What arrived is not a frame."""


def pack(header: dict[str, Any], body: bytes = b"") -> tuple[bytes, bytes]:
    """The two parts of a frame, to be written one after the other; apart, so that a photo is not copied."""
    text = json.dumps(header, allow_nan=False).encode()
    return _LENGTHS.pack(len(text), len(body)) + text, body


def read_frame(stream: BinaryIO) -> Frame | None:
    """The next frame of a blocking, buffered stream; None at its end, even in the middle of a frame."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    header_size, body_size = _sizes(lengths)
    header, body = stream.read(header_size), stream.read(body_size)
    return Frame(_parse(header), body) if len(header) + len(body) == header_size + body_size else None


async def receive_frame(reader: asyncio.StreamReader) -> Frame:
    """The next frame. Raises asyncio.IncompleteReadError at the stream's end, CorruptStream on what is no frame."""
    header_size, body_size = _sizes(await reader.readexactly(_LENGTHS.size))
    header = _parse(await reader.readexactly(header_size))
    return Frame(header, await reader.readexactly(body_size))


def _sizes(lengths: bytes) -> tuple[int, int]:
    header_size, body_size = _LENGTHS.unpack(lengths)
    if header_size > _MAX_HEADER or body_size > _MAX_BODY:
        raise CorruptStream(f"lengths {header_size} and {body_size}")
    return header_size, body_size


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except ValueError as error:
        raise CorruptStream("the header is not JSON") from error
    if not isinstance(header, dict):
        raise CorruptStream("the header is not an object")
    return header
