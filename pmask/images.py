"""Image bytes to upright RGB pixels, and back to bytes of the same kind.

Imports Pillow and numpy only, so that the daemon can look at an upload before torch is loaded.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import Image, ImageOps, JpegImagePlugin, UnidentifiedImageError

from pmask.errors import BrokenImage, NotAnImage, TooManyBytes, TooManyPixels, UnsupportedImage

pillow_heif.register_heif_opener()

MAX_BYTES = 50 * 1024 * 1024
MAX_PIXELS = 100_000_000
"""A 100-megapixel photo is 300 MB of RGB; more would not fit beside the recognisers on a laptop."""

RGB = npt.NDArray[np.uint8]
"""Pixels of shape (height, width, 3), 0 to 255, upright (EXIF orientation applied)."""

_MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "AVIF": "image/avif",
    "HEIF": "image/heic",
    "GIF": "image/gif",
}
_WEBP_HEADER = 4096
"""A WebP file's pixels are in a chunk called VP8L when lossless; it comes early, but after a colour profile:
https://developers.google.com/speed/webp/docs/riff_container"""
_DECODERS = tuple(kind for kind in _MEDIA_TYPES if kind != "MPO")
"""What Pillow is asked to try. MPO (several JPEGs in one file) is opened by its JPEG decoder."""
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_INVERSE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
_METADATA = frozenset({"exif", "icc_profile", "dpi"})
BLOCK = 16
"""Pixels. JPEG with halved colour works on squares of this side, each on its own."""
_GREY_MODES = frozenset({"1", "L", "LA", "I;16", "I;16B", "I;16L"})
_COLOUR_MODES = frozenset({"RGB", "RGBA", "RGBX", "P", "PA"})
_LOSSY_QUALITY = 92
"""For WebP, AVIF and HEIC, whose files do not say how they were made: high enough not to wash a mask out."""


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """What the header says. format is lowercase ("jpeg"); width and height are of the upright photo, in pixels."""

    format: str
    media_type: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A decoded photo. rgb is upright. grey: its file knows no colour. lossy: its encoding changes pixels."""

    info: ImageInfo
    rgb: RGB
    grey: bool
    lossy: bool
    warnings: tuple[str, ...]
    orientation: int = field(repr=False)
    alpha: npt.NDArray[np.uint8] | None = field(repr=False)
    save_options: dict[str, Any] = field(repr=False)

    @property
    def colourless(self) -> bool:
        """Whether every pixel is grey and must stay so, as in a black-and-white photo in a file that knows colour."""
        red, green, blue = np.moveaxis(self.rgb, 2, 0)
        return self.grey or bool((red == green).all() and (green == blue).all())


def inspect_image(data: bytes) -> ImageInfo:
    """What ``data`` is, from its header; a PNG is read whole, for its orientation may stand behind its pixels.

    Raises NotAnImage, TooManyBytes, TooManyPixels, UnsupportedImage or BrokenImage.
    """
    with _opened(data) as image:
        return _info(image)


def decode(data: bytes) -> Photo:
    """The whole photo. Raises as inspect_image does; a truncated or corrupt file is a BrokenImage."""
    with _opened(data) as image:
        notes = list(_losses(image))  # first: what tells the depth is gone once the pixels are read
        info = _info(image)
        image.load()
        orientation = _orientation(image)
        save_options = _save_options(image, data)
        grey, alpha = image.mode in _GREY_MODES, None
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            alpha = np.asarray(image.getchannel("A"))
        upright = ImageOps.exif_transpose(image.convert("RGB"))
    return Photo(
        info=info,
        rgb=np.array(upright),
        grey=grey,
        lossy=_is_lossy(save_options),
        warnings=tuple(notes),
        orientation=orientation,
        alpha=alpha,
        save_options=save_options,
    )


def encode(photo: Photo, rgb: RGB) -> bytes:
    """``rgb`` (upright, the shape of ``photo.rgb``) in the photo's own format, orientation and colour profile.

    EXIF is kept but for its thumbnail, and XMP and secondary pictures are left out: each may hold the face unmasked.
    """
    if rgb.shape != photo.rgb.shape:
        raise ValueError(f"pixels of shape {rgb.shape} cannot stand for a photo of shape {photo.rgb.shape}")
    image = _turned(Image.fromarray(rgb), _INVERSE[photo.orientation])
    if photo.grey:
        image = image.convert("L")
    if photo.alpha is not None:
        image.putalpha(Image.fromarray(photo.alpha))
    out = io.BytesIO()
    image.save(out, **photo.save_options)
    return out.getvalue()


def reencoded(photo: Photo, piece: RGB) -> RGB:
    """What the photo's own encoding makes of a piece of it.

    Blocks fall as in the whole photo when the piece starts a multiple of BLOCK pixels from the file's top left edges.
    """
    options = {key: value for key, value in photo.save_options.items() if key not in _METADATA}
    image = _turned(Image.fromarray(piece), _INVERSE[photo.orientation])
    out = io.BytesIO()
    (image.convert("L") if photo.grey else image).save(out, **options)
    with Image.open(out) as again:
        return np.array(_turned(again.convert("RGB"), photo.orientation))


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
        except (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError) as error:
            # Pillow's decoders raise all of these on corrupt files: https://pillow.readthedocs.io/en/stable/handbook/security.html
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
    if image.mode not in _GREY_MODES | _COLOUR_MODES:
        raise UnsupportedImage(f"a {image.mode} {image.format} cannot be returned as it came; save the photo as RGB")


def _info(image: Image.Image) -> ImageInfo:
    kind = str(image.format)
    width, height = image.size
    if _orientation(image) >= 5:  # EXIF 5 to 8 swap the sides
        width, height = height, width
    name = "jpeg" if kind == "MPO" else kind.lower()
    return ImageInfo(format=name, media_type=_MEDIA_TYPES[kind], width=width, height=height)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where it is absent, wrong, or already applied (HEIF)."""
    value = image.getexif().get(_ORIENTATION_TAG, 1)
    return value if value in range(1, 9) else 1


def _losses(image: Image.Image) -> Iterator[str]:
    """Sentences on what of this image cannot be kept."""
    if image.format == "MPO":
        yield "the file's secondary pictures (depth or HDR gain map) were left out"
    if image.mode in {"P", "PA"}:
        yield "a palette is too coarse for a mask: saved in true colour"
    if image.mode == "1":
        yield "black and white is too coarse for a mask: saved in grey"
    if any(";16" in str(tile.args) for tile in getattr(image, "tile", ())) or image.mode.startswith("I;16"):
        yield "reduced from 16 to 8 bits per channel"


def _save_options(image: Image.Image, data: bytes) -> dict[str, Any]:
    """Arguments of Image.save that give back the file's own format, quality and metadata."""
    options: dict[str, Any] = {"format": "JPEG" if image.format == "MPO" else image.format}
    if profile := image.info.get("icc_profile"):
        options["icc_profile"] = profile
    if dpi := image.info.get("dpi"):
        options["dpi"] = dpi
    exif = image.getexif()
    if exif and image.format != "BMP":
        options["exif"] = exif.tobytes()  # does not write the thumbnail's directory
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        options |= {"qtables": image.quantization, "subsampling": JpegImagePlugin.get_sampling(image)}
        options["progressive"] = bool(image.info.get("progressive"))
        options["optimize"] = True
    elif image.format == "WEBP":
        options |= {"lossless": True} if b"VP8L" in data[:_WEBP_HEADER] else {"quality": _LOSSY_QUALITY}
    elif image.format in {"AVIF", "HEIF"}:
        options["quality"] = _LOSSY_QUALITY
    elif image.format == "TIFF":
        options["compression"] = image.info.get("compression")
    return options


def _is_lossy(save_options: dict[str, Any]) -> bool:
    lossless = save_options["format"] in {"PNG", "BMP"} or save_options.get("lossless", False)
    return not lossless and not (save_options["format"] == "TIFF" and save_options["compression"] != "jpeg")


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """Stored pixels of that EXIF orientation to upright ones: what ImageOps.exif_transpose does."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
