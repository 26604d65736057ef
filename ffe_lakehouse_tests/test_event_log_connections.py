"""The pooled event log under threads, processes, forks, deletions and kills."""

import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as db
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import DynamicPartitionsTable

from ffe_lakehouse import event_log
from ffe_lakehouse.event_log import PooledSqliteEventLogStorage
from ffe_lakehouse_tests.event_logs import (
    BRONZE,
    DLQ,
    KEYS,
    LATER,
    RUNS,
    entry,
    instance_in,
    run_both,
    run_trades,
    tables,
)


def write(base_dir: str, run_id: str, count: int, started: Any = None) -> None:
    """Store batches of one run, as a thread or a process of the tests does."""
    storage = PooledSqliteEventLogStorage(base_dir)
    for number in range(count):
        storage.store_event_batch([entry(run_id, f"{run_id}-{number}-{i}") for i in range(5)])
        storage.store_event(entry("shared", f"shared-{run_id}-{number}"))
        if started:
            started.set()
    storage.dispose()


def test_two_threads_and_two_processes_writing_at_once_lose_nothing(tmp_path: Path) -> None:
    storage = PooledSqliteEventLogStorage(str(tmp_path))

    def write_in_thread(run_id: str) -> None:
        for number in range(30):
            storage.store_event_batch([entry(run_id, f"{run_id}-{number}-{i}") for i in range(5)])
            storage.store_event(entry("shared", f"shared-{run_id}-{number}"))

    spawn = multiprocessing.get_context("spawn")
    workers: list[Any] = [
        *[spawn.Process(target=write, args=(str(tmp_path), run, 30)) for run in ("p1", "p2")],
        *[threading.Thread(target=write_in_thread, args=(run,)) for run in ("t1", "t2")],
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for run_id in ("p1", "p2", "t1", "t2"):
        assert len(storage.get_logs_for_run(run_id)) == 150
    assert len(storage.get_logs_for_run("shared")) == 120
    assert len(storage.get_materialized_partitions(BRONZE)) == 4 * 180
    assert len(tables(tmp_path / "index.db")["asset_event_tags"]) == 4 * 180


def test_a_forked_process_opens_connections_of_its_own(tmp_path: Path) -> None:
    storage = PooledSqliteEventLogStorage(str(tmp_path))
    storage.store_event(entry("run", "before"))
    held = storage._connections.shards["run"].engine
    child = os.fork()
    if child == 0:
        try:
            storage.store_event(entry("run", "in child"))
            ours = storage._connections.shards["run"].engine
            os._exit(int(ours is held))
        except BaseException:  # noqa: BLE001
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    storage.store_event(entry("run", "after"))
    assert storage._connections.shards["run"].engine is held
    assert storage.get_materialized_partitions(BRONZE) == {"before", "in child", "after"}


def test_a_connection_within_another_shares_its_transaction(tmp_path: Path) -> None:
    storage = PooledSqliteEventLogStorage(str(tmp_path))
    with pytest.raises(RuntimeError), storage.index_connection() as outer:  # noqa: PT012
        storage.add_dynamic_partitions("asset_pair", ["A"])
        with storage.index_connection() as inner:
            assert inner is outer
            assert len(inner.execute(db.select(DynamicPartitionsTable)).all()) == 1
        raise RuntimeError
    assert storage.get_dynamic_partitions("asset_pair") == []


def test_runs_can_be_deleted_and_assets_wiped(tmp_path: Path) -> None:
    with instance_in(tmp_path) as instance:
        run_both(instance)
        instance.delete_run(RUNS[0])
        assert instance.all_logs(RUNS[0]) == []
        assert len(instance.get_materialized_partitions(BRONZE)) == len(KEYS)
        instance.wipe_assets([BRONZE])
        assert instance.get_materialized_partitions(BRONZE) == set()
        assert len(instance.get_materialized_partitions(DLQ)) == len(KEYS)
        run_trades(instance, LATER)
        assert len(instance.get_materialized_partitions(BRONZE)) == len(KEYS)

        instance.event_log_storage.wipe()
        assert not list((tmp_path / "history" / "runs").glob(f"{LATER}.db*"))
        assert instance.get_materialized_partitions(DLQ) == set()
        instance.event_log_storage.store_event(entry(LATER, "again"))
        assert len(instance.all_logs(LATER)) == 1


def test_a_shard_deleted_by_another_process_is_made_anew(tmp_path: Path) -> None:
    storage = PooledSqliteEventLogStorage(str(tmp_path))
    storage.store_event(entry("run", "a"))
    SqliteEventLogStorage(str(tmp_path)).wipe()
    storage.store_event(entry("run", "b"))
    assert len(SqliteEventLogStorage(str(tmp_path)).get_logs_for_run("run")) == 1
    assert storage.get_materialized_partitions(BRONZE) == {"b"}


def test_the_number_of_open_shards_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "MAX_IDLE_RUN_SHARDS", 3)
    storage = PooledSqliteEventLogStorage(str(tmp_path))
    for _ in range(2):
        for number in range(8):
            storage.store_event(entry(f"run{number}", f"{number}"))
            held = storage._connections.shards
            assert "index" in held
            assert len(held) <= 1 + 1 + 3
    files = {
        os.path.realpath(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")  # noqa: PTH208
    }
    assert sum(name.startswith(str(tmp_path)) and name.endswith(".db") for name in files) == 5
    assert all(len(storage.get_logs_for_run(f"run{number}")) == 2 for number in range(8))
    with ExitStack() as transactions:
        for number in range(8):  # open transactions are never evicted
            transactions.enter_context(storage.run_connection(f"run{number}"))
        assert len(storage._connections.shards) == 9


def test_a_killed_writer_leaves_a_readable_storage(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    started = spawn.Event()
    writer = spawn.Process(target=write, args=(str(tmp_path), "run", 1_000_000, started))
    writer.start()
    assert started.wait(60)
    time.sleep(0.3)
    assert writer.pid
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()

    storage = PooledSqliteEventLogStorage(str(tmp_path))
    mirrored = storage.get_materialized_partitions(BRONZE)
    logged = [
        log.get_dagster_event().partition
        for run_id in ("run", "shared")
        for log in storage.get_logs_for_run(run_id)
    ]
    assert len(storage.get_logs_for_run("run")) % 5 == 0
    assert len(logged) - 5 <= len(mirrored) <= len(logged)
    assert mirrored <= set(logged)
    storage.store_event(entry("run", "later"))
    assert "later" in storage.get_materialized_partitions(BRONZE)
    storage.dispose()
    for path in tmp_path.glob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_watcher_sees_events_while_the_writer_holds_the_shard_open(tmp_path: Path) -> None:
    reader, writer = (PooledSqliteEventLogStorage(str(tmp_path)) for _ in range(2))
    seen: list[str] = []

    def callback(event: EventLogEntry, _cursor: str) -> None:
        seen.append(str(event.get_dagster_event().partition))

    def wait_for(expected: Sequence[str]) -> None:
        deadline = time.monotonic() + 10
        while seen != expected and time.monotonic() < deadline:
            time.sleep(0.02)
        assert seen == expected

    writer.store_event(entry("run", "before"))
    reader.watch("run", None, callback)
    writer.store_event(entry("run", "a"))
    wait_for(["before", "a"])
    writer.store_event_batch([entry("run", "b"), entry("run", "c")])
    wait_for(["before", "a", "b", "c"])
    reader.end_watch("run", callback)
    writer.store_event(entry("run", "unseen"))
    time.sleep(0.2)
    assert seen == ["before", "a", "b", "c"]
    reader.dispose()
    writer.dispose()


def test_the_schema_is_read_once_and_can_be_upgraded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = PooledSqliteEventLogStorage(str(tmp_path))
    storage.store_event(entry("run", "a"))
    with monkeypatch.context() as patch:
        patch.setattr(db, "inspect", None)
        storage.store_event(entry("run", "b"))
    storage.upgrade()
    storage.store_event(entry("run", "c"))
    assert storage.get_materialized_partitions(BRONZE) == {"a", "b", "c"}
