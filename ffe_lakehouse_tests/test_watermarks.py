"""What is loaded, as Dagster's own status and materializations tell it."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from ffe_lakehouse.partitions import PairDays, daily_by_pair, partition_key
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.watermarks import (
    State,
    closes_at,
    data_version,
    latest_materializations,
    partition_states,
    watermarks,
)

TABLE = dg.AssetKey(["bronze", "raw_market_data_1h"])
PAIRS = ["BTCUSD", "ETHUSD", "EURUSD"]
FIRST = date(2024, 1, 1)
NOW = datetime(2024, 1, 31, 12, tzinfo=UTC)
LONG_AFTER = datetime(2024, 6, 1, tzinfo=UTC)


def day(number: int) -> date:
    """The day ``number`` days after ``FIRST``."""
    return FIRST + timedelta(number)


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    get_settings.cache_clear()
    with dg.DagsterInstance.ephemeral() as made:
        made.add_dynamic_partitions("asset_pair", PAIRS)
        yield made
    get_settings.cache_clear()


def report(
    instance: dg.DagsterInstance,
    *days: int,
    pair: str = "BTCUSD",
    bars: int = 24,
    asked_at: datetime = LONG_AFTER,
) -> None:
    """Materialize days as the ingestion does."""
    for number in days:
        last = datetime(2024, 1, 1, 23, tzinfo=UTC) + timedelta(number)
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                TABLE,
                partition=partition_key(pair, day(number)),
                metadata={"last_timestamp": dg.MetadataValue.timestamp(last)} if bars else {},
                tags={"dagster/data_version": data_version(day(number), asked_at, bars, ["tests"])},
            )
        )


def run(instance: dg.DagsterInstance, during: Callable[[], Any], *days: int) -> bool:
    """A run over the first to the last of ``days``, in which ``during`` happens."""

    @dg.asset(
        key=TABLE,
        partitions_def=daily_by_pair(),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def table() -> None:
        during()

    ends = {
        "dagster/asset_partition_range_start": partition_key("BTCUSD", day(days[0])),
        "dagster/asset_partition_range_end": partition_key("BTCUSD", day(days[-1])),
    }
    return dg.materialize([table], instance=instance, tags=ends, raise_on_error=False).success


def fail() -> None:
    raise RuntimeError("as asked")


def states(instance: dg.DagsterInstance, last: int, now: datetime = NOW) -> list[State]:
    """The states of BTCUSD from the first day on."""
    found = partition_states(instance, TABLE, ["BTCUSD"], FIRST, day(last), now)
    return list(found.values())


def test_of_an_asset_that_never_was_materialized_everything_is_missing(
    instance: dg.DagsterInstance,
) -> None:
    found = partition_states(instance, TABLE, PAIRS, FIRST, day(2), NOW)
    assert found == {(pair, day(n)): State.MISSING for pair in PAIRS for n in range(3)}
    assert watermarks(instance, TABLE, PAIRS, NOW) == []


def test_a_day_that_nobody_loaded_is_missing_beside_one_that_is_complete(
    instance: dg.DagsterInstance,
) -> None:
    report(instance, 1)
    assert states(instance, 2) == [State.MISSING, State.COMPLETE, State.MISSING]
    of_another_pair = partition_states(instance, TABLE, ["ETHUSD"], day(1), day(1), NOW)
    assert set(of_another_pair.values()) == {State.MISSING}


def test_a_day_is_complete_if_it_was_asked_for_after_it_had_closed_and_settled(
    instance: dg.DagsterInstance,
) -> None:
    assert closes_at(FIRST) == datetime(2024, 1, 2, 0, 15, tzinfo=UTC)
    report(instance, 0, asked_at=closes_at(FIRST))
    assert states(instance, 0) == [State.COMPLETE]


def test_a_day_that_is_complete_without_rows_has_no_data(instance: dg.DagsterInstance) -> None:
    report(instance, 0, bars=0)
    assert states(instance, 0) == [State.NO_DATA]


@pytest.mark.parametrize("bars", [0, 12])
def test_a_day_that_was_asked_for_too_early_is_unfinished_and_later_late(
    instance: dg.DagsterInstance, bars: int
) -> None:
    closed = closes_at(FIRST)
    moment = timedelta(microseconds=1)
    report(instance, 0, asked_at=closed - moment, bars=bars)
    assert states(instance, 0, closed - moment) == [State.UNFINISHED]
    assert states(instance, 0, closed) == [State.LATE]
    report(instance, 0, asked_at=closed, bars=24)
    assert states(instance, 0, closed) == [State.COMPLETE]


def test_the_settlement_delay_is_a_setting(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_SETTLEMENT_MINUTES", "120")
    get_settings.cache_clear()
    assert closes_at(FIRST) == datetime(2024, 1, 2, 2, tzinfo=UTC)


def test_the_days_of_a_failed_run_are_failed(instance: dg.DagsterInstance) -> None:
    assert not run(instance, fail, 1, 2)
    assert states(instance, 3) == [State.MISSING, State.FAILED, State.FAILED, State.MISSING]


def test_a_day_whose_newest_attempt_failed_is_failed_although_it_was_complete(
    instance: dg.DagsterInstance,
) -> None:
    report(instance, 0)
    assert not run(instance, fail, 0)
    assert states(instance, 0) == [State.FAILED]


def test_a_partition_that_recovers_stops_being_failed(instance: dg.DagsterInstance) -> None:
    assert not run(instance, fail, 0, 1)
    report(instance, 0)
    assert states(instance, 1) == [State.COMPLETE, State.FAILED]


def test_the_days_of_a_run_are_in_progress_until_it_has_told_of_them(
    instance: dg.DagsterInstance,
) -> None:
    seen: list[list[State]] = []

    def look() -> None:
        seen.append(states(instance, 2))
        report(instance, 0)
        seen.append(states(instance, 2))

    assert run(instance, look, 0, 1)
    in_progress = State.IN_PROGRESS
    assert seen[0] == [in_progress, in_progress, State.MISSING]
    assert seen[1][1:] == [in_progress, State.MISSING]


def test_what_was_reported_by_hand_may_reach_to_anywhere(instance: dg.DagsterInstance) -> None:
    by_hand = dg.AssetMaterialization(TABLE, partition=partition_key("BTCUSD", FIRST))
    instance.report_runless_asset_event(by_hand)
    assert states(instance, 0, closes_at(FIRST) - timedelta(seconds=1)) == [State.UNFINISHED]
    assert states(instance, 0) == [State.LATE]
    (mark,) = watermarks(instance, TABLE, PAIRS, NOW)
    assert (mark.first, mark.complete_until, mark.last_timestamp) == (FIRST, None, None)
    report(instance, 0)
    assert states(instance, 0) == [State.COMPLETE]
    instance.report_runless_asset_event(by_hand)
    assert states(instance, 0) == [State.LATE]


@pytest.mark.parametrize(
    ("state", "done", "loaded"),
    [
        (State.COMPLETE, True, True),
        (State.NO_DATA, True, True),
        (State.HOLES, True, True),
        (State.UNFINISHED, False, True),
        (State.LATE, False, True),
        (State.MISSING, False, False),
        (State.FAILED, False, False),
        (State.IN_PROGRESS, False, False),
    ],
)
def test_a_state_says_whether_there_is_something_and_whether_that_is_all(
    state: State, done: bool, loaded: bool
) -> None:
    assert (state.is_done, state.is_loaded) == (done, loaded)


def test_a_reload_leaves_the_data_version_as_it_was() -> None:
    closed, us = closes_at(FIRST), ["tests"]
    before = data_version(FIRST, closed, 24, us)
    assert data_version(FIRST, LONG_AFTER, 24, us) == before
    assert data_version(FIRST, LONG_AFTER, 25, us) != before
    assert data_version(FIRST, closed - timedelta(seconds=1), 24, us) != before


def test_what_others_loaded_is_missing_where_a_vendor_is_named(
    instance: dg.DagsterInstance,
) -> None:
    version = data_version(day(0), LONG_AFTER, 24, ["coinbase", "ccxt:kraken"])
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            TABLE, partition=partition_key("BTCUSD", day(0)), tags={"dagster/data_version": version}
        )
    )

    def state(*vendors: str) -> State:
        found = partition_states(instance, TABLE, ["BTCUSD"], day(0), day(0), NOW, vendors)
        return found["BTCUSD", day(0)]

    assert state() is State.COMPLETE
    assert state("ccxt:kraken") is state("oanda", "coinbase") is State.COMPLETE
    assert state("simulated") is State.MISSING


def test_a_watermark_stops_before_the_first_hole(instance: dg.DagsterInstance) -> None:
    report(instance, 2, 3, 4, 6, 7)
    (mark,) = watermarks(instance, TABLE, PAIRS, NOW)
    assert (mark.pair, mark.first, mark.complete_until) == ("BTCUSD", day(2), day(4))
    assert mark.last_timestamp == datetime(2024, 1, 5, 23, tzinfo=UTC)
    assert mark.open == [
        (State.MISSING, PairDays("BTCUSD", day(5), day(5))),
        (State.MISSING, PairDays("BTCUSD", day(8), NOW.date())),
    ]


def test_a_watermark_tells_each_kind_of_open_day_apart(instance: dg.DagsterInstance) -> None:
    report(instance, 0, 2, 30)
    report(instance, 3, asked_at=closes_at(day(3)) - timedelta(hours=1))
    report(instance, 30, asked_at=NOW, bars=12)
    assert not run(instance, fail, 4, 5)
    (mark,) = watermarks(instance, TABLE, PAIRS, NOW)
    assert [(state, str(window)) for state, window in mark.open] == [
        (State.MISSING, "2024-01-02"),
        (State.LATE, "2024-01-04"),
        (State.FAILED, "2024-01-05..2024-01-06"),
        (State.MISSING, "2024-01-07..2024-01-30"),
        (State.UNFINISHED, "2024-01-31"),
    ]


def test_a_watermark_whose_first_day_is_open_reaches_nowhere(instance: dg.DagsterInstance) -> None:
    report(instance, 0, asked_at=closes_at(FIRST) - timedelta(hours=1))
    report(instance, 1)
    (mark,) = watermarks(instance, TABLE, PAIRS, NOW)
    assert (mark.first, mark.complete_until, mark.last_timestamp) == (FIRST, None, None)


def test_pairs_that_never_were_loaded_are_left_out_and_each_has_its_own_first_day(
    instance: dg.DagsterInstance,
) -> None:
    report(instance, 3)
    report(instance, 1, pair="EURUSD")
    marks = watermarks(instance, TABLE, PAIRS, NOW)
    assert [(mark.pair, mark.first) for mark in marks] == [("BTCUSD", day(3)), ("EURUSD", day(1))]
    assert [mark.complete_until for mark in marks] == [day(3), day(1)]


def test_a_pair_that_somebody_only_tried_to_load_is_shown_with_what_failed(
    instance: dg.DagsterInstance,
) -> None:
    assert not run(instance, fail, 3, 4)
    (mark,) = watermarks(instance, TABLE, PAIRS, NOW)
    assert (mark.pair, mark.first, mark.complete_until) == ("BTCUSD", day(3), None)
    assert mark.open[0] == (State.FAILED, PairDays("BTCUSD", day(3), day(4)))


def test_the_running_day_counts_for_the_last_bar_and_a_hole_before_it_does_not(
    instance: dg.DagsterInstance,
) -> None:
    today = (NOW.date() - FIRST).days
    report(instance, *range(today))
    report(instance, today, asked_at=NOW)
    (mark,) = watermarks(instance, TABLE, PAIRS, NOW)
    assert mark.complete_until == day(today - 1)
    assert mark.last_timestamp == datetime(2024, 1, 31, 23, tzinfo=UTC)
    report(instance, 0, pair="ETHUSD")
    report(instance, today, pair="ETHUSD", asked_at=NOW)
    mark = watermarks(instance, TABLE, PAIRS, NOW)[1]
    assert mark.last_timestamp == datetime(2024, 1, 1, 23, tzinfo=UTC)


@pytest.mark.parametrize("empty", [1, 7, 15, 27])
def test_the_last_bar_is_looked_for_behind_days_without_data(
    instance: dg.DagsterInstance, empty: int
) -> None:
    report(instance, 0)
    report(instance, *range(1, empty + 1), bars=0)
    (mark,) = watermarks(instance, TABLE, PAIRS, NOW)
    assert mark.complete_until == day(empty)
    assert mark.last_timestamp == datetime(2024, 1, 1, 23, tzinfo=UTC)
    assert mark.no_data == empty


def test_days_without_data_alone_have_no_last_bar(instance: dg.DagsterInstance) -> None:
    report(instance, *range(9), bars=0)
    (mark,) = watermarks(instance, TABLE, PAIRS, NOW)
    assert (mark.complete_until, mark.last_timestamp, mark.no_data) == (day(8), None, 9)


def test_the_latest_materializations_come_in_the_order_of_the_question(
    instance: dg.DagsterInstance,
) -> None:
    report(instance, 0, 1, 2)
    report(instance, 1, bars=0)
    keys = [partition_key("BTCUSD", day(n)) for n in (2, 1, 5, 0)]
    found = latest_materializations(instance, TABLE, keys)
    assert list(found) == [keys[0], keys[1], keys[3]]
    newest = found[keys[1]].asset_materialization
    assert newest is not None
    assert (newest.tags or {})["dagster/data_version"] == "closed:0:tests"


def test_more_materializations_than_one_query_takes_are_all_found(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ffe_lakehouse.watermarks._AT_ONCE", 4)
    report(instance, *range(10))
    keys = [partition_key("BTCUSD", day(n)) for n in range(10)]
    assert list(latest_materializations(instance, TABLE, keys)) == keys


def test_a_materialization_of_no_partition_says_nothing_of_any(
    instance: dg.DagsterInstance,
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(TABLE))
    assert states(instance, 0) == [State.MISSING]
    assert watermarks(instance, TABLE, PAIRS, NOW) == []
