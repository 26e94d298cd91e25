"""How an experiment's outcome is written: NAME.md with the table, NAME.csv with the same, NAME.svg with the figure."""

from __future__ import annotations

import csv
import io
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from plan import Plan

from pmask import __version__
from pmask.evaluation.results import Results

PACKAGES = ("torch", "onnxruntime", "opencv-python-headless", "pillow")
CPU_LIST = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Table:
    """Cells as they are to be read, the same in Markdown and CSV."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """A Markdown table."""
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.head, ["---"] * len(self.head), *self.rows))

    def csv(self) -> str:
        """The table as CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.head, *self.rows])
        return text.getvalue()


def publish(
    plan: Plan, name: str, title: str, words: str, table: Table, picture: str, results: Sequence[Results]
) -> None:
    """Writes the three files. words: what is shown, in one paragraph or more. results: what it was made of."""
    plan.out.mkdir(parents=True, exist_ok=True)
    parts = [f"# {title}", words, f"![{title}]({name}.svg)", table.markdown(), made_by(plan, results)]
    (plan.out / f"{name}.md").write_text("\n\n".join(parts) + "\n")
    (plan.out / f"{name}.csv").write_text(table.csv())
    (plan.out / f"{name}.svg").write_text(picture)


def made_by(plan: Plan, results: Sequence[Results]) -> str:
    """Command, sizes, seed, versions, machine, and the evaluation's own doubts."""
    census = results[0].census
    notes = dict.fromkeys(note for result in results for note in result.notes if "is in the team" not in note)
    facts = [
        f"{census.people} people under protection with {census.probes} probes and {census.protected} protected photos, "
        f"in a gallery of {census.gallery} photos of {census.gallery_people} people; seed {plan.seed}.",
        f"Judges: {', '.join(results[0].intruders)}. Those of the pool ({', '.join(plan.pool)}) are white-box for the "
        "teams that hold them; the others were never in a team.",
        *(f"{note[:1].upper()}{note[1:]}." for note in notes),
        f"PMask {__version__}{_commit()}, Python {platform.python_version()}, {_versions()}; {machine(plan)}.",
    ]
    return f"```sh\n{plan.command}\n```\n\n" + "\n".join(f"- {fact}" for fact in facts)


def machine(plan: Plan) -> str:
    """Processor, cores and device, as far as the system says."""
    names = [line.partition(":")[2].strip() for line in _lines(CPU_LIST) if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, device {plan.device}"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _commit() -> str:
    """Of the working tree, where it is one of git's."""
    try:
        root = Path(__file__).parent
        run = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f" at {run.stdout.strip()}"
