"""Image bytes to upright RGB pixels, and back to bytes of the same kind.

Imports Pillow and numpy only, so that the daemon can look at an upload before torch is loaded.
"""

from pmask.images.photo import (
    BLOCK,
    MAX_BYTES,
    MAX_PIXELS,
    ImageInfo,
    Photo,
    decode,
    encode,
    inspect_image,
    reencoded,
)
from pmask.images.pixels import RGB

__all__ = [
    "BLOCK",
    "MAX_BYTES",
    "MAX_PIXELS",
    "RGB",
    "ImageInfo",
    "Photo",
    "decode",
    "encode",
    "inspect_image",
    "reencoded",
]
