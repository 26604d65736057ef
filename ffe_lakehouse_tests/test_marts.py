"""Which days of the marts are stale, and the fewest runs that bring them up to date."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.assets.events import data_version_tags
from ffe_lakehouse.derivation import data_version, newest_read, newest_within
from ffe_lakehouse.marts import (
    Days,
    newest_of_portfolio,
    pair_marts,
    portfolio_marts,
    stale_portfolio,
)
from ffe_lakehouse.partitions import ASSET_PAIR, days_between, table_key
from ffe_lakehouse.processing import Work, stages, stale_days
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.schemas.gold import is_by_pair, marts
from ffe_lakehouse.schemas.records import RAW_PORTFOLIO_SNAPSHOTS
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED
from ffe_lakehouse.schemas.silver_records import DECISION_HISTORY, TRADE_LIFECYCLE
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.gold_house import FIRST_DAY, NOW, OF_PAIRS, SUMMARY, day, tell
from ffe_lakehouse_tests.gold_lake import DAY

TODAY = 9
"""Number of the day that is running at ``NOW``."""


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("FFE_START_DATE", FIRST_DAY.isoformat())
    get_settings.cache_clear()
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
    get_settings.cache_clear()


def compute(instance: dg.DagsterInstance, first: int, last: int, pair: str = "BTCUSD") -> None:
    """Say that the marts of these days have seen all that there is."""
    found = newest_read(instance, pair_marts()[0], [pair], day(first), day(last))[0]
    for number, newest in zip(range(first, last + 1), found.tolist(), strict=True):
        for mart in OF_PAIRS:
            tell(instance, mart, number, pair, data_version_tags(data_version(newest)))


def compute_portfolio(instance: dg.DagsterInstance, first: int, last: int) -> None:
    found = newest_of_portfolio(instance, day(first), day(last))
    for number, newest in zip(range(first, last + 1), found.tolist(), strict=True):
        tell(instance, SUMMARY, number, None, data_version_tags(data_version(newest)))


def works(
    instance: dg.DagsterInstance, first: int, last: int, *pairs: str, **how: bool
) -> list[list[Work]]:
    known = list(instance.get_dynamic_partitions(ASSET_PAIR))
    days = (day(first), day(last))
    stale = stale_days(instance, pair_marts(), pairs or known, days, NOW, **how)
    return stages(stale, pair_marts(), known)


def boxes(found: list[list[Work]]) -> list[tuple[tuple[str, ...], int, int]]:
    """Pairs, first and last day of each run, of which there is one stage, of all marts."""
    if not found:
        return []
    (stage,) = found
    assert all({*work.keys} == {table_key(mart) for mart in OF_PAIRS} for work in stage)
    return [
        (work.box.pairs, (work.box.first - DAY).days, (work.box.last - DAY).days) for work in stage
    ]


def stale_numbers(instance: dg.DagsterInstance, **how: bool) -> list[int]:
    """Stale days of the portfolio."""
    found = stale_portfolio(instance, day(0), day(TODAY), NOW, **how)
    return [(each - DAY).days for of in found for each in days_between(of.first, of.last)]


def test_marts_are_of_pairs_or_of_the_portfolio() -> None:
    assert {table.name for step in pair_marts() for table in step.tables} | {
        mart.name for mart in portfolio_marts()
    } == {mart.name for mart in marts().values()}
    assert all(is_by_pair(mart) for mart in OF_PAIRS)
    assert not is_by_pair(SUMMARY)


def test_without_records_or_bars_there_is_nothing_to_compute(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions(ASSET_PAIR, ["BTCUSD"])
    assert works(instance, 0, TODAY, force=True) == []
    assert stale_numbers(instance, force=True) == []
    assert newest_read(instance, pair_marts()[0], [], day(0), day(1)).shape == (0, 2)


@pytest.mark.parametrize("table", [TRADE_LIFECYCLE, DECISION_HISTORY, MARKET_DATA_ENRICHED])
def test_a_pair_has_every_day_from_its_first_record_or_bar_on(
    instance: dg.DagsterInstance, table: TableSchema
) -> None:
    first = tell(instance, table, 2)
    again = tell(instance, table, 5)
    found = newest_read(instance, pair_marts()[0], ["BTCUSD"], day(0), day(7))
    assert found.tolist() == [[0, 0, first, first, first, again, again, again]]
    # Wherever one begins to look.
    for begin in range(8):
        part = newest_read(instance, pair_marts()[0], ["BTCUSD"], day(begin), day(7))
        assert part.tolist() == found[:, begin:].tolist()
    assert boxes(works(instance, 0, TODAY)) == [(("BTCUSD",), 2, TODAY)]


def test_what_has_seen_everything_is_not_stale(instance: dg.DagsterInstance) -> None:
    tell(instance, TRADE_LIFECYCLE, 2)
    compute(instance, 2, TODAY)
    assert works(instance, 0, TODAY) == []
    assert boxes(works(instance, 3, 4, force=True)) == [(("BTCUSD",), 3, 4)]


def test_a_new_trade_makes_its_day_and_every_later_one_stale_and_no_earlier_one(
    instance: dg.DagsterInstance,
) -> None:
    tell(instance, TRADE_LIFECYCLE, 0)
    compute(instance, 0, TODAY)
    tell(instance, TRADE_LIFECYCLE, 4)
    assert boxes(works(instance, 0, TODAY)) == [(("BTCUSD",), 4, TODAY)]


def test_what_was_computed_of_later_days_is_computed_anew_with_the_day_that_is_asked_for(
    instance: dg.DagsterInstance,
) -> None:
    tell(instance, TRADE_LIFECYCLE, 0)
    compute(instance, 0, 7)
    tell(instance, TRADE_LIFECYCLE, 4)
    # Days 8 and 9 were never computed, and nobody asks for them.
    assert boxes(works(instance, 4, 4)) == [(("BTCUSD",), 4, 7)]
    assert boxes(works(instance, 2, 5)) == [(("BTCUSD",), 4, 7)]
    assert boxes(works(instance, 4, 4, beyond=False)) == [(("BTCUSD",), 4, 4)]


def test_a_trade_of_one_pair_leaves_the_marts_of_another_alone(
    instance: dg.DagsterInstance,
) -> None:
    for pair in ("BTCUSD", "ETHUSD"):
        tell(instance, TRADE_LIFECYCLE, 0, pair)
        compute(instance, 0, TODAY, pair)
    tell(instance, TRADE_LIFECYCLE, 6, "ETHUSD")
    assert boxes(works(instance, 0, TODAY)) == [(("ETHUSD",), 6, TODAY)]


def test_neighbours_with_the_same_days_share_a_run(instance: dg.DagsterInstance) -> None:
    for pair in ("BTCUSD", "ETHUSD", "EURUSD", "SOLUSD"):
        tell(instance, TRADE_LIFECYCLE, 0, pair)
    compute(instance, 0, TODAY, "EURUSD")
    assert boxes(works(instance, 0, TODAY)) == [
        (("BTCUSD", "ETHUSD"), 0, TODAY),
        (("SOLUSD",), 0, TODAY),
    ]


def test_each_hole_is_one_run_of_all_marts_and_none_waits_for_another(
    instance: dg.DagsterInstance,
) -> None:
    tell(instance, TRADE_LIFECYCLE, 0)
    for first, last in ((1, 3), (5, 5), (7, 8)):
        compute(instance, first, last)
    assert boxes(works(instance, 0, TODAY)) == [
        (("BTCUSD",), 0, 0),
        (("BTCUSD",), 4, 4),
        (("BTCUSD",), 6, 6),
        (("BTCUSD",), 9, 9),
    ]


def test_a_mart_that_is_behind_the_others_is_computed_alone(instance: dg.DagsterInstance) -> None:
    tell(instance, TRADE_LIFECYCLE, 0)
    compute(instance, 0, TODAY)
    tell(instance, OF_PAIRS[1], 3, tags=data_version_tags("reported by hand"))
    (((work,),)) = works(instance, 0, TODAY)
    assert (work.keys, work.box.first, work.box.last) == ([table_key(OF_PAIRS[1])], day(3), day(3))


def test_the_portfolio_has_every_day_from_its_first_snapshot_or_trade_on(
    instance: dg.DagsterInstance,
) -> None:
    trade = tell(instance, TRADE_LIFECYCLE, 3, "ETHUSD")
    snapshot = tell(instance, RAW_PORTFOLIO_SNAPSHOTS, 5, None)
    tell(instance, DECISION_HISTORY, 0)
    tell(instance, MARKET_DATA_ENRICHED, 0)
    expected = [0, 0, 0, trade, trade, snapshot, snapshot, snapshot]
    assert newest_of_portfolio(instance, day(0), day(7)).tolist() == expected
    assert newest_of_portfolio(instance, day(6), day(7)).tolist() == expected[6:]
    assert stale_portfolio(instance, day(0), day(TODAY), NOW) == [Days(day(3), day(TODAY))]


def test_a_trade_of_any_pair_makes_later_days_of_the_portfolio_stale(
    instance: dg.DagsterInstance,
) -> None:
    tell(instance, TRADE_LIFECYCLE, 0)
    compute_portfolio(instance, 0, 7)
    tell(instance, TRADE_LIFECYCLE, 5, "ETHUSD")
    assert stale_numbers(instance) == [5, 6, 7, 8, 9]
    # Of days after those that are asked for, only what was computed before.
    look = (day(5), day(5), NOW)
    assert stale_portfolio(instance, *look) == [Days(day(5), day(5))]
    assert stale_portfolio(instance, *look, beyond=True) == [Days(day(5), day(7))]
    forced = stale_portfolio(instance, day(2), day(3), NOW, force=True, beyond=True)
    assert forced == [Days(day(2), day(3)), Days(day(5), day(7))]


def test_holes_of_the_portfolio_are_runs_of_their_own(instance: dg.DagsterInstance) -> None:
    tell(instance, RAW_PORTFOLIO_SNAPSHOTS, 0, None)
    compute_portfolio(instance, 2, 4)
    found = stale_portfolio(instance, day(0), day(6), NOW)
    assert found == [Days(day(0), day(1)), Days(day(5), day(6))]
    assert found[0].keys == ["2024-01-01", "2024-01-02"]


def test_days_are_looked_at_up_to_today_and_no_further(instance: dg.DagsterInstance) -> None:
    tell(instance, TRADE_LIFECYCLE, 0)
    compute(instance, 0, TODAY + 3)
    compute_portfolio(instance, 0, TODAY + 3)
    tell(instance, TRADE_LIFECYCLE, 0)
    assert boxes(works(instance, 0, 0)) == [(("BTCUSD",), 0, TODAY)]
    assert stale_portfolio(instance, day(0), day(0), NOW, beyond=True) == [Days(day(0), day(TODAY))]


def test_many_partitions_are_read_at_once_with_the_same_result(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_START_DATE", (day(0) - timedelta(6_000)).isoformat())
    get_settings.cache_clear()
    number = tell(instance, TRADE_LIFECYCLE, 2)
    found = newest_read(instance, pair_marts()[0], ["BTCUSD"], day(1), day(3))
    assert found.tolist() == [[0, number, number]]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_the_newest_of_every_day_before_only_grows(values: list[int]) -> None:
    found = newest_within(np.array([values]), None)[0]
    assert found.tolist() == [max(values[: end + 1]) for end in range(len(values))]
