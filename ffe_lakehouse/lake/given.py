"""Frames that a person gives, pandas, Arrow or Polars: as Arrow, with the types of Delta."""

from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake.frames import cast_to

GivenFrame: TypeAlias = Any
"""``pandas.DataFrame``, ``pyarrow.Table``, ``polars.DataFrame``, or what else exports Arrow."""


def given_arrow(
    df: GivenFrame, known: pa.Schema | None, name: str, *, some: bool = False
) -> pa.Table:
    """A frame as an Arrow table: a naive time is UTC, times are in microseconds.

    Args:
        df: The frame.
        known: Columns of the table that it is for, in whose order and types it comes back.
        name: Of that table, for errors.
        some: Allow that columns of it are missing.

    Raises:
        InputError: No frame, columns that are not those of the table, a value that does not fit,
            or a missing one where there must be one.
    """
    try:
        rows = _arrow(df)
        rows = rows.cast(pa.schema([f.with_type(_plain(f.type)) for f in rows.schema]))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"{name}: {error}") from error
    if len(set(rows.column_names)) < rows.num_columns:
        raise InputError(f"{name}: a column occurs twice in {rows.column_names}")
    if known is None:
        return rows
    extra = [each for each in rows.column_names if each not in known.names]
    missing = [each for each in known.names if each not in rows.column_names]
    if extra or (missing and not some):
        raise InputError(f"{name}: columns missing {missing}, not known {extra}")
    fields = [field for field in known if field.name in rows.column_names]
    rows = cast_to(pa.schema(fields), rows, name)
    for field in fields:
        if not field.nullable and rows[field.name].null_count:
            raise InputError(
                f"{name}: {rows[field.name].null_count} rows have no {field.name}, which each needs"
            )
    return rows


def refuse_bad_keys(name: str, rows: pa.Table, keys: list[str]) -> None:
    """Refuse rows that cannot be told apart by their keys.

    Raises:
        InputError: A key is null, or two rows have the same.
    """
    for key in keys:
        if rows[key].null_count:
            raise InputError(f"{name}: {rows[key].null_count} rows have no {key}, which is a key")
    repeated = rows.num_rows - rows.group_by(keys).aggregate([]).num_rows
    if repeated:
        raise InputError(
            f"{name}: {repeated} rows repeat the {', '.join(keys)} of another one: keep one of each"
        )


def columns_lacking(known: pa.Schema, rows: pa.Table) -> list[str]:
    """Columns without which a row of ``known`` cannot be made, and which ``rows`` has not."""
    return [f.name for f in known if not f.nullable and f.name not in rows.column_names]


def refuse_new_rows(
    name: str, rows: pa.Table, there: pa.Table, keys: list[str], lacking: list[str]
) -> None:
    """Refuse incomplete rows that are not there yet.

    Raises:
        InputError: Rows whose key is not in ``there`` are ``lacking`` columns that each row needs.
    """
    given = rows.select(keys)
    new = given.join(there.select(keys).cast(given.schema), keys, join_type="left anti")
    if new.num_rows:
        raise InputError(
            f"{name}: {new.num_rows} rows are new, the first {new.slice(0, 1).to_pylist()[0]}, and"
            f" have no {', '.join(lacking)}: give whole rows, or only keys that are there"
        )


def _arrow(df: GivenFrame) -> pa.Table:
    if isinstance(df, pd.DataFrame):
        return pa.Table.from_pandas(df, preserve_index=False).replace_schema_metadata()
    if isinstance(df, pa.Table):
        return df
    if hasattr(df, "__arrow_c_stream__"):
        return pa.table(df)
    raise TypeError(f"{type(df).__name__} is no frame: give pandas, Arrow or Polars")


def _plain(found: pa.DataType) -> pa.DataType:
    """The type of Delta that holds the same values."""
    if pa.types.is_timestamp(found):
        return pa.timestamp("us", "UTC")
    if pa.types.is_dictionary(found):
        return _plain(found.value_type)
    if found in (pa.large_string(), pa.string_view()):
        return pa.string()
    if found in (pa.large_binary(), pa.binary_view()):
        return pa.binary()
    if pa.types.is_large_list(found):
        return pa.list_(_plain(found.value_type))
    return found
