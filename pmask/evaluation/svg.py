"""Charts as plain SVG: bars, boxes, points and lines, in panels. The one place that knows how figures look."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol
from xml.sax.saxutils import escape

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#000000")
"""M. Okabe and K. Ito's palette, which colour-blind people can tell apart."""
WIDTH, HEIGHT = 860, 380
"""Pixels of one panel."""
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 90
"""Margins of a panel around its plot."""
GRID, INK = "#dddddd", "#333333"
TICKS = 5
NAMED = 8
"""Points of a scatter that are named in their place; more would cover one another, and have numbers and a key."""
KEY, KEY_LINE = 240, 12
"""Pixels beside the plot that the key takes, and pixels from one of its lines to the next."""


@dataclass(frozen=True)
class Axis:
    """Values from low to high on pixels from start to end; logarithmic where log."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (
            (math.log10(v) for v in (self.low, self.high, value))
            if self.log
            else (
                self.low,
                self.high,
                value,
            )
        )
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


class Canvas:
    """Collects elements; every number is written with one decimal, every text escaped."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = INK, width: float = 1.0) -> None:
        """A straight line."""
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'
        )

    def box(self, x: float, y: float, width: float, height: float, colour: str, opacity: float = 1.0) -> None:
        """A filled rectangle."""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{max(0.0, height):.1f}" '
            f'fill="{colour}" fill-opacity="{opacity}"/>'
        )

    def dot(self, x: float, y: float, colour: str, radius: float = 4.0) -> None:
        """A filled circle."""
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" fill-opacity="0.8"/>')

    def text(self, x: float, y: float, words: str, anchor: str = "middle", size: int = 12, turn: float = 0.0) -> None:
        """Words at a place, turned by so many degrees around it."""
        turned = f' transform="rotate({turn:.1f} {x:.1f} {y:.1f})"' if turn else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{INK}"{turned}>'
            f"{escape(words)}</text>"
        )


class Panel(Protocol):
    """A chart that draws itself into a square of WIDTH x HEIGHT whose corner is at (x, y)."""

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Adds its elements."""


def figure(panels: Sequence[Panel]) -> str:
    """An SVG document with the panels below one another."""
    canvas = Canvas()
    for i, panel in enumerate(panels):
        panel.draw(canvas, 0.0, float(i * HEIGHT))
    height = HEIGHT * len(panels)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif">'
    )
    back = f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, back, *canvas.parts, "</svg>", ""])


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Groups of bars. series: for each name a value per group; top: the end of the axis, else the greatest value."""

    title: str
    unit: str
    groups: Sequence[str]
    series: Mapping[str, Sequence[float]]
    top: float | None = None

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Adds its elements."""
        values = [value for row in self.series.values() for value in row]
        low, high = min(0.0, *values), max(self.top or 0.0, *values, 1e-9)
        axis = _frame(canvas, x, y, self.title, self.unit, low, high)
        room = (WIDTH - LEFT - RIGHT) / max(1, len(self.groups))
        width = 0.8 * room / max(1, len(self.series))
        for g, group in enumerate(self.groups):
            start = x + LEFT + g * room + 0.1 * room
            for s, row in enumerate(self.series.values()):
                one, other = sorted((axis.at(row[g]), axis.at(0.0)))
                canvas.box(start + s * width, one, 0.92 * width, other - one, COLOURS[s % len(COLOURS)])
            _below(canvas, start + 0.4 * room, y, group, room)
        if len(self.series) > 1:
            _legend(canvas, x, y, list(self.series))


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Distributions: every value a dot, a box from the lower to the upper quartile, a line at the median."""

    title: str
    unit: str
    series: Mapping[str, Sequence[float]]

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Adds its elements."""
        values = [value for row in self.series.values() for value in row]
        edge = 0.05 * (max(values) - min(values)) or 1e-3
        axis = _frame(canvas, x, y, self.title, self.unit, min(values) - edge, max(values) + edge)
        room = (WIDTH - LEFT - RIGHT) / max(1, len(self.series))
        for s, (name, row) in enumerate(self.series.items()):
            colour, ordered, middle = COLOURS[s % len(COLOURS)], sorted(row), x + LEFT + (s + 0.5) * room
            low, median, high = (axis.at(quantile(ordered, share)) for share in (0.25, 0.5, 0.75))
            canvas.box(middle - 0.25 * room, high, 0.5 * room, low - high, colour, 0.3)
            canvas.line(middle - 0.25 * room, median, middle + 0.25 * room, median, colour, 3.0)
            for i, value in enumerate(ordered):  # spread sideways, so that equal values are seen
                aside = ((i * 7) % 11 - 5) / 5 * 0.2 * room
                canvas.dot(middle + aside, axis.at(value), colour, 2.5)
            _below(canvas, middle, y, name, room)


@dataclass(frozen=True, kw_only=True)
class Points:
    """A scatter of (x, y, label); the vertical axis goes from the ten below the lowest to 100, or what is above it."""

    title: str
    across: str
    unit: str
    points: Sequence[tuple[float, float, str]]

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Adds its elements."""
        rows = [point for point in self.points if math.isfinite(point[0])]
        heights = [point[1] for point in rows] or [0.0]
        keyed = len(rows) > NAMED
        end = x + WIDTH - RIGHT - (KEY if keyed else 0)
        low, high = 10 * math.floor(min(heights) / 10 - 1e-9), max(100.0, *heights)
        axis = _frame(canvas, x, y, self.title, self.unit, max(0.0, low), high, end)
        across = [point[0] for point in rows] or [0.0, 1.0]
        edge = 0.08 * (max(across) - min(across)) or 0.1
        along = Axis(min(across) - edge, max(across) + edge, x + LEFT, end)
        for i in range(TICKS + 1):
            value = along.low + i * (along.high - along.low) / TICKS
            canvas.text(along.at(value), y + HEIGHT - BOTTOM + 18, f"{value:.3g}", size=11)
        canvas.text((x + LEFT + end) / 2, y + HEIGHT - BOTTOM + 42, self.across)
        for number, (value, height, label) in enumerate(rows, start=1):
            place = along.at(value), axis.at(height)
            canvas.dot(*place, COLOURS[0], 5.0)
            if keyed:
                aside = -4 if number % 2 else 11  # above and below in turn: neighbours have numbers next to each other
                canvas.text(place[0] + 5, place[1] + aside, str(number), "start", 9)
                canvas.text(end + 12, y + TOP + KEY_LINE * number, f"{number}  {label}", "start", 10)
            else:
                right = place[0] > x + WIDTH * 0.75
                canvas.text(place[0] + (-8 if right else 8), place[1] + 4, label, "end" if right else "start", 10)


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Curves over the same places, which are spaced by their logarithm. series: for each name a value per place."""

    title: str
    across: str
    unit: str
    places: Sequence[float]
    series: Mapping[str, Sequence[float]]
    low: float | None = None
    top: float | None = None

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Adds its elements."""
        values = [value for row in self.series.values() for value in row]
        edge = 0.1 * (max(values) - min(values)) or 0.1 * abs(values[0]) or 1.0
        low = min(values) - edge if self.low is None else self.low
        axis = _frame(canvas, x, y, self.title, self.unit, low, max(values) + edge if self.top is None else self.top)
        along = Axis(min(self.places) / 1.2, max(self.places) * 1.2, x + LEFT, x + WIDTH - RIGHT, log=True)
        for place in self.places:
            canvas.text(along.at(place), y + HEIGHT - BOTTOM + 18, f"{place:g}", size=11)
        canvas.text(x + WIDTH / 2, y + HEIGHT - BOTTOM + 42, self.across)
        for s, row in enumerate(self.series.values()):
            spots = [(along.at(place), axis.at(value)) for place, value in zip(self.places, row, strict=True)]
            for one, other in pairwise(spots):
                canvas.line(*one, *other, COLOURS[s % len(COLOURS)], 2.0)
            for spot in spots:
                canvas.dot(*spot, COLOURS[s % len(COLOURS)])
        if len(self.series) > 1:
            _legend(canvas, x, y, list(self.series))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Between the two nearest of sorted values, as numpy's default."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _frame(
    canvas: Canvas, x: float, y: float, title: str, unit: str, low: float, high: float, end: float | None = None
) -> Axis:
    """Title, and the vertical axis with its grid, which reaches to ``end``."""
    end = x + WIDTH - RIGHT if end is None else end
    axis = Axis(low, high, y + HEIGHT - BOTTOM, y + TOP)
    canvas.text(x + WIDTH / 2, y + 20, title, size=15)
    for i in range(TICKS + 1):
        value = low + i * (high - low) / TICKS
        canvas.line(x + LEFT, axis.at(value), end, axis.at(value), GRID)
        canvas.text(x + LEFT - 6, axis.at(value) + 4, f"{value:.4g}", "end", 11)
    canvas.line(x + LEFT, y + TOP, x + LEFT, y + HEIGHT - BOTTOM)
    canvas.line(x + LEFT, axis.start, end, axis.start)
    canvas.text(x + 16, y + (TOP + HEIGHT - BOTTOM) / 2, unit, turn=-90)
    return axis


def _below(canvas: Canvas, x: float, y: float, words: str, room: float) -> None:
    """A label under the plot; turned where there is too little room for it, a team with a line for each member."""
    members = words.split(" + ")
    if 6.5 * len(words) <= room:
        canvas.text(x, y + HEIGHT - BOTTOM + 18, words, size=11)
    elif len(members) > 1:
        for i, member in enumerate(members):
            across = x + 4 + (i - (len(members) - 1) / 2) * 11
            canvas.text(across, y + HEIGHT - BOTTOM + 8, member, "end", 10, -90)
    else:
        canvas.text(x, y + HEIGHT - BOTTOM + 14, words, "end", 10, -35)


def _legend(canvas: Canvas, x: float, y: float, names: Sequence[str]) -> None:
    place = x + LEFT
    for i, name in enumerate(names):
        canvas.box(place, y + 30, 10, 10, COLOURS[i % len(COLOURS)])
        canvas.text(place + 14, y + 39, name, "start", 11)
        place += 28 + 6.3 * len(name)
