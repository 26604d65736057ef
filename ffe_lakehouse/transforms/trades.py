"""The engine's trades from entry to outcome: P&L computed anew, excursions, the regime at entry.

A trade's row is stamped with its exit (its entry while it is open): what it says was known by then.
How far the figures can be trusted stands in ``docs/decisions-and-trades.md``.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ffe_lakehouse.schemas.silver_records import TRADE_LIFECYCLE
from ffe_lakehouse.timeframes import Timeframe
from ffe_lakehouse.transforms.asof import (
    LOOK_BACK_DAYS,
    Integers,
    as_times,
    microseconds,
    newest_closed,
    refuse_several_pairs,
)
from ffe_lakehouse.transforms.decisions import any_mock
from ffe_lakehouse.transforms.silver_rows import YEARLY, silver_rows

Floats = NDArray[np.float64]

PNL_TOLERANCE = 1e-6
"""The engine's P&L agrees with ours if it is off by at most this share of entry price times size:
a hundredth of a basis point."""

_MINUTE = 60_000_000
_OF_THE_BAR = ("close", "is_mock", "market_regime", "trend_direction")
_AT_ENTRY = {
    "bar_timeframe": "entry_bar_timeframe",
    "bar_timestamp": "entry_bar_timestamp",
    "bar_closed_at": "entry_bar_closed_at",
    "close": "entry_bar_close",
    "market_regime": "regime_at_entry",
    "trend_direction": "trend_direction_at_entry",
}


def window(trades: pa.Table) -> tuple[datetime, datetime] | None:
    """From when to when the market has to be read, by open time, half-open; None: no trade.

    From ``LOOK_BACK_DAYS`` before the first entry to the last exit, whatever the version: a later
    one may be the one that holds.

    Args:
        trades: Rows by ``RAW_TRADE_EXECUTIONS``.
    """
    if not trades.num_rows:
        return None
    first = pc.min(trades["entry_time"]).as_py() - timedelta(days=LOOK_BACK_DAYS)
    return first, pc.max(trades["timestamp"]).as_py()


def entry_window(trades: pa.Table) -> tuple[datetime, datetime] | None:
    """The part of ``window`` that enriched bars are needed of: up to the last entry."""
    ends = window(trades)
    return None if ends is None else (ends[0], pc.max(trades["entry_time"]).as_py())


def trade_lifecycle(
    trades: pa.Table,
    minutes: pa.Table,
    bars: Mapping[Timeframe, pa.Table],
    decisions: pa.Table,
) -> pa.Table:
    """Each trade once: by its version with the latest exit, then the one that was known last.

    Args:
        trades: Rows by ``RAW_TRADE_EXECUTIONS`` of ONE pair, every version that is known.
        minutes: 1m bars of the pair (``timestamp``, ``high``, ``low``, ``is_mock``), ascending.
        bars: Bars of the pair by ``MARKET_DATA_ENRICHED``, by timeframe, in any order.
        decisions: Rows by ``RAW_AI_DECISIONS`` of the pair, in any number of versions.

    Returns:
        Rows by ``TRADE_LIFECYCLE``, one a trade, ascending in time. Outcome and excursions are null
        while a trade is open.

    Raises:
        InputError: The rows are of more than one pair.
    """
    refuse_several_pairs(trades, minutes, decisions, *bars.values())
    trades, revisions, revised = _current(trades)
    closed = trades["exit_time"].is_valid().to_numpy()
    entries = microseconds(trades["entry_time"])
    bar = newest_closed(bars, _OF_THE_BAR, entries)
    exits = np.where(closed, microseconds(trades["exit_time"]), entries)
    low, high, counted, mock = _extremes(minutes, entries, exits)

    columns = {name: trades[name] for name in trades.column_names}
    columns |= {name: bar[source] for source, name in _AT_ENTRY.items()}
    columns |= _outcome(trades, closed)
    columns |= _excursions(trades, low, high, counted)
    columns |= _decisions_behind(trades, entries, decisions)
    columns |= {
        "status": pa.array(np.where(closed, "closed", "open"), pa.string()),
        "holding_seconds": pa.array((exits - entries) / 1e6, mask=~closed),
        "excursion_bars": pa.array(counted, mask=~closed),
        "excursion_minutes": pa.array(_whole_minutes(entries, exits), mask=~closed),
        "entry_deviation": pc.subtract(pc.divide(trades["entry_price"], bar["close"]), 1.0),
        "engine_pnl": trades["realized_pnl"],
        "engine_roi_percent": trades["roi_percent"],
        "engine_holding_seconds": trades["holding_duration_seconds"],
        "revision": pa.array(revisions),
        "is_revised": pa.array(revised),
        "known_at": trades["_extracted_at"],
        "record_is_mock": trades["is_mock"],
        "is_mock": any_mock(trades["is_mock"], bar["is_mock"], pa.chunked_array([mock])),
    }
    return silver_rows(TRADE_LIFECYCLE, columns, YEARLY)


def _current(trades: pa.Table) -> tuple[pa.Table, Integers, NDArray[np.bool_]]:
    """The version that holds of every trade, how many go before it, and if an outcome is revised.

    A trade that was open and is closed now is not revised: it had no outcome before.
    """
    order = ("trade_id", "timestamp", "_extracted_at", "record")
    trades = trades.sort_by([(name, "ascending") for name in order]).combine_chunks()
    ids = np.array(trades["trade_id"].to_pylist(), dtype=object)
    last = np.flatnonzero(np.append(ids[1:] != ids[:-1], True)[: len(ids)])
    versions = np.diff(last, prepend=-1)
    exits = np.cumsum(trades["exit_time"].is_valid().to_numpy())
    outcomes = np.diff(exits[last], prepend=0)
    by_time = np.lexsort([last, microseconds(trades["timestamp"])[last]])
    return trades.take(last[by_time]), versions[by_time] - 1, outcomes[by_time] > 1


def _outcome(trades: pa.Table, closed: NDArray[np.bool_]) -> dict[str, pa.Array]:
    """P&L from prices and sizes, in the quote currency, and whether the engine's agrees."""
    entry, size = _numbers(trades, "entry_price"), _numbers(trades, "entry_size")
    exit_size = np.where(closed, _numbers(trades, "exit_size"), np.nan)
    gross = _direction(trades) * (_numbers(trades, "exit_price") - entry) * exit_size
    fees = _numbers(trades, "fees")
    net = gross - np.nan_to_num(fees)
    engine = np.where(closed, _numbers(trades, "realized_pnl"), np.nan)

    # Without fees, gross and net are one figure: it is net only where the engine says they are 0.
    by_net = np.abs(engine - net) <= np.abs(engine - gross)
    by_net &= ~np.isnan(fees)
    difference = np.where(by_net, engine - net, engine - gross)
    comparable = ~np.isnan(difference)
    agrees = np.abs(difference) <= PNL_TOLERANCE * entry * size
    basis = np.where(agrees, np.where(by_net, "net", "gross"), "none")
    return {
        "remaining_size": _nullable(size - exit_size),
        "gross_pnl": _nullable(gross),
        "net_pnl": _nullable(net),
        "pnl_basis": pa.array(basis, pa.string(), mask=~comparable),
        "pnl_agrees": pa.array(agrees, mask=~comparable),
        "pnl_difference": _nullable(difference),
        "return": _nullable(
            np.divide(net, entry * exit_size, out=np.full(len(net), np.nan), where=exit_size > 0)
        ),
    }


def _extremes(
    minutes: pa.Table, entries: Integers, exits: Integers
) -> tuple[Floats, Floats, Integers, pa.Array]:
    """Lowest and highest price of each trade's 1m bars, how many they are, whether one is mock.

    A bar that begins before the entry or ends after the exit is left out: it knows prices from
    outside the trade.
    """
    opens = microseconds(minutes["timestamp"])
    if (np.diff(opens) < 0).any():
        minutes = minutes.sort_by("timestamp")
        opens = microseconds(minutes["timestamp"])
    firsts = np.searchsorted(opens, entries, side="left")
    ends = np.maximum(firsts, np.searchsorted(opens, exits - _MINUTE, side="right"))

    def reduce(merge: np.ufunc, column: str, nothing: float) -> Floats:
        values = np.append(minutes[column].to_numpy().astype(np.float64), nothing)
        edges = np.column_stack([firsts, ends]).ravel()
        merged = merge.reduceat(values, edges)[::2] if len(edges) else values[:0]
        # An empty stretch has got the value at its edge.
        return np.where(ends > firsts, merged, nothing)

    low, high = reduce(np.minimum, "low", np.inf), reduce(np.maximum, "high", -np.inf)
    mock = reduce(np.maximum, "is_mock", 0.0) > 0
    return low, high, ends - firsts, pa.array(mock)


def _excursions(
    trades: pa.Table, low: Floats, high: Floats, counted: Integers
) -> dict[str, pa.Array]:
    """How far the price went against and for each trade, as shares of the entry price.

    Entry and exit price belong to the trade, so they count. Without a bar nothing is known.
    """
    entry, end = _numbers(trades, "entry_price"), _numbers(trades, "exit_price")
    lowest = np.fmin(np.fmin(low, end), entry) / entry - 1.0
    highest = np.fmax(np.fmax(high, end), entry) / entry - 1.0
    long = _direction(trades) > 0
    unseen = counted == 0
    adverse, favourable = np.where(long, lowest, 0 - highest), np.where(long, highest, 0 - lowest)
    return {
        "max_adverse_excursion": pa.array(adverse, mask=unseen),
        "max_favourable_excursion": pa.array(favourable, mask=unseen),
    }


def _whole_minutes(entries: Integers, exits: Integers) -> Integers:
    first = -(-entries // _MINUTE)
    return np.asarray(np.maximum(exits // _MINUTE - first, 0))


def _decisions_behind(
    trades: pa.Table, entries: Integers, decisions: pa.Table
) -> dict[str, pa.Array]:
    """The decision that each trade names: the newest of that id that fell by the entry."""
    fell = defaultdict(list)
    ordered = decisions.select(["decision_id", "timestamp"]).sort_by("timestamp")
    moments = microseconds(ordered["timestamp"]).tolist()
    for name, moment in zip(ordered["decision_id"].to_pylist(), moments, strict=True):
        fell[name].append(moment)
    names = trades["decision_id"].to_pylist()
    at = np.zeros(len(names), dtype=np.int64)
    match = np.full(len(names), "none", dtype=object)
    for number, name in enumerate(names):
        if name is not None:
            before = bisect_right(fell[name], entries[number])
            match[number] = "given" if before else "missing"
            at[number] = fell[name][before - 1] if before else 0
    given = match == "given"
    return {
        "matched_decision_id": pa.array(names, pa.string(), mask=~given),
        "decision_timestamp": as_times(at, given),
        "decision_match": pa.array(match, pa.string()),
    }


def _direction(trades: pa.Table) -> Floats:
    return np.where(pc.equal(trades["side"], "LONG").to_numpy(), 1.0, -1.0)


def _numbers(rows: pa.Table, name: str) -> Floats:
    return np.asarray(rows[name].to_numpy(), dtype=np.float64)


def _nullable(values: Floats) -> pa.Array:
    return pa.array(values, from_pandas=True)
