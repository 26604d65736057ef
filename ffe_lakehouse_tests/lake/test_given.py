"""Frames that people give: what becomes of times, texts and missing values, and what is refused."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.lake import writers

NOON = datetime(2025, 1, 1, 12)  # noqa: DTZ001 - naive on purpose
COLUMNS: dict[str, list[Any]] = {
    "asset_pair": ["BTCUSD", "ETHUSD"],
    "timestamp": [NOON, NOON],
    "close": [1.5, None],
    "trade_count": [1, 2],
    "day": [date(2025, 1, 1)] * 2,
}
FRAMES = {
    "pandas": pd.DataFrame(COLUMNS),
    "pandas, nanoseconds of another zone": pd.DataFrame(COLUMNS).assign(
        timestamp=pd.to_datetime(["2025-01-01T13:00+01:00"] * 2).astype("datetime64[ns, UTC+01:00]")
    ),
    "pandas, categories": pd.DataFrame(COLUMNS).astype({"asset_pair": "category"}),
    "arrow": pa.table(COLUMNS),
    "arrow, large and milliseconds": pa.table(COLUMNS)
    .set_column(0, "asset_pair", pa.array(COLUMNS["asset_pair"], pa.large_string()))
    .set_column(1, "timestamp", pa.array(COLUMNS["timestamp"], pa.timestamp("ms"))),
    "arrow, a dictionary": pa.table(COLUMNS).set_column(
        0, "asset_pair", pa.array(COLUMNS["asset_pair"]).dictionary_encode()
    ),
    "polars": pl.DataFrame(COLUMNS),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_any_frame_is_stored_as_the_same_rows(tmp_path: Path, frame: Any) -> None:
    lake = DeltaLakeManager(tmp_path)
    assert lake.create_or_update_table(frame, "own/rows") == 1
    rows = lake.read_table("own/rows", to="arrow")
    assert rows.schema.field("timestamp").type == pa.timestamp("us", "UTC")
    assert rows["timestamp"].to_pylist() == [NOON.replace(tzinfo=UTC)] * 2
    for name in ("asset_pair", "close", "trade_count", "day"):
        assert rows[name].to_pylist() == COLUMNS[name]


def test_rows_come_back_as_pandas_unless_arrow_is_asked_for(tmp_path: Path) -> None:
    lake = DeltaLakeManager(tmp_path)
    lake.create_or_update_table(FRAMES["pandas"], "own/rows")
    frame = lake.read_table("own/rows", columns=["close", "timestamp"])
    assert list(frame.columns) == ["close", "timestamp"]
    assert str(frame["timestamp"].dt.tz) == "UTC"
    assert np.isnan(frame["close"][1])


def test_columns_go_by_their_names(tmp_path: Path) -> None:
    lake = DeltaLakeManager(tmp_path)
    lake.create_or_update_table(FRAMES["arrow"], "own/rows")
    lake.create_or_update_table(pa.table(COLUMNS).select(sorted(COLUMNS)), "own/rows")
    assert lake.read_table("own/rows", to="arrow")["day"].to_pylist() == [date(2025, 1, 1)] * 4


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ([{"close": 1.0}], "list is no frame"),
        (pd.DataFrame({"asset_pair": ["A", 1]}), "own/rows"),
        (pa.table(COLUMNS).drop_columns(["close"]), r"missing \['close'\]"),
        (pa.table({**COLUMNS, "extra": [1, 2]}), r"not known \['extra'\]"),
        (pa.table({**COLUMNS, "close": ["high", "low"]}), "close is string, not double"),
        (pa.table({**COLUMNS, "trade_count": [1.5, 2.0]}), "own/rows"),
        (pd.DataFrame([[1, 2]], columns=["close", "close"]), "own/rows"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    tmp_path: Path, frame: Any, said: str
) -> None:
    lake = DeltaLakeManager(tmp_path)
    lake.create_or_update_table(FRAMES["arrow"], "own/rows")
    with pytest.raises(InputError, match=said):
        lake.create_or_update_table(frame, "own/rows")
    assert lake.table("own/rows").version() == 1


def test_a_table_of_the_lakehouse_takes_its_own_columns_in_its_order(tmp_path: Path) -> None:
    lake, schema = DeltaLakeManager(tmp_path), raw_candles(TIMEFRAMES["1h"])
    rows = writers.candles(schema, "BTCUSD", 0)
    backwards = rows.take(list(range(rows.num_rows))[::-1])
    lake.create_or_update_table(backwards.to_pandas(), schema.name)
    assert lake.read_table(schema.name, to="arrow").equals(rows)
    assert lake.table(schema.name).metadata().partition_columns == list(schema.partition_by)
    with pytest.raises(InputError, match="columns missing"):
        lake.create_or_update_table(rows.select(["asset_pair", "close"]), schema.name)
    with pytest.raises(InputError, match="append-only"):
        lake.create_or_update_table(rows, schema.name, mode="overwrite", whole_table=True)
    with pytest.raises(InputError, match="append-only"):
        lake.create_or_update_table(rows, schema.name, mode="merge")
    assert lake.read_table(schema.name, to="arrow").equals(rows)


def test_a_version_that_a_vacuum_has_ended_says_so(tmp_path: Path) -> None:
    lake = DeltaLakeManager(tmp_path)
    for _ in range(2):
        lake.create_or_update_table(FRAMES["arrow"], "own/rows", mode="overwrite", whole_table=True)
    lake.vacuum_table("own/rows", 0, allow_short_retention=True)
    with pytest.raises(InputError, match="version 1 cannot come back, a vacuum has deleted"):
        lake.restore_table("own/rows", version=1)
    with pytest.raises(OSError, match="a file is gone, of an older version by a vacuum"):
        lake.read_table("own/rows", version=1)
    assert lake.read_table("own/rows").shape[0] == 2


def test_bars_that_are_appended_again_are_not_there_twice(tmp_path: Path) -> None:
    lake, schema = DeltaLakeManager(tmp_path), raw_candles(TIMEFRAMES["1h"])
    rows = writers.candles(schema, "BTCUSD", 0)
    assert lake.create_or_update_table(rows, schema.name) == 1
    assert lake.create_or_update_table(rows, schema.name) is None
    revised = rows.slice(0, 1).set_column(
        rows.schema.get_field_index("close"), schema.arrow.field("close"), pa.array([99.0])
    )
    assert lake.create_or_update_table(revised, schema.name) == 2
    assert lake.read_table(schema.name).shape[0] == rows.num_rows + 1
    assert lake.read_table(schema.name, known_on="now").shape[0] == rows.num_rows


def test_a_merge_makes_the_table_if_there_is_none(tmp_path: Path) -> None:
    lake, keys = DeltaLakeManager(tmp_path), ["asset_pair", "timestamp"]
    for _ in range(2):
        lake.create_or_update_table(
            FRAMES["polars"], "own/rows", ["asset_pair"], "merge", merge_keys=keys
        )
    assert lake.read_table("own/rows").shape[0] == 2
    assert lake.table("own/rows").metadata().partition_columns == ["asset_pair"]
    with pytest.raises(InputError, match="no table 'own/other'"):
        lake.merge_upsert(FRAMES["polars"], "own/other", keys)
