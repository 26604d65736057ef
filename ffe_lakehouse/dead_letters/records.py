"""A vendor's record, kept verbatim, as a candle once more.

Where each vendor writes what, so that a record can be read without the answer that it came in; and
a mapping of the user's, which goes before. Whether the candle is a bar is decided by
``transforms.validation``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.base import RAW_CANDLES, ProviderError
from ffe_lakehouse.providers.parsing import decode, numbers, times
from ffe_lakehouse.symbols import Symbol

Fields = Mapping[str, str]
"""Column to field: ``{"high": "low", "close": "mid/c", "open": "3", "volume": ""}``.

A field within a field stands behind a slash, a place in a list is a number from 0, and no field at
all leaves the column without a value."""

UNREADABLE = "unreadable_record"
"""Why a letter stays open whose record is not one candle that can be read by itself."""

_ABSENT = object()
_LETTERS = {"open": "o", "high": "h", "low": "l", "close": "c"}
_TRADED = {"timestamp": "t", **_LETTERS, "volume": "v", "trade_count": "n", "vwap": "vw"}

# A column that is not named here, or whose field a record has not, is looked for by its own name:
# all columns of the providers `simulated` and `files`, of plug-ins, and of Coinbase's other format.
_FIELDS: Mapping[str, Fields] = {
    "coinbase": {"timestamp": "0", "low": "1", "high": "2", "open": "3", "close": "4"}
    | {"volume": "5"},
    "ccxt": {"timestamp": "0", "open": "1", "high": "2", "low": "3", "close": "4", "volume": "5"},
    "oanda": {"timestamp": "time", **{name: f"mid/{key}" for name, key in _LETTERS.items()}}
    | {"volume": "", "trade_count": "volume"},
    # Its times are those of a zone that only the answer tells.
    "alpha_vantage": {"timestamp": "", "open": "1. open", "high": "2. high", "low": "3. low"}
    | {"close": "4. close", "volume": "5. volume"},
    "alpaca": _TRADED,
    "polygon": _TRADED,
    "polygon forex": _TRADED | {"volume": "", "trade_count": "v", "vwap": ""},
}
# Yahoo's prices are adjusted for splits that only the whole answer tells.
_NOT_BY_ITSELF = frozenset({"yahoo"})


@dataclass(frozen=True)
class Reading:
    """Records, read again.

    Attributes:
        candles: Rows by ``RAW_CANDLES``, one a record, in their order.
        failed: Why a record could not be read, by its row; its candle is empty.
    """

    candles: pa.Table
    failed: dict[int, tuple[str, ...]]


def check_mapping(mapping: Fields) -> None:
    """Refuse a mapping of columns that a candle has not.

    Raises:
        InputError: It names such a column.
    """
    unknown = [column for column in mapping if column not in RAW_CANDLES.names]
    if unknown:
        raise InputError(
            f"unknown column {unknown[0]!r} in the mapping: use one of"
            f" {', '.join(RAW_CANDLES.names)}"
        )


def read_records(letters: pa.Table, symbol: Symbol, mapping: Fields) -> Reading:
    """The candles of letters of one pair.

    A candle opens when the letter says, unless that is unknown or ``mapping`` names another field:
    the provider, who saw the whole answer, has read the time better than it can be read here.

    Args:
        letters: Rows by ``schemas.dead_letters``.
        symbol: Their pair.
        mapping: Where to find some columns; the others are where their vendor writes them.
    """
    failed: dict[int, tuple[str, ...]] = {}
    cells: dict[str, list[Any]] = {name: [] for name in RAW_CANDLES.names}
    vendors, records = (letters[name].to_pylist() for name in ("source_provider", "record"))
    for row, (vendor, record) in enumerate(zip(vendors, records, strict=True)):
        fields = _fields(record, vendor)
        absent = [field for field in mapping.values() if field and _find(fields, field) is _ABSENT]
        if not fields or absent:
            failed[row] = (f"no field {absent[0]!r}" if fields else UNREADABLE,)
            fields = {}
        for column, values in cells.items():
            values.append(_value(fields, column, _usual(vendor, symbol), mapping))
    opens = letters["timestamp"].combine_chunks()
    said = times(cells.pop("timestamp"))
    opens = said if "timestamp" in mapping else pc.coalesce(opens, said)
    measures = [numbers(values) for values in cells.values()]
    return Reading(pa.Table.from_arrays([opens, *measures], schema=RAW_CANDLES), failed)


def _fields(record: str, vendor: str) -> dict[str, Any]:
    """The fields of one candle by their names; none if the record is something else.

    The record of a bar that was rolled up is the list of its parts' records: of these, one or more
    broke a law, and only the vendor can give it anew.
    """
    try:
        found = decode(record.encode(), vendor)
    except ProviderError:
        return {}
    if isinstance(found, list) and any(isinstance(part, (list, dict)) for part in found):
        return {}
    if isinstance(found, dict) and len(found) == 1:
        (only,) = found.values()
        found = only if isinstance(only, dict) else found  # Alpha Vantage: {time: {...}}
    return {} if vendor in _NOT_BY_ITSELF else dict(_flat(found))


def _flat(found: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(found, list):
        found = {str(place): value for place, value in enumerate(found)}
    for key, value in found.items() if isinstance(found, dict) else ():
        if isinstance(value, dict):
            yield from ((f"{key}/{inner}", cell) for inner, cell in _flat(value))
        else:
            yield key, value


def _usual(vendor: str, symbol: Symbol) -> Fields:
    name = vendor.partition(":")[0]
    return _FIELDS.get(f"{name} {symbol.asset_class}", _FIELDS.get(name, {}))


def _value(fields: Mapping[str, Any], column: str, usual: Fields, mapping: Fields) -> Any:
    wanted = [mapping[column]] if column in mapping else [usual.get(column, column), column]
    if not wanted[0]:
        return None
    found = (_find(fields, name) for name in wanted)
    return next((value for value in found if value is not _ABSENT), None)


def _find(fields: Mapping[str, Any], name: str) -> Any:
    """A field by its name, in any case if there is none of this one: files have any."""
    if name in fields:
        return fields[name]
    lower = name.lower()
    return next((value for key, value in fields.items() if key.strip().lower() == lower), _ABSENT)
