"""What a photo says beside its pixels, and what of it goes on to whoever gets the photo."""

from __future__ import annotations

import re
import struct
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

CHOICES = ("no_location", "keep", "strip")
"""What may become of EXIF: all but the place, all, or nothing but the orientation, without which the photo would lie on
its side. XMP, IPTC, thumbnails and previews go in any case: each may show the face unmasked, or name it."""

ORIENTATION = 0x0112
_GPS, _EXIF, _MAKER_NOTE = 0x8825, 0x8769, 0x927C
_MOST_IN_JPEG = 65_533
"""Bytes of EXIF, which stands in one segment. Written anew it may take some more than it did."""
_JPEG = re.compile(rb"\xff\xd8\xff|\xd8\xff[\xc0\xc4\xdb\xe0][\0\1]", re.DOTALL)
"""How a picture starts. Some cameras' previews want their first byte: after it, a segment's marker and short length."""
_WORDS = {0x010D, 0x010E, 0x010F, 0x0110, ORIENTATION, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298, _EXIF, _GPS}
"""What of the main directory is said of the photo, from its title to its copyright. The rest describes the file, or
holds previews, XMP, IPTC and Photoshop's thumbnail."""
_LOOKS = {
    *(0x000B, 0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x0115, 0x011A, 0x011B, 0x011C, 0x0128, 0x012D, 0x013E, 0x013F),
    *(0x0211, 0x0212, 0x0213, 0x0214, 0x4746, 0x4749, *range(0x9C9B, 0x9CA0), 0xC4A5, 0xEA1C),
}
"""What other files than TIFFs, which say it by themselves, have there too: sides, depth, resolution, colours, printing,
stars, Windows' words and padding."""
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, struct.error)


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """orientation: EXIF's, 1 to 8. located: EXIF says where the photo was taken. damaged: it cannot be written again,
    but for the orientation. shortened: it would have been too long without the loss of the maker's notes. exif: what of
    it goes on."""

    orientation: int
    located: bool
    damaged: bool
    shortened: bool
    exif: bytes | None = field(repr=False)


def read(image: Image.Image, choice: str) -> Metadata:
    """What an opened image says; to be asked before its pixels are read, when a TIFF forgets. choice: of CHOICES."""
    turn = orientation(image)
    located = damaged = shortened = False
    try:
        located = bool(image.getexif().get_ifd(_GPS))
        exif = _exif(image, choice)
        if image.format == "JPEG" and len(exif or b"") > _MOST_IN_JPEG:
            shortened = image.getexif().get_ifd(_EXIF).pop(_MAKER_NOTE, None) is not None
            exif = _exif(image, choice)
    except _DAMAGE:
        located, damaged = False, True
        exif = _only_orientation(turn) if turn > 1 else None
    return Metadata(orientation=turn, located=located, damaged=damaged, shortened=shortened, exif=exif)


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where it is absent, wrong, or already applied (HEIF)."""
    if image.format == "PNG":
        image.load()  # its EXIF may stand behind its pixels; if those are broken, that is not the EXIF's damage
    try:
        _heed_exif_alone(image)
        value = image.getexif().get(ORIENTATION, 1)
    except _DAMAGE:
        return 1
    return value if value in range(1, 9) else 1


def _heed_exif_alone(image: Image.Image) -> None:
    """Where EXIF has no orientation, Pillow takes that of XMP. Browsers do not: they would show the photo as it is
    stored, and turned once it came back with that in EXIF."""
    words: tuple[tuple[str, Any], ...] = (("xmp", b"tiff:Orientation"), ("XML:com.adobe.xmp", "tiff:Orientation"))
    for key, word in words:
        if word in image.info.get(key, word[:0]):
            image.info[key] = image.info[key].replace(word, word.lower())  # as long as before, which is counted
            image._exif = None  # it may have been read already


def _exif(image: Image.Image, choice: str) -> bytes | None:
    """EXIF for the photo that goes out; None where there is nothing to say. Pillow does not write the thumbnail's
    directory."""
    kept = image.getexif()
    if choice == "strip":
        return _only_orientation(kept[ORIENTATION]) if ORIENTATION in kept else None
    for directory in (_EXIF, _GPS):  # asked for before anything is deleted: a directory is found by its tag
        _drop_pictures(kept.get_ifd(directory))
    wanted = _WORDS if image.format == "TIFF" else _WORDS | _LOOKS
    if choice == "no_location":
        wanted = wanted - {_GPS}
    for tag in set(kept) - wanted:
        del kept[tag]
    _drop_pictures(kept)
    return kept.tobytes() if kept else None


def _drop_pictures(tags: MutableMapping[int, Any]) -> None:
    """Deletes what holds a picture, such as the preview in a camera maker's notes: it shows the face unmasked."""
    for tag, value in list(tags.items()):
        content = value.encode("latin-1", "replace") if isinstance(value, str) else value
        if isinstance(content, bytes) and _JPEG.search(content):
            del tags[tag]


def _only_orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif.tobytes()
