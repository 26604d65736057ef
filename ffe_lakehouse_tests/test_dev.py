"""``ffe dev`` is started once, and the lake keeps itself loaded: daemon, runs and all are real."""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psutil
import pytest

from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import partition_key, table_key
from ffe_lakehouse.schemas import TableSchema, raw_candles
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED, MARKET_DATA_UNIFIED
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.universe import enrol
from ffe_lakehouse.watermarks import State, partition_states
from ffe_lakehouse_tests.dev_server import Dev, environment, ffe_dev, wait_until

pytestmark = pytest.mark.slow

NOON = datetime(2024, 3, 8, 12, 0, 20, tzinfo=UTC)
DAY = timedelta(days=1)
HOURS = table_key(raw_candles(TIMEFRAMES["1h"]))


@dataclass(frozen=True)
class Home:
    """The memory of the installation, seen from outside."""

    folder: Path
    instance: dg.DagsterInstance

    def move(self, moment: datetime) -> None:
        """Set the clock of all of its processes."""
        part = self.folder / "clock.part"
        part.write_text(moment.isoformat())
        part.replace(self.folder / "clock")

    def are_complete(self, *pairs: str, first: datetime, last: datetime) -> bool:
        """Whether all these days are, in every timeframe."""
        return all(
            state in (State.COMPLETE, State.NO_DATA)
            for timeframe in TIMEFRAMES.values()
            for state in partition_states(
                self.instance,
                table_key(raw_candles(timeframe)),
                pairs,
                first.date(),
                last.date(),
                datetime.fromisoformat((self.folder / "clock").read_text()),
            ).values()
        )

    def rows(self, *tables: TableSchema) -> int:
        """How many rows these tables have."""
        lake = DeltaLakeManager(get_settings().lake_uri)
        return sum(
            lake.read(table.name, columns=["timestamp"]).num_rows
            for table in tables
            if lake.table_exists(table.name)
        )

    def loads(self) -> Counter[str]:
        """How often each partition of the hours was loaded."""
        records = self.instance.fetch_materializations(HOURS, limit=10_000).records
        return Counter(str(record.partition_key) for record in records)


@contextmanager
def running(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: str
) -> Iterator[tuple[Home, Dev]]:
    """``ffe dev`` in ``folder``, and a view of its memory."""
    env = environment(
        folder,
        clock_file=str(folder / "clock"),
        sensor_seconds="2",
        start_date="2024-01-01",
        **settings,
    )
    for name in ("FFE_HOME", "FFE_START_DATE"):
        monkeypatch.setenv(name, env[name])
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    get_settings.cache_clear()
    with open_instance(get_settings()) as instance:
        home = Home(folder, instance)
        if not (folder / "clock").exists():
            home.move(NOON)
        with ffe_dev(folder, env) as dev:
            yield home, dev
    get_settings.cache_clear()


def test_it_is_started_once_and_everything_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    week = {"first": NOON - 7 * DAY, "last": NOON - DAY}
    with running(tmp_path, monkeypatch) as (home, _):
        enrol(home.instance, ["BTCUSD", "EURUSD"], start=None, provider=None)
        wait_until(lambda: home.are_complete("BTCUSD", "EURUSD", **week))
        loaded_once = {key: n for key, n in home.loads().items() if "2024-03-08" not in key}
        assert set(loaded_once.values()) == {1}

        home.instance.wipe_asset_partitions(HOURS, [partition_key("BTCUSD", week["last"].date())])
        assert not home.are_complete("BTCUSD", **week)
        wait_until(lambda: home.are_complete("BTCUSD", **week))

        enrol(home.instance, ["ETHUSD"], start=None, provider=None)
        wait_until(lambda: home.are_complete("ETHUSD", **week))

        # A laptop that was shut for two days.
        home.move(NOON + 2 * DAY)
        pairs = ("BTCUSD", "ETHUSD", "EURUSD")
        wait_until(lambda: home.are_complete(*pairs, first=NOON, last=NOON + DAY))

        # Silver follows: each bar once, enriched.
        bronze = [raw_candles(timeframe) for timeframe in TIMEFRAMES.values()]
        for table in (MARKET_DATA_UNIFIED, MARKET_DATA_ENRICHED):
            wait_until(lambda table=table: home.rows(table) == home.rows(*bronze) > 0)


def test_a_run_that_is_killed_and_a_whole_dev_that_is_killed_leave_nothing_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = {"first": NOON - 60 * DAY, "last": NOON - DAY}
    # A pause between the tries, that the test need not wait for.
    with running(tmp_path, monkeypatch, retry_first_minutes="0.01") as (home, dev):
        enrol(home.instance, ["BTCUSD"], start=past["first"].date(), provider=None)
        worker = wait_until(lambda: _worker(dev))
        worker.kill()
        wait_until(lambda: home.instance.get_runs(_WITH[dg.DagsterRunStatus.FAILURE]))
        wait_until(lambda: _worker(dev))
        for process in dev.members():
            process.send_signal(signal.SIGKILL)
    with running(tmp_path, monkeypatch, retry_first_minutes="0.01") as (home, _):
        home.move(NOON + timedelta(minutes=1))
        wait_until(lambda: home.are_complete("BTCUSD", **past))
        wait_until(lambda: not home.instance.get_runs(_WITH[dg.DagsterRunStatus.STARTED]))


_WITH = {
    status: dg.RunsFilter(statuses=[status])
    for status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED)
}


def _worker(dev: Dev) -> psutil.Process | None:
    """A process that executes a run: a spawned child of the code server."""
    return next((each for each in dev.members() if "spawn_main" in _command(each)), None)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
