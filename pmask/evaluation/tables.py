"""Results as Markdown, with the command that made them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pmask.evaluation.matching import INTERVAL, RANKS, RESAMPLES, Share
from pmask.evaluation.pipelines import PIPELINES
from pmask.evaluation.results import Results, Row
from pmask.evaluation.work import AS_DELIVERED

NONE = "–"  # noqa: RUF001


def markdown(results: Results) -> str:
    """The whole report."""
    parts = [
        _head(results),
        *([f"**Note**: {note}." for note in results.notes]),
        "## Protection, the mean over intruders\n\n" + _summary(results),
        "## Protection, by intruder\n\n" + _protection(results) + "\n\n" + _meaning(results),
        "## Are one person's protected photos linked to one another?\n\n" + _links(results),
    ]
    if results.quality:
        parts.append("## What is seen of the masks, and what they take\n\n" + _quality(results))
    return "\n\n".join(parts) + "\n"


def _head(results: Results) -> str:
    census, settings = results.census, results.settings
    facts = [
        f"{census.people} people under protection: {census.probes} unprotected probes and {census.protected} protected "
        f"photos, in a gallery of {census.gallery} photos of {census.gallery_people} people.",
        f"Faces found and aligned afresh by {settings.detector}; in {census.lost_probes} probes and "
        f"{census.lost_gallery} other gallery photos it found none: they are left out.",
    ]
    if census.unmasked:
        facts.append(f"In {census.unmasked} photos to protect PMask found no face: they stand there bare.")
    if census.left_out:
        facts.append(f"{census.left_out} photos of people under protection were left out of probes and gallery alike.")
    facts += [f"Intruder {name}: {words}." for name, words in results.intruders.items()]
    command = settings.command or "evaluate() called from Python"
    return f"# Evaluation\n\n```\n{command}\n```\n\n" + "\n".join(f"- {fact}" for fact in facts)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """PSR in percent, means over intruders. psr: of photos as delivered, by rank; behind: the mean over all other
    pipelines, by rank, NaN where there are none; worst: the lowest PSR at rank 1 of any intruder behind any of them, or
    as delivered where there are none. unverified: of photos as delivered."""

    psr: dict[int, float]
    behind: dict[int, float]
    worst: float
    unverified: float


def summary(results: Results) -> Summary:
    """One line for all intruders; averaging ones are left out."""
    rows = [row for row in results.rows if not row.average]
    delivered = [row.protected for row in rows if row.pipeline == AS_DELIVERED]
    behind = [row.protected for row in rows if row.pipeline != AS_DELIVERED]
    return Summary(
        psr={rank: _mean(row.psr[rank].mean for row in delivered) for rank in RANKS},
        behind={rank: _mean(row.psr[rank].mean for row in behind) for rank in RANKS},
        worst=min(row.psr[1].mean for row in behind or delivered),
        unverified=_mean(row.unverified.mean for row in delivered),
    )


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known) if known else math.nan


def _summary(results: Results) -> str:
    figures = summary(results)
    head = ["", *(f"PSR, rank {rank}" for rank in RANKS)]
    rows = [["as delivered", *(f"{value:.1f}" for value in figures.psr.values())]]
    if len({row.pipeline for row in results.rows}) > 1:
        rows.append(["mean over the pipelines", *(f"{value:.1f}" for value in figures.behind.values())])
        rows.append(["the worst intruder behind the worst pipeline", f"{figures.worst:.1f}", NONE, NONE])
    return _table(head, rows)


def _protection(results: Results) -> str:
    head = ["intruder", "photos as", *(f"PSR, rank {rank}" for rank in RANKS), "PSR, rank 1, unprotected"]
    head += ["not verified", "not verified, unprotected", "no face found"]
    return _table(head, [_protection_row(row) for row in results.rows])


def _protection_row(row: Row) -> list[str]:
    words = "averaged for each person" if row.average else PIPELINES[row.pipeline].words
    first, *more = (row.protected.psr[rank] for rank in RANKS)
    return [
        row.intruder,
        words,
        _full(first),
        *(f"{share.mean:.1f}" for share in more),
        f"{row.bare.psr[1].mean:.1f}",
        _full(row.protected.unverified),
        f"{row.bare.unverified.mean:.1f}",
        f"{row.protected.no_face} (unprotected {row.bare.no_face})",
    ]


def _meaning(results: Results) -> str:
    angles = ", ".join(
        f"{name} {angle.degrees:.1f} degrees (averages {angle.average_degrees:.1f})"
        for name, angle in results.thresholds.items()
    )
    width = INTERVAL[1] - INTERVAL[0]
    return (
        "PSR, in percent: probes for which none of the so many nearest gallery photos is of the same person. "
        "Not verified: pairs of a probe and a protected photo of one person that do not match at the angle at "
        f"which one in a thousand pairs of strangers does ({angles}). Means over people ± standard deviation, and "
        f"the {width:.0f} % interval of the mean from {RESAMPLES:,} bootstrap resamples of the people."
    )


def _links(results: Results) -> str:
    head = ["intruder", "nearest other photo is of the person", "unprotected", "pairs that match", "unprotected"]
    rows = [
        [link.intruder, *map(_maybe, (link.rank1, link.bare_rank1, link.verified, link.bare_verified))]
        for link in results.links
    ]
    return _table(head, rows)


def _quality(results: Results) -> str:
    shares = (("hidden", results.hidden), ("converged", results.converged))
    lines = [f"- {name}: {_full(share)} % of the photos" for name, share in shares if share]
    rows = [
        [name, *(f"{value:.4g}" for value in (spread.median, spread.mean, spread.p5, spread.p95)), str(spread.photos)]
        for name, spread in results.quality.items()
    ]
    table = _table(["measure", "median", "mean", "5th percentile", "95th percentile", "photos"], rows)
    return "\n".join(lines) + "\n\n" + table


def _maybe(share: Share | None) -> str:
    return NONE if share is None else _full(share)


def _full(share: Share) -> str:
    return f"{share.mean:.1f} ± {share.std:.1f} ({share.low:.1f} to {share.high:.1f})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
