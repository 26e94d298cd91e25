"""Where PMask keeps things on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """The folder of everything that can be fetched or made again. PMASK_CACHE overrides the platform's own."""
    return Path(os.environ.get("PMASK_CACHE") or platformdirs.user_cache_dir("pmask", appauthor=False))


def state_dir() -> Path:
    """The folder of what must be kept: paired clients and the record (0600), a person's own recognisers, calibrations
    and ranking of teams. PMASK_HOME overrides the platform's own."""
    return Path(os.environ.get("PMASK_HOME") or platformdirs.user_config_dir("pmask", appauthor=False))
