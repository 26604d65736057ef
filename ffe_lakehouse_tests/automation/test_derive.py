"""``derivation_sensor``: Silver follows Bronze, and nothing is computed twice or left behind."""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ffe_lakehouse.assets.silver import ENRICH, UNIFY
from ffe_lakehouse.partitions import ONE_DAY, days_between, partition_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED, MARKET_DATA_UNIFIED
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.watermarks import latest_materializations
from ffe_lakehouse_tests.automation.conftest import FRIDAY, Lakehouse, Open

TODAY = FRIDAY.date()
FIRST = TODAY - timedelta(7)


def derive(lakehouse: Lakehouse) -> list[dg.RunRequest]:
    """Ask the sensor, and launch what it requests."""
    sensor = lakehouse.definitions.resolve_sensor_def("derivation_sensor")
    with dg.build_sensor_context(lakehouse.instance, definitions=lakehouse.definitions) as context:
        requests = list(sensor.evaluate_tick(context).run_requests or ())
    for request in requests:
        lakehouse.launch(request)
    return requests


def derive_all(lakehouse: Lakehouse) -> list[dg.RunRequest]:
    """Ask again until nothing is stale."""
    found = []
    for _ in range(10):
        requests = derive(lakehouse)
        if not requests:
            return found
        found += requests
    raise AssertionError(f"there is no end to it: {[request.run_key for request in found]}")


def bars_of(lakehouse: Lakehouse) -> tuple[int, int, int]:
    """Bars in Bronze, unified, enriched."""
    bronze = sum(
        lakehouse.lake.read(raw_candles(each).name).num_rows for each in TIMEFRAMES.values()
    )
    silver = (
        lakehouse.lake.read(table.name).num_rows
        for table in (MARKET_DATA_UNIFIED, MARKET_DATA_ENRICHED)
    )
    return bronze, *silver


@pytest.fixture
def loaded(installation: Open) -> Lakehouse:
    """Two pairs with their look-back."""
    lakehouse = installation(look_back_days=7)
    lakehouse.add("BTCUSD", "ETHUSD")
    lakehouse.tick()
    return lakehouse


def test_what_was_loaded_is_derived_in_one_run_and_then_there_is_peace(
    loaded: Lakehouse,
) -> None:
    (request,) = derive_all(loaded)
    assert request.job_name == "processing"
    assert request.asset_check_keys == []
    assert request.tags["ffe/load"] == "live"
    bronze, unified, enriched = bars_of(loaded)
    assert bronze == unified == enriched > 20_000


def test_the_running_day_alone_is_derived_when_it_has_grown(loaded: Lakehouse) -> None:
    derive_all(loaded)
    before = bars_of(loaded)
    loaded.move(timedelta(minutes=1))
    loaded.tick()
    (request,) = derive_all(loaded)
    box = Box(("BTCUSD", "ETHUSD"), TODAY, TODAY, ())
    assert box.tags.items() <= request.tags.items()
    bronze, unified, enriched = bars_of(loaded)
    assert bronze == unified == enriched == before[0] + 2


def test_a_day_that_is_loaded_anew_takes_along_what_was_computed_from_it(
    loaded: Lakehouse,
) -> None:
    derive_all(loaded)
    wiped = partition_key("ETHUSD", TODAY - 3 * ONE_DAY)
    for timeframe in TIMEFRAMES.values():
        loaded.instance.wipe_asset_partitions(
            dg.AssetKey(raw_candles(timeframe).name.split("/")), [wiped]
        )
    loaded.tick()
    requests = derive_all(loaded)
    days = Counter(
        key.path[-1]
        for request in requests
        for key in request.asset_selection or ()
        for _ in range(_days(request))
    )
    assert days["market_data_unified"] == 1
    assert days["market_data_enriched"] == 4  # it, and the three days after it
    bronze, unified, enriched = bars_of(loaded)
    assert bronze == unified == enriched


def test_a_run_that_fails_says_which_pair_and_is_tried_again_after_a_pause(
    loaded: Lakehouse,
) -> None:
    # The lake of one pair cannot be read: its Bronze file is cut short.
    folder = Path(get_settings().lake_uri, raw_candles(TIMEFRAMES["1h"]).name)
    file = next(folder.glob("partition_asset_pair=ETHUSD/*/*.parquet"))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    requests = derive(loaded)
    (run,) = loaded.instance.get_runs(dg.RunsFilter(job_name="processing"))
    assert run.status is dg.DagsterRunStatus.FAILURE
    failure = next(
        event.dagster_event.step_failure_data.user_failure_data
        for event in loaded.instance.all_logs(run.run_id, dg.DagsterEventType.STEP_FAILURE)
        if event.dagster_event
    )
    assert failure is not None
    assert list(failure.metadata) == ["ETHUSD"]
    keys = [partition_key(pair, TODAY) for pair in ("BTCUSD", "ETHUSD")]
    computed = latest_materializations(loaded.instance, UNIFY.keys[0], keys)
    assert list(computed) == [partition_key("BTCUSD", TODAY)]
    assert len(requests) == 1
    assert derive(loaded) == [], "it has to wait"

    # The other pair goes on without it.
    loaded.move(timedelta(minutes=6))
    later = derive(loaded) + derive(loaded)
    attempts = {str(each.run_key).partition("|")[0]: each.tags["ffe/attempt"] for each in later}
    assert attempts == {"BTCUSD": "1", "ETHUSD": "2"}
    assert list(latest_materializations(loaded.instance, ENRICH.keys[0], keys)) == keys[:1]
    # It is mended: the day on which something new has come is tried first, then the others.
    file.write_bytes(whole)
    loaded.move(timedelta(minutes=6))
    loaded.tick()
    derive_all(loaded)
    eth = [partition_key("ETHUSD", TODAY - n * ONE_DAY) for n in (1, 0)]
    assert list(latest_materializations(loaded.instance, UNIFY.keys[0], eth)) == eth[1:]
    loaded.move(timedelta(minutes=6))
    loaded.tick()
    derive_all(loaded)
    bronze, unified, enriched = bars_of(loaded)
    assert bronze == unified == enriched


def test_histories_are_derived_beside_the_running_day(installation: Open) -> None:
    lakehouse = installation(look_back_days=1, sensor_seconds=60)
    lakehouse.add("BTCUSD", "ETHUSD", start=date(2024, 3, 1))
    while lakehouse.tick():
        pass
    for _ in range(20):  # Each look takes one of the two, by chance; four are enough for a pair.
        lakehouse.move(timedelta(seconds=60))
        derive(lakehouse)
    keys = [
        partition_key(pair, day)
        for pair in ("BTCUSD", "ETHUSD")
        for day in days_between(date(2024, 3, 1), TODAY)
    ]
    for step in (UNIFY, ENRICH):
        assert list(latest_materializations(lakehouse.instance, step.keys[0], keys)) == keys


def test_with_no_pair_there_is_nothing_to_do(lakehouse: Lakehouse) -> None:
    assert derive(lakehouse) == []


def _days(request: dg.RunRequest) -> int:
    first, last = (
        date.fromisoformat(request.tags[f"dagster/asset_partition_range_{end}"].rpartition("|")[2])
        for end in ("start", "end")
    )
    return (last - first).days + 1
