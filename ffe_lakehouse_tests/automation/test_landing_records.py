"""Records in the landing folder: looks of the sensor, and the real runs that they lead to."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ffe_lakehouse.assets.bronze import bronze_assets
from ffe_lakehouse.assets.metadata import METADATA_ROWS
from ffe_lakehouse.assets.records import LANDED, record_assets
from ffe_lakehouse.assets.reference import reference_assets
from ffe_lakehouse.automation.due import live_pairs
from ffe_lakehouse.automation.jobs import ingestion
from ffe_lakehouse.automation.landing import LANDED_TAG, landing, landing_sensor
from ffe_lakehouse.automation.landing_records import RECORDS, RECORDS_OP, records
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.partitions import ASSET_PAIR, daily_by_pair
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.universe import Enrolment, enrol, enrolments
from ffe_lakehouse_tests.records.desk import LONG_AGO, Desk, decision, snapshot, trade

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TRADES = dg.AssetKey(["bronze", "raw_trade_executions"])
DECISIONS = dg.AssetKey(["bronze", "raw_ai_decisions"])
SNAPSHOTS = dg.AssetKey(["bronze", "raw_portfolio_snapshots"])


class Engine(Desk):
    """A desk beside a Dagster installation."""

    instance: dg.DagsterInstance
    cursor: str | None = None
    skipped: str | None = None

    def open(self, instance: dg.DagsterInstance) -> None:
        """The code location of this installation."""
        self.instance = instance
        self.definitions = dg.Definitions(
            assets=[*bronze_assets(lambda: NOW), *reference_assets(), *record_assets()],
            jobs=[ingestion, landing, records],
            sensors=[landing_sensor(lambda: NOW)],
            resources={"io_manager": DeltaIOManager(storage_path=get_settings().lake_uri)},
            executor=dg.in_process_executor,
        )

    def look(self) -> list[dg.RunRequest]:
        """What the sensor requests."""
        sensor = self.definitions.resolve_sensor_def("landing_sensor")
        with dg.build_sensor_context(
            self.instance, definitions=self.definitions, cursor=self.cursor
        ) as context:
            found = sensor.evaluate_tick(context)
        self.cursor, self.skipped = found.cursor or self.cursor, found.skip_message
        return list(found.run_requests or ())

    def run(self, config: dict[str, Any] | None = None) -> dg.ExecuteInProcessResult:
        """Launch the job, as from its page."""
        job = self.definitions.resolve_job_def(RECORDS)
        return job.execute_in_process(
            run_config=config, instance=self.instance, raise_on_error=False
        )

    def land(self) -> list[dg.ExecuteInProcessResult]:
        """Look once, and execute all that is requested."""
        return [self.run(dict(request.run_config)) for request in self.look()]

    def told(self, key: dg.AssetKey) -> dict[str | None, dg.EventLogRecord]:
        """The last materialization of every partition of an asset."""
        found = self.instance.fetch_materializations(key, limit=1000).records
        return {record.partition_key: record for record in reversed(found)}


def metadata(record: dg.EventLogRecord) -> dict[str, Any]:
    materialization = record.asset_materialization
    assert materialization is not None
    return {name: value.value for name, value in materialization.metadata.items()}


def version(record: dg.EventLogRecord) -> str:
    materialization = record.asset_materialization
    assert materialization is not None
    assert materialization.tags is not None
    return materialization.tags["dagster/data_version"]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    (tmp_path / "clock").write_text(NOW.isoformat())
    monkeypatch.setenv("FFE_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("FFE_CLOCK_FILE", str(tmp_path / "clock"))
    get_settings.cache_clear()
    with open_instance(get_settings()) as instance:
        made = Engine(tmp_path)
        made.open(instance)
        yield made
    get_settings.cache_clear()


# --- the sensor


def test_without_files_the_sensor_says_where_it_looked(engine: Engine) -> None:
    assert engine.look() == []
    assert engine.skipped is not None
    assert "decisions/, trade_outcomes/, outcomes/, pnl_snapshots/, news/" in engine.skipped


def test_many_files_of_all_kinds_are_one_run(engine: Engine) -> None:
    for number in range(60):
        engine.put(f"decisions/{number}.json", decision(id=str(number)))
    engine.put("trade_outcomes/a.jsonl", [trade()])
    engine.put("pnl_snapshots/a.jsonl", [snapshot()])
    (request,) = engine.look()
    assert request.job_name == RECORDS
    # Dagster indexes tags: on Postgres a long one would be refused.
    assert LANDED_TAG not in request.tags
    assert max(map(len, [*request.tags.values(), str(request.run_key)])) < 100
    assert request.tags["dagster/max_retries"] == "3"
    assert engine.run(dict(request.run_config)).success
    assert len(engine.rows("bronze/raw_ai_decisions")) == 60
    assert engine.look() == []


def test_a_file_is_requested_once_until_it_changes(engine: Engine) -> None:
    engine.put("decisions/a.json", decision())
    engine.put("decisions/b.json", decision(id="2"))
    assert len(engine.look()) == 1
    assert engine.look() == []
    engine.put("decisions/a.json", decision(executed=True), LONG_AGO + 60)
    (request,) = engine.look()
    assert request.run_config["ops"][RECORDS_OP]["config"]["files"] == ["decisions/a.json"]


def test_two_looks_without_a_memory_ask_under_one_key(engine: Engine) -> None:
    engine.put("decisions/a.json", decision())
    (first,) = engine.look()
    engine.cursor = None
    (second,) = engine.look()
    assert first.run_key == second.run_key


def test_the_memory_of_the_sensor_does_not_outgrow_the_folder(engine: Engine) -> None:
    for number in range(3):
        path = engine.put("decisions/a.json", decision(id=str(number)), LONG_AGO + number)
        engine.look()
        path.unlink()
    engine.put("decisions/b.json", decision())
    engine.look()
    assert len(str(engine.cursor).split()) == 1


def test_a_look_takes_a_limited_number_of_files(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ffe_lakehouse.automation.landing_records._MOST_FILES", 2)
    for number in range(5):
        engine.put(f"decisions/{number}.json", decision(id=str(number)))
    assert [len(engine.look()) for _ in range(4)] == [1, 1, 1, 0]


def test_a_file_that_is_still_written_is_left_alone(engine: Engine) -> None:
    path = engine.put("decisions/a.json", decision(), time.time())
    assert engine.look() == []
    os.utime(path, (LONG_AGO, LONG_AGO))
    assert len(engine.look()) == 1


def test_candles_and_records_are_seen_in_one_look(engine: Engine) -> None:
    engine.put("decisions/a.json", decision())
    engine.put("symbols/mine.csv", b"symbol\nAAPL\n")
    assert {request.job_name for request in engine.look()} == {RECORDS, "landing"}
    assert engine.look()[0].job_name == "landing"  # no run has named it yet


# --- the run


def test_every_touched_day_is_told_of_with_its_counts(engine: Engine) -> None:
    engine.put("decisions/a.jsonl", [decision(), decision(), decision(id="2", action="?")])
    engine.put("decisions/b.json", decision(id="3", timestamp="2025-12-03T10:00:00"))
    (result,) = engine.land()
    assert result.success
    told = engine.told(DECISIONS)
    assert set(told) == {"BTCUSD|2025-12-02", "BTCUSD|2025-12-03"}
    found = metadata(told["BTCUSD|2025-12-02"])
    assert [found[name] for name in METADATA_ROWS] == [2, 1, 0, 1, 0]
    assert found["first_timestamp"] == found["last_timestamp"]
    assert found["first_timestamp"] == datetime(2025, 12, 2, 15, 51, 23, 549058, UTC).timestamp()
    assert found["file_names"] == ["decisions/a.jsonl"]
    assert found["dagster/partition_row_count"] == 1
    (letters,) = engine.told(dg.AssetKey(["dlq", "raw_ai_decisions"])).values()
    assert letters.partition_key is None
    found = metadata(letters)
    assert [found[name] for name in METADATA_ROWS] == [4, 2, 0, 1, 1]
    assert found["reasons"] == {"unknown_action": 1}
    assert (found["files"], found["letters_new"], found["days"]) == (2, 1, 2)


def test_a_portfolio_is_of_a_day_alone(engine: Engine) -> None:
    engine.put("pnl_snapshots/a.json", snapshot())
    engine.land()
    assert set(engine.told(SNAPSHOTS)) == {"2026-02-13"}
    assert engine.instance.get_dynamic_partitions(ASSET_PAIR) == []


def test_to_run_again_tells_the_same_versions(engine: Engine) -> None:
    engine.put("decisions/a.json", decision())
    engine.put("trade_outcomes/a.json", [trade(), trade(exit_time="2026-04-01")])
    engine.land()
    before = {key: engine.told(key) for key in (DECISIONS, TRADES)}
    commits = engine.versions()
    assert engine.run().success  # with no config: all that is in the folder
    assert engine.versions() == commits
    for key, records_before in before.items():
        after = engine.told(key)
        assert {name: version(record) for name, record in after.items()} == {
            name: version(record) for name, record in records_before.items()
        }
        assert all(
            record.storage_id > records_before[name].storage_id for name, record in after.items()
        )


def test_the_day_of_an_older_version_is_told_of_too(engine: Engine) -> None:
    engine.put("trade_outcomes/a.json", trade())
    engine.land()
    (before,) = engine.told(TRADES).values()
    engine.put("trade_outcomes/b.json", trade(exit_time="2026-04-01T10:00:00"))
    engine.land()
    told = engine.told(TRADES)
    assert set(told) == {"EURUSD|2026-02-14", "EURUSD|2026-04-01"}
    older = told["EURUSD|2026-02-14"]
    assert older.storage_id > before.storage_id
    assert version(older) != version(before)
    assert metadata(older)["versions_on_other_days"] == 1


def test_a_new_pair_gets_partitions_and_no_vendor_is_asked_for_it(engine: Engine) -> None:
    enrol(engine.instance, ["ETHUSD"], start=None, provider="coinbase")
    engine.put("decisions/a.json", [decision(), decision(asset_pair="ETH-USD")])
    engine.land()
    assert enrolments(engine.instance) == {
        "BTCUSD": Enrolment(provider="files"),
        "ETHUSD": Enrolment(provider="coinbase"),
    }
    assert [live.pair for live in live_pairs(engine.instance, get_settings())] == ["ETHUSD"]


def test_a_pair_of_which_only_a_letter_tells_is_not_enrolled(engine: Engine) -> None:
    engine.put("decisions/a.json", decision(action="?"))
    engine.land()
    assert enrolments(engine.instance) == {}


def test_a_file_that_is_gone_fails_the_run_and_the_others_are_loaded(engine: Engine) -> None:
    engine.put("decisions/a.json", decision())
    gone = engine.put("decisions/b.json", decision(id="2"))
    (request,) = engine.look()
    gone.unlink()
    result = engine.run(dict(request.run_config))
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    said = failure.step_failure_data.user_failure_data
    assert said is not None
    assert "decisions/b.json: " in str(said.description)
    assert len(engine.rows("bronze/raw_ai_decisions")) == 1
    assert set(engine.told(DECISIONS)) == {"BTCUSD|2025-12-02"}


def test_a_run_that_cannot_store_its_letters_fails_and_stores_no_row(engine: Engine) -> None:
    engine.put("decisions/a.json", [decision(), decision(action="?")])
    (engine.folder / "lake").mkdir()
    (engine.folder / "lake" / "dlq").write_text("a file where the folder should be")
    (result,) = engine.land()
    assert not result.success
    assert engine.rows("bronze/raw_ai_decisions") == []
    assert engine.told(DECISIONS) == {}


def test_a_run_that_died_before_it_told_is_told_by_the_next(engine: Engine) -> None:
    engine.put("trade_outcomes/a.json", trade())
    engine.land()
    engine.put("trade_outcomes/b.json", trade(exit_time="2026-04-01T10:00:00"), LONG_AGO + 60)
    Desk.load(engine)  # commits, and tells Dagster nothing
    engine.land()
    told = engine.told(TRADES)
    assert [metadata(record)["rows_written"] for record in told.values()] == [0, 0]
    assert {name: version(record) for name, record in told.items()} == dict.fromkeys(told, "1:1")
    assert set(told) == {"EURUSD|2026-02-14", "EURUSD|2026-04-01"}


def test_a_commit_names_its_run(engine: Engine) -> None:
    engine.put("decisions/a.json", decision())
    (result,) = engine.land()
    newest = engine.lake.history("bronze/raw_ai_decisions")[0]
    assert newest["dagster/run_id"] == result.run_id
    assert newest["dagster/partitions"] == "BTCUSD|2025-12-02...2025-12-02"


def test_another_folder_can_be_named_and_a_wrong_one_is_refused(
    engine: Engine, tmp_path: Path
) -> None:
    engine.put("decisions/a.json", decision())
    (engine.landing).rename(tmp_path / "elsewhere")

    def config(folder: str) -> dict[str, Any]:
        return {"ops": {RECORDS_OP: {"config": {"folder": str(tmp_path / folder)}}}}

    assert not engine.run(config("nowhere")).success
    assert engine.run(config("elsewhere")).success
    assert set(engine.told(DECISIONS)) == {"BTCUSD|2025-12-02"}


# --- the assets


def test_the_assets_are_external_and_the_jobs_of_bronze_stay_as_they_are(engine: Engine) -> None:
    graph = engine.definitions.get_repository_def().asset_graph
    for table in LANDED:
        for layer in ("bronze", "dlq"):
            node = graph.get(dg.AssetKey([layer, table.name.removeprefix("bronze/")]))
            assert node.group_name == layer
            assert not node.is_materializable
            assert "dagster/column_schema" in node.metadata
    assert graph.get(DECISIONS).partitions_def == daily_by_pair()
    days = graph.get(SNAPSHOTS).partitions_def
    assert days is not None
    assert days.has_partition_key("2026-05-01")
    assert len(engine.definitions.resolve_job_def("ingestion").graph.node_dict) == 6
