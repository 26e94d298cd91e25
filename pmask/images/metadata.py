"""What a photo says beside its pixels, and what of it goes on to whoever gets the photo."""

from __future__ import annotations

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
_PICTURES = (0x014A, 0x02BC, 0x83BB, 0x8649)
"""SubIFDs (previews), XMP, IPTC and Photoshop's resources (a thumbnail), in TIFF's own directory."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """orientation: EXIF's, 1 to 8. located: EXIF says where the photo was taken. exif: what of it goes on."""

    orientation: int
    located: bool
    exif: bytes | None = field(repr=False)


def read(image: Image.Image, choice: str) -> Metadata:
    """What an opened image says; to be asked before its pixels are read, when a TIFF forgets. choice: of CHOICES."""
    located = bool(image.getexif().get_ifd(_GPS))
    return Metadata(orientation=orientation(image), located=located, exif=_exif(image.getexif(), choice))


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where it is absent, wrong, or already applied (HEIF)."""
    value = image.getexif().get(ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _exif(exif: Image.Exif, choice: str) -> bytes | None:
    """EXIF for the photo that goes out; None where there is nothing to say. Pillow does not write the thumbnail's
    directory."""
    kept = Image.Exif()
    if choice == "strip":
        if ORIENTATION in exif:
            kept[ORIENTATION] = exif[ORIENTATION]
    else:
        kept = exif
        if choice == "no_location" and _GPS in kept:
            del kept[_GPS]
        for tag in _PICTURES:
            if tag in kept:
                del kept[tag]
        notes: dict[int, Any] = kept.get_ifd(_EXIF)
        maker_note = notes.get(_MAKER_NOTE)
        if isinstance(maker_note, bytes) and _JPEG_START in maker_note:  # some cameras keep a preview there
            del notes[_MAKER_NOTE]
    return kept.tobytes() if kept else None
