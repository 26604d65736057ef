"""The schedules of Gold: what is stale is requested in as few runs as there can be."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from ffe_lakehouse.automation.jobs import MARTS, PORTFOLIO
from ffe_lakehouse.automation.refresh import MARTS_HOURLY, MARTS_NIGHTLY, PORTFOLIO_HOURLY
from ffe_lakehouse.marts import Days
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.schemas.silver_records import TRADE_LIFECYCLE
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.standing_checks import LEFT_FAILED
from ffe_lakehouse.watermarks import State, survey
from ffe_lakehouse_tests.automation.conftest import QUIET
from ffe_lakehouse_tests.gold_house import (
    OF_PAIRS,
    PERFORMANCE,
    SUMMARY,
    GoldHouse,
    day,
    open_house,
    tell,
)

TODAY = 9
"""Number of the running day."""


@pytest.fixture
def house(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GoldHouse]:
    """The look-back begins on day 6."""
    basetemp = tmp_path_factory.getbasetemp()
    with open_house(tmp_path, basetemp, monkeypatch, look_back_days=3) as house:
        yield house


def due(house: GoldHouse, name: str) -> list[dg.RunRequest]:
    """What a schedule requests now.

    Raises:
        AssertionError: It requests nothing, and does not say so.
    """
    schedule = house.definitions.resolve_schedule_def(name)
    with dg.build_schedule_context(house.instance) as context:
        tick = schedule.evaluate_tick(context)
    requests = list(tick.run_requests or ())
    assert requests or tick.skip_message == "Nothing is stale."
    return requests


def windows(requests: list[dg.RunRequest]) -> list[tuple[str, str]]:
    """First and last partition of each run."""
    ends = ("start", "end")
    return [
        tuple(each.tags[f"dagster/asset_partition_range_{end}"] for end in ends)
        for each in requests
    ]


def launch(house: GoldHouse, request: dg.RunRequest, job: str) -> dg.ExecuteInProcessResult:
    """Execute a requested run, as the daemon does: with all checks of its assets."""
    definition = house.definitions.resolve_job_def(job)
    if request.asset_selection is not None:
        definition = definition.get_subset(asset_selection={*request.asset_selection})
    return definition.execute_in_process(
        run_config=QUIET, tags=request.tags, instance=house.instance, raise_on_error=False
    )


def test_without_pairs_nothing_is_due(house: GoldHouse) -> None:
    for name in (MARTS_HOURLY, MARTS_NIGHTLY, PORTFOLIO_HOURLY):
        assert due(house, name) == []


def test_the_hour_looks_at_the_look_back_and_the_night_at_all_days(house: GoldHouse) -> None:
    tell(house.instance, TRADE_LIFECYCLE, 2)
    (live,) = due(house, MARTS_HOURLY)
    (old,) = due(house, MARTS_NIGHTLY)
    (portfolio,) = due(house, PORTFOLIO_HOURLY)
    assert windows([live]) == [("BTCUSD|2024-01-07", "BTCUSD|2024-01-10")]
    assert windows([old]) == [("BTCUSD|2024-01-03", "BTCUSD|2024-01-10")]
    assert windows([portfolio]) == [("2024-01-03", "2024-01-10")]
    for each in (live, old):
        assert {*each.asset_selection} == {*map(table_key, OF_PAIRS)}
    assert Box(("BTCUSD",), day(6), day(9), ()).tags.items() <= live.tags.items()
    assert Days(day(2), day(9)).tags.items() <= portfolio.tags.items()


def test_a_look_back_does_not_begin_before_the_lake(
    house: GoldHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(house.instance, TRADE_LIFECYCLE, -5)
    monkeypatch.setenv("FFE_LOOK_BACK_DAYS", "1000")
    get_settings.cache_clear()
    assert windows(due(house, MARTS_HOURLY)) == [("BTCUSD|2023-12-27", "BTCUSD|2024-01-10")]


def test_pairs_with_the_same_days_share_a_run_and_others_run_beside_it(house: GoldHouse) -> None:
    for pair in ("BTCUSD", "ETHUSD"):
        tell(house.instance, TRADE_LIFECYCLE, 2, pair)
    tell(house.instance, TRADE_LIFECYCLE, 8, "SOLUSD")
    requests = due(house, MARTS_HOURLY)
    assert windows(requests) == [
        ("BTCUSD|2024-01-07", "ETHUSD|2024-01-10"),
        ("SOLUSD|2024-01-09", "SOLUSD|2024-01-10"),
    ]
    # Dagster launches one run a key and tick.
    assert len({each.run_key for each in requests}) == 2
    assert None not in {each.run_key for each in requests}


def test_a_requested_run_computes_all_marts_with_all_checks_and_then_there_is_peace(
    house: GoldHouse,
) -> None:
    house.trade(7)
    (request,) = due(house, MARTS_HOURLY)
    result = launch(house, request, MARTS)
    assert result.success
    evaluated = {each.asset_check_key for each in result.get_asset_check_evaluations()}
    graph = house.definitions.resolve_asset_graph()
    every = {key for mart in OF_PAIRS for key in graph.get(table_key(mart)).check_keys}
    assert evaluated == every
    assert dg.AssetCheckKey(table_key(PERFORMANCE), LEFT_FAILED) in evaluated
    assert all(each.passed for each in result.get_asset_check_evaluations())
    assert due(house, MARTS_HOURLY) == due(house, MARTS_NIGHTLY) == []

    (request,) = due(house, PORTFOLIO_HOURLY)
    assert launch(house, request, PORTFOLIO).success
    assert due(house, PORTFOLIO_HOURLY) == []
    # The day after is one more day of both.
    house.move(timedelta(days=1))
    assert windows(due(house, MARTS_HOURLY)) == [("BTCUSD|2024-01-11", "BTCUSD|2024-01-11")]
    assert windows(due(house, PORTFOLIO_HOURLY)) == [("2024-01-11", "2024-01-11")]


@pytest.mark.parametrize(
    ("schedule", "job"), [(MARTS_HOURLY, MARTS), (PORTFOLIO_HOURLY, PORTFOLIO)]
)
def test_what_failed_is_tried_again_after_pauses_that_grow(
    house: GoldHouse, schedule: str, job: str
) -> None:
    house.trade(7, 1e25)
    (request,) = due(house, schedule)
    attempts = [request.tags["ffe/attempt"]]
    for minutes in (5, 10):
        assert not launch(house, request, job).success
        assert due(house, schedule) == [], "it has to wait"
        house.move(timedelta(minutes=minutes - 1))
        assert due(house, schedule) == []
        house.move(timedelta(minutes=1))
        (request,) = due(house, schedule)
        attempts.append(request.tags["ffe/attempt"])
    assert attempts == ["1", "2", "3"]


def test_what_failed_is_given_up_until_something_new_has_come(
    house: GoldHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_MAX_ATTEMPTS", "1")
    get_settings.cache_clear()
    house.trade(7, 1e25)
    for schedule, job in ((MARTS_HOURLY, MARTS), (PORTFOLIO_HOURLY, PORTFOLIO)):
        (request,) = due(house, schedule)
        assert not launch(house, request, job).success
    house.move(timedelta(hours=5))
    assert due(house, MARTS_HOURLY) == due(house, PORTFOLIO_HOURLY) == []
    house.trade(8)
    for schedule in (MARTS_HOURLY, PORTFOLIO_HOURLY):
        # Day 7 has seen nothing new, and waits still.
        ends = [window[0].rpartition("|")[2] for window in windows(due(house, schedule))]
        assert ends == ["2024-01-09"]


def test_a_day_that_a_run_is_at_is_not_requested_once_more(house: GoldHouse) -> None:
    tell(house.instance, TRADE_LIFECYCLE, 8)
    for name, what in ((MARTS, house.box(8, 9)), (PORTFOLIO, Days(day(8), day(9)))):
        job = house.definitions.resolve_job_def(name)
        house.instance.create_run_for_job(
            job_def=job,
            tags=what.tags,
            status=dg.DagsterRunStatus.STARTED,
            asset_selection=frozenset(job.asset_layer.selected_asset_keys),
        )
    for mart, keys in ((PERFORMANCE, house.box(8, 9).keys), (SUMMARY, Days(day(8), day(9)).keys)):
        known = survey(house.instance, table_key(mart), keys, house.now)
        assert {each.state for each in known.values()} == {State.IN_PROGRESS}
    assert due(house, MARTS_HOURLY) == due(house, PORTFOLIO_HOURLY) == []
