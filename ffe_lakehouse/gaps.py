"""Every bar that a pair could have, and what is known of those that the lake has not.

By the trading calendar, the lake's rows and Dagster's memory. Here holes are found, classed and
joined, and it is said which days to ask for to close them. Asking is the business of ``backfill``,
the table of the holes that of ``assets.quality``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import IntEnum
from typing import TypeAlias

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.partitions import PairDays, days_between, partition_key, split_key, table_key
from ffe_lakehouse.schemas import CANDLE_GAPS, GAP_CLASSES, TIMESTAMP, raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import Timeframe
from ffe_lakehouse.watermarks import State, asked_until, latest_materializations

Times: TypeAlias = NDArray[np.datetime64]
States: TypeAlias = Mapping[tuple[str, date], State]
"""Of every day of every pair in one table, as ``watermarks.partition_states`` tells them."""

_ASKED_TWICE = (State.COMPLETE, State.NO_DATA)
_LEFT_ALONE = (*_ASKED_TWICE, State.IN_PROGRESS)


class Slot(IntEnum):
    """What is known of one bar of the grid; the last three are classes of gaps."""

    STORED = 0
    NOT_DUE = 1
    """Expected, but it has not closed, or only within the settlement delay: nobody misses it."""
    MARKET_CLOSED = 2
    VENDOR_HAS_NONE = 3
    NOT_FETCHED = 4


CLASSES: dict[str, Slot] = {name: Slot[name.upper()] for name in GAP_CLASSES}


@dataclass(frozen=True)
class Gap:
    """Bars in a row that are not there, all of one class.

    Attributes:
        pair: Canonical pair.
        timeframe: Timeframe code.
        first: Open time of the first of them (UTC).
        last: Open time of the last one.
        bars: How many.
        kind: A class of ``schemas.GAP_CLASSES``.
    """

    pair: str
    timeframe: str
    first: datetime
    last: datetime
    bars: int
    kind: str


@dataclass(frozen=True)
class Runs:
    """Gaps as columns, shape (n,) each, ascending in time.

    Attributes:
        first: Open time of the first bar (datetime64[us], UTC).
        last: Open time of the last one.
        bars: How many.
        kinds: Of which class (``Slot``).
    """

    first: Times
    last: Times
    bars: NDArray[np.int64]
    kinds: NDArray[np.int8]


@dataclass(frozen=True)
class Grid:
    """Every bar that one pair could have in some days.

    Attributes:
        window: The pair and its days.
        timeframe: How long a bar is.
        times: Open times, equally many a day (datetime64[us], UTC), ascending, shape (n,).
        kinds: What is known of each (``Slot``), shape (n,).
    """

    window: PairDays
    timeframe: Timeframe
    times: Times
    kinds: NDArray[np.int8]

    @classmethod
    def of(
        cls,
        window: PairDays,
        timeframe: Timeframe,
        stored: Times,
        states: States,
        now: datetime,
    ) -> "Grid":
        """Class every bar.

        Args:
            window: The pair and its days.
            timeframe: How long a bar is.
            stored: Open times of bars that the lake has; others, and repeated ones, do not matter.
            states: Of every day of the window.
            now: The present moment (UTC).

        Raises:
            InputError: The pair is none, or its trading calendar does not reach as far.
        """
        times = np.arange(_numpy(window.start), _numpy(window.end), timeframe.step)
        expected = expected_bars(parse_symbol(window.pair), timeframe, window.start, window.end)
        asked_twice = [states[window.pair, day] in _ASKED_TWICE for day in window.days]
        due = now - timeframe.duration - get_settings().settlement_delay
        kinds = np.where(
            np.repeat(asked_twice, timeframe.bars_per_day), Slot.VENDOR_HAS_NONE, Slot.NOT_FETCHED
        ).astype(np.int8)
        kinds[times > _numpy(due)] = Slot.NOT_DUE
        kinds[_among(times, stored)] = Slot.STORED
        kinds[~_among(times, expected)] = Slot.MARKET_CLOSED
        return cls(window, timeframe, times, kinds)

    def by_day(self) -> Runs:
        """Gaps within a day, each as long as it can be: neighbours on the grid, of one class."""
        midnight = np.arange(self.times.size) % self.timeframe.bars_per_day == 0
        return _runs(self.times, self.kinds, midnight)

    def across_days(self, kind: Slot) -> list[Gap]:
        """Gaps of one class. Neither midnight nor closed hours end a hole: a lost year is one."""
        seen = (self.kinds != Slot.MARKET_CLOSED) | (kind is Slot.MARKET_CLOSED)
        runs = _runs(self.times[seen], self.kinds[seen])
        columns = (runs.first, runs.last, runs.bars, runs.kinds)
        name, code = kind.name.lower(), self.timeframe.code
        return [
            Gap(self.window.pair, code, _utc(first), _utc(last), int(bars), name)
            for first, last, bars, found in zip(*columns, strict=True)
            if found == kind
        ]

    def count(self, times: Times, kinds: NDArray[np.int8]) -> NDArray[np.int64]:
        """How many of these bars lie in each day, by ``Slot``: shape (days, slots)."""
        days, slots = len(self.window.days), len(Slot)
        day = (times - self.times[0]) // np.timedelta64(1, "D")
        return np.bincount(day * slots + kinds, minlength=days * slots).reshape(days, slots)


def look(
    lake: DeltaLakeManager,
    timeframe: Timeframe,
    windows: Sequence[PairDays],
    states: States,
    now: datetime,
) -> Iterator[Grid]:
    """The grid of every window. The table, which need not exist, is read once for all of them.

    Raises:
        InputError: As ``Grid.of``.
    """
    stored = _stored(lake, timeframe, windows)
    for window in windows:
        yield Grid.of(window, timeframe, stored[window.pair], states, now)


def days_to_ask(instance: dg.DagsterInstance, grid: Grid, states: States) -> list[date]:
    """Days to ask for, so that what was not fetched is fetched, or known not to be had.

    What lies between two of them, and is expected to be empty, comes with them if it was not asked
    for yet: a missing year of forex is then one window, and not 52. A running day is left out if
    all that is missing in it was asked for: it gets its second chance when it has closed.
    """
    pair, table = grid.window.pair, table_key(raw_candles(grid.timeframe))
    days = {
        day
        for gap in grid.across_days(Slot.NOT_FETCHED)
        for day in days_between(gap.first.date(), gap.last.date())
        if states[pair, day] not in _LEFT_ALONE
    }
    missing = grid.times[grid.kinds == Slot.NOT_FETCHED]
    running = [partition_key(pair, day) for day in days if states[pair, day] is State.UNFINISHED]
    for key, record in latest_materializations(instance, table, running).items():
        day = split_key(key)[1]
        unasked = missing[missing >= _numpy(asked_until(record))]
        if day not in unasked.astype("datetime64[D]").tolist():
            days.remove(day)
    return sorted(days)


def gap_rows(grid: Grid, runs: Runs, found_at: datetime) -> pa.Table:
    """Rows by ``schemas.CANDLE_GAPS``, one a gap."""
    size, pair = runs.bars.size, grid.window.pair
    names = np.array([slot.name.lower() for slot in Slot])
    columns = {
        "asset_pair": pa.repeat(pair, size),
        "timeframe": pa.repeat(grid.timeframe.code, size),
        "first": pa.array(runs.first).cast(TIMESTAMP),
        "last": pa.array(runs.last).cast(TIMESTAMP),
        "bars": pa.array(runs.bars),
        "class": pa.array(names[runs.kinds]),
        "found_at": pa.repeat(pa.scalar(found_at, TIMESTAMP), size),
        "partition_date": pa.array(runs.first.astype("datetime64[D]")),
        "partition_asset_pair": pa.repeat(pair, size),
        "storage_period": pa.array(runs.first.astype("datetime64[Y]").astype(str)),
    }
    return pa.table(columns).cast(CANDLE_GAPS.arrow)


def _stored(
    lake: DeltaLakeManager, timeframe: Timeframe, windows: Sequence[PairDays]
) -> dict[str, Times]:
    """Open times of the bars of each pair, of at least its window."""
    pairs = tuple(dict.fromkeys(window.pair for window in windows))
    name = raw_candles(timeframe).name
    if not lake.table_exists(name):
        return dict.fromkeys(pairs, np.array([], dtype="datetime64[us]"))
    start, end = min(w.start for w in windows), max(w.end for w in windows)
    bars = lake.read(name, Where(pairs, start, end), ["asset_pair", "timestamp"])
    return {
        pair: bars.filter(pc.field("asset_pair") == pair)["timestamp"].to_numpy() for pair in pairs
    }


def _among(grid: Times, times: Times) -> NDArray[np.bool_]:
    """Which bars of a grid are among ``times`` (ten years of minutes: 0.2 s, np.isin 6 s)."""
    at = np.minimum(np.searchsorted(grid, times), grid.size - 1)
    found = np.zeros(grid.size, dtype=bool)
    found[at[grid[at] == times]] = True
    return found


def _runs(times: Times, kinds: NDArray[np.int8], ends: NDArray[np.bool_] | None = None) -> Runs:
    """Neighbours that are missing for one reason; no run goes on over one of ``ends``."""
    begins = np.append(True, kinds[1:] != kinds[:-1])[: kinds.size]
    first = np.flatnonzero(begins if ends is None else begins | ends)
    stop = np.append(first, kinds.size)[1:]
    missing = kinds[first] >= Slot.MARKET_CLOSED
    first, stop = first[missing], stop[missing]
    return Runs(times[first], times[stop - 1], stop - first, kinds[first])


def _numpy(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.replace(tzinfo=None), "us")


def _utc(moment: np.datetime64) -> datetime:
    return datetime.fromtimestamp(float(moment.astype("datetime64[s]").astype(np.int64)), UTC)
