"""A photo from its bytes, and bytes of the same kind from it; what is too large, broken or foreign is refused."""

from __future__ import annotations

import functools
import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pillow_heif
from PIL import Image, UnidentifiedImageError

from pmask.errors import BrokenImage, NotAnImage, TooManyBytes, TooManyPixels, UnsupportedImage
from pmask.images import formats, metadata
from pmask.images.pixels import MODES, RGB, Pixels, as_stored, turned

pillow_heif.register_heif_opener()

MAX_BYTES = 50 * 1024 * 1024
MAX_PIXELS = 100_000_000
"""A 100-megapixel photo is 300 MB of RGB; more would not fit beside the recognisers on a laptop. All frames of an
animation count."""
BLOCK = 16
"""Pixels. JPEG with halved colour works on squares of this side, each on its own."""
_DECODERS = tuple(kind for kind in formats.MEDIA_TYPES if kind != "MPO")
"""What Pillow is asked to try. MPO (several JPEGs in one file) is opened by its JPEG decoder."""
_CORRUPT = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    struct.error,
)
"""Pillow's decoders raise all of these on corrupt files: https://pillow.readthedocs.io/en/stable/handbook/security.html"""


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """What the header says. format is lowercase ("jpeg"); width and height are of the upright photo, in pixels."""

    format: str
    media_type: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A decoded photo. lossy: its encoding changes pixels. located: its file says where it was taken. warnings: what of
    it cannot be returned as it came, in words."""

    info: ImageInfo
    lossy: bool
    located: bool
    warnings: tuple[str, ...]
    pixels: Pixels = field(repr=False)
    way: formats.Way = field(repr=False)

    @property
    def rgb(self) -> RGB:
        """Pixels (height, width, 3), 0 to 255, upright."""
        return self.pixels.rgb

    @property
    def grey(self) -> bool:
        """Whether its file knows no colour."""
        return self.pixels.grey

    @property
    def colourless(self) -> bool:
        """Whether every pixel is grey and must stay so, as in a black-and-white photo in a file that knows colour."""
        red, green, blue = np.moveaxis(self.rgb, 2, 0)
        return self.grey or bool((red == green).all() and (green == blue).all())

    @property
    def left(self) -> tuple[str, ...]:
        """What is to be said of the file when it goes on as it came."""
        return ("its file still says where it was taken (GPS)",) if self.located else ()

    @functools.cached_property
    def encoder(self) -> formats.Way:
        """``way`` with the quality that the file was made with; some formats do not say it, and it is tried out."""
        return self.way.at_quality_of(self.pixels)


def inspect_image(data: bytes) -> ImageInfo:
    """What ``data`` is, from its header; a PNG is read whole, for its orientation may stand behind its pixels.

    Raises NotAnImage, TooManyBytes, TooManyPixels, UnsupportedImage or BrokenImage.
    """
    with _opened(data) as image:
        return _info(image)


def decode(data: bytes, choice: str = "no_location") -> Photo:
    """The whole photo. choice: what of its metadata ``encode`` writes again (pmask.images.metadata.CHOICES).

    Raises as inspect_image does; a truncated or corrupt file is a BrokenImage.
    """
    with _opened(data) as image:
        notes = list(formats.losses(image, data))
        deep = formats.is_deep_png(image)  # all that is asked first is gone once the pixels are read
        info, beside = _info(image), metadata.read(image, choice)
        image.load()
        if beside.located and choice != "keep":
            notes.append("the place where it was taken (GPS) was removed")
        stored = as_stored(image, beside.orientation) if image.format == "TIFF" else image  # Pillow turned it upright
        pixels = Pixels.of(stored, beside.orientation, formats.deep_pixels(data) if deep else None)
        way = formats.way_of(image, data, pixels, beside.exif, choice)
    return Photo(info=info, lossy=way.lossy, located=beside.located, warnings=tuple(notes), pixels=pixels, way=way)


def encode(photo: Photo, rgb: RGB) -> bytes:
    """``rgb`` (upright, the shape of ``photo.rgb``) in the photo's own format, orientation and colour profile.

    EXIF is kept as chosen, but for its thumbnail; XMP and secondary pictures are left out: each may hold the face
    unmasked.
    """
    if rgb.shape != photo.rgb.shape:
        raise ValueError(f"pixels of shape {rgb.shape} cannot stand for a photo of shape {photo.rgb.shape}")
    return photo.encoder.write(photo.pixels.stored(rgb))


def reencoded(photo: Photo, piece: RGB) -> RGB:
    """What the photo's own encoding makes of a piece of it.

    Blocks fall as in the whole photo when the piece starts a multiple of BLOCK pixels from the file's top left edges.
    """
    data = photo.encoder.write_piece(photo.pixels.piece(piece))
    with Image.open(io.BytesIO(data)) as again:
        return turned(np.array(again.convert("RGB")), photo.pixels.orientation)


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The image behind ``data``, checked for size and kind; whatever Pillow raises inside becomes one of our errors."""
    if len(data) > MAX_BYTES:
        raise TooManyBytes(f"the file has {len(data):,} bytes; at most {MAX_BYTES:,} are accepted")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata and of sizes that are checked below
        try:
            with Image.open(io.BytesIO(data), formats=_DECODERS) as image:
                _check(image)
                yield image
        except Image.DecompressionBombError as error:
            raise TooManyPixels(f"the image has more than {MAX_PIXELS:,} pixels") from error
        except UnidentifiedImageError as error:
            raise NotAnImage(f"not an image that PMask can read ({', '.join(_DECODERS)})") from error
        except _CORRUPT as error:
            raise BrokenImage(
                f"the image is truncated or corrupt ({error}); open and save it in a photo program"
            ) from error


def _check(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise TooManyPixels(f"the image has {width * height:,} pixels; at most {MAX_PIXELS:,} are accepted")
    if image.format == "GIF":
        raise UnsupportedImage("a GIF's 256 colours are too few to carry a mask; save the photo as PNG or JPEG")
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise UnsupportedImage(f"an animated {image.format} cannot be protected; save one frame as a photo")
    if image.mode not in MODES:
        raise UnsupportedImage(f"a {image.mode} {image.format} cannot be returned as it came; save the photo as RGB")


def _info(image: Image.Image) -> ImageInfo:
    kind = str(image.format)
    width, height = image.size
    if metadata.orientation(image) >= 5 and kind != "TIFF":  # EXIF 5 to 8 swap the sides; Pillow has done so for TIFF
        width, height = height, width
    name = "jpeg" if kind == "MPO" else kind.lower()
    return ImageInfo(format=name, media_type=formats.MEDIA_TYPES[kind], width=width, height=height)
