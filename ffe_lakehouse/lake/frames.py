"""Frames on their way into a table: columns by name, types that fit, rows in order."""

import pandas as pd
import pyarrow as pa

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.schemas import TableSchema


def as_arrow(schema: TableSchema, rows: pd.DataFrame | pa.Table) -> pa.Table:
    """A frame as the Arrow table of ``schema``: columns by name, no value changes its meaning.

    Raises:
        InputError: A column is missing or too many, or a value does not fit its type.
    """
    columns = rows.columns if isinstance(rows, pd.DataFrame) else rows.column_names
    given = [str(name) for name in columns]
    if sorted(given) != sorted(schema.arrow.names):
        missing = [name for name in schema.arrow.names if name not in given]
        extra = [name for name in schema.arrow.names if given.count(name) > 1]
        extra = [name for name in given if name not in schema.arrow.names] + extra
        raise InputError(f"{schema.name}: columns missing {missing}, not known or twice {extra}")
    try:
        if isinstance(rows, pd.DataFrame):
            rows = pa.Table.from_pandas(rows, preserve_index=False)
        for field in schema.arrow:
            found = rows.schema.field(field.name).type
            if _kind(found) not in (_kind(field.type), "nothing"):
                raise TypeError(f"{field.name} is {found}, not {field.type}")  # noqa: TRY301 - told below
        return rows.select(schema.arrow.names).cast(schema.arrow)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"{schema.name}: {error}") from error


def in_order(schema: TableSchema, rows: pa.Table) -> pa.Table:
    """``rows`` by ``schema``, sorted as its files are."""
    rows = as_arrow(schema, rows)
    *outer, inner = schema.sort_by
    if pa.types.is_timestamp(schema.arrow.field(inner).type) and all(
        len(rows[name].unique()) <= 1 for name in outer
    ):
        values = rows[inner].cast(pa.int64()).to_numpy() if not rows[inner].null_count else None
        if values is not None and (values[1:] >= values[:-1]).all():
            return rows  # Sorting a million ordered rows costs as much as writing them.
    return rows.sort_by([(name, "ascending") for name in schema.sort_by])


def refuse_append_only(schema: TableSchema, way: str) -> None:
    """Refuse to merge into or overwrite a table that only grows.

    Raises:
        InputError: ``schema`` is append-only. (delta-rs refuses it too, with an error that reads
            like a lost race, which is tried 20 times.)
    """
    if schema.append_only:
        raise InputError(
            f"{schema.name} is append-only and takes no {way}: use append or append_if_changed"
        )


def _kind(found: pa.DataType) -> str:
    """What a type holds: within a kind a cast keeps the meaning, from one to another it guesses."""
    if pa.types.is_dictionary(found):
        return _kind(found.value_type)
    if pa.types.is_timestamp(found) or pa.types.is_date(found):
        return "time"
    if pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_decimal(found):
        return "number"
    if found in (pa.string(), pa.large_string(), pa.string_view()):
        return "text"
    if pa.types.is_list(found) or pa.types.is_large_list(found):
        return f"list of {_kind(found.value_type)}"
    return "nothing" if pa.types.is_null(found) else str(found)
