"""Several writers at once, killed and undisturbed: nothing is lost, nothing is there twice."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse_tests.doubles.s3 import S3Server
from ffe_lakehouse_tests.lake import writers
from ffe_lakehouse_tests.lake.writers import HOURS, KEYS, OWN, OWN_TABLE, SCHEMA, SHARED, START


@pytest.mark.slow
def test_writers_that_are_killed_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    kill_writers(str(tmp_path), {})


@pytest.mark.slow
def test_so_they_do_on_object_storage(s3: S3Server, s3_address: str) -> None:
    kill_writers(s3_address, s3.options)


def kill_writers(address: str, options: dict[str, str]) -> None:
    lake = writers.prepared(address, options)
    writers.killed(address, options, kills=50, seed=1, pause=(0.0, 0.4))
    assert writers.facts(lake.read(SCHEMA.name)) == writers.expected()
    assert writers.facts(lake.read_table(OWN_TABLE, to="arrow")) == writers.expected()


def in_threads(*jobs: Callable[[], None]) -> None:
    """Run these at once; the first error is raised."""
    errors: list[BaseException] = []

    def run(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - told by the test
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def merged(lake: DeltaLakeManager, pair: str, closes: float) -> None:
    for batch in range(8):
        rows = writers.candles(SCHEMA, pair, batch).select([*KEYS, "close"])
        values = [closes] * rows.num_rows
        lake.merge_upsert(rows.set_column(2, "close", [values]), OWN_TABLE, KEYS)


@pytest.mark.parametrize("pairs", [(SHARED, SHARED), (OWN[0], OWN[1])])
def test_merges_at_once_of_the_same_and_of_other_partitions(
    tmp_path: Path, pairs: tuple[str, str]
) -> None:
    lake = writers.prepared(str(tmp_path), {})
    in_threads(
        *(lambda pair=pair, n=n: merged(lake, pair, float(n)) for n, pair in enumerate(pairs))
    )
    rows = lake.read_table(OWN_TABLE, to="arrow")
    bars = {(pair, START + timedelta(hours=hour)) for pair in pairs for hour in range(8 * HOURS)}
    assert writers.facts(rows) == Counter(bars)
    assert set(rows["close"].to_pylist()) <= {0.0, 1.0}


def test_overwrites_at_once_leave_the_rows_of_one(tmp_path: Path) -> None:
    lake = DeltaLakeManager(tmp_path)
    rows = [writers.candles(SCHEMA, SHARED, 0).select([*KEYS, "close"]) for _ in range(2)]

    def overwrite(number: int) -> None:
        table = rows[number].set_column(2, "close", [[float(number)] * HOURS])
        for _ in range(5):
            lake.create_or_update_table(
                table, OWN_TABLE, ["asset_pair"], "overwrite", filters=f"asset_pair = '{SHARED}'"
            )

    in_threads(lambda: overwrite(0), lambda: overwrite(1))
    left = lake.read_table(OWN_TABLE, to="arrow")
    assert left.num_rows == HOURS
    assert len(set(left["close"].to_pylist())) == 1


def test_appends_and_compactions_at_once(tmp_path: Path) -> None:
    lake = writers.prepared(str(tmp_path), {})
    done = threading.Event()

    def append() -> None:
        try:
            writers.write_all(str(tmp_path), {}, 0)
        finally:
            done.set()

    def compact() -> None:
        while not done.is_set():
            for name in (SCHEMA.name, OWN_TABLE):
                if lake.table_exists(name):
                    lake.optimize_table(name)
                    lake.optimize_table(name, ["timestamp"])

    in_threads(append, compact)
    assert writers.facts(lake.read(SCHEMA.name)) == writers.expected((OWN[0], SHARED))
    assert writers.facts(lake.read_table(OWN_TABLE, to="arrow")) == writers.expected(
        (OWN[0], SHARED)
    )


def test_a_reader_of_an_older_version_goes_on_beside_compaction_and_vacuum(
    tmp_path: Path,
) -> None:
    lake = DeltaLakeManager(tmp_path)
    for batch in range(3):
        lake.append(SCHEMA, writers.candles(SCHEMA, SHARED, batch))
    begun = lake.table(SCHEMA.name).to_pyarrow_dataset().scanner(batch_size=8).to_reader()
    first = begun.read_next_batch()
    lake.optimize_table(SCHEMA.name, ["timestamp"])
    assert lake.vacuum_table(SCHEMA.name) == []
    assert first.num_rows + begun.read_all().num_rows == 3 * HOURS
    everything = Where((SHARED,), START, START + timedelta(days=3))
    assert lake.read(SCHEMA.name, everything).num_rows == 3 * HOURS
