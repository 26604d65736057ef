"""Bars that the trading calendar expects and a loaded day has not."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg
import numpy as np

from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.partitions import ONE_DAY, PairDays, contiguous, day_start, table_key
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import Timeframe
from ffe_lakehouse.watermarks import asked_until, latest_materializations, partition_states


@dataclass(frozen=True)
class Gap:
    """Bars in a row that are missing while the market was open.

    Closed hours do not end it; a day that is not loaded does.

    Attributes:
        pair: Canonical pair.
        timeframe: Timeframe code.
        first: Open time of the first missing bar (UTC).
        last: Open time of the last one.
        bars: How many.
    """

    pair: str
    timeframe: str
    first: datetime
    last: datetime
    bars: int


def find_gaps(
    instance: dg.DagsterInstance,
    lake: DeltaLakeManager,
    pair: str,
    timeframe: Timeframe,
    first: date,
    last: date,
    now: datetime,
) -> list[Gap]:
    """Missing bars of the loaded days from ``first`` to ``last`` (included), in order.

    Days that are not loaded are no gaps: ``watermarks`` tells of them.
    """
    schema = raw_candles(timeframe)
    key = table_key(schema)
    states = partition_states(instance, key, [pair], first, last, now)
    loaded = [day for (_, day), state in states.items() if state.is_loaded]
    if not loaded:
        return []
    symbol = parse_symbol(pair)
    expected_of = []
    for window in contiguous(pair, loaded):
        expected = expected_bars(symbol, timeframe, window.start, window.end)
        for day in window.days:
            if not states[pair, day].is_done:
                expected = _without_unasked(instance, key, expected, PairDays(pair, day, day))
        expected_of.append(expected)
    where = Where((pair,), day_start(loaded[0]), day_start(loaded[-1] + ONE_DAY))
    stored = lake.read_table(schema.name, where, ["timestamp"])["timestamp"].to_numpy()
    expected = np.concatenate(expected_of)
    missing = np.flatnonzero(~np.isin(expected, stored))
    window_of = np.searchsorted(np.cumsum([len(each) for each in expected_of]), missing, "right")
    breaks = np.flatnonzero((np.diff(missing) > 1) | (np.diff(window_of) > 0)) + 1
    return [
        Gap(pair, timeframe.code, _utc(expected[run[0]]), _utc(expected[run[-1]]), run.size)
        for run in np.split(missing, breaks)
        if run.size
    ]


def _without_unasked(
    instance: dg.DagsterInstance, key: dg.AssetKey, expected: np.ndarray, day: PairDays
) -> np.ndarray:
    """Leave out the bars of an unfinished day that had not closed when it was last loaded."""
    for record in latest_materializations(instance, key, day.keys).values():
        until = np.datetime64(asked_until(record).replace(tzinfo=None), "us")
        end = np.datetime64(day.end.replace(tzinfo=None), "us")
        expected = expected[(expected < until) | (expected >= end)]
    return expected


def _utc(moment: np.datetime64) -> datetime:
    return datetime.fromtimestamp(float(moment.astype("datetime64[s]").astype(np.int64)), UTC)
