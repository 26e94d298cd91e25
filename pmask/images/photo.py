"""A photo from its bytes, and bytes of the same kind from it; what is too large, broken or foreign is refused."""

from __future__ import annotations

import functools
import io
import re
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pillow_heif
from PIL import Image, UnidentifiedImageError

from pmask.errors import BrokenImage, NotAnImage, PMaskError, TooManyBytes, TooManyPixels, UnsupportedImage
from pmask.images import formats, metadata
from pmask.images.pixels import MODES, RGB, Pixels, as_stored, turned

pillow_heif.register_heif_opener()

MAX_BYTES = 50 * 1024 * 1024
MAX_PIXELS = 100_000_000
"""A 100-megapixel photo is 300 MB of RGB; more would not fit beside the recognisers on a laptop. All frames of an
animation count."""
MAX_FRAMES = 300
"""Ten seconds of most animations; each frame is looked through for faces."""
BLOCK = 16
"""Pixels. JPEG with halved colour works on squares of this side, each on its own."""
CODEC_CHROMA = 2
"""Levels between a pixel's channels that a lossy encoding may leave of a photo without colour."""
_DECODERS = tuple(kind for kind in formats.MEDIA_TYPES if kind != "MPO")
"""What Pillow is asked to try. MPO (several JPEGs in one file) is opened by its JPEG decoder."""
_MP_ENTRIES = 0xB002
_MAP = re.compile(
    rb"urn:iso:std:iso:ts:21496|ns\.adobe\.com/hdr-gain-map|ns\.apple\.com/HDRGainMap|apple:photo:2020:aux|/photos/1\.0/depthmap"
)
"""How an MPO's picture says that it is a gain or depth map (ISO 21496-1, Ultra HDR, Apple, Google). It may be as large
as the photo, and the face in it so dim that none is found."""
_CORRUPT = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    RuntimeError,
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
    it cannot be returned as it came, in words. more: the other frames of an animation, pages of a TIFF or views of an
    MPO, each a photo that has no file of its own. number: which of its file's frames, pages or views it is, as browsers
    count them: from 0, and an APNG's picture beside its film is -1."""

    info: ImageInfo
    lossy: bool
    located: bool
    warnings: tuple[str, ...]
    pixels: Pixels = field(repr=False)
    way: formats.Way = field(repr=False)
    more: tuple[Photo, ...] = field(default=(), repr=False)
    number: int = 0

    @property
    def rgb(self) -> RGB:
        """Pixels (height, width, 3), 0 to 255, upright."""
        return self.pixels.rgb

    @property
    def frames(self) -> list[RGB]:
        """The pixels of the photo, and of the other frames, pages or views of its file."""
        return [self.rgb, *(frame.rgb for frame in self.more)]

    @property
    def grey(self) -> bool:
        """Whether its file knows no colour."""
        return self.pixels.grey

    @property
    def colourless(self) -> bool:
        """Whether every pixel is grey and must stay so, as in a black-and-white photo in a file that knows colour."""
        if self.grey:
            return True
        red, green, blue = np.moveaxis(self.rgb, 2, 0)  # ten times as quick as np.ptp along the last axis
        most, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
        return int((most - least).max()) <= CODEC_CHROMA

    @property
    def left(self) -> tuple[str, ...]:
        """What is to be said of the file when it goes on as it came."""
        return ("its file still says where it was taken (GPS)",) if self.located else ()

    @functools.cached_property
    def encoder(self) -> formats.Way:
        """``way`` with the quality that the file was made with; some formats do not say it, and it is tried out."""
        return self.way.at_quality_of([self.pixels, *(frame.pixels for frame in self.more)])


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
        if image.format == "MPO":
            return _decode_mpo(image, data, choice)
        notes = list(formats.losses(image, data))
        deep = formats.is_deep_png(image)  # all that is asked first is gone once the pixels are read
        info, beside = _info(image), metadata.read(image, choice)
        image.load()
        if beside.located and choice != "keep":
            notes.append("the place where it was taken (GPS) was removed")
        if beside.damaged:
            notes.append("its damaged EXIF was left out")
        if beside.too_long:
            notes.append("its EXIF, which is longer than a JPEG's may be, was left out")
        stored = as_stored(image, beside.orientation) if image.format == "TIFF" else image  # Pillow turned it upright
        pixels = Pixels.of(stored, beside.orientation, formats.deep_pixels(data) if deep else None)
        if pixels.rgb.shape[:2] != (info.height, info.width):
            raise ValueError(f"its header says {info.width} x {info.height}, its pixels are {pixels.rgb.shape[1::-1]}")
        way = formats.way_of(image, data, pixels, beside.exif, choice)
        photo = Photo(info=info, lossy=way.lossy, located=beside.located, warnings=tuple(notes), pixels=pixels, way=way)
        return _with_frames(photo, image) if formats.frames(image) > 1 else photo


def _with_frames(photo: Photo, image: Image.Image) -> Photo:
    """``photo`` with the other frames or pages of its file, and how long each is shown. A frame that looks like the one
    before lengthens that: encoders write none twice, and it needs no mask of its own."""
    frames, durations = [photo], [image.info.get("duration", 0)]
    alone = bool(image.info.get("default_image"))  # an APNG's picture for who cannot play it is no part of the film
    for number in range(1, formats.frames(image)):
        image.seek(number)
        pixels, duration = _later(image, photo), image.info.get("duration", 0)
        if image.format != "TIFF" and number > alone and pixels.looks_like(frames[-1].pixels):
            durations[-1] += duration
            continue
        durations.append(duration)
        info = replace(photo.info, width=pixels.rgb.shape[1], height=pixels.rgb.shape[0])
        frames.append(replace(photo, pixels=pixels, warnings=(), info=info, number=number - alone))
    options = photo.way.options | {"duration": durations[alone:]} | ({"default_image": True} if alone else {})
    if image.format == "GIF" and any((frame.pixels.opacity == 0).any() for frame in frames):
        options["disposal"] = formats.CLEARED  # or each frame would be seen through the next one's holes
    notes = photo.warnings
    if any(frame.pixels.reduced for frame in frames):
        notes += ("frames of more than 256 colours were reduced to as many",)
    way = replace(photo.way, options=options)
    return replace(photo, more=tuple(frames[1:]), warnings=notes, way=way, number=-int(alone))


def _later(image: Image.Image, photo: Photo) -> Pixels:
    """The frame or page of ``photo`` to which its file was wound on. All lie in a file as the first does, for one
    orientation is written."""
    turn = photo.pixels.orientation
    image.load()
    if image.format == "TIFF":
        _check(image)
        return Pixels.of(as_stored(image, turn), turn)
    return Pixels.drawn(image) if image.format == "GIF" else Pixels.of(image, turn)


def _decode_mpo(image: Image.Image, data: bytes, choice: str) -> Photo:
    """The first photo of an MPO with its other views. The rest are previews, depth or gain maps, or were cut off by a
    program that knew nothing of them; others that knew as little made the first longer than the index says.

    CIPA DC-007, https://www.cipa.jp/std/documents/e/DC-X007-KEY_E.pdf
    """
    base = data.index(b"MPF\0") + 4  # from where offsets count
    entries = image.mpinfo[_MP_ENTRIES]  # type: ignore[attr-defined]
    starts = [entry["DataOffset"] + base if entry["DataOffset"] else 0 for entry in entries]
    files = [data[start : start + entry["Size"]] for start, entry in zip(starts, entries, strict=True)]
    end = max(start + entry["Size"] for start, entry in zip(starts, entries, strict=True))
    alone = data[: formats.end_of_jpeg(data)].replace(b"MPF\0", b"none", 1)  # no longer several photos in one
    first = decode(alone, choice)
    views = [
        replace(view, number=number)
        for number, (file, entry) in enumerate(zip(files[1:], entries[1:], strict=True), 1)
        if (view := _view(file, entry["Attribute"]["MPType"], first, choice)) is not None
    ]
    notes = (*first.warnings, *formats.following(data, end))
    if 1 + len(views) < len(files):
        notes += ("the file's secondary pictures (depth or HDR gain map) were left out",)
    return replace(first, more=tuple(views), warnings=notes)


def _view(file: bytes, kind: str, first: Photo, choice: str) -> Photo | None:
    """A secondary picture of an MPO, where it is one that shows what the first does. kind: Pillow's word for it; many
    programs leave that undefined, of views and of maps."""
    if not kind.startswith(("Multi-Frame", "Undefined")) or _MAP.search(file):
        return None
    try:
        photo = decode(file, choice)
    except PMaskError:
        return None
    return photo if photo.rgb.shape == first.rgb.shape and photo.grey == first.grey else None


def encode(photo: Photo, rgb: RGB, more: Sequence[RGB] = ()) -> bytes:
    """``rgb`` (upright, the shape of ``photo.rgb``) in the photo's own format, orientation and colour profile.

    more: the other frames, as many as ``photo.more``, each of its shape. Raises UnsupportedImage where the format's own
    encoder fails.

    EXIF is kept as chosen, but for its thumbnail; XMP and secondary pictures are left out: each may hold the face
    unmasked.
    """
    shapes, expected = [[frame.shape for frame in some] for some in ((rgb, *more), photo.frames)]
    if shapes != expected:
        raise ValueError(f"pixels of shape {shapes} cannot stand for a photo of shape {expected}")
    try:
        if photo.more and photo.info.format == "jpeg":
            views = zip((photo, *photo.more), (rgb, *more), strict=True)
            return formats.mpo([view.encoder.write(view.pixels.stored(pixels)) for view, pixels in views])
        rest = [frame.pixels.stored(pixels) for frame, pixels in zip(photo.more, more, strict=True)]
        return photo.encoder.write(photo.pixels.stored(rgb), rest)
    except _CORRUPT as error:
        raise UnsupportedImage(
            f"the {photo.info.format} could not be written again ({error}); save the photo as PNG or JPEG"
        ) from error


def reencoded(photo: Photo, piece: RGB) -> RGB:
    """What the photo's own encoding makes of a piece of it.

    Blocks fall as in the whole photo when the piece starts a multiple of BLOCK pixels from the file's top left edges.
    """
    if (palette := photo.pixels.palette) is not None:
        return palette.colours[palette.nearest(piece)]
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
    count = formats.frames(image)
    if count > 1 and image.format not in formats.ANIMATED | {"MPO"}:
        raise UnsupportedImage(f"an animated {image.format} cannot be protected; save one frame as a photo")
    if count > MAX_FRAMES or count * width * height > MAX_PIXELS:
        raise TooManyPixels(
            f"the {count} frames have {count * width * height:,} pixels; at most {MAX_FRAMES} frames and "
            f"{MAX_PIXELS:,} pixels are accepted; make the animation shorter or smaller"
        )
    if image.mode not in MODES:
        raise UnsupportedImage(f"a {image.mode} {image.format} cannot be returned as it came; save the photo as RGB")


def _info(image: Image.Image) -> ImageInfo:
    kind = str(image.format)
    width, height = image.size
    if metadata.orientation(image) >= 5 and kind != "TIFF":  # EXIF 5 to 8 swap the sides; Pillow has done so for TIFF
        width, height = height, width
    name = "jpeg" if kind == "MPO" else kind.lower()
    return ImageInfo(format=name, media_type=formats.MEDIA_TYPES[kind], width=width, height=height)
