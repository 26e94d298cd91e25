"""Ends a program whose Python is too old for PMask, in words, as soon as this is imported.

This file and `run.py` are in Python 3.6's syntax: what a Python cannot read, it calls a syntax error and no more.
"""

import sys

OLDEST_PYTHON = (3, 10)

if sys.version_info < OLDEST_PYTHON:
    sys.exit(
        "PMask needs Python {} or newer, and this is Python {} ({}).".format(
            *(".".join(map(str, numbers[:2])) for numbers in (OLDEST_PYTHON, sys.version_info)), sys.executable
        )
    )
