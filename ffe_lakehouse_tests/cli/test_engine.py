"""The layer ``engine`` of ``ffe backfill``: a run that Dagster sees, and what it leaves."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rich.console import Console

from ffe_lakehouse.assets.metadata import METADATA_ROWS
from ffe_lakehouse.assets.records import record_assets
from ffe_lakehouse.automation.engine import ENGINE_OP, SIMULATED_ENGINE, simulated_engine
from ffe_lakehouse.cli.engine import play, require_engine
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.instance import PROCESS_TAG, open_instance
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import days_between, table_key
from ffe_lakehouse.schemas.records import (
    RAW_AI_DECISIONS,
    RAW_PORTFOLIO_SNAPSHOTS,
    RAW_TRADE_EXECUTIONS,
)
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.universe import enrol

NOW = datetime(2024, 3, 8, 10, 0, 20, tzinfo=UTC)
WEEK = date(2024, 3, 2), date(2024, 3, 8)
TABLES = (RAW_AI_DECISIONS, RAW_TRADE_EXECUTIONS, RAW_PORTFOLIO_SNAPSHOTS)


class Installation:
    """A Dagster instance, the job, and what the command prints."""

    def __init__(self, instance: dg.DagsterInstance, folder: Path) -> None:
        """Nothing is loaded yet."""
        self.instance, self.folder = instance, folder
        definitions = dg.Definitions(
            assets=record_assets(),
            jobs=[simulated_engine],
            resources={"io_manager": DeltaIOManager(storage_path=get_settings().lake_uri)},
            executor=dg.in_process_executor,
        )
        self.job = definitions.resolve_job_def(SIMULATED_ENGINE)
        self.said = ""

    @property
    def lake(self) -> DeltaLakeManager:
        """Its tables."""
        return DeltaLakeManager(get_settings().lake_uri)

    def play(self, *pairs: str, days: tuple[date, date] = WEEK) -> bool:
        """Run the command."""
        text = StringIO()
        console = Console(file=text, width=160, highlight=False, markup=False)
        went_well = play(self.instance, self.job, pairs, days, console)
        self.said = text.getvalue()
        return went_well

    def told(self, table: Any) -> dict[str | None, dict[str, Any]]:
        """What the last materialization of every partition says, its data version included."""
        found = {}
        for record in self.instance.fetch_materializations(table_key(table), limit=1000).records:
            event = record.asset_materialization
            assert event is not None
            values: dict[str, Any] = {name: each.value for name, each in event.metadata.items()}
            values["version"] = (event.tags or {})["dagster/data_version"]
            found.setdefault(record.partition_key, values)
        return found

    def rows(self, table: Any) -> list[dict[str, Any]]:
        """All versions in a table."""
        found: list[dict[str, Any]] = self.lake.read(table.name).to_pylist()
        return found


@pytest.fixture
def engine(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    (home / "clock").write_text(NOW.isoformat())
    monkeypatch.setenv("FFE_CLOCK_FILE", str(home / "clock"))
    monkeypatch.setenv("FFE_START_DATE", "2024-01-01")
    get_settings.cache_clear()
    with open_instance(get_settings()) as instance:
        enrol(instance, ["BTCUSD", "EURUSD"], start=None, provider="simulated")
        yield Installation(instance, home)


def test_dagster_sees_every_day_with_its_counts(engine: Installation) -> None:
    assert engine.play("BTCUSD", "EURUSD")
    days = days_between(*WEEK)
    for table in TABLES[:2]:
        rows, told = engine.rows(table), engine.told(table)
        assert {f"BTCUSD|{day}" for day in days} <= set(told)
        places = [f"{row['partition_asset_pair']}|{row['partition_date']}" for row in rows]
        assert {place: found["dagster/partition_row_count"] for place, found in told.items()} == {
            place: places.count(place) for place in places
        }
        for found in told.values():
            fetched, written, *others = (found[name] for name in METADATA_ROWS)
            assert fetched == written == found["dagster/partition_row_count"]
            assert others == [0, 0, 0]
    assert set(engine.told(RAW_PORTFOLIO_SNAPSHOTS)) == {str(day) for day in days}
    assert all(row["is_mock"] for table in TABLES for row in engine.rows(table))


def test_the_run_is_one_of_dagsters_and_the_command_says_what_it_did(engine: Installation) -> None:
    assert engine.play("BTCUSD", "EURUSD")
    (run,) = engine.instance.get_runs()
    assert run.job_name == SIMULATED_ENGINE
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.tags[PROCESS_TAG]
    commit = engine.lake.history(RAW_AI_DECISIONS.name)[0]
    assert commit["dagster/run_id"] == run.run_id
    lines = [line.split() for line in engine.said.splitlines()]
    for table in TABLES:
        count = str(len(engine.rows(table)))
        name = table.name.removeprefix("bronze/")
        assert [name, "2", count, count, "0", "0", "0"] in lines


def test_asked_again_it_changes_nothing(engine: Installation) -> None:
    engine.play("BTCUSD", "EURUSD")
    before = [(engine.lake.table(table.name).version(), engine.told(table)) for table in TABLES]
    assert engine.play("EURUSD", "BTCUSD", days=(WEEK[0], WEEK[1]))
    for table, (version, told) in zip(TABLES, before, strict=True):
        assert engine.lake.table(table.name).version() == version
        again = engine.told(table)
        assert {place: found["version"] for place, found in again.items()} == {
            place: found["version"] for place, found in told.items()
        }
        assert {found["rows_written"] for found in again.values()} == {0}


def test_the_running_day_goes_on_where_it_was(engine: Installation) -> None:
    engine.play("BTCUSD")
    today = f"BTCUSD|{NOW.date()}"
    before = engine.told(RAW_AI_DECISIONS)[today]
    (engine.folder / "clock").write_text(NOW.replace(hour=23).isoformat())
    engine.play("BTCUSD")
    after = engine.told(RAW_AI_DECISIONS)
    written = after[today]["rows_written"]
    assert written > 0
    count = "dagster/partition_row_count"
    assert after[today][count] == before[count] + written
    others = {found["rows_written"] for place, found in after.items() if place != today}
    assert others == {0}


def test_a_trade_that_ends_tells_of_the_day_on_which_it_began(engine: Installation) -> None:
    engine.play("BTCUSD", days=(WEEK[0], date(2024, 3, 5)))
    before = engine.told(RAW_TRADE_EXECUTIONS)
    rows = engine.rows(RAW_TRADE_EXECUTIONS)
    ended = {row["trade_id"] for row in rows if row["exit_time"]}
    begun_on = {f"BTCUSD|{r['partition_date']}" for r in rows if r["trade_id"] not in ended}
    assert begun_on
    engine.play("BTCUSD", days=(date(2024, 3, 6), WEEK[1]))
    after = engine.told(RAW_TRADE_EXECUTIONS)
    for place in begun_on:
        assert after[place]["version"] != before[place]["version"]
        count = "versions_on_other_days"
        assert after[place][count] > before[place][count]


def test_a_pair_that_nobody_knows_fails_and_leaves_nothing(engine: Installation) -> None:
    assert not engine.play("BTCUSD", "SOLUSD")
    assert "unknown pair SOLUSD: add it with `ffe pairs add SOLUSD`" in engine.said
    assert not any(engine.lake.table_exists(table.name) for table in TABLES)


def test_a_day_in_the_future_is_refused(engine: Installation) -> None:
    assert not engine.play("BTCUSD", days=(WEEK[0], date(2024, 3, 9)))
    assert "2024-03-09" in engine.said


def test_a_provider_without_an_engine_names_the_way_out() -> None:
    require_engine("simulated")
    with pytest.raises(InputError, match=r"'coinbase' plays no engine.*`ffe land FOLDER`"):
        require_engine("coinbase")


def test_bars_of_another_vendor_are_told_of(engine: Installation) -> None:
    enrol(engine.instance, ["ETHUSD"], start=None, provider="coinbase")
    assert engine.play("BTCUSD", "ETHUSD")
    assert "ETHUSD: its bars come from coinbase, the engine's prices do not" in engine.said
    assert "BTCUSD: its bars" not in engine.said


def test_the_job_can_be_launched_from_its_page(engine: Installation) -> None:
    config = {"pairs": ["BTCUSD", "BTCUSD"], "first": "2024-03-07", "last": "2024-03-08"}
    result = engine.job.execute_in_process(
        run_config={"ops": {ENGINE_OP: {"config": config}}}, instance=engine.instance
    )
    assert result.success
    assert set(engine.told(RAW_AI_DECISIONS)) == {"BTCUSD|2024-03-07", "BTCUSD|2024-03-08"}
