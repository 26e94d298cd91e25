"""Figures 9 and 10 of the paper: what is seen of the masks (SSIM, PSNR) and what they take (iterations, seconds).

.venv/bin/python scripts/experiments/figure_9_10_costs.py --faces DIR [--intruders DIR] [--quick | --full]
"""

from __future__ import annotations

from collections.abc import Callable

from plan import COMPARED, COMPARISON, METHOD_WORDS, Ask, Plan, main
from publish import Table, publish

from pmask.evaluation.results import Masked
from pmask.evaluation.svg import Boxes, figure, quantile

NAME = "figure-9-figure-10"
TITLE = "Figures 9 and 10: quality, iterations and seconds by method"
MEASURES: dict[str, tuple[str, Callable[[Masked], float]]] = {
    "SSIM": ("{:.4f}", lambda photo: float(photo.quality["ssim"])),
    "PSNR, dB": ("{:.1f}", lambda photo: float(photo.quality["psnr"])),
    "iterations": ("{:.0f}", lambda photo: float(photo.face["iterations"])),
    "seconds": ("{:.1f}", lambda photo: float(photo.face["seconds"])),
}
"""How each is written, and where it is found."""
SHARES = (0.05, 0.5, 0.95)


def asks(plan: Plan) -> list[Ask]:
    """What is evaluated."""
    return list(COMPARISON.values())


def run(plan: Plan) -> None:
    """Makes the files."""
    results = plan.comparison()
    values = {
        measure: {METHOD_WORDS[method]: sorted(map(read, results[method].masked)) for method in COMPARED}
        for measure, (_, read) in MEASURES.items()
    }
    rows = [
        [METHOD_WORDS[method], *(_spread(values[m][METHOD_WORDS[method]], form) for m, (form, _) in MEASURES.items())]
        for method in COMPARED
    ]
    panels = [Boxes(title=measure, unit=measure, series=series) for measure, series in values.items()]
    words = (
        "Median, with the 5th and the 95th percentile over the protected photos. SSIM and PSNR are of the face's box "
        "in the delivered file, JPEG's own loss included. Seconds are of one face, on one of the processes, beside "
        "whatever else the machine did: compare the rows, not machines."
    )
    publish(plan, NAME, TITLE, words, Table(["method", *MEASURES], rows), figure(panels), list(results.values()))


def _spread(ordered: list[float], form: str) -> str:
    low, middle, high = (form.format(quantile(ordered, share)) for share in SHARES)
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main(run, __doc__)
