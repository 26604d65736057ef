"""From a vendor's body to candles: what the six modules share.

Decoding JSON, picking columns, reading numbers and times, the verbatim record of a row, cutting an
answer to its window. Everything here is a matter of form; what a vendor means by a field is decided
in its module, and which rows are good in ``transforms.validation``.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.providers.base import (
    RAW_CANDLES,
    Page,
    ProviderError,
    to_numbers,
)
from ffe_lakehouse.providers.timestamps import from_micros, read_times
from ffe_lakehouse.schemas import TIMESTAMP

Rows = Sequence[Any]
"""A vendor's records, decoded: dicts or lists, or whatever else stood in their place."""

RowsOf = Callable[[Any], Rows]
"""Where the records are in a decoded body."""

_ABSENT = object()
_NUMERIC = (pa.types.is_integer, pa.types.is_floating, pa.types.is_string, pa.types.is_null)


@dataclass(frozen=True)
class Answer:
    """One body, parsed.

    Attributes:
        candles: Rows by ``RAW_CANDLES``, in the vendor's order.
        record: The vendor's record of row ``i``.
        more: What the vendor wants to hear to go on; None at the end.
    """

    candles: pa.Table
    record: Callable[[int], str]
    more: str | None = None

    def page(self, start: datetime, end: datetime) -> Page:
        """The rows that open in ``[start, end)``, and those whose time cannot be read.

        Vendors add rows that nobody asked for: the bar before the window, the one that is running.
        They are no part of the answer and go nowhere.
        """
        opens = self.candles["timestamp"]
        inside = pc.and_(
            pc.greater_equal(opens, pa.scalar(start, TIMESTAMP)),
            pc.less(opens, pa.scalar(end, TIMESTAMP)),
        ).fill_null(True)
        candles, record = self.candles, self.record
        if pc.all(inside, min_count=0).as_py():
            return Page(candles, record, end)
        kept = np.flatnonzero(inside.to_numpy())
        return Page(candles.filter(inside), lambda i: record(int(kept[i])), end)


def moments(candles: pa.Table) -> list[datetime]:
    """The open times that can be read."""
    micros = candles["timestamp"].drop_null().cast(pa.int64()).to_pylist()
    return [from_micros(value) for value in micros]


def decode(body: bytes, vendor: str) -> Any:
    """The body as Python objects; ``NaN``, ``Infinity`` and ``1e400`` are read, too.

    Raises:
        ProviderError: ``bad_response``: it is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # One cell that is no number must not cost the page: 10 times slower, and rarely needed.
        try:
            found = json.loads(body)
            json.dumps(found, ensure_ascii=False).encode()  # no text that Arrow could not hold
        except (ValueError, RecursionError):
            raise ProviderError(
                "bad_response", f"{vendor} answered with {len(body)} bytes that are no JSON"
            ) from None
        return found


def unexpected(vendor: str, what: str) -> ProviderError:
    """The error of an answer that is JSON and still not what was asked for."""
    return ProviderError("bad_response", f"{vendor} answered with {what}")


def member(found: Any, key: str, kind: type, vendor: str, *, nullable: bool = False) -> Any:
    """``found[key]``, which must be of this kind; null, where it may be, is an empty one.

    Raises:
        ProviderError: ``bad_response``: it is not.
    """
    value = found.get(key, _ABSENT) if isinstance(found, dict) else _ABSENT
    if value is None and nullable:
        return kind()
    if not isinstance(value, kind):
        raise unexpected(vendor, f"JSON that has no {kind.__name__} {key!r}")
    return value


def pick(rows: Rows, key: str | int) -> list[Any]:
    """What each row has under ``key``; None where it has nothing."""
    try:
        return list(map(itemgetter(key), rows))
    except (LookupError, TypeError):
        return [_get(row, key) for row in rows]


def _get(row: Any, key: str | int) -> Any:
    match row, key:
        case dict(), _:
            return row.get(key)
        case list(), int() if key < len(row):
            return row[key]
    return None


def numbers(values: Sequence[Any]) -> pa.Array:
    """Numbers, or text of numbers, as float64: null stays null, what is no number becomes NaN."""
    column = _column(values)
    kind = column.type
    if not any(is_kind(kind) for is_kind in _NUMERIC):
        column = _texts(values)
    return to_numbers(column)


def times(values: Sequence[Any]) -> pa.Array:
    """Unix times in any unit, or ISO 8601 text, as ``timestamp[us, UTC]``; unreadable is null.

    A time without a zone is taken for UTC.
    """
    column = _column(values)
    if pa.types.is_string(column.type) and column[0].is_valid:
        # All or nothing, but 20 times faster than reading value by value.
        with suppress(pa.ArrowInvalid):
            column = column.cast(_time_type(column[0].as_py()))
    return read_times(column)


def _column(values: Sequence[Any]) -> pa.Array:
    """Values of one type as that type, all others as text."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return _texts(values)


def _texts(values: Sequence[Any]) -> pa.Array:
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _time_type(text: str) -> pa.DataType:
    if text.isdecimal():
        return pa.int64()
    return pa.timestamp("ns", "UTC") if text.endswith("Z") else pa.timestamp("us")


def to_utc(local: pa.Array, zone: str) -> pa.Array:
    """Wall-clock times of ``zone`` in UTC; null where the clock showed them twice or never.

    Args:
        local: ``timestamp[us, UTC]`` whose UTC is not meant.
        zone: Name in the IANA database.
    """
    naive = local.cast(pa.timestamp("us"))
    early, late = (
        pc.assume_timezone(naive, zone, ambiguous=which, nonexistent=which).cast(TIMESTAMP)
        for which in ("earliest", "latest")
    )
    return pc.if_else(pc.equal(early, late), early, None)


def session_days(stamps: pa.Array, zone: str) -> pa.Array:
    """Midnight UTC of the date that it was in ``zone``: how a daily bar of an equity is stamped."""
    local = pc.local_timestamp(stamps.cast(pa.timestamp("us", zone)))
    return pc.floor_temporal(local, unit="day").cast(TIMESTAMP)


def table(timestamp: pa.Array, **measures: pa.Array) -> pa.Table:
    """Candles from columns; a measure that is not named is null."""
    nulls = pa.nulls(len(timestamp), pa.float64())
    columns = [measures.get(name, nulls) for name in RAW_CANDLES.names[1:]]
    return pa.Table.from_arrays([timestamp, *columns], schema=RAW_CANDLES)


class Verbatim:
    """The vendor's record of row ``i`` of a body, every number with the digits it came with.

    The body is decoded once more when the first record is asked for, which is when a row has been
    rejected; until then its bytes are all that is kept.
    """

    def __init__(self, body: bytes, rows: RowsOf) -> None:
        """Keep ``body``; ``rows`` finds its records, as many as there are rows."""
        self._body = body
        self._rows_of = rows

    def __call__(self, i: int) -> str:
        """The record of row ``i`` as JSON."""
        return orjson.dumps(self._rows[i]).decode()

    @cached_property
    def _rows(self) -> Rows:
        literal: Callable[[str], Any] = orjson.Fragment
        decoded = json.loads(self._body, parse_float=literal, parse_int=literal, parse_constant=str)
        return self._rows_of(decoded)
