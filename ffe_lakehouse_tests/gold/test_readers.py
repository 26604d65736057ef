"""The marts are plain Delta tables: whoever reads them finds the same rows."""

from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any, TypeAlias

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from ffe_lakehouse.gold.runner import prepare
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.lake.spark import SparkEngine
from ffe_lakehouse.lake.where import whole_days
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.schemas.gold import is_by_pair, marts
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.gold_lake import DAY, GoldLake, at

Rows: TypeAlias = list[dict[str, Any]]
LAST_YEAR = date(DAY.year - 1, 12, 31)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeltaLakeManager]:
    """All marts, of two pairs and two years; one column at least is null somewhere."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("FFE_HOME", str(home))
        monkeypatch.setenv("FFE_START_DATE", "2023-01-01")
        get_settings.cache_clear()
        dbt = prepare(tmp_path_factory.getbasetemp() / "dbt")
        gold = GoldLake(DeltaLakeManager(home / "lake"), dbt)
        for pair in ("BTCUSD", "EURUSD"):
            gold.trade(-3, 1.5, asset_pair=pair)
            gold.trade(2, -0.1, asset_pair=pair)
            gold.bar(-1, "trend", 1, asset_pair=pair)
        gold.decision(0, confidence=55.5)
        gold.snapshot(
            1.25, [{"asset_pair": "BTCUSD", "side": "LONG", "size": 1.0, "current_price": 9.0}]
        )
        assert {each.status for each in gold.outcomes(marts(), last=4)} == {"success", "pass"}
        yield gold.lake
    get_settings.cache_clear()


def by_duckdb(uri: str) -> pa.Table:
    dataset = DeltaTable(uri).to_pyarrow_dataset()
    with duckdb.connect() as connection:
        connection.register("mart", dataset)
        return connection.sql("from mart").to_arrow_table()


def by_spark(uri: str) -> pa.Table:
    pytest.importorskip("delta", reason="Spark is not installed")
    return SparkEngine(master="local[1]").read(uri, None, None, None)


READERS: dict[str, Callable[[str], pa.Table]] = {
    "deltalake": lambda uri: DeltaTable(uri).to_pyarrow_table(),
    "duckdb": by_duckdb,
    "polars": lambda uri: pl.read_delta(uri).to_arrow(),
    "polars, lazily": lambda uri: pl.scan_delta(uri).collect().to_arrow(),
    "pandas": lambda uri: pa.Table.from_pandas(
        pd.DataFrame(DeltaTable(uri).to_pandas()), preserve_index=False
    ),
    "spark": by_spark,
}


def plain(rows: pa.Table, mart: TableSchema) -> Rows:
    """Rows as Python values in the order of their key; what pandas has for null is none."""
    found = rows.select(mart.arrow.names).to_pylist()
    for row in found:
        for name, value in row.items():
            if value != value or value is pd.NaT:
                row[name] = None
            elif pa.types.is_integer(mart.arrow.field(name).type) and value is not None:
                row[name] = int(value)
            elif isinstance(value, datetime):
                row[name] = value.astimezone(at(0).tzinfo)
    return sorted(found, key=lambda row: [row[name] for name in mart.key])


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_finds_the_same_rows(lake: DeltaLakeManager, reader: str) -> None:
    for mart in marts().values():
        expected = lake.read(mart.name)
        assert expected.num_rows >= 5
        found = READERS[reader](lake.table_uri(mart.name))
        assert sorted(found.column_names) == sorted(mart.arrow.names)
        assert plain(found, mart) == expected.to_pylist(), mart.name


def test_a_part_is_read_by_pair_and_day_and_from_one_file(lake: DeltaLakeManager) -> None:
    for mart in marts().values():
        pairs = ("EURUSD",) if is_by_pair(mart) else None
        rows = lake.read(mart.name, whole_days(pairs, LAST_YEAR, LAST_YEAR)).to_pylist()
        assert {row["date"] for row in rows} == {LAST_YEAR}
        assert {row.get("asset_pair", "EURUSD") for row in rows} == {"EURUSD"}
        place = [("storage_period", "=", "2023")]
        if is_by_pair(mart):
            place.append(("partition_asset_pair", "=", "EURUSD"))
        table = lake.table(mart.name)
        assert len(table.file_uris(file_pruning_predicate=place)) == 1
        assert len(table.file_uris()) == (4 if is_by_pair(mart) else 2)


def test_rows_stand_in_the_order_of_the_key(lake: DeltaLakeManager) -> None:
    for mart in marts().values():
        rows = lake.read(mart.name, Where()).select(mart.key).to_pylist()
        keys = [tuple(row.values()) for row in rows]
        assert keys == sorted(keys)
        assert len({*keys}) == len(keys)
