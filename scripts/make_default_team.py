"""Makes pmask/data/default_team.json: the team that PMask comes with, and why.

    .venv/bin/pmask team rank --faces DIR --models sface,mobilefacenet,faceres,... --size N --out out/teams
    .venv/bin/python scripts/make_default_team.py --rankings out/teams --members A,B,C,D,E --why WORDS [--command WORDS]

The members are a decision, taken on these rankings and on how well masks protect that were made against the teams
(docs/teaming.md); WORDS say it in a sentence. The rankings, of every N in SIZES, are stored with it as they are.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pmask.errors import BadOption
from pmask.recognisers.specs import REGISTRY

ROOT = Path(__file__).resolve().parent.parent
SIZES = (2, 3, 4, 5)


def main() -> None:
    """Reads, checks and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rankings", type=Path, required=True)
    parser.add_argument("--members", required=True)
    parser.add_argument("--why", required=True)
    parser.add_argument("--command", default="", help="how the rankings were made, for people who want to do it again")
    parser.add_argument("--out", type=Path, default=ROOT / "pmask/data/default_team.json")
    options = parser.parse_args()
    members = options.members.split(",")
    unknown = sorted(set(members) - set(REGISTRY))
    if unknown:
        raise BadOption(f"{', '.join(unknown)} cannot be had from a package registry, so PMask cannot come with it")
    rankings = {str(size): json.loads((options.rankings / f"ranking-{size}.json").read_text()) for size in SIZES}
    evidence = {"members": members, "why": options.why, "command": options.command, "rankings": rankings}
    options.out.write_text(json.dumps(evidence, indent=1) + "\n")


if __name__ == "__main__":
    main()
