"""How a file was made, and how to make one like it: quality, depth, compression, container.

One function decides for each format (``way_of``), and one writes (``Way.write``). Pillow does the coding, but for PNGs
of 16-bit colour, which it cannot hold.
"""

from __future__ import annotations

import functools
import io
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin

from pmask.images import metadata
from pmask.images.pixels import Deep, Pixels, Stored

MEDIA_TYPES = {
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
ANIMATED = frozenset({"PNG", "WEBP", "GIF", "TIFF", "AVIF"})
"""Kinds of which all frames, or pages, are read and written again."""
CLEARED = 2
"""A GIF's way of disposing of a frame before the next one is drawn. https://www.w3.org/Graphics/GIF/spec-gif89a.txt"""
_QUALITIES = (1, 98)
_FINEST = (99, 100)
"""Tried where the best of those is not fine enough: they take AVIFs to nearly twice the bytes."""
_NEAR_ENOUGH = 0.03
"""A quality is found when the file is as long as the original within this share."""
_SAMPLE_PIXELS = 250_000
"""Qualities are tried on a piece of this many pixels; on whole photos each try would take seconds."""
_SAMPLE_FRAMES = 4
_USUAL_CODES = bytes.fromhex("00020103030204030505040400 00017d01020300041105122131410613516107")
"""Start of the Huffman table that JPEG encoders use who fit none to the photo (ITU-T T.81, table K.5). Fitting one
where the original has this would shrink the file for nothing, and needs all coefficients in memory; finer steps it
pays for."""
_FAX = frozenset({"tiff_ccitt", "group3", "group4"})
"""Compressions of TIFF that hold black and white only, which become grey."""
_DEEP = re.compile(r"(?<!BGR);16")
"""In Pillow's names of raw pixels: 16 bits a channel. A BMP's BGR;16 has 16 bits for all three."""
_IN_JPEG = frozenset({"L", "RGB", "RGBX", "CMYK", "YCbCr"})
"""Modes of TIFF pages that JPEG can compress; others go on uncompressed."""
_FINE_QUALITY = 90
"""A JPEG's brightness is written in the steps of this quality (of libjpeg's scale), or in its own where they are finer:
coarse ones round a mask to what is seen as much and fools less. Colours keep their steps: finer ones hardly protect
better, and more of the mask's is seen."""
_FINEST_SHARE = 1 / 4
"""Of a step, that is kept at least: files of very low quality would grow to twice and more."""
_LATE = 4096
"""Bytes after a picture's end that are padding rather than a second file, such as a motion photo's video."""
_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")
"""Of a JPEG's segment or end; the others stand among coded values, or fill."""
_FIRST_BOXES = 1 << 16
"""Bytes of an AVIF or HEIC in which all that it holds is named."""
_PNG_LOOK = (b"cICP", b"cHRM", b"gAMA", b"sRGB", b"iCCP", b"pHYs")
"""Chunks that say how a PNG's values look and how large it prints: copied. https://www.w3.org/TR/png-3/#11Ancillary-chunks"""
_PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_PACKET = re.compile(rb"XML:com\.adobe\.xmp\0|Raw profile type ")
"""How a PNG's text begins that holds XMP, EXIF or IPTC."""
_MOST_TEXT = 1 << 16
"""Bytes of a packed text that are looked at; what has as many does not go on."""
_PNG_SIGNATURE = 8
_NCLX, _SRGB, _UNSAID = b"colrnclx", struct.pack(">HH", 1, 13), 2
"""Where HEIC and AVIF files say how their values look, and what Pillow's AVIFs say: primaries and transfer function by
the numbers of ITU-T H.273."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """The way of one picture into a file. options: arguments of Image.save. matched: how many bytes the pixels took,
    where the format does not say its quality. refined: a JPEG's steps are finer than the file's own. chunks: a PNG's
    own, put right after its header. signal: what an AVIF says of its colours, as in _SRGB."""

    options: dict[str, Any]
    lossy: bool
    matched: int | None = None
    refined: bool = False
    chunks: bytes = field(default=b"", repr=False)
    signal: bytes = _SRGB

    def write(self, stored: Stored, more: Sequence[Stored] = ()) -> bytes:
        """The file of these pixels, and of those of an animation's other frames or a TIFF's other pages."""
        if isinstance(stored, Image.Image):
            out = io.BytesIO()
            stored.save(out, **self.options | _following(more, self.options))
            data = out.getvalue().replace(_NCLX + _SRGB, _NCLX + self.signal)
        else:
            data = _deep_png(stored, self.options.get("exif"))
        return _with_chunks(data, self.chunks)

    def write_piece(self, image: Image.Image) -> bytes:
        """The file of a piece, without what is said beside pixels."""
        out = io.BytesIO()
        of_frames = {"save_all", "loop", "duration", "default_image"}
        options = {name: value for name, value in _bare(self.options).items() if name not in of_frames}
        image.save(out, **options)
        return out.getvalue()

    def at_quality_of(self, pixels: Sequence[Pixels]) -> Way:
        """This way with the quality at which these frames, unmasked, take as many bytes as they did."""
        if self.matched is None:
            return self
        stored = [frame.stored(frame.rgb) for frame in pixels]
        images = [frame for frame in stored if isinstance(frame, Image.Image)]  # all: only PNGs hold more
        quality = _quality(images, _bare(self.options), self.matched)
        return replace(self, options=self.options | {"quality": quality}, matched=None)


def losses(image: Image.Image, data: bytes) -> Iterator[str]:
    """Sentences on what of this image cannot be kept. To be asked before the pixels are read."""
    if image.mode == "PA":
        yield "a palette with transparency of its own: saved in true colour"
    if image.mode == "P" or image.format == "GIF":
        yield "its mask is drawn with the file's few colours, and is coarser for it"
    if image.mode == "1":
        yield "black and white is too coarse for a mask: saved in grey"
    deep = any(_DEEP.search(str(tile.args)) for tile in getattr(image, "tile", ())) and not image.mode.startswith(
        "I;16"
    )
    if (deep and not is_deep_png(image)) or (image.format == "AVIF" and _av1_config(data)[1]):
        yield "reduced to 8 bits per channel"
    if image.format == "HEIF" and image.info.get("bit_depth", 8) > 8:
        yield f"reduced from {image.info['bit_depth']} to 8 bits per channel"
    if image.format in {"HEIF", "AVIF"}:
        yield from _left_boxes(data)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        yield from following(data, end_of_jpeg(data))
        if image.layers == 3 and JpegImagePlugin.get_sampling(image) == -1:
            yield "its rare colour subsampling was replaced by none (4:4:4), which is finer"


def following(data: bytes, end: int) -> Iterator[str]:
    """A sentence on what a file holds behind its pictures, which end there."""
    if len(data) - end > _LATE:
        yield "what followed the photo in its file (a motion photo's video or HDR gain map, perhaps) was left out"


def mpo(jpegs: Sequence[bytes]) -> bytes:
    """One file of several JPEGs: an index after the first one's header says where the others are (CIPA DC-007)."""
    place = 2
    while jpegs[0][place : place + 2] in {b"\xff\xe0", b"\xff\xe1"}:  # JFIF and EXIF want to come first
        place += 2 + int.from_bytes(jpegs[0][place + 2 : place + 4], "big")
    count, table = len(jpegs), 8 + 2 + 3 * 12 + 4
    head = struct.pack("<2sHIH", b"II", 42, 8, 3) + struct.pack("<HHI4s", 0xB000, 7, 4, b"0100")
    head += struct.pack("<HHII", 0xB001, 4, 1, count) + struct.pack("<HHIII", 0xB002, 7, 16 * count, table, 0)
    length = 2 + 4 + len(head) + 16 * count
    start = place + 4 + 4  # offsets count from the index's own first byte
    sizes = [len(jpeg) for jpeg in jpegs]
    sizes[0] += 2 + length
    rows = b""
    for number, size in enumerate(sizes):
        offset = sum(sizes[:number]) - start if number else 0
        rows += struct.pack("<IIIHH", 0x20030000 if number == 0 else 0x020002, size, offset, 0, 0)
    index = b"\xff\xe2" + struct.pack(">H", length) + b"MPF\0" + head + rows
    return b"".join([jpegs[0][:place], index, jpegs[0][place:], *jpegs[1:]])


def frames(image: Image.Image) -> int:
    """How many pictures the file holds, as Pillow counts them."""
    return int(getattr(image, "n_frames", 1))


def is_deep_png(image: Image.Image) -> bool:
    """Whether an opened image is a PNG of 16-bit RGB or RGBA, without a transparent colour."""
    kinds = {"RGB;16B", "RGBA;16B"}
    deep = (
        image.format == "PNG" and frames(image) == 1 and any(tile.args in kinds for tile in getattr(image, "tile", ()))
    )
    return deep and "transparency" not in image.info


def deep_pixels(data: bytes) -> Deep:
    """(height, width, 3 or 4), the RGB or RGBA of such a PNG."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise ValueError("its 16-bit pixels cannot be read")
    return np.asarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])


def way_of(image: Image.Image, data: bytes, pixels: Pixels, exif: bytes | None, choice: str) -> Way:
    """How ``data``, opened as ``image``, was made. exif: what goes on of it; choice: of what else stands beside pixels
    (metadata.CHOICES)."""
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    way = _WAYS.get(kind, _plain_way)(image, data, pixels, choice)
    options: dict[str, Any] = {"format": kind}
    for name in () if kind == "PNG" else ("icc_profile", "dpi"):  # a PNG's are among its chunks
        if value := image.info.get(name):
            options[name] = value
    if kind != "BMP" and exif:
        options["exif"] = exif
    if pixels.key is not None:
        options["transparency"] = pixels.key
    if frames(image) > 1 and image.format in ANIMATED:
        options["save_all"] = True
        if image.info.get("loop") is not None:
            options["loop"] = image.info["loop"]
    matched = None
    if way.lossy and kind not in {"JPEG", "PNG", "GIF", "BMP"}:
        beside = (image.info.get("icc_profile"), image.info.get("exif"), image.info.get("xmp"))
        gone = sum(len(part) for part in beside if isinstance(part, bytes)) + _left_bytes(kind, data)
        matched = max(1, len(data) - gone)
    return replace(way, options=options | way.options, matched=matched)


def _plain_way(image: Image.Image, data: bytes, pixels: Pixels, choice: str) -> Way:
    return Way(options={}, lossy=pixels.palette is not None)


def _jpeg_way(image: Image.Image, data: bytes, pixels: Pixels, choice: str) -> Way:
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    progressive = bool(image.info.get("progressive"))
    tables = {  # the first is of brightness
        number: table if number else [_refined(*pair) for pair in zip(table, _fine_steps(), strict=True)]
        for number, table in image.quantization.items()
    }
    options: dict[str, Any] = {
        "qtables": tables,
        "progressive": progressive,
        "optimize": progressive or tables != image.quantization or _USUAL_CODES not in data,
    }
    if image.layers == 3:
        options["subsampling"] = max(0, JpegImagePlugin.get_sampling(image))
        options["keep_rgb"] = image.info.get("adobe_transform") == 0
    comment = image.info.get("comment")
    if choice != "strip" and comment and metadata.may_go_on(comment):
        options["comment"] = comment
    return Way(options=options, lossy=True, refined=tables != image.quantization)


def _webp_way(image: Image.Image, data: bytes, pixels: Pixels, choice: str) -> Way:
    kinds = {name for name, _ in _riff_chunks(data)}
    lossy = b"VP8 " in kinds
    options = {} if lossy else {"lossless": True, "exact": True}
    return Way(options=options | ({"allow_mixed": True} if {b"VP8 ", b"VP8L"} <= kinds else {}), lossy=lossy)


def _tiff_way(image: Image.Image, data: bytes, pixels: Pixels, choice: str) -> Way:
    compression = image.info.get("compression")
    compression = "tiff_lzw" if compression in _FAX else compression
    return Way(options={"compression": compression} | _tiff_tags(image), lossy=compression == "jpeg")


def _png_way(image: Image.Image, data: bytes, pixels: Pixels, choice: str) -> Way:
    wanted = _PNG_LOOK + (_PNG_TEXT if choice == "keep" else ())
    kept = (whole for name, whole in _png_chunks(data) if name in wanted and _goes_on(name, whole[8:-4]))
    return Way(options={}, lossy=pixels.palette is not None, chunks=b"".join(kept))


def _heif_way(image: Image.Image, data: bytes, pixels: Pixels, choice: str) -> Way:
    said = image.info.get("nclx_profile") or {}
    names = ("color_primaries", "transfer_characteristics")
    options = {name: said[name] for name in names if said.get(name, _UNSAID) != _UNSAID}
    return Way(options=options | {"chroma": image.info.get("chroma", 420)}, lossy=True)


def _avif_way(image: Image.Image, data: bytes, pixels: Pixels, choice: str) -> Way:
    return Way(options={"subsampling": _av1_config(data)[0]}, lossy=True, signal=_signal(data))


_WAYS: dict[str, Callable[[Image.Image, bytes, Pixels, str], Way]] = {
    "AVIF": _avif_way,
    "HEIF": _heif_way,
    "JPEG": _jpeg_way,
    "PNG": _png_way,
    "TIFF": _tiff_way,
    "WEBP": _webp_way,
}


@functools.cache
def _fine_steps() -> list[int]:
    """The steps of brightness at _FINE_QUALITY."""
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "JPEG", quality=_FINE_QUALITY)
    with Image.open(out) as image:
        return list(image.quantization[0])  # type: ignore[attr-defined]


def _refined(step: int, most: int) -> int:
    """A step of at most ``most``, if there is one of at least half of that which divides ``step``: what no mask touches
    then comes out nearly as it was."""
    most = max(most, int(step * _FINEST_SHARE))
    if step <= most:
        return step
    fitting = [finer for finer in range((most + 1) // 2, most + 1) if step % finer == 0]
    return max(fitting, default=most)


def _tiff_tags(image: Image.Image) -> dict[str, Any]:
    """The predictor, without which LZW and Deflate files grow by half."""
    predictor = image.tag_v2.get(317)  # type: ignore[attr-defined]
    return {"tiffinfo": {317: predictor}} if predictor in {2, 3} else {}


def _following(frames: Sequence[Stored], options: dict[str, Any]) -> dict[str, Any]:
    """The option that writes more frames after the first, whose options they share."""
    for page in frames if options.get("compression") == "jpeg" else ():
        if isinstance(page, Image.Image) and page.mode not in _IN_JPEG:
            page.encoderinfo = {"compression": "raw"}  # Pillow has a quality for JPEG, and takes none beside others
    return {"append_images": list(frames)} if frames else {}


def _bare(options: dict[str, Any]) -> dict[str, Any]:
    """Options without what is said beside the pixels."""
    beside = {"exif", "icc_profile", "dpi", "comment", "transparency", "tiffinfo"}
    return {name: value for name, value in options.items() if name not in beside}


def _deep_png(stored: Deep, exif: bytes | None) -> bytes:
    import cv2

    swapped = np.ascontiguousarray(stored[..., [2, 1, 0, 3][: stored.shape[2]]])
    compact = [cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_ALL_FILTERS]
    _, data = cv2.imencode(".png", swapped, compact)
    return _with_chunks(data.tobytes(), _png_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")) if exif else b"")


def _quality(images: Sequence[Image.Image], options: dict[str, Any], goal: int) -> int:
    """The quality at which these frames take about ``goal`` bytes: by halving, on a piece where they are large."""

    def size(frames: Sequence[Image.Image], quality: int) -> int:
        out = io.BytesIO()
        frames[0].save(out, **options | _following(frames[1:], options) | {"quality": quality})
        return out.tell()

    low, high = _QUALITIES
    quality = 80
    if sum(image.width * image.height for image in images) > 2 * _SAMPLE_PIXELS:
        some = images[:_SAMPLE_FRAMES]
        pieces = [_middle(image, _SAMPLE_PIXELS // len(some)) for image in some]
        goal = max(1, round(goal * size(pieces, quality) / size(images, quality)))
        images = pieces
    best = (math.inf, quality)
    while low <= high:
        found = size(images, quality)
        best = min(best, (abs(math.log(found / goal)), quality))
        if best[0] < _NEAR_ENOUGH:
            break
        low, high = (low, quality - 1) if found > goal else (quality + 1, high)
        quality = (low + high) // 2
    if best[1] == _QUALITIES[1] and best[0] >= _NEAR_ENOUGH:
        best = min(best, *((abs(math.log(size(images, finest) / goal)), finest) for finest in _FINEST))
    return best[1]


def _middle(image: Image.Image, pixels: int) -> Image.Image:
    """The middle of an image, about that many pixels of it."""
    width, height = image.size
    share = min(1.0, math.sqrt(pixels / (width * height)))
    across, down = max(16, int(width * share)), max(16, int(height * share))
    left, top = max(0, (width - across) // 2), max(0, (height - down) // 2)
    return image.crop((left, top, min(width, left + across), min(height, top + down)))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and whole bytes of each chunk before the pixels."""
    place = _PNG_SIGNATURE
    while place + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        if name == b"IDAT":
            return
        yield name, data[place : place + 12 + length]
        place += 12 + length


def _goes_on(name: bytes, content: bytes) -> bool:
    """Whether a PNG's chunk may go on: one that says how it looks, or a text that holds neither a packet nor a picture.
    https://www.w3.org/TR/png-3/#11textinfo"""
    if name not in _PNG_TEXT:
        return True
    text = content.partition(b"\0")[2]
    packed = name == b"zTXt" or (name == b"iTXt" and text[:1] == b"\1")
    if name == b"iTXt":
        text = text[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif name == b"zTXt":
        text = text[1:]
    try:
        text = zlib.decompressobj().decompress(text, _MOST_TEXT) if packed else text
        words = text.decode("utf-8" if name == b"iTXt" else "latin-1")
    except (zlib.error, UnicodeDecodeError):
        return False
    return not _PACKET.match(content) and metadata.may_go_on(words)


def _png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _with_chunks(png: bytes, chunks: bytes) -> bytes:
    """A PNG with more chunks after its header, which is 25 bytes long."""
    place = _PNG_SIGNATURE + 25
    return png[:place] + chunks + png[place:] if chunks else png


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Name and place of each chunk of a WebP file, those of an animation's frames too.
    https://developers.google.com/speed/webp/docs/riff_container"""
    place = 12
    while place + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, place)
        yield name, place
        place += 8 + (16 if name == b"ANMF" else length + length % 2)


def _av1_config(data: bytes) -> tuple[str, bool]:
    """Colour subsampling of an AVIF file, and whether it has more than 8 bits.
    https://aomediacodec.github.io/av1-isobmff/#av1codecconfigurationbox-syntax"""
    place = data.find(b"av1C")
    flags = data[place + 6] if 0 <= place < len(data) - 6 else 0b1100
    names = {0b00: "4:4:4", 0b10: "4:2:2", 0b11: "4:2:0"}
    return "4:0:0" if flags & 0b10000 else names.get(flags >> 2 & 0b11, "4:2:0"), bool(flags & 0b1100000)


def end_of_jpeg(data: bytes) -> int:
    """Where the first picture ends: what follows may be another, or hold what looks like an end. Segments are passed
    over by their lengths, coded values up to the next marker that is none of theirs (ITU-T T.81, annex B)."""
    place = 2
    while (marker := _MARKER.search(data, place)) and marker[0] != b"\xff\xd9":
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return marker.end() if marker else len(data)


def _left_boxes(data: bytes) -> Iterator[str]:
    """Sentences on what an AVIF or HEIC holds beside its picture. ISO/IEC 14496-12, section 4.2; mpvd is Google's:
    https://developer.android.com/media/platform/motion-photo-format"""
    if any(name == b"mpvd" for name, _ in _boxes(data)):
        yield "the motion photo's video in its file was left out"
    if any(kind in data[:_FIRST_BOXES] for kind in (b"tmap", b"hdrgainmap")):
        yield "the HDR gain map in its file was left out"


def _boxes(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Name and length of each of the outermost boxes of an AVIF or HEIC."""
    place = 0
    while place + 16 <= len(data):
        length, name, long = struct.unpack_from(">I4sQ", data, place)
        length = min(long if length == 1 else length or len(data), len(data) - place)  # 0: up to the end
        yield name, length
        if length < 8:
            break
        place += length


def _left_bytes(kind: str, data: bytes) -> int:
    """How many bytes of a file are a motion photo's video, or stand behind the photo: counted, they would drive up the
    quality."""
    if kind == "WEBP":
        return max(0, len(data) - 8 - int.from_bytes(data[4:8], "little"))
    return sum(length for name, length in _boxes(data) if name == b"mpvd") if kind in {"AVIF", "HEIF"} else 0


def _signal(data: bytes) -> bytes:
    """Which colours an AVIF file means, as in _SRGB; those where it does not say."""
    place = data.find(_NCLX)
    said = data[place + len(_NCLX) :][: len(_SRGB)]
    return said if place >= 0 and _UNSAID not in struct.unpack(">HH", said) else _SRGB
