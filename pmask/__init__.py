"""PMask hides the signature of every face in a photo, so that face recognition fails and the photo stays natural."""

import os

__version__ = "0.1.0"

# Read by GNU's OpenMP when torch is loaded, which is later. By default its threads spin for milliseconds while they
# wait for one another, so beside a busy browser each step waits for a thread that has no core. Measured on two cores:
# 15 iterations take 1.8 s at rest with either; beside one busy program 91 s by default, 5 s with this.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
