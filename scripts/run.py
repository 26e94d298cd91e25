"""PMask, working, from a fresh clone: ``python3 scripts/run.py``.

Makes the environment (once), fetches the recognisers' weights (once), starts the daemon and the demo site, and opens a
browser with the extension loaded and paired. Without a display it does the same in a headless browser: picks a photo
in the demo page, and says what happened to it. Only the standard library; `demo_run.py` runs in the environment.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import python_version  # noqa: F401 (first of ours: it ends this program under an old Python, which cannot read the others)
import setup_environment
from steps import Failed

DEFAULT_PORT = 28737
EXTRAS = ("demo",)


def parser() -> argparse.ArgumentParser:
    """The options, which `demo_run.py` reads too."""
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Starts PMask with its demo site and a browser; without a display, shows it on a photo.",
    )
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help="the daemon's (default: %(default)s)")
    parser.add_argument("--photo", type=_photo, metavar="FILE", help="pick this photo in the demo page")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="where masks are made")
    parser.add_argument(
        "--headless", action="store_true", help="as without a display: one photo, figures, pictures, end"
    )
    browser = parser.add_mutually_exclusive_group()
    browser.add_argument("--browser", choices=["chromium", "firefox"], help="default: Chromium, if there is one")
    browser.add_argument("--no-browser", action="store_true", help="give the photo to the daemon without a browser")
    return parser


def has_display(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Can a window open here?"""
    return not platform.startswith("linux") or any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError("must be a number from 1024 to 65535")
    return int(text)


def _photo(text: str) -> Path:
    path = Path(text).resolve()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {path}")
    return path


def main(argv: Sequence[str]) -> int:
    """Checks the options, makes the environment and hands over; returns only when that failed."""
    parser().parse_args(argv)
    try:
        python = setup_environment.ensure(EXTRAS)
    except Failed as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    setup_environment.hand_over(python, [str(Path(__file__).with_name("demo_run.py")), *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
