"""The pooled event log against the stock one, on real instances."""

import os
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from ffe_lakehouse.event_log import PooledSqliteEventLogStorage
from ffe_lakehouse_tests.event_logs import (
    BRONZE,
    DLQ,
    KEYS,
    LATER,
    PARTITIONS,
    RUNS,
    answers,
    entry,
    instance_in,
    run_both,
    run_trades,
    shards,
    tables,
    timeless,
)


def test_the_configured_class_is_in_use(tmp_path: Path) -> None:
    with instance_in(tmp_path) as instance:
        assert type(instance.event_log_storage) is PooledSqliteEventLogStorage
        rehydrated = dg.DagsterInstance.from_ref(instance.get_ref())
        assert type(rehydrated.event_log_storage) is PooledSqliteEventLogStorage
    assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == "1000"


def test_a_job_leaves_what_it_leaves_in_the_stock_storage(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = {}
    for name in ("stock", "pooled"):
        with instance_in(tmp_path / name, pooled=name == "pooled") as instance:
            run_both(instance)
            given[name] = answers(instance)
    assert "Falling back" not in capfd.readouterr().err  # as Dagster does if a batch fails
    stock, pooled = (timeless(shards(tmp_path / name)) for name in ("stock", "pooled"))
    assert len(stock["index.db"]["asset_check_executions"]) == 2
    assert len(stock["index.db"]["asset_event_tags"]) == 2 * 2 * len(KEYS)
    assert pooled == stock
    assert given["pooled"] == given["stock"]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_batch_leaves_the_very_rows_of_its_events_stored_one_by_one(
    tmp_path: Path, size: int
) -> None:
    with instance_in(tmp_path / "source", pooled=False) as instance:
        run_both(instance)
        logs = [instance.all_logs(run) for run in RUNS]
    # Alternating, so that a batch has events of both runs.
    events = [event for pair in zip(*logs, strict=False) for event in pair]
    stock = SqliteEventLogStorage(str(tmp_path / "stock"))
    pooled = PooledSqliteEventLogStorage(str(tmp_path / "pooled"))
    for event in events:
        stock.store_event(event)
    for start in range(0, len(events), size):
        pooled.store_event_batch(events[start : start + size])
    pooled.store_event_batch([])
    pooled.dispose()
    for shard in ("index", *RUNS):
        expected = tables(tmp_path / "stock" / f"{shard}.db")
        found = tables(tmp_path / "pooled" / f"{shard}.db")
        del expected["secondary_indexes"], found["secondary_indexes"]  # times of migrations
        assert found == expected


def test_a_batch_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = PooledSqliteEventLogStorage(str(tmp_path))

    def fail(*_: object) -> None:
        raise RuntimeError("as asked")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "_store_asset_event", fail)
        with pytest.raises(RuntimeError, match="as asked"):
            storage.store_event_batch([entry("run", "a"), entry("run", "b")])
    assert storage.get_logs_for_run("run") == []
    assert storage.get_materialized_partitions(BRONZE) == set()
    storage.store_event(entry("run", "a"))
    assert storage.get_materialized_partitions(BRONZE) == {"a"}


@pytest.mark.parametrize("pooled_first", [True, False])
def test_either_storage_reads_and_continues_what_the_other_wrote(
    tmp_path: Path, pooled_first: bool
) -> None:
    with instance_in(tmp_path, pooled=pooled_first) as instance:
        run_both(instance)
        written = answers(instance)
    with instance_in(tmp_path, pooled=not pooled_first) as instance:
        assert answers(instance) == written
        run_trades(instance, LATER)
        assert len(instance.all_logs(LATER)) == len(instance.all_logs(RUNS[0]))


def test_a_partition_that_was_wiped_is_missing_and_the_others_stay(tmp_path: Path) -> None:
    with instance_in(tmp_path) as instance:
        run_trades(instance, RUNS[0])
        wiped, kept = KEYS[:2], KEYS[2:]
        before = instance.get_status_by_partition(BRONZE, KEYS, PARTITIONS)
        assert before is not None
        assert set(before.values()) == {AssetPartitionStatus.MATERIALIZED}
        instance.wipe_asset_partitions(BRONZE, wiped)
        after = instance.get_status_by_partition(BRONZE, KEYS, PARTITIONS)
        assert after == dict.fromkeys(wiped) | dict.fromkeys(kept, before[kept[0]])
        assert instance.get_materialized_partitions(BRONZE) == set(kept)
        assert instance.get_materialized_partitions(DLQ) == set(KEYS)
