"""One bar of what the vendors say: the newest version of each, and of these the one that counts.

Pure functions over rows of a Bronze table. How far vendors are apart over a whole day is told in
``transforms.reconciliation``; which vendors are asked, and in which order, in ``providers``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ffe_lakehouse.schemas import MEASURES
from ffe_lakehouse.schemas.silver import MARKET_DATA_UNIFIED
from ffe_lakehouse.timeframes import Timeframe

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

DEFAULT_PRIORITY = ("alpha_vantage", "coinbase", "oanda", "alpaca", "polygon", "yahoo")
"""Whose bar counts, best first."""

BPS = 1e4
"""Basis points of the whole."""


@dataclass(frozen=True)
class VendorBars:
    """The newest version of each vendor's bars, by pair, time and vendor. All vectors: shape (n,).

    Attributes:
        row: Where it stands in the rows that it was found among.
        pair: Place of its pair among the distinct ones, by name.
        time: Its open time, in microseconds since 1970 UTC.
        vendor: Place of its vendor in ``vendors``.
        versions: How many of it there are.
        vendors: Names, distinct and ascending.
        is_given_order: ``row`` counts all rows, one after the other.
    """

    row: Integers
    pair: Integers
    time: Integers
    vendor: Integers
    versions: Integers
    vendors: pa.Array
    is_given_order: bool = False


def newest_bars(rows: pa.Table) -> VendorBars:
    """Find the newest version of each vendor's bars.

    Rows that are of one bar, vendor and ``_extracted_at`` are one version, whatever they say: the
    table's ``unique_versions`` check names them. Of these, the one counts that comes last by
    ``_ingestion_id``, then by its measures, so that the order of the rows never does.

    Args:
        rows: At least one row by ``schemas.raw_candles``, all versions, in any order.
    """
    vendors, vendor = _places(rows["source_provider"])
    _, pair = _places(rows["asset_pair"])
    time, known = _micros(rows["timestamp"]), _micros(rows["_extracted_at"])
    if _ascends(pair, time):
        # To sort 1.3 M rows that are in order takes 0.2 s, and all the rest 0.06 s.
        row = np.arange(len(time))
        return VendorBars(row, pair, time, vendor, np.ones_like(row), vendors, is_given_order=True)
    order = np.lexsort((known, vendor, time, pair))
    first_of_bar = _changes(order, pair, time, vendor)
    first_of_version = first_of_bar | _changes(order, known)
    if not first_of_version.all():
        order = _by_all_they_say(rows)
    starts = np.flatnonzero(first_of_bar)
    row = order[np.append(starts[1:], len(order)) - 1]
    versions = np.add.reduceat(first_of_version.astype(np.int64), starts)
    return VendorBars(row, pair[row], time[row], vendor[row], versions, vendors)


def fuse(
    rows: pa.Table, timeframe: Timeframe, priority: Sequence[str] = DEFAULT_PRIORITY
) -> pa.Table:
    """One row for every bar that any vendor has.

    The newest version of each vendor's bar is taken. Of these, the first one counts by: real before
    mock; place in ``priority``; newest ``_extracted_at``; name of the vendor. A vendor that is not
    listed is looked up by what stands before its colon (``ccxt`` for ``ccxt:kraken``), and comes
    after the listed ones if that is not listed either.

    Measured on one core with 1.3 M rows of 10 pairs, in million rows a second: one vendor in order
    23, with some bars revised 4.9, shuffled 1.4; two vendors 3.9.

    Args:
        rows: Rows by ``schemas.raw_candles(timeframe)``, all versions of any pairs and vendors, in
            any order.
        timeframe: Of the rows.
        priority: Names of vendors, best first.

    Returns:
        Rows by ``schemas.silver.MARKET_DATA_UNIFIED``, one a pair and timestamp, ascending.
    """
    schema = MARKET_DATA_UNIFIED.arrow
    if not rows.num_rows:
        return schema.empty_table()
    bars = newest_bars(rows)
    firsts = np.flatnonzero(_changes(slice(None), bars.pair, bars.time))
    winner = _winners(rows, bars, firsts, priority)
    won = rows
    if not bars.is_given_order:
        won = rows.combine_chunks().take(pa.array(bars.row[winner]))
    ends = np.append(firsts, len(bars.row)).astype(np.int32)
    made: dict[str, pa.Array | pa.ChunkedArray] = {
        "timeframe": pa.repeat(timeframe.code, len(firsts)),
        "providers_seen": pa.ListArray.from_arrays(ends, bars.vendors.take(pa.array(bars.vendor))),
        "max_deviation_bps": _deviations(rows, bars, firsts, winner),
        "revision": pa.array(bars.versions[winner] - 1),
        "known_at": won["_extracted_at"],
    }
    columns = [made[name] if name in made else won[name] for name in schema.names]
    return pa.table(columns, schema=schema)


def _winners(
    rows: pa.Table, bars: VendorBars, firsts: Integers, priority: Sequence[str]
) -> Integers:
    """Which of ``bars`` counts, for every pair and time."""
    if len(firsts) == len(bars.row):
        return firsts
    known = _micros(rows["_extracted_at"])[bars.row]
    is_mock = rows["is_mock"].to_numpy()[bars.row]
    rank = _ranks(bars.vendors.to_pylist(), priority)[bars.vendor]
    order = np.lexsort((bars.vendor, -known, rank, is_mock, bars.time, bars.pair))
    best: Integers = order[firsts]
    return best


def _deviations(rows: pa.Table, bars: VendorBars, firsts: Integers, winner: Integers) -> pa.Array:
    """How far the close furthest off the winner's is, in bps; null if there is none to compare."""
    if len(firsts) == len(bars.row):
        return pa.nulls(len(firsts), pa.float64())
    close = rows["close"].to_numpy()[bars.row]
    is_mock = rows["is_mock"].to_numpy()[bars.row]
    its_winner = np.repeat(winner, np.diff(np.append(firsts, len(bars.row))))
    off = np.abs(close / close[its_winner] - 1) * BPS
    is_compared = (is_mock == is_mock[its_winner]) & (its_winner != np.arange(len(its_winner)))
    furthest = np.maximum.reduceat(np.where(is_compared, off, -1.0), firsts)
    return pa.array(furthest, mask=furthest < 0)


def _ranks(vendors: Sequence[str], priority: Sequence[str]) -> Integers:
    """Place of each vendor in ``priority``; behind it, if it has none."""
    place = {name: place for place, name in reversed(list(enumerate(priority)))}
    family = [name.partition(":")[0] for name in vendors]
    last = len(priority)
    return np.array(
        [place.get(name, place.get(of, last)) for name, of in zip(vendors, family, strict=True)]
    )


def _by_all_they_say(rows: pa.Table) -> Integers:
    """Order of the rows in which no two that differ in anything are tied."""
    keys = ("asset_pair", "timestamp", "source_provider", "_extracted_at", "_ingestion_id")
    by = [(name, "ascending") for name in (*keys, *MEASURES, "is_mock")]
    order: Integers = pc.sort_indices(rows, by).to_numpy().astype(np.int64)
    return order


def _places(column: pa.ChunkedArray) -> tuple[pa.Array, Integers]:
    """The distinct texts, ascending, and the place of each row's own among them."""
    encoded = column.combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)
    place = np.empty(len(order), np.int64)
    place[order.to_numpy()] = np.arange(len(order))
    return encoded.dictionary.take(order), place[encoded.indices.to_numpy()]


def _micros(column: pa.ChunkedArray) -> Integers:
    micros: Integers = column.cast(pa.int64()).to_numpy()
    return micros


def _ascends(pair: Integers, time: Integers) -> bool:
    """No row is of the pair and time of the one before it, or of an earlier one."""
    later = time[1:] > time[:-1]
    return bool(np.all((pair[1:] > pair[:-1]) | ((pair[1:] == pair[:-1]) & later)))


def _changes(order: Integers | slice, *keys: Integers) -> NDArray[np.bool_]:
    """Of rows in ``order``: which differ in a key from the one before; the first one does."""
    changed = np.ones(len(keys[0]), dtype=bool)
    changed[1:] = False
    for key in keys:
        ordered = key[order]
        changed[1:] |= ordered[1:] != ordered[:-1]
    return changed
