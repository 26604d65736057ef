"""Small tables for tests, the boxes they lie in, and a vendor that answers with them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from ffe_lakehouse.lake import Where
from ffe_lakehouse.providers.base import RAW_CANDLES, CandleQuery, Page, Provider
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.rows import Provenance, bronze_rows

START = datetime(2024, 1, 1, tzinfo=UTC)
KNOWN = datetime(2024, 6, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    """Midnight, ``number`` days after ``START``."""
    return START + timedelta(days=number)


def box(pair: str, first: int, last: int) -> Where:
    """The days from ``first`` to ``last`` (included) of a pair, counted from ``START``."""
    return Where((pair,), day(first), day(last + 1))


def raw(
    start: datetime, n: int, code: str = "1h", price: float = 100.0, **columns: Any
) -> pa.Table:
    """``n`` lawful candles by ``RAW_CANDLES``; ``columns`` replaces some: a list, or one value."""
    times = np.datetime64(start.replace(tzinfo=None), "us") + np.arange(n) * TIMEFRAMES[code].step
    values: dict[str, Any] = {
        "timestamp": pa.array(times, pa.timestamp("us")).cast(RAW_CANDLES.field("timestamp").type),
        "open": price,
        "high": price + 2,
        "low": price - 2,
        "close": price + 1,
        "volume": 5.0,
        "trade_count": None,
        "vwap": None,
    }
    arrays = []
    for field in RAW_CANDLES:
        value = (values | columns)[field.name]
        if not isinstance(value, (list, pa.Array)):
            value = [value] * n
        arrays.append(value if isinstance(value, pa.Array) else pa.array(value, field.type))
    return pa.table(arrays, schema=RAW_CANDLES)


def bars(
    pair: str,
    start: datetime,
    n: int,
    code: str = "1h",
    price: float = 100.0,
    known: datetime = KNOWN,
    provider: str = "tests",
    **columns: Any,
) -> pa.Table:
    """``n`` Bronze rows of one pair; ``known`` is when they were extracted."""
    source = Provenance(False, pair, TIMEFRAMES[code], known)
    return bronze_rows(raw(start, n, code, price, **columns), pa.array([provider] * n), source)


def facts(rows: pa.Table) -> list[tuple[str, datetime, float]]:
    """Pair, time and open of every row: enough to tell builders' rows apart."""
    names = ("asset_pair", "timestamp", "open")
    return sorted(zip(*(rows[name].to_pylist() for name in names), strict=True))


class Scripted(Provider):
    """Answers with the pages, and raises the errors, that a test wrote down."""

    name = "scripted"

    def __init__(self, *pages: tuple[pa.Table, datetime] | Exception) -> None:
        """Each page is its candles and the moment that it covers."""
        self._pages = pages

    def fetch(self, query: CandleQuery) -> Iterator[Page]:  # noqa: ARG002 - it says what it says
        """The same pages to every question."""
        for page in self._pages:
            if isinstance(page, Exception):
                raise page
            yield Page(page[0], lambda i, candles=page[0]: verbatim(candles, i), page[1])


def verbatim(candles: pa.Table, row: int) -> str:
    """A record as only this vendor writes it."""
    return json.dumps({"o": str(candles["open"][row]), "t": str(candles["timestamp"][row])}) + "  "


def pages_of(candles: pa.Table, size: int, end: datetime) -> Scripted:
    """Candles in ascending order, cut into pages of ``size`` rows."""
    cuts = range(0, candles.num_rows, size)
    covered = [candles["timestamp"][cut].as_py() for cut in cuts[1:]] + [end]
    return Scripted(
        *((candles.slice(cut, size), until) for cut, until in zip(cuts, covered, strict=True))
    )
