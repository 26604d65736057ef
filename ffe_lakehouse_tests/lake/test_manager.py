"""``DeltaLakeManager`` on real Delta tables: writing, reading, pruning, racing."""

import multiprocessing
import os
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.lake.tables import table_schema
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.builders import KNOWN, START, bars, box, day, facts, raw

BRONZE = raw_candles(TIMEFRAMES["1h"])
FREE = replace(BRONZE, append_only=False)
"""The same table without the lock: what Silver will be."""
MONTH = box("BTCUSD", 0, 30)


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLakeManager:
    return DeltaLakeManager(tmp_path / "lake")


def read(lake: DeltaLakeManager, where: Where = Where()) -> list[tuple[str, datetime, float]]:  # noqa: B008
    return facts(lake.read(BRONZE.name, where))


def versions(lake: DeltaLakeManager) -> int:
    return len(lake.history(BRONZE.name))


# --- append


def test_appended_rows_are_read_back_as_they_are(lake: DeltaLakeManager) -> None:
    rows = bars("BTCUSD", START, 30)
    lake.append(BRONZE, rows)
    assert lake.read(BRONZE.name).equals(rows)


def test_append_adds_what_it_is_given_twice_unless_it_is_told_that_it_is_the_same_write(
    lake: DeltaLakeManager,
) -> None:
    rows = bars("BTCUSD", START, 2)
    assert lake.append(BRONZE, rows, once="run/step") is not None
    assert lake.append(BRONZE, rows, once="run/step") is None
    assert len(read(lake)) == 2
    lake.append(BRONZE, rows, once="another run/step")
    lake.append(BRONZE, rows)
    assert len(read(lake)) == 6


def test_what_is_appended_if_changed_twice_is_there_once(lake: DeltaLakeManager) -> None:
    rows = bars("BTCUSD", START, 30)
    lake.append_if_changed(BRONZE, rows, MONTH)
    before = versions(lake)
    assert lake.append_if_changed(BRONZE, rows, MONTH).version is None
    assert read(lake) == facts(rows)
    assert versions(lake) == before


@pytest.mark.parametrize("way", ["append", "append_if_changed", "merge"])
def test_a_write_without_rows_leaves_an_empty_table_and_no_data_commit(
    lake: DeltaLakeManager, way: str
) -> None:
    nothing = bars("BTCUSD", START, 0)
    for _ in range(2):
        if way == "append_if_changed":
            lake.append_if_changed(FREE, nothing, MONTH)
        else:
            assert getattr(lake, way)(FREE, nothing) is None
    assert lake.read(BRONZE.name).num_rows == 0
    assert versions(lake) == 1


# --- merge and overwrite


def test_a_merge_updates_what_is_there_and_inserts_the_rest(lake: DeltaLakeManager) -> None:
    lake.merge(FREE, bars("BTCUSD", START, 3))
    newer = bars("BTCUSD", START + timedelta(hours=2), 2, price=200.0)
    for _ in range(2):
        lake.merge(FREE, pa.concat_tables([newer, bars("ETHUSD", START, 1)]))
        assert read(lake) == facts(
            pa.concat_tables([bars("BTCUSD", START, 2), newer, bars("ETHUSD", START, 1)])
        )


def test_a_merge_of_two_rows_of_one_key_is_refused(lake: DeltaLakeManager) -> None:
    with pytest.raises(InputError, match="repeat the asset_pair, timestamp, source_provider"):
        lake.merge(FREE, pa.concat_tables([bars("BTCUSD", START, 1)] * 2))


def test_an_overwrite_replaces_its_box_and_nothing_else(lake: DeltaLakeManager) -> None:
    lake.append(FREE, pa.concat_tables([bars("BTCUSD", START, 72), bars("ETHUSD", START, 72)]))
    for _ in range(2):
        lake.overwrite(FREE, bars("BTCUSD", day(1), 5, price=200.0), box("BTCUSD", 1, 1))
        expected = [
            bars("BTCUSD", START, 24),
            bars("BTCUSD", day(1), 5, price=200.0),
            bars("BTCUSD", day(2), 24),
            bars("ETHUSD", START, 72),
        ]
        assert read(lake) == facts(pa.concat_tables(expected))


def test_an_overwrite_with_no_rows_empties_its_box(lake: DeltaLakeManager) -> None:
    lake.append(FREE, bars("BTCUSD", START, 72))
    lake.overwrite(FREE, bars("BTCUSD", START, 0), box("BTCUSD", 0, 1))
    assert read(lake) == facts(bars("BTCUSD", day(2), 24))


def test_an_overwrite_with_rows_outside_of_its_box_changes_nothing(lake: DeltaLakeManager) -> None:
    before = bars("BTCUSD", START, 72)
    lake.append(FREE, before)
    for rows in (bars("BTCUSD", day(1), 25, price=2.0), bars("ETHUSD", day(1), 1, price=2.0)):
        with pytest.raises(DeltaError, match="failed validation"):
            lake.overwrite(FREE, rows, box("BTCUSD", 1, 1))
    assert read(lake) == facts(before)


@pytest.mark.parametrize("where", [Where(), Where(known_on=KNOWN)], ids=["everything", "known_on"])
def test_an_overwrite_must_say_what_it_replaces(lake: DeltaLakeManager, where: Where) -> None:
    with pytest.raises(InputError, match="which pairs or days"):
        lake.overwrite(FREE, bars("BTCUSD", START, 1), where)
    assert not lake.table_exists(BRONZE.name)


def test_an_append_only_table_refuses_merge_and_overwrite_at_once(lake: DeltaLakeManager) -> None:
    lake.append(BRONZE, bars("BTCUSD", START, 1))
    begun = time.monotonic()
    for write in (
        lambda: lake.merge(BRONZE, bars("BTCUSD", START, 1, price=2.0)),
        lambda: lake.overwrite(BRONZE, bars("BTCUSD", START, 1, price=2.0), MONTH),
    ):
        with pytest.raises(InputError, match=r"append-only.*use append"):
            write()
    assert time.monotonic() - begun < 5, "a refusal is no lost race, to be tried again"
    assert read(lake) == facts(bars("BTCUSD", START, 1))


def test_delta_itself_guards_an_append_only_table(lake: DeltaLakeManager) -> None:
    lake.append(BRONZE, bars("BTCUSD", START, 1))
    with pytest.raises(DeltaError, match="append-only"):
        DeltaTable(lake.table_uri(BRONZE.name)).delete()


# --- layout


def test_a_table_is_laid_out_by_its_schema(lake: DeltaLakeManager) -> None:
    lake.append(BRONZE, bars("BTCUSD", START, 1))
    metadata = lake.table(BRONZE.name).metadata()
    assert metadata.partition_columns == ["partition_asset_pair", "storage_period"]
    assert metadata.configuration["delta.appendOnly"] == "true"
    assert metadata.description == BRONZE.description
    fields = lake.table(BRONZE.name).schema().fields
    assert [field.name for field in fields] == BRONZE.arrow.names
    assert [field.nullable for field in fields] == [column.nullable for column in BRONZE.columns]
    assert fields[1].metadata["comment"] == BRONZE.columns[1].description


def test_the_rows_of_every_file_are_in_order_however_they_came(lake: DeltaLakeManager) -> None:
    rows = pa.concat_tables([bars(pair, day(-2), 96) for pair in ("ETHUSD", "BTCUSD")])
    lake.append(BRONZE, rows.take(np.random.default_rng(0).permutation(rows.num_rows)))
    files = sorted(Path(lake.table_uri(BRONZE.name)).rglob("*.parquet"))
    assert len(files) == 4  # two pairs, two years
    for file in files:
        times = pq.ParquetFile(file).read()["timestamp"].to_pylist()
        assert times == sorted(times)
        assert len(times) == 48


def test_compression_is_as_asked(tmp_path: Path) -> None:
    DeltaLakeManager(tmp_path, compression="snappy").append(BRONZE, bars("BTCUSD", START, 1))
    file = next(tmp_path.rglob("*.parquet"))
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "SNAPPY"


def test_what_is_handed_over_is_found_in_the_log(lake: DeltaLakeManager) -> None:
    lake.append(BRONZE, bars("BTCUSD", START, 1), {"dagster/run_id": "r1"})
    lake.append_if_changed(BRONZE, bars("BTCUSD", day(1), 1), MONTH, {"dagster/run_id": "r2"})
    history = lake.history(BRONZE.name)
    assert [entry.get("dagster/run_id") for entry in history] == ["r2", "r1", None]
    assert len(lake.history(BRONZE.name, limit=1)) == 1


# --- read


def test_reading_opens_only_the_files_of_the_pair_and_the_time(lake: DeltaLakeManager) -> None:
    wanted = bars("BTCUSD", day(40), 24)
    others = [bars("ETHUSD", day(40), 24), bars("BTCUSD", day(-40), 24), bars("BTCUSD", START, 24)]
    for rows in (wanted, *others):  # another pair, another year, the same Delta partition
        lake.append(FREE, rows)
    table = Path(lake.table_uri(BRONZE.name))
    kept = [
        file
        for file in table.rglob("*.parquet")
        if pq.ParquetFile(file).read()["timestamp"][0].as_py() == day(40) and "BTCUSD" in str(file)
    ]
    assert len(kept) == 1
    for file in set(table.rglob("*.parquet")) - set(kept):
        file.unlink()
    assert read(lake, box("BTCUSD", 40, 40)) == facts(wanted)
    changes = lake.append_if_changed(FREE, wanted, box("BTCUSD", 40, 40))
    assert not changes.written.any()
    lake.merge(FREE, bars("BTCUSD", day(40), 24, price=2.0))
    lake.overwrite(FREE, wanted, box("BTCUSD", 40, 40))
    assert read(lake, box("BTCUSD", 40, 40)) == facts(wanted)
    with pytest.raises(OSError, match=f"cannot read {BRONZE.name}"):
        read(lake)


def test_columns_come_in_the_order_asked_for_and_rows_in_the_order_of_the_table(
    lake: DeltaLakeManager,
) -> None:
    for pair in ("ETHUSD", "BTCUSD"):
        lake.append(BRONZE, bars(pair, START, 2))
    found = lake.read(BRONZE.name, columns=["close", "asset_pair"], newest=True)
    assert found.column_names == ["close", "asset_pair"]
    assert found["asset_pair"].to_pylist() == ["BTCUSD"] * 2 + ["ETHUSD"] * 2


def test_an_unknown_column_is_refused_with_those_that_exist(lake: DeltaLakeManager) -> None:
    lake.append(BRONZE, bars("BTCUSD", START, 1))
    with pytest.raises(InputError, match=r"no column Close: it has .*close"):
        lake.read(BRONZE.name, columns=["Close", "open"])


def test_an_unknown_table_and_one_that_was_never_written_are_refused(
    lake: DeltaLakeManager,
) -> None:
    with pytest.raises(InputError, match="unknown table 'bronze/x': use one of bronze/raw"):
        lake.read("bronze/x")
    with pytest.raises(InputError, match="there are none yet"):
        lake.read(BRONZE.name)
    lake.append(BRONZE, bars("BTCUSD", START, 1))
    with pytest.raises(InputError, match=f"there are {BRONZE.name}"):
        lake.read("bronze/raw_market_data_4h")
    assert not lake.table_exists("../../etc")


def test_an_older_state_is_read_by_version_and_by_moment(lake: DeltaLakeManager) -> None:
    for number in range(3):
        lake.append(BRONZE, bars("BTCUSD", day(number), 1))
        time.sleep(0.01)
    history = lake.history(BRONZE.name)
    for file in Path(lake.table_uri(BRONZE.name)).rglob("*.json"):
        os.utime(file)  # as in a copy of the lake
    moments = [
        datetime.fromtimestamp(int(str(entry["timestamp"])) / 1000, UTC)
        for entry in reversed(history)
    ]
    for version in (1, 2, 3):
        assert lake.read(BRONZE.name, version=version).num_rows == version
        assert lake.read(BRONZE.name, as_of=moments[version]).num_rows == version
    before = moments[2] - timedelta(milliseconds=1)
    assert lake.read(BRONZE.name, as_of=before).num_rows == 1
    assert lake.read(BRONZE.name, as_of=day(100_000)).num_rows == 3
    assert lake.read(BRONZE.name).num_rows == 3


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"version": 2}, "no version 2: it has 0 to 1"),
        ({"version": -1}, "no version -1"),
        ({"as_of": START}, "did not exist"),
        ({"as_of": datetime(2100, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ({"as_of": datetime(2100, 1, 1, tzinfo=UTC), "version": 1}, "one of them"),
    ],
    ids=["too new", "negative", "too early", "naive", "both"],
)
def test_a_state_that_never_was_is_refused(
    lake: DeltaLakeManager, state: dict[str, object], says: str
) -> None:
    lake.append(BRONZE, bars("BTCUSD", START, 1))
    with pytest.raises(InputError, match=says):
        lake.read(BRONZE.name, **state)  # type: ignore[arg-type]


def test_a_failed_write_changes_nothing(lake: DeltaLakeManager) -> None:
    lake.append(BRONZE, bars("BTCUSD", START, 1))
    for write in (lake.append, lambda s, r: lake.append_if_changed(s, r, MONTH)):
        with pytest.raises(InputError):
            write(BRONZE, raw(START, 2))
    assert read(lake) == facts(bars("BTCUSD", START, 1))
    assert versions(lake) == 2


# --- races


def overlapping(worker: int) -> list[pa.Table]:
    """Batches of one pair that every worker sends partly, and of a pair of its own."""
    shared = [bars("BTCUSD", START + timedelta(hours=6 * n + worker), 24) for n in range(5)]
    return [*shared, bars(f"W{'ABCD'[worker]}USD", START, 24)]


def append_all(lake: DeltaLakeManager, worker: int) -> int:
    written = 0
    for rows in overlapping(worker):
        pair = rows["asset_pair"][0].as_py()
        written += int(lake.append_if_changed(BRONZE, rows, box(pair, 0, 30)).written.sum())
    lake.append(BRONZE, bars("ONCEUSD", START, 3), once="the same write of everybody")
    return written


def in_process(path: str, worker: int, everybody: threading.Barrier) -> None:
    lake = DeltaLakeManager(path)
    everybody.wait(60)
    append_all(lake, worker)


def expected_of(workers: int) -> list[tuple[str, datetime, float]]:
    tables = [rows for worker in range(workers) for rows in overlapping(worker)]
    return sorted({*facts(pa.concat_tables(tables)), *facts(bars("ONCEUSD", START, 3))})


@pytest.mark.parametrize("shared", [True, False], ids=["one manager", "a manager each"])
def test_threads_that_write_the_same_rows_lose_none_and_double_none(
    tmp_path: Path, shared: bool
) -> None:
    one = DeltaLakeManager(tmp_path)
    everybody = threading.Barrier(4)
    written: list[int] = []

    def work(worker: int) -> None:
        lake = one if shared else DeltaLakeManager(tmp_path)
        everybody.wait(60)
        written.append(append_all(lake, worker))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(one) == expected_of(4)
    assert sum(written) == len(expected_of(4)) - 3


def test_processes_that_write_the_same_rows_lose_none_and_double_none(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    everybody = spawn.Barrier(2)
    workers = [
        spawn.Process(target=in_process, args=(str(tmp_path), worker, everybody))
        for worker in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert read(DeltaLakeManager(tmp_path)) == expected_of(2)


def test_every_table_of_the_schemas_is_known_by_its_name() -> None:
    assert table_schema("dlq/raw_market_data_5m") is dead_letters(TIMEFRAMES["5m"])
