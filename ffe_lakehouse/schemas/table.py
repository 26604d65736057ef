"""What a table is: columns, Arrow types, rules, Delta layout. The tables stand beside this."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

with warnings.catch_warnings():
    # Where PySpark is installed pandera imports it, and that warns of pandas 3.
    warnings.filterwarnings("ignore", "PySpark does not yet", FutureWarning)
    import pandera.pandas as pandera

TIMESTAMP = pa.timestamp("us", tz="UTC")

Frame = Mapping[str, Any]
"""Columns by name: a pandas frame, or a dict of numpy arrays with NaN where a value is missing."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    type: pa.DataType
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class Rule:
    """A law that every row obeys.

    Attributes:
        code: Stable name, as it stands in the dead letters and on the asset checks.
        description: The law in words.
        broken: Which rows break it, as a boolean vector. Compares so that a missing value (NaN)
            breaks nothing: that it is missing is the business of the column.
    """

    code: str
    description: str
    broken: Callable[[Frame], Any]


@dataclass(frozen=True)
class TableSchema:
    """All there is to know about a table.

    Attributes:
        name: Asset key and path below the lake's root: ``bronze/raw_market_data_1h``.
        description: What one row is.
        columns: In stored order.
        key: What makes a row *the same fact*.
        values: Of two rows of one key: what makes the newer one a *revision*. Empty where a fact
            never changes.
        rules: Laws of a single row.
        partition_by: Delta partition columns.
        sort_by: Order of the rows in every file, so that file statistics can skip.
        time_column: What a stretch of time is compared with: a timestamp or a UTC day.
        append_only: Refuses update, overwrite and merge (``delta.appendOnly``).
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    values: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    partition_by: tuple[str, ...] = ("partition_asset_pair", "storage_period")
    sort_by: tuple[str, ...] = ("asset_pair", "timestamp")
    time_column: str = "timestamp"
    append_only: bool = False

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Arrow schema, nullability included."""
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])

    @cached_property
    def pandera(self) -> pandera.DataFrameSchema:
        """The same columns and rules as a Pandera schema, for frames read from the table."""
        return pandera.DataFrameSchema(
            {c.name: pandera.Column(nullable=c.nullable) for c in self.columns},
            checks=[_pandera_check(rule) for rule in self.rules],
            unique=[*self.key, "_extracted_at"] if self.values else list(self.key),
            strict=True,
            ordered=True,
            name=self.name,
        )


def _pandera_check(rule: Rule) -> pandera.Check:
    return pandera.Check(lambda frame: ~rule.broken(frame), name=rule.code, error=rule.description)


PROVENANCE = (
    Column("source_provider", pa.string(), "Vendor that answered."),
    Column("_extracted_at", TIMESTAMP, "When we knew (UTC)."),
    Column("_ingestion_id", pa.string(), "UUID4 of the write that brought the row."),
    Column("is_mock", pa.bool_(), "True if the row is simulated."),
    Column("partition_date", pa.date32(), "UTC day: the date half of the Dagster partition."),
    Column("partition_asset_pair", pa.string(), "The pair half of the Dagster partition."),
)

DERIVED = (
    Column("partition_date", pa.date32(), "UTC day: the date half of the Dagster partition."),
    Column("partition_asset_pair", pa.string(), "The pair half of the Dagster partition."),
    Column("storage_period", pa.string(), "UTC year: Delta partition in time."),
)
