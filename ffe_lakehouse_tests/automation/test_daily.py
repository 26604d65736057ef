"""What each night's runs contain."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from ffe_lakehouse.automation.jobs import DAILY
from ffe_lakehouse.partitions import partition_key, table_key
from ffe_lakehouse.schemas import CANDLE_GAPS, raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.watermarks import State
from ffe_lakehouse_tests.automation.conftest import Lakehouse

NIGHT = datetime(2024, 3, 9, 1, 0, 5, tzinfo=UTC)
YESTERDAY = NIGHT.date() - timedelta(1)


def tonight(lakehouse: Lakehouse) -> list[dg.RunRequest]:
    """What the schedule requests now."""
    repository = lakehouse.definitions.get_repository_def()
    schedule = repository.get_schedule_def(f"{DAILY}_schedule")
    with dg.build_schedule_context(lakehouse.instance, repository_def=repository) as context:
        return list(schedule.evaluate_tick(context).run_requests or ())


def checks(result: dg.ExecuteInProcessResult) -> dict[str, set[bool]]:
    """Whether each check passed, in whatever partition."""
    found: dict[str, set[bool]] = {}
    for evaluation in result.get_asset_check_evaluations():
        found.setdefault(evaluation.check_name, set()).add(evaluation.passed)
    return found


def test_without_a_pair_there_is_nothing_to_do(lakehouse: Lakehouse) -> None:
    assert tonight(lakehouse) == []


def test_where_nothing_else_loads_one_run_loads_checks_and_derives_the_look_back(
    lakehouse: Lakehouse,
) -> None:
    lakehouse.add("BTCUSD", "EURUSD")
    lakehouse.move(NIGHT)
    (request,) = tonight(lakehouse)
    result = lakehouse.launch(request)
    assert result.success
    for code in TIMEFRAMES:
        states = lakehouse.states("BTCUSD", code, YESTERDAY - timedelta(6), YESTERDAY)
        assert set(states) == {State.COMPLETE}
    seen = checks(result)
    assert set(seen["ohlc_rules"]) == {True}
    assert {"no_partitions_left_failed", "completeness", "conservation"} <= set(seen)
    gaps = lakehouse.instance.get_materialized_partitions(table_key(CANDLE_GAPS))
    assert len(gaps) == 2 * 7


def test_what_is_complete_is_checked_and_not_fetched_again(lakehouse: Lakehouse) -> None:
    lakehouse.add("BTCUSD")
    lakehouse.move(NIGHT)
    lakehouse.tick()
    before = lakehouse.loads()
    (request,) = tonight(lakehouse)
    assert request.asset_selection == [table_key(CANDLE_GAPS)]
    result = lakehouse.launch(request)
    assert result.success
    assert lakehouse.loads() == before
    assert "ohlc_rules" in checks(result)
    (again,) = tonight(lakehouse)
    assert again.run_key == request.run_key


def test_a_hole_in_the_look_back_is_a_run_of_its_own(lakehouse: Lakehouse) -> None:
    lakehouse.add("BTCUSD")
    lakehouse.move(NIGHT)
    lakehouse.tick()
    hole = partition_key("BTCUSD", YESTERDAY - timedelta(3))
    hours = table_key(raw_candles(TIMEFRAMES["1h"]))
    lakehouse.instance.wipe_asset_partitions(hours, [hole])
    heal, yesterday = tonight(lakehouse)
    assert heal.tags["dagster/asset_partition_range_start"] == hole
    assert hours in (heal.asset_selection or ())
    assert yesterday.asset_selection == [table_key(CANDLE_GAPS)]


def test_a_failing_partition_is_named_until_it_recovers(
    lakehouse: Lakehouse, down: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_LOOK_BACK_DAYS", json.dumps(2))
    down("ETHUSD")
    lakehouse.add("BTCUSD", "ETHUSD")
    lakehouse.move(NIGHT - timedelta(hours=3))
    lakehouse.tick()
    found = left_failed(lakehouse)
    assert not found.passed
    assert found.metadata["count"].value == 3
    assert "ETHUSD 2024-03-06..2024-03-08" in str(found.metadata["sample"].value)
    assert "ffe backfill" in str(found.description)
    down()
    lakehouse.move(NIGHT - timedelta(hours=2))
    lakehouse.tick()
    assert left_failed(lakehouse).passed


def left_failed(lakehouse: Lakehouse) -> dg.AssetCheckEvaluation:
    """What ``no_partitions_left_failed`` says of the hours."""
    key = dg.AssetCheckKey(table_key(raw_candles(TIMEFRAMES["1h"])), "no_partitions_left_failed")
    job = lakehouse.definitions.resolve_implicit_global_asset_job_def()
    (found,) = (
        job.get_subset(asset_selection=set(), asset_check_selection={key})
        .execute_in_process(instance=lakehouse.instance)
        .get_asset_check_evaluations()
    )
    return found
