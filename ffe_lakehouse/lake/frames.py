"""Frames on their way into a table: columns by name, types that fit, rows in order."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.schemas import TableSchema

_RUN = 100
"""Runs of fewer rows, on average, are no faster to put in order than the rows themselves."""


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
    if isinstance(rows, pd.DataFrame):
        try:
            rows = pa.Table.from_pandas(rows, preserve_index=False)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise InputError(f"{schema.name}: {error}") from error
    return cast_to(schema.arrow, rows, schema.name)


def cast_to(schema: pa.Schema, rows: pa.Table, name: str) -> pa.Table:
    """The columns of ``schema``, with its types; no value changes its meaning.

    Raises:
        InputError: A value does not fit; the table ``name`` is told.
    """
    try:
        for field in schema:
            found = rows.schema.field(field.name).type
            if _kind(found) not in (_kind(field.type), "nothing"):
                raise TypeError(f"{field.name} is {found}, not {field.type}")  # noqa: TRY301 - told below
        return rows.select(schema.names).cast(schema)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"{name}: {error}") from error


def in_order(schema: TableSchema, rows: pa.Table) -> pa.Table:
    """``rows`` by ``schema``, sorted as its files are."""
    return sorted_by(as_arrow(schema, rows), schema.sort_by)


def sorted_by(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """``rows`` ascending by these columns; moved only if they are not so already.

    What comes from files is ordered within each of them: as a rule it is enough to put these in
    order. (Sorting a million rows of 40 columns takes four times as long as writing them.)
    """
    descents, _ = _steps(rows, names)
    if not descents.any():
        return rows
    cuts = np.flatnonzero(descents | _borders(rows, names)) + 1
    if cuts.size < rows.num_rows / _RUN and not any(rows[name].null_count for name in names):
        begins, ends = [0, *cuts.tolist()], [*cuts.tolist(), rows.num_rows]
        heads = rows.select(names).take(begins)
        order = pc.sort_indices(heads, [(name, "ascending") for name in names]).to_pylist()
        runs = [rows.slice(begins[run], ends[run] - begins[run]) for run in order]
        moved = pa.concat_tables(runs)
        if not _steps(moved, names)[0].any():
            return moved
    return rows.sort_by([(name, "ascending") for name in names])


def ascends_strictly(rows: pa.Table, names: Sequence[str]) -> bool:
    """Whether rows are in order by these columns, the first counting most, and no two are equal."""
    descents, ties = _steps(rows, names)
    return not (descents.any() or ties.any())


def _borders(rows: pa.Table, names: Sequence[str]) -> NDArray[np.bool_]:
    """Between which rows another file may begin: where a text or a month changes."""
    borders = np.zeros(rows.num_rows - 1, dtype=bool)
    for name in names:
        values = rows[name]
        if pa.types.is_timestamp(values.type):
            months = values.to_numpy().astype("datetime64[M]")
            borders |= months[1:] != months[:-1]
        elif _kind(values.type) == "text":
            changes = pc.not_equal(values.slice(0, borders.size), values.slice(1))
            borders |= pc.fill_null(changes, False).to_numpy()
    return borders


def _steps(rows: pa.Table, names: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """From each row to the next: whether it goes down, and whether it stays; shape (rows - 1,).

    A null counts as the highest value, as it does for ``pa.Table.sort_by``.
    """
    ties = np.ones(max(rows.num_rows - 1, 0), dtype=bool)
    descents = np.zeros(ties.size, dtype=bool)
    for name in names:
        before, after = rows[name].slice(0, ties.size), rows[name].slice(1)
        same = pc.equal(before, after)
        if rows[name].null_count:
            same = pc.coalesce(same, pc.and_(pc.is_null(before), pc.is_null(after)), False)
        # Most columns of a key hardly ever change from one row to the next.
        moves = np.flatnonzero(ties & ~same.to_numpy())
        before, after = before.take(moves), after.take(moves)
        down = pc.greater(before, after)
        if rows[name].null_count:
            down = pc.coalesce(down, pc.is_null(before))
        descents[moves] = down.to_numpy()
        ties[moves] = False
        if not ties.any():
            break
    return descents, ties


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
