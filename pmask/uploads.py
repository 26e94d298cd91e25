"""What sites do to a photo that is uploaded, as far as it changes pixels: shrink it and compress it again."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pmask.images import RGB


@dataclass(frozen=True)
class Upload:
    """long_edge: most pixels of the longer side, None for no limit. quality: of the JPEG, 1 to 95. title: in words."""

    long_edge: int | None
    quality: int
    title: str = "an upload"

    def __call__(self, rgb: RGB) -> RGB:
        """The photo as the site would show it."""
        image = Image.fromarray(rgb)
        if self.long_edge is not None:
            image.thumbnail((self.long_edge, self.long_edge), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=self.quality)
        with Image.open(out) as again:
            return np.array(again)


UPLOADS = {
    "instagram": Upload(1080, 75, "Instagram"),
    "facebook": Upload(1920, 75, "Facebook"),
    "x": Upload(4096, 85, "X"),
    "jpeg70": Upload(None, 70, "JPEG 70"),
}
"""Long edges as the sites' own help pages give them; they do not publish qualities, which lie between 70 and 85."""
