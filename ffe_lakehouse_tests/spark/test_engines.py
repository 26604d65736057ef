"""The methods of ``DeltaLakeManager`` on both engines, each of which reads what the other wrote."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from deltalake.exceptions import DeltaError

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.lake.spark import SparkEngine
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import START, bars

pytestmark = pytest.mark.spark
ENGINES = ("delta_rs", "spark")
TABLE = "silver/mine"
BRONZE = raw_candles(TIMEFRAMES["1h"])
KEYS = ["asset_pair", "timestamp"]


@pytest.fixture
def lakes(tmp_path: Path, spark: SparkEngine) -> dict[str, DeltaLakeManager]:
    """One lake, by both engines."""
    return {
        "delta_rs": DeltaLakeManager(tmp_path / "a lake"),
        "spark": DeltaLakeManager(tmp_path / "a lake", engine=spark),
    }


def candles(pair: str, first: int, closes: list[float]) -> pd.DataFrame:
    times = [START + timedelta(hours=first + n) for n in range(len(closes))]
    volumes = [None, *[1.0] * (len(closes) - 1)]
    return pd.DataFrame(
        {"asset_pair": pair, "timestamp": times, "close": closes, "volume": volumes}
    )


def closes(lakes: dict[str, DeltaLakeManager], **how: object) -> list[tuple[str, int, float]]:
    """Pair, hour and close of every row, which both engines must agree on, types included."""
    found = [
        lake.read_table(TABLE, to="arrow", **how).sort_by([(key, "ascending") for key in KEYS])  # type: ignore[arg-type]
        for lake in lakes.values()
    ]
    assert found[0].equals(found[1], check_metadata=True)
    return [
        (row["asset_pair"], (row["timestamp"] - START) // timedelta(hours=1), row["close"])
        for row in found[0].to_pylist()
    ]


@pytest.mark.parametrize("name", ENGINES)
def test_the_examples_of_the_lake(lakes: dict[str, DeltaLakeManager], name: str) -> None:
    lake = lakes[name]
    lake.create_or_update_table(candles("BTCUSD", 0, [1, 2]), TABLE, ["asset_pair"])
    lake.create_or_update_table(candles("ETH'USD", 0, [5]), TABLE)
    first = [("BTCUSD", 0, 1.0), ("BTCUSD", 1, 2.0), ("ETH'USD", 0, 5.0)]
    assert closes(lakes) == first
    version, yesterday = 2, datetime.now(UTC)

    # Updates the close of what is there, and nothing else of it.
    changed = candles("BTCUSD", 1, [9, 3]).assign(volume=7.0)
    assert lake.merge_upsert(changed, TABLE, KEYS, update_columns=["close"]) == version + 1
    merged = [("BTCUSD", 0, 1.0), ("BTCUSD", 1, 9.0), ("BTCUSD", 2, 3.0), ("ETH'USD", 0, 5.0)]
    assert closes(lakes) == merged
    volumes = lake.read_table(TABLE, filters="asset_pair = 'BTCUSD'").sort_values("timestamp")
    assert volumes["volume"].isna().tolist() == [True, False, False]
    assert volumes["volume"].tolist()[1:] == [1.0, 7.0]

    assert closes(lakes, as_of_timestamp=yesterday.replace(tzinfo=None).isoformat()) == first
    assert closes(lakes, version=1) == first[:2]
    wanted = "close > 2 AND timestamp >= '2024-01-01T01:00:00'"
    assert closes(lakes, filters=[wanted, "asset_pair <> 'ETH\\'USD'"]) == merged[1:3]
    assert lake.read_table(TABLE, columns=["close", "asset_pair"]).columns.tolist() == [
        "close",
        "asset_pair",
    ]

    lake.create_or_update_table(candles("BTCUSD", 3, [4]), TABLE)
    merged.insert(3, ("BTCUSD", 3, 4.0))
    optimized = lake.optimize_table(TABLE)
    assert (optimized.files_removed, optimized.files_added) == (2, 1)
    assert lake.optimize_table(TABLE, zorder_columns=["timestamp", "close"]).files_added > 0
    assert closes(lakes) == merged

    history = lake.get_table_history(TABLE)
    assert history["version"].tolist() == list(range(len(history)))[::-1]
    assert history["operation"].iloc[-(version + 2)] == "MERGE"
    assert str(history["timestamp"].dtype).endswith("UTC]")
    assert (history["timestamp"].iloc[0] - pd.Timestamp(yesterday)) < timedelta(hours=1)
    assert len(lake.get_table_history(TABLE, limit=2)) == 2

    lake.restore_table(TABLE, version=version)
    assert closes(lakes) == first


@pytest.mark.parametrize("name", ENGINES)
def test_a_vacuum_deletes_what_it_names_and_the_check_stays_on(
    lakes: dict[str, DeltaLakeManager], name: str
) -> None:
    lake = lakes[name]
    lake.create_or_update_table(candles("BTCUSD", 0, [1, 2]), TABLE, ["asset_pair"])
    lake.create_or_update_table(
        candles("BTCUSD", 5, [3]), TABLE, mode="overwrite", whole_table=True
    )
    root = Path(lake.table_uri(TABLE))
    assert lake.vacuum_table(TABLE) == []
    assert lake.vacuum_table(TABLE, 24, allow_short_retention=True) == []
    named = lake.vacuum_table(TABLE, 0, allow_short_retention=True, dry_run=True)
    assert len(named) == 1
    assert (root / named[0]).is_file()
    assert lake.vacuum_table(TABLE, 0, allow_short_retention=True) == named
    assert not (root / named[0]).exists()
    assert closes(lakes) == [("BTCUSD", 5, 3.0)]
    with pytest.raises(DeltaError, match=r"[Rr]etention"):
        lake.engine.vacuum(lake.table_uri(TABLE), 1, short=False, dry_run=True)


@pytest.mark.parametrize("name", ENGINES)
def test_an_overwrite_replaces_what_its_filters_select_or_is_refused(
    lakes: dict[str, DeltaLakeManager], name: str
) -> None:
    lake = lakes[name]
    lake.create_or_update_table(candles("BTCUSD", 0, [1, 2]), TABLE, ["asset_pair"])
    filters = ["asset_pair = 'BTCUSD'", "timestamp >= '2024-01-01T01:00:00'"]
    with pytest.raises(InputError, match="outside of what is overwritten"):
        lake.create_or_update_table(
            candles("BTCUSD", 0, [7]), TABLE, None, "overwrite", filters=filters
        )
    assert closes(lakes) == [("BTCUSD", 0, 1.0), ("BTCUSD", 1, 2.0)]
    nothing = candles("BTCUSD", 0, [7]).head(0)
    lake.create_or_update_table(nothing, TABLE, None, "overwrite", filters=filters)
    assert closes(lakes) == [("BTCUSD", 0, 1.0)]


@pytest.mark.parametrize("writer", ENGINES)
def test_no_value_changes_on_the_way(lakes: dict[str, DeltaLakeManager], writer: str) -> None:
    moments = [
        datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
        datetime(2024, 3, 31, 1, 30, tzinfo=UTC),
    ]
    rows = pa.table(
        {
            "n": pa.array([0, 1, 2], pa.int64()),
            "part": ["a b/c%d='\\é", "BRK.B", None],
            "moment": pa.array([*moments, None], pa.timestamp("us", "UTC")),
            "day": pa.array([date(1899, 1, 1), date(2024, 2, 29), None]),
            "number": pa.array([float("nan"), -0.0, None]),
            "narrow": pa.array([1.1, float("inf"), None], pa.float32()),
            "small": pa.array([-128, 127, None], pa.int8()),
            "flag": pa.array([True, False, None]),
            "text": pa.array(["", "ünï\n\t'\"\\", None]),
            "raw": pa.array([b"\x00\xff", b"", None]),
            "list": pa.array([["x", None], [], None], pa.list_(pa.string())),
        }
    )
    lakes[writer].create_or_update_table(rows, TABLE, ["part"])
    for lake in lakes.values():
        found = lake.read_table(TABLE, to="arrow").sort_by("n")
        assert found.schema.equals(rows.schema)
        # NaN is not itself: compared as bits.
        assert found.drop(["number"]).equals(rows.drop(["number"]))
        assert [repr(value) for value in found["number"].to_pylist()] == ["nan", "-0.0", "None"]


def test_spark_reads_an_append_only_table_of_the_lakehouse_and_cannot_change_it(
    lakes: dict[str, DeltaLakeManager],
) -> None:
    local, spark = lakes.values()
    local.append(BRONZE, bars("BTCUSD", START, 48))
    for number in range(2):
        local.append(BRONZE, bars("ETHUSD", START + timedelta(hours=number), 1))
        found = spark.read_table(BRONZE.name, to="arrow")
        assert found.equals(local.read_table(BRONZE.name, to="arrow"), check_metadata=True)
        assert found.num_rows == 49 + number, "the newest version is seen"
    row = bars("BTCUSD", START, 1, price=2.0)
    for refused in (
        lambda: spark.merge_upsert(row, BRONZE.name, BRONZE.key),
        lambda: spark.create_or_update_table(row, BRONZE.name, mode="overwrite", whole_table=True),
    ):
        with pytest.raises(InputError, match="append-only"):
            refused()
    uri, update = spark.table_uri(BRONZE.name), ["close"]
    beneath: list[Callable[[], object]] = [
        lambda: spark.engine.merge(uri, row, BRONZE, BRONZE.key, update),
        lambda: spark.engine.overwrite(uri, row, BRONZE, None),
    ]
    for write in beneath:
        with pytest.raises(DeltaError, match="APPEND_ONLY"):
            write()
    spark.create_or_update_table(bars("SOLUSD", START, 2), BRONZE.name)
    spark.optimize_table(BRONZE.name)
    assert spark.read_table(BRONZE.name, known_on=datetime.now(UTC)).shape[0] == 52
    assert local.read(BRONZE.name, newest=True).num_rows == 52
    assert local.append_if_changed(BRONZE, bars("SOLUSD", START, 2), Where()).version is None


def test_merges_that_overtake_each_other_are_all_done(lakes: dict[str, DeltaLakeManager]) -> None:
    lake = lakes["spark"]
    lake.create_or_update_table(candles("BTCUSD", 0, [0, 0, 0]), TABLE, ["asset_pair"])

    def write(hour: int) -> None:
        lake.merge_upsert(candles("BTCUSD", hour, [hour + 1.0]), TABLE, KEYS)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(write, range(3)))
    assert closes(lakes) == [("BTCUSD", hour, hour + 1.0) for hour in range(3)]


def test_a_log_that_both_write_stays_readable(lakes: dict[str, DeltaLakeManager]) -> None:
    local, spark = lakes.values()
    spark.create_or_update_table(candles("BTCUSD", 0, [1]), TABLE)
    local.table(TABLE).create_checkpoint()
    spark.create_or_update_table(candles("BTCUSD", 1, [2]), TABLE)
    local.table(TABLE).create_checkpoint()
    local.create_or_update_table(candles("BTCUSD", 2, [3]), TABLE)
    assert closes(lakes) == [("BTCUSD", 0, 1.0), ("BTCUSD", 1, 2.0), ("BTCUSD", 2, 3.0)]
    # Hadoop's checksums, which delta-rs does not write anew; Delta's own are 00…1.crc.
    assert list(Path(local.storage_path).rglob(".*.crc")) == []


def test_a_table_that_was_deleted_and_made_anew_is_read_anew(
    lakes: dict[str, DeltaLakeManager],
) -> None:
    local, spark = lakes.values()
    spark.create_or_update_table(candles("BTCUSD", 0, [1, 2]), TABLE)
    assert len(spark.read_table(TABLE)) == 2
    spark.delete_table(TABLE, confirm=True)
    local.create_or_update_table(pd.DataFrame({"other": [1]}), TABLE)
    assert spark.read_table(TABLE)["other"].tolist() == [1]


def test_a_lost_file_is_an_error_that_names_the_table(lakes: dict[str, DeltaLakeManager]) -> None:
    lake = lakes["spark"]
    lake.create_or_update_table(candles("BTCUSD", 0, [1, 2]), TABLE)
    next(Path(lake.table_uri(TABLE)).glob("*.parquet")).unlink()
    with pytest.raises(OSError, match=f"cannot read .*{TABLE}"):
        lake.read_table(TABLE)
