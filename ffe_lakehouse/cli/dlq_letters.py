"""All dead letters in one shape: those of candles, and those of the engine's records.

What a command does with them stands in ``dlq``. Only letters of candles can be closed; a record is
loaded again with ``ffe land``.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.cli import options
from ffe_lakehouse.dead_letters import Statistics, read_letters, statistics
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.schemas import REASONS, dead_letters
from ffe_lakehouse.schemas.records import RECORD_REASONS, RECORDS, record_letters
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe

_CANDLE_TABLES = {
    dead_letters(timeframe).name.removeprefix("dlq/"): timeframe
    for timeframe in TIMEFRAMES.values()
}
_RECORD_TABLES = {table.name.removeprefix("bronze/"): record_letters(table) for table in RECORDS}
_MORE = pa.schema([("table", pa.string()), ("detail", pa.string()), ("source", pa.string())])
_SHAPE = pa.schema([*(field.with_nullable(True) for field in dead_letters(TIMEFRAMES["1d"]).arrow)])
_SHAPE = pa.unify_schemas([_SHAPE, _MORE])
_ORDER = [("_extracted_at", "descending"), ("timestamp", "descending"), ("letter_id", "ascending")]


def all_letters(
    lake: DeltaLakeManager,
    tables: str | None,
    timeframes: str | None,
    where: Where,
    reasons: Collection[str],
) -> pa.Table:
    """Letters, the most recently rejected first, open or closed.

    Args:
        lake: Where they are.
        tables: Names with commas: ``raw_ai_decisions``; all of them for ``None``.
        timeframes: Codes with commas: only letters of candles of these.
        where: Pairs and whole UTC days.
        reasons: Only letters that have one of these, alone or among others; every one if empty.

    Returns:
        Rows by ``schemas.dead_letters`` with ``table`` beside them and, of records, ``detail`` and
        ``source``; records have no timeframe and no window.

    Raises:
        InputError: There is no such table, timeframe or reason.
    """
    wanted = _names(tables)
    unknown = [reason for reason in reasons if reason not in REASONS | RECORD_REASONS]
    if unknown:
        known = ", ".join(REASONS | RECORD_REASONS)
        raise InputError(f"unknown reason {unknown[0]!r}: use one of {known}")
    codes = options.timeframes(timeframes)
    candles = [_CANDLE_TABLES[name] for name in wanted if name in _CANDLE_TABLES]
    found = [_of_candles(lake, [each for each in candles if each in codes], where)]
    if timeframes is None:
        found += [_of_records(lake, name, where) for name in wanted if name in _RECORD_TABLES]
    letters = pa.concat_tables(found)
    if reasons:
        hits = [not set(reasons).isdisjoint(codes) for codes in letters["reasons"].to_pylist()]
        letters = letters.filter(pa.array(hits, pa.bool_()))
    return letters.sort_by(_ORDER)


def count_letters(letters: pa.Table, closings: pa.Table) -> tuple[Statistics, dict[str, int]]:
    """Count letters of ``all_letters`` by all that ``Statistics`` has, and by table."""
    candles = letters.filter(pc.is_valid(letters["timeframe"]))
    named = letters
    for name, instead in (("asset_pair", "unknown"), ("timeframe", "")):
        index = named.schema.get_field_index(name)
        named = named.set_column(index, name, pc.fill_null(named[name], instead))
    counts = statistics(named, closings)
    by_timeframe = statistics(candles, closings).by_timeframe
    tables = pc.value_counts(letters["table"]).to_pylist()
    by_table = sorted(tables, key=lambda entry: (-entry["counts"], entry["values"]))
    return (
        replace(counts, by_timeframe=by_timeframe),
        {entry["values"]: entry["counts"] for entry in by_table},
    )


def _names(tables: str | None) -> list[str]:
    known = [*_CANDLE_TABLES, *_RECORD_TABLES]
    if tables is None:
        return known
    wanted = [part.strip().removeprefix("dlq/") for part in tables.split(",")]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InputError(f"no dead letters of {unknown[0]!r}: use {', '.join(known)}")
    return list(dict.fromkeys(wanted))


def _of_candles(lake: DeltaLakeManager, timeframes: Sequence[Timeframe], where: Where) -> pa.Table:
    letters = read_letters(lake, timeframes, where)
    codes = pc.cast(letters["timeframe"], pa.string())
    return _shaped(letters, pc.binary_join_element_wise("raw_market_data_", codes, ""))


def _of_records(lake: DeltaLakeManager, name: str, where: Where) -> pa.Table:
    schema = _RECORD_TABLES[name]
    if not lake.table_exists(schema.name):
        return _SHAPE.empty_table()
    # Not every letter has a pair, so the table is not laid out by it.
    letters = lake.read(schema.name, replace(where, pairs=None))
    if where.pairs is not None:
        letters = letters.filter(pc.is_in(letters["asset_pair"], pa.array(where.pairs)))
    return _shaped(letters, pa.repeat(name, letters.num_rows))


def _shaped(letters: pa.Table, table: pa.Array | pa.ChunkedArray) -> pa.Table:
    letters = letters.append_column("table", table)
    columns = [
        letters[field.name]
        if field.name in letters.column_names
        else pa.nulls(letters.num_rows, field.type)
        for field in _SHAPE
    ]
    return pa.table(columns, schema=_SHAPE)
