"""What a section of the page is made of: notes, key figures, tables, plots.

How they look is the business of the template; what they say, that of ``sections``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import Any, ClassVar

import pandas as pd
import plotly.graph_objects as go

from ffe_lakehouse.report import formats, theme
from ffe_lakehouse.report.definitions import PERIOD_FIGURES, anchor
from ffe_lakehouse.report.formats import Format
from ffe_lakehouse.schemas import TableSchema

SIMULATED = "simulated"


@dataclass(frozen=True)
class Note:
    """A sentence or two.

    Attributes:
        text: As it is.
        command: What mends it, if anything does.
    """

    kind: ClassVar[str] = "note"
    text: str
    command: str = ""


@dataclass(frozen=True)
class Tile:
    """A key figure.

    Attributes:
        label: What it is.
        value: As it is shown.
        aside: What helps to read it.
        tag: Such as that it is simulated.
    """

    label: str
    value: str
    aside: str = ""
    tag: str = ""

    @property
    def is_negative(self) -> bool:
        """Whether it is below zero."""
        return _is_negative(self.value)


@dataclass(frozen=True)
class Tiles:
    """Key figures, side by side."""

    kind: ClassVar[str] = "tiles"
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Of the frame's column.
        label: Above it.
        written: How a value is written.
        meaning: Formula, unit, and the rule for null.
        anchor: Where on the page that stands.
    """

    name: str
    label: str
    written: Format
    meaning: str
    anchor: str

    @property
    def is_number(self) -> bool:
        """Flush right."""
        return self.written not in (formats.text, formats.day)


@dataclass(frozen=True)
class Cell:
    """A value as it is shown."""

    text: str
    tag: str = ""

    @property
    def is_negative(self) -> bool:
        """Whether it is below zero."""
        return _is_negative(self.text)


@dataclass(frozen=True)
class Table:
    """Rows below headers; the first column says what a row is of.

    Attributes:
        caption: Above it.
        columns: From left to right.
        bodies: Rows, in groups that a line parts; each group with the rows of its sums.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    bodies: Sequence[tuple[Sequence[Sequence[Cell]], Sequence[Sequence[Cell]]]]


@dataclass(frozen=True)
class Key:
    """What a trace of a plot is.

    Attributes:
        trace: Its number.
        name: Of what it shows.
        stroke: ``solid``, ``dash``, ``dot``, ``area`` or ``circle``.
        colour: By name.
    """

    trace: int
    name: str
    stroke: str
    colour: str


@dataclass(frozen=True)
class Plot:
    """A plot with a line that says what to see in it."""

    kind: ClassVar[str] = "plot"
    title: str
    figure: go.Figure
    caption: str = ""
    tag: str = ""

    @property
    def legend(self) -> list[Key]:
        """What its traces are, as far as they have a name."""
        return [
            Key(number, unescape(trace.name), *_stroke(trace))
            for number, trace in enumerate(self.figure.data)
            if trace.name
        ]


@dataclass(frozen=True)
class Plots:
    """Plots side by side where there is room.

    Attributes:
        plots: They.
        title: Of all of them.
        caption: What to see in them.
        columns: How many beside each other at most.
        legend: What their colours mean, where that is said once for all of them: name, stroke and
            colour as of a ``Key``.
    """

    kind: ClassVar[str] = "plots"
    plots: Sequence[Plot]
    title: str = ""
    caption: str = ""
    columns: int = 2
    legend: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True)
class Details:
    """What is folded away at first."""

    kind: ClassVar[str] = "details"
    title: str
    blocks: Sequence[Any]


Block = Note | Tiles | Table | Plot | Plots | Details


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: Its anchor.
        title: Its heading.
        lead: What it is about.
        blocks: From top to bottom.
        tag: Beside the heading.
    """

    name: str
    title: str
    lead: str
    blocks: Sequence[Block] = field(default_factory=list)
    tag: str = ""


def columns(mart: TableSchema, shown: Mapping[str, tuple[str, Format]]) -> list[Column]:
    """Columns of a table, with what they mean.

    Args:
        mart: Whose descriptions are used.
        shown: Label and format by name: of a column of the mart, or of a figure of the period.
    """
    described = {column.name: column.description for column in mart.columns}
    model = mart.name.removeprefix("gold/")
    made = []
    for name, (label, written) in shown.items():
        if name in PERIOD_FIGURES:
            made.append(Column(name, label, written, PERIOD_FIGURES[name], anchor("period", name)))
        else:
            made.append(Column(name, label, written, described[name], anchor(model, name)))
    return made


def cells(rows: pd.DataFrame, shown: Sequence[Column]) -> list[list[Cell]]:
    """Rows as they are shown; a simulated one says so in its first cell.

    Args:
        rows: With the columns ``shown``; what it lacks is not known. ``is_mock`` may be missing.
        shown: In their order.
    """
    tags = [SIMULATED if each else "" for each in rows.get("is_mock", [False] * len(rows))]
    missing = [None] * len(rows)
    first, *others = (
        [column.written(value) for value in rows.get(column.name, missing)] for column in shown
    )
    made = [[Cell(text, tag)] for text, tag in zip(first, tags, strict=True)]
    for row, texts in zip(made, zip(*others, strict=True), strict=True):
        row.extend(Cell(text) for text in texts)
    return made


def table(
    caption: str,
    rows: pd.DataFrame,
    shown: Sequence[Column],
    *,
    apart: Sequence[str] = (),
    sums: pd.DataFrame | None = None,
) -> Table:
    """A table of rows.

    Args:
        caption: Above it.
        rows: In their order.
        shown: The columns.
        apart: Where the values of these change, a line parts the rows.
        sums: Rows that stand below those that have the same ``apart``.
    """
    below = rows.iloc[:0] if sums is None else sums
    if not apart:
        return Table(caption, shown, [(cells(rows, shown), cells(below, shown))])
    bodies = []
    for values, some in rows.groupby(list(apart), sort=False, observed=True):
        own = below[(below[list(apart)] == list(values)).all(axis=1)]
        bodies.append((cells(some, shown), cells(own, shown)))
    return Table(caption, shown, bodies)


def _stroke(trace: Any) -> tuple[str, str]:
    if trace.type == "bar":
        return "area", theme.NAMES[trace.marker.color]
    if trace.mode == "markers":
        return "circle", theme.NAMES[trace.marker.color]
    if trace.line.color is None:
        return "area", theme.NAMES[trace.fillcolor]
    return trace.line.dash or "solid", theme.NAMES[trace.line.color]


def _is_negative(text: str) -> bool:
    return text.startswith(formats.MINUS)
