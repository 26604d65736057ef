"""As-of joins: which bar had closed last at a moment. What is made of it is the callers' business.

A bar counts from its close on. It is not looked for longer than ``LOOK_BACK_DAYS`` before the
moment, by its open time: the partitions of a UTC day and of that many days before it hold all that
a moment of that day can find.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.schemas import TIMESTAMP
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED
from ffe_lakehouse.timeframes import Timeframe

Integers = NDArray[np.int64]

LOOK_BACK_DAYS = 10
"""Days that a bar counts for. New York's longest closing since 1990, 11 to 16 September 2001, left
the daily bar of the 10th the newest one until the 17th was over: nearly eight days."""

_LOOK_BACK = LOOK_BACK_DAYS * 86_400_000_000


def microseconds(times: pa.Array | pa.ChunkedArray) -> Integers:
    """Moments as microseconds since 1970 (UTC); a null is the smallest integer."""
    values = times.to_numpy(zero_copy_only=False).astype("datetime64[us]")
    return np.asarray(values.astype(np.int64))


def moment(time: datetime) -> int:
    """One moment as microseconds since 1970 (UTC)."""
    return int(pa.scalar(time, TIMESTAMP).value)


def as_times(values: Integers, known: NDArray[np.bool_] | None = None) -> pa.Array:
    """Microseconds since 1970 as timestamps (UTC), null where they are not ``known``."""
    return pa.array(values, mask=None if known is None else ~known).cast(TIMESTAMP)


def refuse_several_pairs(*tables: pa.Table) -> None:
    """Refuse tables that are of more than one pair: a join by time alone would mix them.

    Raises:
        InputError: There are two ``asset_pair`` or more. A table without the column is not judged.
    """
    pairs = {
        pair
        for table in tables
        if "asset_pair" in table.column_names
        for pair in pc.unique(table["asset_pair"]).to_pylist()
    }
    if len(pairs) > 1:
        raise InputError(f"rows of {', '.join(sorted(pairs))}: hand in one pair at a time")


def last_closed(opens: Integers, closes: Integers, moments: Integers) -> Integers:
    """The bar that had closed last at each moment.

    Args:
        opens: Open times of bars, in microseconds since 1970.
        closes: Their close times, in any order; of equal ones the last counts.
        moments: Moments, in any order.

    Returns:
        For each moment the number of the bar, or -1 where none has closed that opened in the
        ``LOOK_BACK_DAYS`` before.
    """
    if not len(opens):
        return np.full(len(moments), -1, dtype=np.int64)
    order = None
    if (np.diff(closes) < 0).any():
        order = np.argsort(closes, kind="stable")
        opens, closes = opens[order], closes[order]
    found = np.searchsorted(closes, moments, side="right") - 1
    usable = (found >= 0) & (opens[found] >= moments - _LOOK_BACK)
    return np.where(usable, found if order is None else order[found], -1)


def take_or_null(rows: pa.Table, numbers: Integers) -> pa.Table:
    """The rows of these numbers; all null where the number is -1."""
    nullable = pa.schema([field.with_nullable(True) for field in rows.schema])
    return rows.cast(nullable).take(pa.array(numbers, mask=numbers < 0))


def newest_closed(
    bars: Mapping[Timeframe, pa.Table], names: Sequence[str], moments: Integers
) -> pa.Table:
    """The newest enriched bar of any timeframe at each moment: the latest close, then the finest.

    Args:
        bars: Enriched bars of ONE pair by timeframe, in any order.
        names: Columns of ``market_data_enriched`` to take along.
        moments: Moments, in microseconds since 1970.

    Returns:
        One row a moment: ``bar_timeframe``, ``bar_timestamp``, ``bar_closed_at`` and ``names``,
        null where no bar is found.
    """
    taken = pa.schema([MARKET_DATA_ENRICHED.arrow.field(name) for name in ("timestamp", *names)])
    tables, newest = [taken.empty_table()], np.full(len(moments), -1, dtype=np.int64)
    closed_at = np.full(len(moments), np.iinfo(np.int64).min)
    codes = np.full(len(moments), None, dtype=object)
    offset = 0
    for timeframe in sorted(bars, reverse=True):
        table = bars[timeframe].select(taken.names).cast(taken)
        opens = microseconds(table["timestamp"])
        closes = opens + timeframe.step.astype(np.int64)
        found = last_closed(opens, closes, moments)
        hits = np.flatnonzero(found >= 0)
        newer = hits[closes[found[hits]] >= closed_at[hits]]
        closed_at[newer] = closes[found[newer]]
        newest[newer] = found[newer] + offset
        codes[newer] = timeframe.code
        tables.append(table)
        offset += table.num_rows
    rows = take_or_null(pa.concat_tables(tables), newest)
    return (
        rows.rename_columns(["bar_timestamp", *names])
        .append_column("bar_timeframe", pa.array(codes, pa.string()))
        .append_column("bar_closed_at", as_times(closed_at, newest >= 0))
    )
