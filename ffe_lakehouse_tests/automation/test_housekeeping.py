"""Runs that later ones have replaced are forgotten, and nothing else is."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from ffe_lakehouse.automation.housekeeping import housekeeping_job
from ffe_lakehouse.watermarks import State
from ffe_lakehouse_tests.automation.conftest import FRIDAY, Lakehouse

TOMORROW = datetime.now(UTC) + timedelta(days=2)


def runs(lakehouse: Lakehouse) -> list[str]:
    """The loads that Dagster still knows, the oldest first."""
    found = lakehouse.instance.get_runs(dg.RunsFilter(job_name="ingestion"))
    return [run.run_id for run in reversed(found)]


def tidy(lakehouse: Lakehouse, at: datetime = TOMORROW) -> None:
    """Run the job as if it were ``at``, by Dagster's clock."""
    job = housekeeping_job(lambda: at)
    assert job.execute_in_process(instance=lakehouse.instance).success


def shards(lakehouse: Lakehouse) -> set[str]:
    """The runs whose events lie in a file of their own."""
    folder = Path(lakehouse.folder) / "dagster" / "history" / "runs"
    return {path.stem for path in folder.glob("*.db")}


def test_of_a_day_that_grew_the_run_that_counts_is_left(lakehouse: Lakehouse) -> None:
    lakehouse.add("BTCUSD")
    for minute in range(4):
        lakehouse.move(FRIDAY + timedelta(minutes=minute))
        lakehouse.tick()
    week, daily, *extensions = runs(lakehouse)
    before = lakehouse.states("BTCUSD", "1m", FRIDAY.date() - timedelta(7), FRIDAY.date())
    tidy(lakehouse)
    # The first one loaded the look-back, too; of the three that followed, the last counts.
    assert runs(lakehouse) == [week, daily, extensions[-1]]
    assert not set(extensions[:-1]) & shards(lakehouse)
    after = lakehouse.states("BTCUSD", "1m", FRIDAY.date() - timedelta(7), FRIDAY.date())
    assert after == before
    assert after[-1] is State.UNFINISHED
    assert lakehouse.due() == []


def test_what_is_young_or_failed_or_unique_is_left(lakehouse: Lakehouse) -> None:
    lakehouse.add("BTCUSD")
    for minute in range(3):
        lakehouse.move(FRIDAY + timedelta(minutes=minute))
        lakehouse.tick()
    everything = runs(lakehouse)
    tidy(lakehouse, datetime.now(UTC))
    assert runs(lakehouse) == everything


def test_runs_of_a_pair_that_was_removed_are_left(lakehouse: Lakehouse) -> None:
    lakehouse.add("BTCUSD")
    for minute in range(3):
        lakehouse.move(FRIDAY + timedelta(minutes=minute))
        lakehouse.tick()
    everything = runs(lakehouse)
    lakehouse.instance.delete_dynamic_partition("asset_pair", "BTCUSD")
    tidy(lakehouse)
    assert runs(lakehouse) == everything
