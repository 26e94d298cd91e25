"""What the library's tests share: the real engine once, and photos that may be shown."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from pmask.images import RGB
from pmask.protect import Protector

sys.path.insert(0, str(Path(__file__).parent))  # of modules that several tests share

SHARED = Path(os.environ.get("PMASK_SHARED", Path(__file__).parents[3] / "shared"))


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """Makes a file of pixels: (rgb, Pillow's name of a format, its options of save)."""

    def make(rgb: RGB, kind: str, **options: Any) -> bytes:
        out = io.BytesIO()
        Image.fromarray(rgb).save(out, kind, **options)
        return out.getvalue()

    return make


@pytest.fixture(scope="session")
def astronaut() -> RGB:
    """NASA's portrait of Eileen Collins, 512 x 512, one face; public domain."""
    return np.array(skimage.data.astronaut())


@pytest.fixture(scope="session")
def coffee() -> RGB:
    """A photo without a face."""
    return np.array(skimage.data.coffee())


@pytest.fixture(scope="session")
def protector() -> Protector:
    """The real engine; its weights are fetched when the cache has none."""
    return Protector(device="cpu")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test photos beside the repository; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here (PMASK_SHARED names another place)")
    return SHARED


@pytest.fixture
def web() -> Iterator[Any]:
    """A file server on the loopback."""
    from loopback import Web

    server = Web()
    yield server
    server.close()
