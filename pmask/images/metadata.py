"""What a photo says beside its pixels, and what of it goes on to whoever gets the photo."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

CHOICES = ("no_location", "keep", "strip")
"""What may become of EXIF: all but the place, all, or nothing but the orientation, without which the photo would lie on
its side. XMP, IPTC, thumbnails and previews go in any case: each may show the face unmasked, or name it."""

ORIENTATION = 0x0112
_GPS, _EXIF = 0x8825, 0x8769
_MAKER_NOTE = 0x927C
_JPEG_START = b"\xff\xd8\xff"
_TIFF_WORDS = (0x010D, 0x010E, 0x010F, 0x0110, ORIENTATION, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298, _EXIF, _GPS)
"""What of a TIFF's own directory is said of the photo, from its title to its copyright. The rest describes the file, or
holds previews, XMP, IPTC and Photoshop's thumbnail."""
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, struct.error)


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """orientation: EXIF's, 1 to 8. located: EXIF says where the photo was taken. damaged: it cannot be written again,
    but for the orientation. exif: what of it goes on."""

    orientation: int
    located: bool
    damaged: bool
    exif: bytes | None = field(repr=False)


def read(image: Image.Image, choice: str) -> Metadata:
    """What an opened image says; to be asked before its pixels are read, when a TIFF forgets. choice: of CHOICES."""
    turn = orientation(image)
    try:
        located = bool(image.getexif().get_ifd(_GPS))
        exif = _exif(image, choice)
        damaged = False
    except _DAMAGE:
        located, damaged = False, True
        exif = _only_orientation(turn) if turn > 1 else None
    return Metadata(orientation=turn, located=located, damaged=damaged, exif=exif)


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where it is absent, wrong, or already applied (HEIF)."""
    if image.format == "PNG":
        image.load()  # its EXIF may stand behind its pixels; if those are broken, that is not the EXIF's damage
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except _DAMAGE:
        return 1
    return value if value in range(1, 9) else 1


def _exif(image: Image.Image, choice: str) -> bytes | None:
    """EXIF for the photo that goes out; None where there is nothing to say. Pillow does not write the thumbnail's
    directory."""
    kept = image.getexif()
    if choice == "strip":
        return _only_orientation(kept[ORIENTATION]) if ORIENTATION in kept else None
    notes: dict[int, Any] = kept.get_ifd(_EXIF)  # asked for first: a directory is found by its tag
    maker_note = notes.get(_MAKER_NOTE)
    if isinstance(maker_note, bytes) and _JPEG_START in maker_note:  # some cameras keep a preview there
        del notes[_MAKER_NOTE]
    unwanted = {_GPS} if choice == "no_location" else set()
    if image.format == "TIFF":
        unwanted |= set(kept) - set(_TIFF_WORDS)
    for tag in unwanted & set(kept):
        del kept[tag]
    return kept.tobytes() if kept else None


def _only_orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif.tobytes()
