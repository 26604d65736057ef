"""A step of the daily pipeline that failed and may heal is tried again, and loads what is left."""

import json
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest

from ffe_lakehouse.assets.bronze import RETRY_WAITS_TAG, bronze_assets
from ffe_lakehouse.automation.jobs import daily
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.partitions import partition_key, table_key
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES

TABLE = table_key(raw_candles(TIMEFRAMES["1h"]))
FIRST, LAST = date(2024, 3, 4), date(2024, 3, 5)
WAITS = "0.1,0.2,0.3"


def run(
    monkeypatch: pytest.MonkeyPatch,
    instance: dg.DagsterInstance,
    waits: str = WAITS,
    heals_at: int | None = None,
    **settings: object,
) -> tuple[list[float], dg.ExecuteInProcessResult]:
    """Load two days of two pairs; the pauses between the tries, and how it ended."""
    for name, value in settings.items():
        monkeypatch.setenv(f"FFE_{name.upper()}", json.dumps(value))
    get_settings.cache_clear()
    tries = 0

    def clock() -> datetime:
        # The first thing that every try asks for.
        nonlocal tries
        tries += 1
        if tries == heals_at:
            monkeypatch.delenv("FFE_SIMULATED_FAULTS")
            get_settings.cache_clear()
        return datetime(2024, 6, 1, tzinfo=UTC)

    instance.add_dynamic_partitions("asset_pair", ["BTCUSD", "ETHUSD"])
    result = dg.materialize(
        [asset for asset in bronze_assets(clock) if TABLE in asset.keys],
        instance=instance,
        resources={"io_manager": DeltaIOManager(storage_path=get_settings().lake_uri)},
        tags={
            "dagster/asset_partition_range_start": partition_key("BTCUSD", FIRST),
            "dagster/asset_partition_range_end": partition_key("ETHUSD", LAST),
            RETRY_WAITS_TAG: waits,
        },
        raise_on_error=False,
    )
    pauses = [
        event.step_retry_data.seconds_to_wait
        for event in result.all_events
        if event.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY
    ]
    return [pause or 0.0 for pause in pauses], result


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFE_HOME", str(tmp_path / "home"))


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def loaded(instance: dg.DagsterInstance) -> Counter[str]:
    """How often each partition was loaded."""
    records = instance.fetch_materializations(TABLE, limit=100).records
    return Counter(str(record.partition_key) for record in records)


def test_the_daily_pipeline_waits_five_ten_and_twenty_minutes() -> None:
    assert daily.tags is not None
    assert daily.tags[RETRY_WAITS_TAG] == "300,600,1200"


def test_a_vendor_that_stays_away_is_asked_three_times_more(
    monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    pauses, result = run(monkeypatch, instance, simulated_faults={"failing_pairs": ["ETHUSD"]})
    assert not result.success
    assert pauses == [0.1, 0.2, 0.3]
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "ETHUSD 2024-03-04 to 2024-03-05: timeout" in str(failure.step_failure_data.error)
    # The pair that could be had was asked for once.
    assert loaded(instance) == {partition_key("BTCUSD", day): 1 for day in (FIRST, LAST)}


def test_a_vendor_that_comes_back_is_asked_for_what_is_left(
    monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    faults = {"failing_pairs": ["ETHUSD"]}
    pauses, result = run(monkeypatch, instance, heals_at=2, simulated_faults=faults)
    assert result.success or pauses
    assert set(loaded(instance).values()) == {1}


def test_what_waiting_cannot_heal_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    faults = {"bad_rows": 0.5}
    pauses, result = run(monkeypatch, instance, simulated_faults=faults)
    assert (pauses, result.success) == ([], False)


def test_a_run_that_says_nothing_of_retries_has_none(
    monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    faults = {"failing_pairs": ["ETHUSD"]}
    pauses, result = run(monkeypatch, instance, waits="", simulated_faults=faults)
    assert (pauses, result.success) == ([], False)
