"""Maintenance of the lake's files: it acts where it is needed, and never on a row."""

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.assets.maintenance import maintenance_assets
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.lake.statistics import crowded_partitions, out_of_order, table_statistics
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.schemas.silver import MARKET_DATA_UNIFIED as UNIFIED
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import START, bars, box, day, facts

HOURLY, DAILY = (raw_candles(TIMEFRAMES[code]) for code in ("1h", "1d"))
PAIRS = ("BTCUSD", "ETHUSD")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("FFE_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


@pytest.fixture
def lake(home: Path) -> DeltaLakeManager:
    return DeltaLakeManager(home / "lake")


def maintain(lake: DeltaLakeManager, name: str) -> dg.ExecuteInProcessResult:
    (asset,) = (each for each in maintenance_assets() if each.key.path[-1] == name)
    return dg.materialize(
        [asset],
        resources={"io_manager": DeltaIOManager(storage_path=lake.storage_path)},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )


def report(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, str]]:
    """What was done to each table, by the headings of the report."""
    (event,) = result.get_asset_materialization_events()
    return read_report(event.materialization.metadata)


def read_report(metadata: Any) -> dict[str, dict[str, str]]:
    lines = [line.strip("| ").split(" | ") for line in metadata["report"].value.splitlines()]
    if len(lines) == 1:
        return {}
    return {row[0]: dict(zip(lines[0], row, strict=True)) for row in lines[2:]}


def append_days(lake: DeltaLakeManager, first: int, last: int) -> None:
    """A commit a day, as an incremental load makes them; both included."""
    for number in range(first, last + 1):
        rows = [bars(pair, day(number), 24, price=100.0 + number) for pair in PAIRS]
        lake.append(HOURLY, pa.concat_tables(rows))


def files(lake: DeltaLakeManager, name: str = HOURLY.name) -> int:
    return len(lake.table(name).file_uris())


def version(lake: DeltaLakeManager, name: str = HOURLY.name) -> int:
    return lake.table(name).version()


def ordered(lake: DeltaLakeManager) -> bool:
    """Whether the rows of every file ascend by time."""
    found = [
        pq.read_table(path, columns=["timestamp"], partitioning=None)["timestamp"].to_numpy()
        for path in lake.table(HOURLY.name).file_uris()
    ]
    return all((np.diff(times) > np.timedelta64(0)).all() for times in found)


def grow_older(lake: DeltaLakeManager, by: timedelta) -> None:
    """Have what was replaced have been replaced so much earlier, as the log tells it."""
    milliseconds = by // timedelta(milliseconds=1)
    for path in (Path(lake.table_uri(HOURLY.name)) / "_delta_log").glob("*.json"):
        lines = []
        for line in path.read_text().splitlines():
            head, found, tail = line.partition('"deletionTimestamp":')
            if found:
                number = tail.split(",")[0].rstrip("}")
                tail = tail.replace(number, str(int(number) - milliseconds), 1)
            lines.append(head + found + tail)
        path.write_text("\n".join(lines))


# --- what is to be done is done, and no more


def test_only_tables_with_several_small_files_in_a_partition_are_compacted(
    lake: DeltaLakeManager,
) -> None:
    append_days(lake, 0, 4)
    lake.append(DAILY, bars("BTCUSD", START, 5, "1d"))
    before, rows = version(lake, DAILY.name), facts(lake.read(HOURLY.name))
    result = maintain(lake, "compacted")
    assert result.success
    done = report(result)
    assert list(done) == [HOURLY.name]
    assert (done[HOURLY.name]["files before"], done[HOURLY.name]["files after"]) == ("10", "2")
    assert files(lake) == 2
    assert version(lake, DAILY.name) == before
    assert facts(lake.read(HOURLY.name)) == rows


def test_what_is_compacted_already_is_not_committed_again(lake: DeltaLakeManager) -> None:
    append_days(lake, 0, 2)
    maintain(lake, "compacted")
    before = version(lake)
    result = maintain(lake, "compacted")
    assert report(result) == {}
    assert version(lake) == before


def test_a_day_more_is_put_together_with_its_own_partition_alone(lake: DeltaLakeManager) -> None:
    append_days(lake, 0, 1)
    maintain(lake, "compacted")
    (other,) = (path for path in lake.table(HOURLY.name).file_uris() if "ETHUSD" in path)
    lake.append(HOURLY, bars("BTCUSD", day(2), 24))
    done = report(maintain(lake, "compacted"))
    assert done[HOURLY.name]["put together"] == "2"
    assert other in lake.table(HOURLY.name).file_uris()


def test_rows_are_put_in_order_once(lake: DeltaLakeManager) -> None:
    append_days(lake, 0, 9)
    maintain(lake, "compacted")
    assert not ordered(lake)
    assert out_of_order(lake.table(HOURLY.name), "timestamp") == 1
    rows = facts(lake.read(HOURLY.name))
    done = report(maintain(lake, "sorted"))
    assert done[HOURLY.name]["by"] == "timestamp"
    assert done[HOURLY.name]["out of order"] == "100%"
    assert ordered(lake)
    assert facts(lake.read(HOURLY.name)) == rows
    before = version(lake)
    assert report(maintain(lake, "sorted")) == {}
    assert version(lake) == before


def test_a_large_table_is_not_sorted_for_a_few_rows(lake: DeltaLakeManager) -> None:
    lake.append(HOURLY, bars("BTCUSD", START, 24 * 200))
    for number in (0, 1):
        lake.append(HOURLY, bars("ETHUSD", day(number), 24))
    lake.optimize_table(HOURLY.name)
    before = version(lake)
    assert 0 < out_of_order(lake.table(HOURLY.name), "timestamp") < 0.05
    assert report(maintain(lake, "sorted")) == {}
    assert version(lake) == before


def test_a_vacuum_leaves_what_was_replaced_lately(lake: DeltaLakeManager) -> None:
    append_days(lake, 0, 4)
    maintain(lake, "compacted")
    for age in (timedelta(0), timedelta(days=29)):
        grow_older(lake, age)
        assert report(maintain(lake, "vacuumed")) == {}
    assert lake.read(HOURLY.name, version=5).num_rows == 240
    grow_older(lake, timedelta(days=2))
    assert report(maintain(lake, "vacuumed")) == {
        HOURLY.name: {"table": HOURLY.name, "files deleted": "10"}
    }
    assert lake.read(HOURLY.name).num_rows == 240


def test_the_vacuum_goes_by_its_setting(
    lake: DeltaLakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_days(lake, 0, 1)
    maintain(lake, "compacted")
    grow_older(lake, timedelta(days=8))
    monkeypatch.setenv("FFE_VACUUM_HOURS", "168")
    get_settings.cache_clear()
    assert report(maintain(lake, "vacuumed"))[HOURLY.name]["files deleted"] == "4"


# --- what is told


def test_the_statistics_count_rows_files_and_what_is_to_be_compacted(
    lake: DeltaLakeManager,
) -> None:
    append_days(lake, 0, 2)
    lake.append(DAILY, bars("BTCUSD", START, 5, "1d"))
    told = report(maintain(lake, "statistics"))
    assert list(told) == [HOURLY.name, DAILY.name]
    hourly = told[HOURLY.name]
    assert (hourly["rows"], hourly["files"], hourly["partitions to compact"]) == ("144", "6", "2")
    assert (hourly["version"], hourly["oldest readable version"]) == ("3", "0")
    size = sum(Path(path).stat().st_size for path in lake.table(HOURLY.name).file_uris())
    assert hourly["bytes"] == f"{size:,}"
    committed = datetime.fromisoformat(hourly["committed (UTC)"]).replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - committed) < timedelta(minutes=5)
    assert told[DAILY.name]["partitions to compact"] == "0"


def test_the_oldest_version_is_the_first_that_a_vacuum_has_left(lake: DeltaLakeManager) -> None:
    append_days(lake, 0, 2)
    lake.optimize_table(HOURLY.name)
    append_days(lake, 3, 3)
    lake.vacuum_table(HOURLY.name, 0, allow_short_retention=True)
    found = table_statistics(lake.table_uri(HOURLY.name), {})
    assert found.oldest_version == 4
    assert lake.read(HOURLY.name, version=4).num_rows == 144
    with pytest.raises(OSError, match="cannot read"):
        lake.read(HOURLY.name, version=3)


def test_a_table_without_partitions_or_rows_is_counted_too(home: Path) -> None:
    lake = DeltaLakeManager(home / "lake")
    lake.create_or_update_table(pa.table({"a": [1]}), "own/table")
    lake.create_or_update_table(pa.table({"a": [2]}), "own/table")
    assert crowded_partitions(lake.table("own/table")) == 1
    lake.append(HOURLY, HOURLY.arrow.empty_table())
    found = table_statistics(lake.table_uri(HOURLY.name), {})
    assert (found.rows, found.files, found.bytes, found.version, found.oldest_version) == (0,) * 5
    assert out_of_order(lake.table(HOURLY.name), "timestamp") == 0


def test_a_lake_without_tables_needs_nothing(lake: DeltaLakeManager) -> None:
    for asset in maintenance_assets():
        assert report(maintain(lake, asset.key.path[-1])) == {}


# --- what goes wrong


@pytest.mark.parametrize("name", ["compacted", "sorted", "vacuumed", "statistics"])
def test_a_table_that_fails_does_not_stop_the_others(lake: DeltaLakeManager, name: str) -> None:
    append_days(lake, 0, 3)
    lake.append(DAILY, bars("BTCUSD", START, 5, "1d"))
    commit = Path(lake.table_uri(HOURLY.name)) / "_delta_log" / f"{2:020}.json"
    commit.write_text('{"add": {"path"')
    for number in (1, 0):
        lake.append(DAILY, bars("ETHUSD", day(number), 1, "1d"))
    lake = DeltaLakeManager(lake.storage_path)
    result = maintain(lake, name)
    assert not result.success
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    error = failure.step_failure_data.error
    assert error is not None
    assert f"1 of 2 tables failed: {HOURLY.name}: " in error.message
    metadata = failure.step_failure_data.user_failure_data.metadata
    if name in ("compacted", "statistics"):
        assert list(read_report(metadata)) == [DAILY.name]
    assert files(lake, DAILY.name) == (2 if name == "compacted" else 3)


# --- beside others


def write_on(path: str, days: int, begun: Any) -> None:
    """Append hours one by one, revise some, and derive from them what is merged."""
    lake = DeltaLakeManager(path, durable=False)
    for number in range(days):
        begun.set()
        fresh = bars("BTCUSD", day(number), 24, price=100.0 + number)
        lake.append_if_changed(HOURLY, fresh, box("BTCUSD", number, number))
        known = datetime(2024, 7, 1, tzinfo=UTC)
        revised = bars("BTCUSD", day(number), 1, price=500.0, known=known)
        lake.append_if_changed(HOURLY, revised, box("BTCUSD", number, number))
        first = max(number - 2, 0)
        where = box("BTCUSD", first, number)
        lake.merge_if_changed(UNIFIED, unified(first, number, float(number)), where)


def unified(first: int, last: int, price: float) -> pa.Table:
    """Rows of Silver of whole days, whose prices are ``price``."""
    times = [day(first) + timedelta(hours=hour) for hour in range(24 * (last - first + 1))]
    values: dict[str, Any] = dict.fromkeys(UNIFIED.arrow.names)
    values |= dict.fromkeys(("open", "high", "low", "close"), price)
    values |= {"asset_pair": "BTCUSD", "timeframe": "1h", "source_provider": "a"}
    values |= {"is_mock": False, "providers_seen": ["a"], "revision": 0, "known_at": START}
    values |= {"partition_asset_pair": "BTCUSD", "storage_period": "2024"}
    rows = [values | {"timestamp": time, "partition_date": time.date()} for time in times]
    return pa.Table.from_pylist(rows, schema=UNIFIED.arrow)


@pytest.mark.slow
def test_a_writer_beside_compaction_loses_no_row_and_doubles_none(lake: DeltaLakeManager) -> None:
    days = 15
    spawn = multiprocessing.get_context("spawn")
    begun = spawn.Event()
    writer = spawn.Process(target=write_on, args=(lake.storage_path, days, begun))
    writer.start()
    assert begun.wait(60)
    results = []
    while writer.is_alive():
        results += [maintain(lake, name) for name in ("compacted", "sorted", "vacuumed")]
    writer.join()
    assert writer.exitcode == 0
    results.append(maintain(lake, "compacted"))
    assert all(result.success for result in results)
    assert sum(len(report(result)) for result in results) > 2
    assert crowded_partitions(lake.table(HOURLY.name)) == 0
    assert crowded_partitions(lake.table(UNIFIED.name)) == 0
    fresh = [bars("BTCUSD", day(each), 24, price=100.0 + each) for each in range(days)]
    revised = [bars("BTCUSD", day(each), 1, price=500.0) for each in range(days)]
    assert facts(lake.read(HOURLY.name)) == facts(pa.concat_tables(fresh + revised))
    # A day is merged three times, the last time two days later.
    prices = [float(min(each // 24 + 2, days - 1)) for each in range(24 * days)]
    assert lake.read(UNIFIED.name, columns=["close"])["close"].to_pylist() == prices


def test_threads_that_merge_the_same_rows_beside_compaction_end_with_one_of_them(
    lake: DeltaLakeManager,
) -> None:
    lake.merge_if_changed(UNIFIED, unified(0, 0, 1.0), box("BTCUSD", 0, 0))
    failures: list[BaseException] = []

    def guarded(work: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - told by the test
                failures.append(error)

        return threading.Thread(target=run)

    def merge(price: float) -> None:
        own = DeltaLakeManager(lake.storage_path, durable=False)
        for number in range(8):
            rows = unified(0, number % 3, price + number)
            own.merge_if_changed(UNIFIED, rows, box("BTCUSD", 0, number % 3))

    writers = [guarded(lambda price=price: merge(price)) for price in (100.0, 200.0)]  # type: ignore[misc]
    for thread in writers:
        thread.start()
    while any(thread.is_alive() for thread in writers):
        assert maintain(lake, "compacted").success
    for thread in writers:
        thread.join()
    assert failures == []
    times = lake.read(UNIFIED.name, columns=["timestamp"])["timestamp"].to_pylist()
    assert times == [START + timedelta(hours=hour) for hour in range(len(times))]
    closes = set(lake.read(UNIFIED.name, box("BTCUSD", 0, 0))["close"].to_pylist())
    assert closes in ({107.0}, {207.0})


def test_a_reader_that_began_before_goes_on_across_compaction_and_vacuum(
    lake: DeltaLakeManager,
) -> None:
    append_days(lake, 0, 4)
    reader = DeltaTable(lake.table_uri(HOURLY.name))
    maintain(lake, "compacted")
    append_days(lake, 5, 5)
    lake.vacuum_table(HOURLY.name, 168)
    maintain(lake, "vacuumed")
    rows = pa.RecordBatchReader.from_stream(reader.scan()).read_all()
    assert rows.num_rows == 240


# --- the law: whatever is done, and in whatever order, rows stay as they are


@settings(max_examples=6)
@given(
    st.lists(
        st.sampled_from(["append", "revise", "compacted", "sorted", "vacuumed", "statistics"]),
        min_size=3,
        max_size=7,
    )
)
def test_maintenance_never_changes_a_row(steps: Sequence[str]) -> None:
    with TemporaryDirectory() as folder:
        lake = DeltaLakeManager(folder, durable=False)
        expected: list[tuple[str, datetime, float]] = []
        for number, step in enumerate(steps):
            if step == "append":
                rows = bars("BTCUSD", day(50 - number), 24)
            elif step == "revise":
                rows = bars("BTCUSD", START, 3, price=200.0 + number)
            else:
                assert maintain(lake, step).success
                continue
            lake.append(HOURLY, rows)
            expected = sorted(expected + facts(rows))
        if expected:
            assert facts(lake.read(HOURLY.name)) == expected
            halves = [
                lake.read(HOURLY.name, where) for where in (Where(end=day(1)), Where(start=day(1)))
            ]
            assert sum(half.num_rows for half in halves) == len(expected)
