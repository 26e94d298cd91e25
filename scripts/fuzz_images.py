"""Feeds damaged image files to pmask.images and keeps those that it does not survive.

    .venv/bin/python scripts/fuzz_images.py --minutes 20 --finds finds/ [PHOTO...]

What must hold for any bytes: they are refused with one of PMask's own errors, or they decode, encode and decode again
to a photo of the same kind and size; within a minute and 4 GB. Small files of every format are made as seeds; PHOTO
adds others. A process of its own does the work, so that a decoder's crash is a find and not the end.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import multiprocessing
import random
import resource
import signal
import struct
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from PIL import Image

from pmask.errors import PMaskError
from pmask.images import decode, encode, inspect_image

CASE_SECONDS = 60
MEMORY = 4 << 30
CASES_A_PROCESS = 2000
"""Then a fresh one goes on, so that what leaks is not taken for a find."""
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def seeds() -> Iterator[bytes]:
    """Small files of every format and mode."""
    small = Image.fromarray(skimage.data.astronaut()[:160, 140:300]).resize((48, 40))
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a maker", 6
    exif.get_ifd(0x8825)[1] = "N"
    said = {"exif": exif.tobytes(), "icc_profile": b"profile" * 9}
    kinds: list[tuple[str, str, Any]] = [
        ("RGB", "JPEG", said),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0, "comment": b"words"}),
        ("L", "JPEG", {}),
        ("CMYK", "JPEG", {}),
        ("RGB", "PNG", said),
        ("RGBA", "PNG", {}),
        ("LA", "PNG", {}),
        ("P", "PNG", {"transparency": 3}),
        ("1", "PNG", {}),
        ("I;16", "PNG", {}),
        ("RGB", "PNG", {"transparency": (1, 2, 3)}),
        ("RGB", "WEBP", said),
        ("RGBA", "WEBP", {"lossless": True}),
        ("P", "GIF", {}),
        ("RGB", "TIFF", {"exif": exif.tobytes()}),
        ("RGB", "TIFF", {"compression": "tiff_lzw"}),
        ("RGB", "TIFF", {"compression": "jpeg"}),
        ("CMYK", "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("L", "BMP", {}),
        ("RGB", "BMP", {}),
        ("P", "BMP", {}),
        ("RGB", "AVIF", said),
        ("RGB", "HEIF", {}),
        ("RGBA", "HEIF", {}),
    ]
    for mode, kind, options in kinds:
        out = io.BytesIO()
        if mode == "I;16":
            picture = Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 257)
        else:
            picture = small.convert(mode)
        picture.save(out, kind, **options)
        yield out.getvalue()
    for kind in ("PNG", "WEBP", "GIF", "TIFF", "MPO", "AVIF"):
        out = io.BytesIO()
        small.save(out, kind, save_all=True, append_images=[small.rotate(9), small.rotate(90)])
        yield out.getvalue()


def damaged(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """``data`` with a few of the things that go wrong with files, or that people do to them."""
    result = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        place = chance.randrange(len(result) or 1)
        # what decides most is at the start
        place = min(place, chance.choice((64, 400))) if chance.random() < 0.5 else place
        length = chance.choice((1, 2, 4, 8, 60, 500))
        _CHANGES[chance.randrange(len(_CHANGES))](result, place, length, others, chance)
    mended = bytes(result)
    return _with_checksums(mended) if chance.random() < 0.7 else mended


Change = Callable[[bytearray, int, int, list[bytes], random.Random], None]


def _flip(data: bytearray, place: int, length: int, others: list[bytes], chance: random.Random) -> None:
    if place < len(data):
        data[place] ^= 1 << chance.randrange(8)


def _noise(data: bytearray, place: int, length: int, others: list[bytes], chance: random.Random) -> None:
    data[place : place + length] = chance.randbytes(length)


def _extreme(data: bytearray, place: int, length: int, others: list[bytes], chance: random.Random) -> None:
    number, pattern = chance.choice(_EXTREMES), chance.choice((">I", "<I", ">H", "<H", "B"))
    size = struct.calcsize(pattern)
    data[place : place + size] = struct.pack(pattern, number & (1 << 8 * size) - 1)


def _cut(data: bytearray, place: int, length: int, others: list[bytes], chance: random.Random) -> None:
    del data[place : place + length]


def _end(data: bytearray, place: int, length: int, others: list[bytes], chance: random.Random) -> None:
    del data[place:]


def _repeat(data: bytearray, place: int, length: int, others: list[bytes], chance: random.Random) -> None:
    data[place:place] = data[place : place + length] * chance.choice((1, 2, 50))


def _borrow(data: bytearray, place: int, length: int, others: list[bytes], chance: random.Random) -> None:
    other = chance.choice(others)
    start = chance.randrange(len(other))
    data[place : place + length] = other[start : start + length]


_CHANGES: tuple[Change, ...] = (_flip, _flip, _noise, _extreme, _extreme, _cut, _end, _repeat, _borrow)


def _with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks' checksums are right again, without which nothing behind them is looked at."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    result, place = bytearray(data), 8
    while place + 12 <= len(result):
        (length,) = struct.unpack_from(">I", result, place)
        end = place + 8 + length
        if end + 4 > len(result):
            break
        struct.pack_into(">I", result, end, zlib.crc32(result[place + 4 : end]))
        place = end + 4
    return bytes(result)


def survive(data: bytes) -> str:
    """What became of the bytes: an error's code, or "whole". Raises anything else when it should not have."""
    try:
        info = inspect_image(data)
        photo = decode(data)
    except PMaskError as error:
        if not 400 <= error.status < 500:
            raise AssertionError(f"{error.code} blames PMask for a bad file") from error
        return error.code
    again = decode(encode(photo, photo.rgb, [frame.rgb for frame in photo.more]))
    if not info == photo.info == again.info:
        raise AssertionError(f"{info} became {photo.info} and {again.info}")
    return "whole"


def work(seed: int, files: list[bytes], until: float, case: Path, finds: Path) -> None:
    """Cases from ``seed`` on; what goes wrong is written to ``finds``, and each case to ``case`` before it is tried."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError(f"more than {CASE_SECONDS} s")))
    counts: dict[str, int] = {}
    for number in range(seed, seed + CASES_A_PROCESS):
        if time.time() > until:
            break
        chance = random.Random(number)
        data = damaged(chance.choice(files), files, chance)
        case.write_bytes(data)
        signal.alarm(CASE_SECONDS)
        try:
            outcome = survive(data)
        except BaseException as error:
            outcome = f"FOUND {type(error).__name__}"
            keep(finds, data, traceback.format_exc())
        finally:
            signal.alarm(0)
        counts[outcome] = counts.get(outcome, 0) + 1
    print(f"from {seed}: {counts}", flush=True)


def keep(finds: Path, data: bytes, words: str) -> None:
    """One find, with what was raised; named by its last line so that one cause does not fill the disk."""
    name = hashlib.sha256(words.splitlines()[-1][:80].encode()).hexdigest()[:12]
    finds.mkdir(parents=True, exist_ok=True)
    if not (finds / name).exists():
        (finds / name).write_bytes(data)
        (finds / f"{name}.txt").write_text(words)
        print(f"{finds / name}: {words.splitlines()[-1]}", flush=True)


def main() -> None:
    """Works until the time is over, in one process after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--finds", type=Path, default=Path("finds"))
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO")
    options = parser.parse_args()
    files = [*seeds(), *(path.read_bytes() for path in options.photos)]
    until, seed = time.time() + 60 * options.minutes, options.seed
    with tempfile.TemporaryDirectory() as folder:
        case = Path(folder) / "case"
        while time.time() < until:
            process = multiprocessing.Process(target=work, args=(seed, files, until, case, options.finds))
            process.start()
            process.join()
            if process.exitcode:
                keep(options.finds, case.read_bytes(), f"the process died with {process.exitcode} from {seed} on")
            seed += CASES_A_PROCESS


if __name__ == "__main__":
    main()
