"""Tables that an older release has made: what has been added since is empty in them."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.schemas.table import Column
from ffe_lakehouse_tests.lake import writers
from ffe_lakehouse_tests.lake.writers import HOURS, SCHEMA, SHARED

OLDER = replace(SCHEMA, columns=tuple(column for column in SCHEMA.columns if column.name != "vwap"))


def test_a_column_that_is_new_is_empty_in_old_rows_and_added_by_the_next_write(
    tmp_path: Path,
) -> None:
    lake = DeltaLakeManager(tmp_path)
    lake.append(OLDER, writers.candles(OLDER, SHARED, 0))
    assert lake.read(SCHEMA.name, columns=["vwap"])["vwap"].null_count == HOURS
    assert lake.read(SCHEMA.name).schema.names == SCHEMA.arrow.names
    rows = writers.candles(SCHEMA, SHARED, 1)
    assert lake.append_if_changed(SCHEMA, rows, Where((SHARED,))).written.all()
    stored = lake.read(SCHEMA.name)
    assert stored.num_rows == 2 * HOURS
    assert stored["vwap"].null_count == HOURS
    assert stored.slice(HOURS).equals(rows)


def test_old_rows_are_no_revisions_of_themselves(tmp_path: Path) -> None:
    lake = DeltaLakeManager(tmp_path)
    lake.append(OLDER, writers.candles(OLDER, SHARED, 0))
    rows = writers.candles(SCHEMA, SHARED, 0)
    empty = pa.nulls(HOURS, pa.float64())
    same = rows.set_column(rows.schema.get_field_index("vwap"), SCHEMA.arrow.field("vwap"), empty)
    assert not lake.append_if_changed(SCHEMA, same, Where((SHARED,))).written.any()
    assert lake.append_if_changed(SCHEMA, rows, Where((SHARED,))).written.all()


def test_a_column_that_may_not_be_empty_says_to_make_the_table_anew(tmp_path: Path) -> None:
    lake = DeltaLakeManager(tmp_path)
    lake.append(OLDER, writers.candles(OLDER, SHARED, 0))
    newer = replace(OLDER, columns=(*OLDER.columns, Column("rank", pa.int64(), "Made up.")))
    with pytest.raises(InputError, match="made by an older release, without rank: delete it"):
        lake.append(newer, newer.arrow.empty_table())


def test_a_table_of_a_newer_release_is_not_changed(tmp_path: Path) -> None:
    lake = DeltaLakeManager(tmp_path)
    lake.append(SCHEMA, writers.candles(SCHEMA, SHARED, 0))
    with pytest.raises(InputError, match="newer release, with vwap"):
        lake.append(OLDER, writers.candles(OLDER, SHARED, 1))
    assert lake.read(SCHEMA.name).num_rows == HOURS
