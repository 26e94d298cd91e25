"""``python -m pmask`` is ``pmask``."""

import sys

from pmask.cli import main

sys.exit(main())
