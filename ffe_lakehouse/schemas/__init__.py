"""Every table, once: columns, Arrow types, rules, Delta layout.

Delta tables, Pandera schemas, asset checks, Dagster's column schema and the docs all come from the
``TableSchema`` objects here.
"""

from ffe_lakehouse.schemas.candles import (
    BAD_RESPONSE,
    LEGACY_REASON,
    MEASURES,
    OHLC_RULES,
    PRICES,
    REASONS,
    dead_letters,
    raw_candles,
    storage_periods,
)
from ffe_lakehouse.schemas.gold import marts
from ffe_lakehouse.schemas.quality import CANDLE_GAPS, CLOSINGS, GAP_CLASSES, INDEX_MEMBERSHIP
from ffe_lakehouse.schemas.reconciliation import PROVIDER_RECONCILIATION
from ffe_lakehouse.schemas.records import RECORDS, record_letters
from ffe_lakehouse.schemas.silver import SILVER_MARKET
from ffe_lakehouse.schemas.silver_records import SILVER_RECORDS
from ffe_lakehouse.schemas.table import TIMESTAMP, Column, Rule, TableSchema
from ffe_lakehouse.timeframes import TIMEFRAMES

__all__ = [
    "BAD_RESPONSE",
    "CANDLE_GAPS",
    "CLOSINGS",
    "GAP_CLASSES",
    "INDEX_MEMBERSHIP",
    "LEGACY_REASON",
    "MEASURES",
    "OHLC_RULES",
    "PRICES",
    "REASONS",
    "TIMESTAMP",
    "Column",
    "Rule",
    "TableSchema",
    "all_tables",
    "dead_letters",
    "raw_candles",
    "register",
    "storage_periods",
]


def all_tables() -> dict[str, TableSchema]:
    """Every table of the lake by its name."""
    tables = [make(tf) for tf in TIMEFRAMES.values() for make in (raw_candles, dead_letters)]
    tables += [make(table) for table in RECORDS for make in (lambda each: each, record_letters)]
    tables += [CLOSINGS, CANDLE_GAPS, INDEX_MEMBERSHIP, PROVIDER_RECONCILIATION]
    tables += [*SILVER_MARKET, *SILVER_RECORDS, *marts().values()]
    return {table.name: table for table in tables} | _PLUGGED


_PLUGGED: dict[str, TableSchema] = {}


def register(table: TableSchema) -> None:
    """Make a table known that a plug-in brings."""
    _PLUGGED[table.name] = table
