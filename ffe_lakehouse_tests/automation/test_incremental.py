"""The lakehouse keeps itself loaded: what the sensor requests, and where that leads."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import dagster as dg
import pytest

from ffe_lakehouse.automation.due import ATTEMPT_TAG
from ffe_lakehouse.automation.incremental import LOAD_TAG
from ffe_lakehouse.partitions import partition_key, table_key
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.watermarks import State, closes_at
from ffe_lakehouse_tests.automation.conftest import FRIDAY, Lakehouse, Open

TODAY = FRIDAY.date()
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
HOUR_TABLE = table_key(raw_candles(TIMEFRAMES["1h"]))


def keys(requests: list[dg.RunRequest]) -> set[tuple[str, str]]:
    """First and last partition of every run."""
    return {
        (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in requests
    }


def test_an_empty_universe_needs_nothing(lakehouse: Lakehouse) -> None:
    assert lakehouse.due() == []


def test_after_one_tick_the_look_back_is_loaded_and_nothing_is_due(lakehouse: Lakehouse) -> None:
    lakehouse.add("BTCUSD", "EURUSD")
    assert len(lakehouse.tick()) == 2  # the daily bar of today has not closed
    week = lakehouse.states("BTCUSD", "1h", TODAY - 7 * DAY, TODAY)
    assert week == [State.COMPLETE] * 7 + [State.UNFINISHED]
    assert lakehouse.states("EURUSD", "1d", TODAY - 6 * DAY, TODAY - 5 * DAY) == [
        State.NO_DATA,
        State.COMPLETE,
    ]
    assert lakehouse.due() == []


def test_the_running_day_is_extended_when_a_bar_has_closed_and_not_before(
    lakehouse: Lakehouse,
) -> None:
    lakehouse.add("BTCUSD")
    lakehouse.tick()
    lakehouse.move(39 * timedelta(seconds=1))
    assert lakehouse.due() == []
    lakehouse.move(timedelta(seconds=1))
    (request,) = lakehouse.tick()
    assert request.asset_selection == [
        dg.AssetKey(["dlq", "raw_market_data_1m"]),
        dg.AssetKey(["bronze", "raw_market_data_1m"]),
    ]
    assert request.tags[LOAD_TAG] == "live"
    lakehouse.move(4 * MINUTE)
    (request,) = lakehouse.due()
    assert len(request.asset_selection or ()) == 4  # 1m and 5m


@pytest.mark.slow
def test_three_days_of_ticks_end_as_one_backfill(installation: Open) -> None:
    ticked = installation("ticked")
    ticked.add("BTCUSD", "EURUSD")
    moments = [FRIDAY + n * timedelta(hours=9, minutes=7) for n in range(8)]
    # Around each midnight: what the day has closed with, before and after it has settled.
    moments += [
        datetime(2024, 3, day, 0, minute, tzinfo=UTC) for day in (9, 10, 11) for minute in (2, 20)
    ]
    for moment in sorted(moments):
        ticked.move(moment)
        ticked.tick()
    assert ticked.due() == []
    for code in TIMEFRAMES:
        for pair in ("BTCUSD", "EURUSD"):
            states = ticked.states(pair, code, TODAY, TODAY + 2 * DAY)
            assert set(states) <= {State.COMPLETE, State.NO_DATA}

    whole = installation("whole", ticked.now)
    whole.add("BTCUSD", "EURUSD")
    whole.tick()
    assert ticked.bars() == whole.bars()


def test_no_day_is_fetched_more_often_than_needed(lakehouse: Lakehouse) -> None:
    lakehouse.add("BTCUSD", "EURUSD")
    ticks = [FRIDAY + n * MINUTE * 10 for n in range(7)]
    ticks += [datetime(2024, 3, 9, 0, n, tzinfo=UTC) for n in (1, 11, 21, 31)]
    for moment in ticks:
        lakehouse.move(moment)
        lakehouse.tick()
    loads = lakehouse.loads()
    before = {key: n for key, n in loads.items() if key[1].endswith(("03-06", "03-07"))}
    assert set(before.values()) == {1}
    friday = {code: loads[code, f"BTCUSD|{TODAY}"] for code in TIMEFRAMES}
    # Once for each tick at which a bar had closed, and once after the day has settled.
    assert friday == {"1m": 9, "5m": 9, "15m": 7, "1h": 4, "4h": 3, "1d": 2}
    # On Saturday forex is closed: it is asked for when the day is over.
    assert not any(key.startswith("EURUSD|2024-03-09") for _, key in loads)


def test_a_laptop_that_was_shut_for_two_days_catches_up(lakehouse: Lakehouse) -> None:
    lakehouse.add("BTCUSD")
    lakehouse.tick()
    lakehouse.move(2 * DAY)
    lakehouse.tick()
    assert lakehouse.states("BTCUSD", "1m", TODAY, TODAY + DAY) == [State.COMPLETE] * 2
    assert lakehouse.due() == []


def test_a_vendor_that_is_down_for_a_day_is_asked_ever_more_seldom_and_heals(
    lakehouse: Lakehouse, down: Callable[..., None]
) -> None:
    lakehouse.add("BTCUSD")
    lakehouse.tick()
    down("BTCUSD")
    asked = []
    lakehouse.move(datetime(2024, 3, 9, 0, 16, tzinfo=UTC))
    end = lakehouse.now + DAY
    while lakehouse.now < end:
        if lakehouse.tick():
            asked.append(lakehouse.now)
        lakehouse.move(30 * MINUTE)
    states = lakehouse.states("BTCUSD", "1h", TODAY, TODAY + DAY)
    assert states == [State.FAILED, State.FAILED]
    assert len(asked) < 30  # of 48 ticks, at each of which 1m has something new

    down()
    while set(lakehouse.states("BTCUSD", "1h", TODAY, TODAY + DAY)) != {State.COMPLETE}:
        lakehouse.tick()
        lakehouse.move(timedelta(hours=2))
        assert lakehouse.now <= end + timedelta(hours=6)


def test_the_pause_before_each_new_attempt_doubles(
    lakehouse: Lakehouse, down: Callable[..., None]
) -> None:
    lakehouse.move(datetime(2024, 3, 8, tzinfo=UTC))
    down("BTCUSD")
    lakehouse.add("BTCUSD")
    asked = []
    while lakehouse.now < datetime(2024, 3, 8, 1, 30, tzinfo=UTC):
        asked += [lakehouse.now for run in lakehouse.tick() if run.tags[LOAD_TAG] == "heal"]
        lakehouse.move(5 * MINUTE)
    pauses = [later - sooner for sooner, later in pairwise(asked)]
    assert pauses == [5 * MINUTE * 2**n for n in range(4)]


def test_a_pair_that_fails_for_ever_is_given_up_and_the_rest_goes_on(
    installation: Open, down: Callable[..., None]
) -> None:
    lakehouse = installation(max_attempts=3, look_back_days=1)
    down("BTCUSD")
    lakehouse.add("BTCUSD", "ETHUSD")
    for _ in range(8):
        lakehouse.tick()
        lakehouse.move(10 * MINUTE)
    yesterday = partition_key("BTCUSD", TODAY - DAY)
    tried = [run for run in lakehouse.runs if str(run.run_key).startswith(yesterday)]
    assert max(int(run.tags[ATTEMPT_TAG]) for run in tried) == 3
    assert lakehouse.states("BTCUSD", "1h", TODAY - DAY, TODAY - DAY) == [State.FAILED]
    assert lakehouse.states("ETHUSD", "1h", TODAY - DAY, TODAY - DAY) == [State.COMPLETE]
    lakehouse.move(lakehouse.now.replace(hour=23))
    assert all("BTCUSD" not in str(run.run_key) for run in lakehouse.due())


def test_a_vendor_that_never_has_a_bar_is_not_asked_for_ever(installation: Open) -> None:
    lakehouse = installation(simulated_faults={"gaps": 1.0}, look_back_days=2)
    lakehouse.add("BTCUSD")
    for _ in range(9):
        lakehouse.tick()
        lakehouse.move(timedelta(hours=2))
    loads = lakehouse.loads()
    closed = (TODAY - DAY).isoformat()
    assert {loads[code, f"BTCUSD|{closed}"] for code in TIMEFRAMES} == {2}
    assert lakehouse.states("BTCUSD", "1h", TODAY - DAY, TODAY - DAY) == [State.NO_DATA]


def test_a_day_that_was_wiped_is_loaded_again(lakehouse: Lakehouse) -> None:
    lakehouse.add("BTCUSD")
    lakehouse.tick()
    wiped = partition_key("BTCUSD", TODAY - 3 * DAY)
    lakehouse.instance.wipe_asset_partitions(HOUR_TABLE, [wiped])
    assert lakehouse.states("BTCUSD", "1h", TODAY - 3 * DAY, TODAY - 3 * DAY) == [State.MISSING]
    assert keys(lakehouse.tick()) == {(wiped, wiped)}
    assert lakehouse.due() == []
    assert lakehouse.lake.read("bronze/raw_market_data_1h").num_rows == 7 * 24 + 10


def test_a_pair_that_is_added_is_loaded_without_a_restart(lakehouse: Lakehouse) -> None:
    lakehouse.add("BTCUSD")
    lakehouse.tick()
    lakehouse.add("ETHUSD")
    lakehouse.tick()
    assert lakehouse.states("ETHUSD", "4h", TODAY - DAY, TODAY - DAY) == [State.COMPLETE]


def test_a_pair_with_a_start_is_loaded_from_there_and_its_holes_heal(
    installation: Open,
) -> None:
    lakehouse = installation(max_runs_per_tick=2)
    start = TODAY - 60 * DAY
    lakehouse.add("ETHUSD")
    lakehouse.add("BTCUSD", start=start)
    first = lakehouse.tick()
    assert {run.tags[LOAD_TAG] for run in first} == {"live", "heal"}, "the present comes first"
    (history,) = lakehouse.tick()
    assert history.tags[LOAD_TAG] == "history"
    assert set(lakehouse.states("BTCUSD", "1h", start, TODAY - DAY)) == {State.COMPLETE}
    assert lakehouse.states("ETHUSD", "1h", start, start) == [State.MISSING]
    assert lakehouse.due() == []
    old = partition_key("BTCUSD", start + 9 * DAY)
    lakehouse.instance.wipe_asset_partitions(HOUR_TABLE, [old])
    assert keys(lakehouse.tick()) == {(old, old)}


def test_pairs_whose_bars_come_as_files_and_keys_that_are_no_pairs_are_left_alone(
    lakehouse: Lakehouse,
) -> None:
    lakehouse.add("BTCUSD", provider="files")
    lakehouse.instance.add_dynamic_partitions("asset_pair", ["eth/usd", "?"])
    assert lakehouse.due() == []


def test_what_another_vendor_had_loaded_is_loaded_from_the_vendor_of_the_pair(
    lakehouse: Lakehouse,
) -> None:
    lakehouse.add("BTCUSD")
    lakehouse.tick()
    lakehouse.add("BTCUSD", provider="coinbase")
    requests = lakehouse.due()
    assert {request.tags[LOAD_TAG] for request in requests} == {"live", "heal"}
    configs = [of["config"] for run in requests for of in run.run_config["ops"].values()]
    assert {config["provider"] for config in configs} == {"coinbase"}


def test_a_tick_that_is_repeated_asks_for_the_same_runs(lakehouse: Lakehouse) -> None:
    lakehouse.add("BTCUSD", "EURUSD")
    first, second = lakehouse.due(), lakehouse.due()
    assert [run.run_key for run in first] == [run.run_key for run in second]
    assert len({run.run_key for run in first}) == len(first)


def test_runs_are_capped_and_the_newest_days_come_first(installation: Open) -> None:
    lakehouse = installation(max_runs_per_tick=1)
    lakehouse.add("BTCUSD")
    for number in (2, 4, 6):
        key = partition_key("BTCUSD", TODAY - number * DAY)
        for timeframe in TIMEFRAMES.values():
            lakehouse.instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    table_key(raw_candles(timeframe)),
                    partition=key,
                    tags={"dagster/data_version": "closed:24:simulated"},
                )
            )
    last = [keys(lakehouse.tick()) for _ in range(5)]
    days = [key[1].split("|")[1] for (key,) in last]
    assert days == sorted(days, reverse=True)
    assert lakehouse.due() == []


@pytest.mark.parametrize("minutes", [-1, 0, 14, 15, 16])
def test_a_day_is_done_only_after_it_has_settled(lakehouse: Lakehouse, minutes: int) -> None:
    midnight = datetime(2024, 3, 9, tzinfo=UTC)
    lakehouse.add("BTCUSD")
    lakehouse.move(midnight + minutes * MINUTE)
    lakehouse.tick()
    settled = lakehouse.now >= closes_at(TODAY)
    assert lakehouse.states("BTCUSD", "1h", TODAY, TODAY) == [
        State.COMPLETE if settled else State.UNFINISHED
    ]


def test_a_start_before_the_first_day_of_the_lake_is_cut_there(installation: Open) -> None:
    lakehouse = installation(start_date="2024-03-01", look_back_days=2)
    lakehouse.add("BTCUSD", start=date(2024, 3, 1))
    lakehouse.tick()
    assert lakehouse.states("BTCUSD", "1h", date(2024, 3, 1), TODAY - DAY) == [State.COMPLETE] * 7
