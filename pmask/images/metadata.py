"""What a photo says beside its pixels, and what of it goes on to whoever gets the photo."""

from __future__ import annotations

import re
import struct
from collections.abc import MutableMapping, Set
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

CHOICES = ("no_location", "keep", "strip")
"""What may become of EXIF: all but the place, all, or nothing but the orientation, without which the photo would lie on
its side. XMP, IPTC, thumbnails and previews go in any case: each may show the face unmasked, or name it."""

ORIENTATION = 0x0112
_GPS, _EXIF, _MAKER_NOTE = 0x8825, 0x8769, 0x927C
_MOST_IN_JPEG = 65_533
"""Bytes of EXIF, which is written into one segment, though it may come in several."""
_PICTURE = re.compile(
    rb"\xff\xd8\xff|\xd8\xff[\xc0\xc4\xdb\xe0][\0\1]|\x89PNG|GIF8[79]a|RIFF....WEBP|\0\0..ftyp|\xff\x4f\xff\x51"
    rb"|/9j/4|iVBORw0KGgo|R0lGOD[dl]h|UklGR|data:image",
    re.DOTALL,
)
"""How pictures start, also in base64. Some cameras' previews want a JPEG's first byte: after it, a segment's marker and
short length."""
_LONGEST = 4096
"""Values of one tag or bytes of a text. Words are shorter, and so are most phones' notes; pixels without a signature by
which a face can be known are hardly."""
_WORDS = {0x010D, 0x010E, 0x010F, 0x0110, ORIENTATION, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298, _EXIF, _GPS}
"""What of the main directory is said of the photo, from its title to its copyright. The rest describes the file, or
holds previews, XMP, IPTC and Photoshop's thumbnail."""
_LOOKS = {
    *(0x000B, 0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x0115, 0x011A, 0x011B, 0x011C, 0x0128, 0x012D, 0x013E, 0x013F),
    *(0x0211, 0x0212, 0x0213, 0x0214, 0x4746, 0x4749, *range(0x9C9B, 0x9CA0), 0xC4A5),
}
"""What other files than TIFFs, which say it by themselves, have there too: sides, depth, resolution, colours, printing,
stars and Windows' words."""
_TAKEN = {
    *(0x829A, 0x829D, 0x8822, 0x8824, 0x8827, *range(0x8830, 0x8836), 0x9000, 0x9003, 0x9004, *range(0x9010, 0x9013)),
    *(0x9101, 0x9102, *range(0x9201, 0x920B), 0x9214, _MAKER_NOTE, 0x9286, *range(0x9290, 0x9293)),
    *(*range(0x9400, 0x9406), *range(0xA000, 0xA006), 0xA20B, 0xA20E, 0xA20F, 0xA210, 0xA214, 0xA215, 0xA217),
    *(*range(0xA300, 0xA303), *range(0xA401, 0xA40B), 0xA40C, 0xA420, *range(0xA430, 0xA43D), *range(0xA460, 0xA463)),
    0xA500,
}
"""Of the directory on how a photo was taken (CIPA DC-008, section 4.6.6): exposure, dates, lens, serial numbers, the
maker's notes, a comment. What else stands there, such as padding, may hold anything."""
_OF_PLACE = set(range(0x20))
_INTEROP, _OF_INTEROP = 0xA005, {1, 2, 0x1000, 0x1001, 0x1002}
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, struct.error)


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """orientation: EXIF's, 1 to 8. located: EXIF says where the photo was taken. damaged: it cannot be written again,
    but for the orientation. too_long: nor does it fit into a JPEG. exif: what of it goes on."""

    orientation: int
    located: bool
    damaged: bool
    too_long: bool
    exif: bytes | None = field(repr=False)


def read(image: Image.Image, choice: str) -> Metadata:
    """What an opened image says; to be asked before its pixels are read, when a TIFF forgets. choice: of CHOICES."""
    turn = orientation(image)
    located = damaged = too_long = False
    try:
        located = bool(image.getexif().get_ifd(_GPS))
        exif = _exif(image, choice)
        if image.format == "JPEG" and len(exif or b"") > _MOST_IN_JPEG:
            too_long, exif = True, _only_orientation(turn)
    except _DAMAGE:
        located, damaged = False, True
        exif = _only_orientation(turn) if turn > 1 else None
    return Metadata(orientation=turn, located=located, damaged=damaged, too_long=too_long, exif=exif)


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
    for directory, known in ((_EXIF, _TAKEN), (_INTEROP, _OF_INTEROP), (_GPS, _OF_PLACE)):
        _keep_words(kept.get_ifd(directory), known)  # before anything is deleted: a directory is found by its tag
    wanted = _WORDS if image.format == "TIFF" else _WORDS | _LOOKS
    _keep_words(kept, wanted - {_GPS} if choice == "no_location" else wanted)
    return kept.tobytes() if kept else None


def _keep_words(tags: MutableMapping[int, Any], known: Set[int]) -> None:
    """Deletes what is not known, and what may hold a picture: it shows the face unmasked."""
    for tag in [tag for tag, value in tags.items() if tag not in known or not may_go_on(value)]:
        del tags[tag]


def may_go_on(value: object) -> bool:
    """Whether a tag's value, or a text, is too short for a picture without a signature, and holds none with one."""
    content = value.encode("latin-1", "replace") if isinstance(value, str) else value
    if isinstance(content, bytes | tuple | list) and len(content) > _LONGEST:
        return False
    return not (isinstance(content, bytes) and _PICTURE.search(content))


def _only_orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif.tobytes()
