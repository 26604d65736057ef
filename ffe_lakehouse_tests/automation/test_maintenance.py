"""When maintenance runs: by itself, by night, and nothing else at the same minute."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
from dagster._utils.schedules import schedule_execution_time_iterator

from ffe_lakehouse.automation.maintenance import maintenance_jobs, maintenance_schedules
from ffe_lakehouse.automation.troubles import failed_jobs
from ffe_lakehouse.monitoring.incidents import Key
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.automation.conftest import QUIET, Lakehouse
from ffe_lakehouse_tests.builders import bars, day

NAMES = ["compaction", "sorting", "vacuum", "lake_statistics"]
HOURLY = raw_candles(TIMEFRAMES["1h"])


def next_times(schedule: dg.ScheduleDefinition, count: int) -> list[datetime]:
    """The next times of a schedule after 2024 began (UTC)."""
    begin = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
    times = schedule_execution_time_iterator(begin, str(schedule.cron_schedule), "UTC")
    return [next(times).astimezone(UTC) for _ in range(count)]


def test_each_has_a_schedule_of_its_own_that_runs_by_itself_in_utc() -> None:
    schedules = maintenance_schedules(maintenance_jobs())
    assert [schedule.name for schedule in schedules] == [f"{name}_schedule" for name in NAMES]
    for schedule in schedules:
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
        assert schedule.execution_timezone == "UTC"


def test_compaction_is_daily_sorting_monthly_and_the_vacuum_weekly() -> None:
    schedules = maintenance_schedules(maintenance_jobs())
    pauses = []
    for schedule in schedules:
        times = next_times(schedule, 3)
        pauses.append((times[1] - times[0], times[2] - times[1]))
    one = timedelta(days=1)
    assert pauses == [(one, one), (31 * one, 29 * one), (7 * one, 7 * one), (one, one)]


def test_no_two_schedules_of_the_night_begin_together(lakehouse: Lakehouse) -> None:
    of_the_house = lakehouse.definitions.schedules or ()
    begins = [
        (str(schedule.cron_schedule).split()[:2])
        for schedule in of_the_house
        if isinstance(schedule, dg.ScheduleDefinition)
    ]
    assert len(begins) >= 6
    assert len({tuple(each) for each in begins}) == len(begins)


def test_the_jobs_of_the_house_do_the_work(lakehouse: Lakehouse) -> None:
    for number in range(3):
        rows = [bars(pair, day(number), 24) for pair in ("BTCUSD", "ETHUSD")]
        lakehouse.lake.append(HOURLY, pa.concat_tables(rows))
    for name in NAMES:
        job = lakehouse.definitions.resolve_job_def(name)
        assert job.execute_in_process(instance=lakehouse.instance, run_config=QUIET).success
    assert len(lakehouse.lake.table(HOURLY.name).file_uris()) == 2
    (record,) = lakehouse.instance.fetch_materializations(
        dg.AssetKey(["maintenance", "statistics"]), limit=5
    ).records
    assert record.asset_materialization is not None
    metadata = record.asset_materialization.metadata
    assert metadata["tables"].value == 1
    assert f"| {HOURLY.name} | 144 | 2 |" in str(metadata["report"].value)


def test_somebody_is_told_of_a_table_that_could_not_be_maintained(lakehouse: Lakehouse) -> None:
    lakehouse.lake.append(HOURLY, bars("BTCUSD", day(0), 24))
    commit = Path(lakehouse.lake.table_uri(HOURLY.name)) / "_delta_log" / f"{1:020}.json"
    commit.write_text('{"add": {"path"')
    job = lakehouse.definitions.resolve_job_def("compaction")
    ended = job.execute_in_process(
        instance=lakehouse.instance, run_config=QUIET, raise_on_error=False
    )
    assert not ended.success
    (incident,) = failed_jobs(lakehouse.instance, NAMES)
    assert incident.key == Key("Job failed", "compaction")
    assert f"1 of 1 tables failed: {HOURLY.name}: " in str(incident.details())
