"""PMask hides the signature of every face in a photo, so that face recognition fails and people see no difference."""

import os

__version__ = "0.1.0"

# Read by OpenMP when torch is loaded, which is later. By default its threads spin while they wait for one another, so
# beside a busy browser each step waits for a thread that has no core: 15 iterations with one of two cores taken by
# another program took 91 s, and 3 s with this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
