"""The pool of face recognisers, each a differentiable module: face frames in, unit embeddings out."""

from __future__ import annotations

from pmask.recognisers.pool import Recogniser, load
from pmask.recognisers.specs import DEFAULT_TEAM, SPECS, RecogniserSpec

__all__ = ["DEFAULT_TEAM", "SPECS", "Recogniser", "RecogniserSpec", "load"]
