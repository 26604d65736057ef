"""Pages of finer candles as pages of coarser ones, for vendors that lack a timeframe.

What lies across the end of a page, and what may not be merged, is decided here; how bars are merged
in ``transforms.rollup``; which timeframe is asked for in ``capabilities``.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ffe_lakehouse.providers.base import RAW_CANDLES, CandleQuery, Page
from ffe_lakehouse.schemas import OHLC_RULES, PRICES, TIMESTAMP
from ffe_lakehouse.timeframes import Timeframe
from ffe_lakehouse.transforms.rollup import roll_up

Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]


def roll_up_pages(
    pages: Iterator[Page], timeframe: Timeframe, query: CandleQuery
) -> Iterator[Page]:
    """Pages of finer candles as pages of ``query.timeframe``.

    A coarse bar that a page cuts waits for the next one. A part that breaks a law, or contradicts
    another of the same time, makes all of its bar no number, so that validation rejects it: the
    record of a bar is the list of its parts' records. A part without a readable time, or off its
    grid, belongs to no bar and goes out as it is.

    Args:
        pages: Answer to ``query`` in ``timeframe``, oldest first.
        timeframe: The finer timeframe.
        query: What was asked for.
    """
    coarse = query.timeframe
    waiting: list[Page] = []
    for page in pages:
        done = page.covered_until >= query.end
        until = query.end if done else coarse.floor(page.covered_until)
        waiting.append(page)
        ready, rest = _split_at(waiting, until)
        waiting = [replace(page, candles=rest[0], record=rest[1])]
        candles, record = _merge(*ready, timeframe, coarse)
        yield replace(page, candles=candles, record=record, covered_until=until)


Recorded = tuple[pa.Table, Callable[[int], str]]


def _split_at(pages: list[Page], until: datetime) -> tuple[Recorded, Recorded]:
    """The rows before ``until`` (and those of no time), and the others."""
    candles = pa.concat_tables([page.candles for page in pages])
    sizes = np.array([page.candles.num_rows for page in pages])
    origin = np.column_stack(
        [np.repeat(np.arange(len(pages)), sizes), np.concatenate([np.arange(n) for n in sizes])]
    )
    records = [page.record for page in pages]

    def chosen(rows: Flags) -> Recorded:
        places = origin[rows]
        return candles.filter(pa.array(rows)), lambda i: records[places[i, 0]](int(places[i, 1]))

    later = pc.greater_equal(candles["timestamp"], pa.scalar(until, TIMESTAMP)).fill_null(False)
    late = later.to_numpy()
    return chosen(~late), chosen(late)


def _merge(
    candles: pa.Table, record: Callable[[int], str], fine: Timeframe, coarse: Timeframe
) -> Recorded:
    """Roll up the rows that lie on the grid of ``fine``; the others follow unchanged."""
    micros = candles["timestamp"].cast(pa.int64()).fill_null(1).to_numpy()
    usable = micros % fine.step.astype(np.int64) == 0
    order = np.flatnonzero(usable)[np.argsort(micros[usable], kind="stable")]
    again = np.append(False, micros[order][1:] == micros[order][:-1])[: order.size]
    unique = candles.take(pa.array(order[~again]))
    rolled = roll_up(_without_outlaws(unique, _contradicted(candles, order, again)), coarse)

    others = np.flatnonzero(~usable)
    opens = rolled["timestamp"].cast(pa.int64()).to_numpy()
    edges = np.append(np.searchsorted(micros[order], opens), len(order))

    def parts(i: int) -> str:
        if i >= len(opens):
            return record(int(others[i - len(opens)]))
        return f"[{','.join(record(int(row)) for row in order[edges[i] : edges[i + 1]])}]"

    return pa.concat_tables([rolled, candles.take(pa.array(others))]), parts


def _contradicted(candles: pa.Table, order: Rows, again: Flags) -> Flags:
    """For each first row of its time (``~again``): whether a later one has other values."""
    group = np.cumsum(~again) - 1
    firsts = order[~again][group[again]]
    differs = np.zeros(len(firsts), dtype=bool)
    for name in RAW_CANDLES.names[1:]:
        column = candles[name].to_numpy()
        first, repeated = column[firsts], column[order[again]]
        differs |= (first != repeated) & ~(np.isnan(first) & np.isnan(repeated))
    flags = np.zeros(int((~again).sum()), dtype=bool)
    flags[group[again][differs]] = True
    return flags


def _without_outlaws(parts: pa.Table, outlawed: Flags) -> pa.Table:
    """Replace the prices of parts that cannot be trusted by NaN, which every bar passes on."""
    values = {name: parts[name].to_numpy() for name in (*PRICES, "volume")}
    outlawed = outlawed | np.logical_or.reduce([~np.isfinite(values[name]) for name in PRICES])
    outlawed |= np.logical_or.reduce([rule.broken(values) for rule in OHLC_RULES])
    if not outlawed.any():
        return parts
    for name in PRICES:
        at = parts.schema.get_field_index(name)
        parts = parts.set_column(at, name, pa.array(np.where(outlawed, np.nan, values[name])))
    return parts
