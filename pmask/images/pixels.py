"""The pixels of one picture: as its file stores them, and as the upright RGB in which faces are found and masked.

A mask is made in 8-bit RGB. What the file stores beside or beyond that (16 bits, ink, transparency) is kept here, and a
masked picture changes it only where the RGB was changed: all other stored values are the very ones that came in.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

RGB = npt.NDArray[np.uint8]
"""Pixels of shape (height, width, 3), 0 to 255, upright (EXIF orientation applied)."""
Deep = npt.NDArray[np.uint16]
"""16-bit colour, which Pillow has no image for: pixels (height, width, 3 or 4), RGB or RGBA."""
Stored = Image.Image | Deep
"""What a file stores, not turned upright."""
_Array = npt.NDArray[Any]

GREY_MODES = frozenset({"1", "L", "LA", "I;16", "I;16B", "I;16L"})
MODES = GREY_MODES | {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK"}
"""Pillow's names of the modes that come back as they came, or with a sentence on what was lost."""
_STRIP = 256
"""Rows copied at a time: a 100-megapixel photo must not lie in memory three times."""
_WHITE = 255
_BOTH_BYTES = 257
"""Times a level of 8 bits: the same level in 16."""
_MOST_COLOURS = 256
_CELL = 4
"""Levels. A palette's nearest colour is looked up for cubes of this side; a mask moves pixels by more."""


@dataclass(frozen=True, kw_only=True)
class Palette:
    """The colours (n, 3) of a picture that stores their numbers, and how opaque each is (n), 255 entirely."""

    colours: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, image: Image.Image) -> Palette:
        """Of an image of mode P."""
        colours = np.zeros((_MOST_COLOURS, 3), np.uint8)
        listed = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        colours[: len(listed)] = listed
        alpha = np.full(_MOST_COLOURS, _WHITE, np.uint8)
        clear = image.info.get("transparency")
        if isinstance(clear, int) and 0 <= clear < _MOST_COLOURS:
            alpha[clear] = 0
        elif isinstance(clear, bytes):
            alpha[: len(clear)] = np.frombuffer(clear, np.uint8)[:_MOST_COLOURS]
        used = max(len(listed), int(np.asarray(image).max(initial=0)) + 1)
        return cls(colours=colours[:used], alpha=alpha[:used])

    def image(self, numbers: npt.NDArray[np.uint8]) -> Image.Image:
        """The picture of these numbers (height, width)."""
        image = Image.frombuffer("P", (numbers.shape[1], numbers.shape[0]), numbers, "raw", "P", 0, 1)
        image.putpalette(self.colours.tobytes(), "RGB")
        if (self.alpha < _WHITE).any():
            clear = np.flatnonzero(self.alpha == 0)
            only = len(clear) == 1 and int((self.alpha < _WHITE).sum()) == 1
            image.info["transparency"] = int(clear[0]) if only else self.alpha.tobytes()
        return image

    def drawn(self, numbers: npt.NDArray[np.uint8], before: RGB, after: RGB) -> npt.NDArray[np.uint8]:
        """``numbers``, of the opaque colours nearest to ``after`` where that differs from ``before``. Not dithered:
        grains would be seen more than the mask, and what is left of it still hides (docs/photos.md)."""
        moved = (before != after).any(2) & (self.alpha[numbers] == _WHITE)
        result = numbers.copy()
        result[moved] = self.nearest(after[moved])
        return result

    def nearest(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Numbers (...) of the opaque colours nearest to ``rgb`` (..., 3), to within _CELL levels."""
        red, green, blue = np.moveaxis(rgb // _CELL, -1, 0)
        return np.asarray(self._table[red, green, blue])

    @functools.cached_property
    def _table(self) -> npt.NDArray[np.uint8]:
        """For each cell of colours, the number of the nearest opaque one."""
        opaque = np.flatnonzero(self.alpha == _WHITE)
        if not len(opaque):
            opaque = np.arange(len(self.alpha))
        middle = np.arange(0, 256, _CELL, dtype=np.int32) + _CELL // 2
        away = np.full((len(middle),) * 3, np.iinfo(np.int32).max, np.int32)
        table = np.zeros(away.shape, np.uint8)
        for number in opaque:
            reds, greens, blues = ((middle - level) ** 2 for level in self.colours[number].astype(np.int32))
            found = reds[:, None, None] + greens[:, None] + blues
            closer = found < away
            away[closer], table[closer] = found[closer], number
        return table


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """rgb: upright. orientation: EXIF's, 1 to 8. grey: the file knows no colour. The other fields are as stored:
    alpha (height, width) or None; exact: CMYK or numbers of a palette's colours in 8 bits, or grey, RGB or RGBA in 16
    bits, where the file has those; key: the colour that the file calls transparent; reduced: a frame that showed more
    colours than a palette holds."""

    rgb: RGB
    orientation: int
    grey: bool = False
    alpha: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    exact: _Array | None = field(default=None, repr=False)
    key: int | tuple[int, int, int] | None = None
    palette: Palette | None = field(default=None, repr=False)
    reduced: bool = False

    @classmethod
    def of(cls, image: Image.Image, orientation: int, deep: Deep | None = None) -> Pixels:
        """Of a loaded image. deep: its RGB or RGBA in 16 bits, where Pillow reads 8 of them."""
        grey, alpha, key = image.mode in GREY_MODES, None, None
        exact: _Array | None = None
        palette: Palette | None = None
        if deep is not None:
            exact = deep
            image = Image.fromarray((deep[..., :3] >> 8).astype(np.uint8))
        elif image.mode.startswith("I;16"):
            exact, key = np.asarray(image).astype(np.uint16), image.info.get("transparency")
            image = Image.fromarray((exact >> 8).astype(np.uint8))
        elif image.mode == "CMYK":
            exact = _array(image, 4)
        elif image.mode == "P":
            palette = Palette.of(image)
            exact = np.array(image)
            image = Image.fromarray(palette.colours[exact])
        elif image.mode in {"L", "RGB"} and "transparency" in image.info:
            key = image.info.pop("transparency")
        elif image.has_transparency_data:
            image = image.convert("RGBA")
            alpha = np.asarray(image.getchannel("A"))
        rgb = turned(_array(image if image.mode == "RGB" else image.convert("RGB"), 3), orientation)
        return cls(rgb=rgb, orientation=orientation, grey=grey, alpha=alpha, exact=exact, key=key, palette=palette)

    @classmethod
    def drawn(cls, image: Image.Image) -> Pixels:
        """Of one of a GIF's later frames, as it is shown. Where it lies on others it may show more colours than it can
        be written with, and is reduced to those."""
        shown = _array(image.convert("RGBA"), 4)
        shown[shown[..., 3] < _WHITE] = 0  # a GIF's pixel is either there or not
        colours, numbers = np.unique(shown.view(np.uint32), return_inverse=True)
        if reduced := len(colours) > _MOST_COLOURS:
            few = Image.fromarray(shown[..., :3]).quantize(_MOST_COLOURS - 1)  # and one for the holes
            shown[..., :3] = np.where(shown[..., 3:], np.asarray(few.convert("RGB")), 0)
            colours, numbers = np.unique(shown.view(np.uint32), return_inverse=True)
        indices = numbers.reshape(shown.shape[:2]).astype(np.uint8)
        rgba = colours.view(np.uint8).reshape(-1, 4)
        palette = Palette(colours=rgba[:, :3].copy(), alpha=rgba[:, 3].copy())
        return cls(rgb=palette.colours[indices], orientation=1, exact=indices, palette=palette, reduced=reduced)

    @property
    def opacity(self) -> npt.NDArray[np.uint8]:
        """(height, width), upright: 0 where what is behind shows through, 255 where nothing of it does."""
        if self.key is not None:
            return np.where((self.rgb == self.key).all(2), 0, _WHITE).astype(np.uint8)
        alpha = self.palette.alpha[self.exact] if self.palette is not None else self.alpha
        return np.full(self.rgb.shape[:2], _WHITE, np.uint8) if alpha is None else turned(alpha, self.orientation)

    def looks_like(self, other: Pixels) -> bool:
        """Whether both pictures look the same, whatever colour their transparent pixels have."""
        seen = self.opacity > 0
        return np.array_equal(self.opacity, other.opacity) and np.array_equal(self.rgb[seen], other.rgb[seen])

    def stored(self, rgb: RGB) -> Stored:
        """What the file stores when ``rgb``, upright and of this picture's shape, stands in this picture's place."""
        flat, before = (turned(pixels, _INVERSE[self.orientation]) for pixels in (rgb, self.rgb))
        if self.exact is not None and self.palette is not None:
            return self.palette.image(self.palette.drawn(self.exact, before, flat))
        if self.exact is not None:
            exact = _exactly(self.exact, before, flat)
            if self.key is not None:  # of 16-bit grey: what was transparent stays that, and nothing else becomes it
                clear = self.exact == self.key
                exact = np.where(clear, self.exact, exact ^ (exact == self.key))
            return _holding(exact)
        if self.key is not None:
            flat = _beside_key(self.key, before, flat)
        image = Image.fromarray(flat)
        if self.grey:
            image = image.convert("L")
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        return image

    def piece(self, rgb: RGB) -> Image.Image:
        """Another picture of this kind, of a piece of upright RGB: as stored, without transparency or depth."""
        image = Image.fromarray(turned(rgb, _INVERSE[self.orientation]))
        if self.grey:
            return image.convert("L")
        inked = self.exact is not None and self.exact.dtype == np.uint8
        return image.convert("CMYK") if inked else image


def _array(image: Image.Image, channels: int) -> npt.NDArray[np.uint8]:
    """(height, width, channels) of an image of that many 8-bit channels, copied a strip at a time."""
    width, height = image.size
    pixels = np.empty((height, width, channels), np.uint8)
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels


_INVERSE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
_TURNS_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def as_stored(image: Image.Image, orientation: int) -> Image.Image:
    """An upright image as a file of that EXIF orientation stores it."""
    turn = _TURNS_BACK.get(orientation)
    return image if turn is None else image.transpose(turn)


def turned(pixels: _Array, orientation: int) -> _Array:
    """Stored pixels of that EXIF orientation, upright."""
    if orientation >= 5:  # 5 is the mirror image along the main diagonal, and the others are that, turned
        pixels = np.swapaxes(pixels, 0, 1)
    down = orientation in {3, 4, 7, 8}
    across = orientation in {2, 3, 6, 7}
    return np.ascontiguousarray(pixels[:: -1 if down else 1, :: -1 if across else 1])


def _holding(exact: _Array) -> Stored:
    """CMYK and 16-bit grey as an image, 16-bit colour as it is."""
    if exact.ndim == 2:
        return Image.fromarray(exact)
    if exact.dtype == np.uint8:
        return Image.frombuffer("CMYK", (exact.shape[1], exact.shape[0]), exact, "raw", "CMYK", 0, 1)
    return exact


def _exactly(exact: _Array, before: RGB, after: RGB) -> _Array:
    """``exact`` of a picture that shows ``before``, written anew where ``after`` differs: whatever a pixel keeps there,
    the lower bits of 16 or its black ink, shows the bare face when it is looked at by itself."""
    places = np.nonzero((before != after).any(2))
    result = exact.copy()
    if exact.dtype == np.uint8:
        result[places] = _inked(exact[places], before[places], after[places])
    elif exact.ndim == 2:
        result[places] = after[places][:, 1].astype(np.uint16) * _BOTH_BYTES
    else:
        rows, columns = places
        result[rows, columns, :3] = after[places].astype(np.uint16) * _BOTH_BYTES
    return result


def _inked(
    ink: npt.NDArray[np.uint8], before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """CMYK (n, 4) that shows ``after`` (n, 3), with as much black as ``ink``, which shows ``before``, has in the mean
    at each brightness. Light is what inks let through: a channel is (1 - its ink) (1 - black), as Pillow and browsers
    without a profile show it."""
    levels, bright = np.arange(_WHITE + 1), after.max(1)
    count = np.bincount(before.max(1), minlength=len(levels))
    black = np.bincount(before.max(1), weights=ink[:, 3], minlength=len(levels)) / np.maximum(count, 1)
    if len(ink):  # brightnesses that were not there before lie between others
        black = np.interp(levels, levels[count > 0], black[count > 0])
    through = np.maximum(_WHITE - np.rint(black)[bright], bright)  # less black where it is too much
    colours = _WHITE - after.astype(np.float32) * _WHITE / np.maximum(through, 1)[:, None]
    return np.rint(np.column_stack([colours, _WHITE - through])).clip(0, _WHITE).astype(np.uint8)  # type: ignore[no-any-return]


def _beside_key(key: int | tuple[int, int, int], before: RGB, after: RGB) -> RGB:
    """``after`` with the transparent pixels of ``before`` left as they are, and no others turned transparent."""
    colour = np.array(key if isinstance(key, tuple) else (key,) * 3)
    clear = (before == colour).all(2)
    after = np.where(clear[..., None], before, after)
    after[(after == colour).all(2) & ~clear] += np.uint8(1 if colour.max() < _WHITE else _WHITE)  # wraps: one less
    return after
