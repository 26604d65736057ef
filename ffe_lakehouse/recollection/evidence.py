"""What the lake proves: bars, dead letters, gaps, and when which days were asked for.

A write brought bars of a stretch of days that was asked for as a whole, at the moment that its rows
bear; its commit names the whole stretch. What follows from it stands in ``conclusion``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.schemas import CANDLE_GAPS, CLOSINGS, TableSchema, dead_letters, raw_candles
from ffe_lakehouse.timeframes import Timeframe

Days: TypeAlias = NDArray[np.datetime64]
"""UTC days or moments, one a row."""
Counts: TypeAlias = NDArray[np.int64]

DAY = np.timedelta64(1, "D")

_COMMITS = 10_000
"""So many commits of a table are looked at: they tell of the ends of its history alone."""
_BARS = ("timestamp", "source_provider", "_extracted_at", "_ingestion_id", "partition_date")
_BOX = re.compile(r"([^|,]+)\|(\d{4}-\d\d-\d\d)\.\.\.(\d{4}-\d\d-\d\d)")


def pairs_of(lake: DeltaLakeManager, schema: TableSchema) -> list[str]:
    """The pairs of which a table has files; none if there is no such table."""
    if not lake.table_exists(schema.name):
        return []
    places = lake.table(schema.name).partitions()
    return sorted({str(place["partition_asset_pair"]) for place in places})


@dataclass(frozen=True)
class Bars:
    """The bars of one pair, ascending in time."""

    table: pa.Table

    @cached_property
    def days(self) -> Days:
        """UTC day of each."""
        return days_of(self.table)

    @cached_property
    def times(self) -> Days:
        """Open time of each (UTC)."""
        return moments_of(self.table["timestamp"])

    @cached_property
    def known(self) -> Days:
        """When each was extracted."""
        return moments_of(self.table["_extracted_at"])

    def writes(self) -> list[tuple[np.datetime64, np.datetime64, np.datetime64, int]]:
        """When each write was made, its first and last day, and its rows; in order."""
        by_write = self.table.group_by("_ingestion_id").aggregate(
            [
                ("_extracted_at", "max"),
                ("partition_date", "min"),
                ("partition_date", "max"),
                ("_ingestion_id", "count"),
            ]
        )
        at = moments_of(by_write["_extracted_at_max"])
        first = by_write["partition_date_min"].to_numpy().astype("M8[D]")
        last = by_write["partition_date_max"].to_numpy().astype("M8[D]")
        return sorted(
            zip(at, first, last, by_write["_ingestion_id_count"].to_pylist(), strict=True)
        )


@dataclass(frozen=True)
class _Commit:
    first: np.datetime64
    last: np.datetime64
    rows: int


@dataclass(frozen=True)
class Ask:
    """A stretch of days that a vendor was asked for at once: these, if not more."""

    first: np.datetime64
    last: np.datetime64
    at: np.datetime64


@dataclass(frozen=True)
class Sources:
    """The tables of one timeframe, and what stands beside them.

    Attributes:
        lake: Where they are.
        timeframe: Which ones.
        now: The present moment (UTC).
    """

    lake: DeltaLakeManager
    timeframe: Timeframe
    now: datetime

    def bars(self, pair: str) -> "Bars":
        """The bars of a pair."""
        return Bars(self._read(raw_candles(self.timeframe), pair, _BARS))

    def letters(self, pair: str) -> pa.Table:
        """Day and reasons of the dead letters of a pair."""
        return self._read(dead_letters(self.timeframe), pair, ("partition_date", "reasons"))

    def asks(self, pair: str, bars: "Bars") -> list["Ask"]:
        """When the vendor was asked for which days of a pair, as far as it left bars."""
        return _asks(bars, self._commits.get(pair, ()), self._replayed(pair))

    def none_missing(self, pair: str, days: Days) -> Counts:
        """How many bars of each day the vendor is known not to have."""
        gaps = self._gaps.filter(pc.field("asset_pair") == pair)
        unknown = gaps.filter(pc.field("class") == "not_fetched")
        gaps = gaps.filter(pc.field("class") == "vendor_has_none")
        counts = sums(days, days_of(gaps), gaps["bars"].to_numpy())
        return np.where(sums(days, days_of(unknown)) > 0, 0, counts)

    @cached_property
    def _gaps(self) -> pa.Table:
        if not self.lake.table_exists(CANDLE_GAPS.name):
            return CANDLE_GAPS.arrow.empty_table()
        gaps = self.lake.read(CANDLE_GAPS.name)
        return gaps.filter(pc.field("timeframe") == self.timeframe.code)

    @cached_property
    def _closings(self) -> pa.Table:
        if not self.lake.table_exists(CLOSINGS.name):
            return CLOSINGS.arrow.empty_table()
        closings = self.lake.read(CLOSINGS.name)
        return closings.filter(pc.field("timeframe") == self.timeframe.code)

    @cached_property
    def _commits(self) -> Mapping[str, Sequence["_Commit"]]:
        """What was written of each pair, newest first, since the table was last restored."""
        found: dict[str, list[_Commit]] = {}
        name = raw_candles(self.timeframe).name
        if not self.lake.table_exists(name):
            return found
        for entry in self.lake.history(name, _COMMITS):
            if entry["operation"] == "RESTORE":
                break  # what was written before may be gone
            box = _BOX.fullmatch(str(entry.get("dagster/partitions", "")))
            metrics = entry.get("operationMetrics")
            if box and isinstance(metrics, dict):
                first, last = np.array(box.groups()[1:], "M8[D]")
                written = _Commit(first, last, int(metrics.get("num_added_rows", 0)))
                found.setdefault(box[1], []).append(written)
        return found

    def _replayed(self, pair: str) -> Days:
        """When dead letters of the pair became bars: nobody was asked then."""
        closed = self._closings.filter(pc.field("asset_pair") == pair)
        return moments_of(closed["closed_at"])

    def _read(self, schema: TableSchema, pair: str, columns: Sequence[str]) -> pa.Table:
        if not self.lake.table_exists(schema.name):
            return schema.arrow.empty_table().select(list(columns))
        return self.lake.read(schema.name, Where((pair,)), columns)


def _asks(bars: Bars, commits: Sequence[_Commit], replayed: Days) -> list[Ask]:
    """What was asked for: the days between the bars of a write, or, by its commit, some more.

    Commits bear the time of the machine and no mark of their rows. They are told apart by order
    and number of rows; from the first that does not fit, back in time, the rows alone count.
    """
    writes = bars.writes()
    boxes: list[tuple[np.datetime64, np.datetime64]] = []
    for commit, (_, first, last, rows) in zip(commits, reversed(writes), strict=False):
        if commit.rows != rows or first < commit.first or commit.last < last:
            break
        boxes.append((commit.first, commit.last))
    spans = [(first, last) for _, first, last, _ in writes[: len(writes) - len(boxes)]]
    return [
        Ask(*box, at)
        for (at, *_), box in zip(writes, [*spans, *reversed(boxes)], strict=True)
        if at not in replayed
    ]


def sums(days: Days, of: Days, amounts: Counts | None = None) -> Counts:
    """How many (or how much) of what lies on the days or times ``of`` falls on each of ``days``."""
    at = (of.astype("M8[D]") - days[0]) // DAY
    inside = (at >= 0) & (at < days.size)
    amounts = None if amounts is None else amounts[inside]
    return np.bincount(at[inside], amounts, minlength=days.size).astype(np.int64)


def days_of(rows: pa.Table) -> Days:
    """UTC day of each row."""
    return np.asarray(rows["partition_date"].to_numpy().astype("M8[D]"))


def moments_of(column: pa.ChunkedArray) -> Days:
    """Moments (datetime64[us], UTC)."""
    return np.asarray(column.to_numpy().astype("M8[us]"))
