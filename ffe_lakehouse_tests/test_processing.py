"""Which derived days are computed, in which runs."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from ffe_lakehouse.assets.events import data_version_tags
from ffe_lakehouse.derivation import Derived, Upstream, data_version, newest_read
from ffe_lakehouse.partitions import days_between, partition_key, table_key
from ffe_lakehouse.processing import Work, stages, stale_days
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.schemas.silver import (
    MARKET_DATA_ENRICHED,
    MARKET_DATA_UNIFIED,
    MULTI_TIMEFRAME_ANALYSIS,
)
from ffe_lakehouse.timeframes import TIMEFRAMES

HOURS = raw_candles(TIMEFRAMES["1h"])
UNIFY = Derived((MARKET_DATA_UNIFIED,), (Upstream((HOURS,)),))
ENRICH = Derived((MARKET_DATA_ENRICHED,), (Upstream((MARKET_DATA_UNIFIED,), days_back=3),))
ANALYSE = Derived((MULTI_TIMEFRAME_ANALYSIS,), (Upstream((MARKET_DATA_ENRICHED,)),))
STEPS = [ANALYSE, UNIFY, ENRICH]
PAIRS = ["AAAUSD", "BBBUSD", "CCCUSD"]
FIRST, LAST = date(2024, 3, 1), date(2024, 3, 10)
NOW = datetime(2024, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def load(instance: dg.DagsterInstance, pair: str, first: date, last: date) -> None:
    for day in days_between(first, last):
        instance.report_runless_asset_event(
            dg.AssetMaterialization(table_key(HOURS), partition=partition_key(pair, day))
        )


def look(
    instance: dg.DagsterInstance, first: date = FIRST, last: date = LAST, *, force: bool = False
) -> list[list[Work]]:
    stale = stale_days(instance, STEPS, PAIRS, (first, last), NOW, force=force)
    return stages(stale, STEPS, PAIRS)


def compute(instance: dg.DagsterInstance, work: Work) -> None:
    """What a run says to Dagster."""
    box = work.box
    for step in work.steps:
        newest = newest_read(instance, step, box.pairs, box.first, box.last)
        for pair, row in zip(box.pairs, newest.tolist(), strict=True):
            for day, seen in zip(days_between(box.first, box.last), row, strict=True):
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(
                        step.keys[0],
                        partition=partition_key(pair, day),
                        tags=data_version_tags(data_version(seen)),
                    )
                )


def told(works: list[Work]) -> list[tuple[str, tuple[str, ...], int, int]]:
    return [
        ("+".join(step.name for step in w.steps), w.box.pairs, w.box.first.day, w.box.last.day)
        for w in works
    ]


ALL = "market_data_unified+market_data_enriched+multi_timeframe_analysis"


def test_days_in_a_row_of_neighbours_are_one_run_of_all_steps(
    instance: dg.DagsterInstance,
) -> None:
    load(instance, "AAAUSD", FIRST, LAST)
    load(instance, "BBBUSD", FIRST, LAST)
    assert [told(stage) for stage in look(instance)] == [[(ALL, ("AAAUSD", "BBBUSD"), 1, 10)]]


def test_what_is_computed_is_not_computed_again(instance: dg.DagsterInstance) -> None:
    load(instance, "AAAUSD", FIRST, LAST)
    for work in look(instance)[0]:
        compute(instance, work)
    assert look(instance) == []


def test_with_a_hole_each_step_is_through_with_all_days_before_the_next_begins(
    instance: dg.DagsterInstance,
) -> None:
    load(instance, "AAAUSD", FIRST, date(2024, 3, 2))
    load(instance, "AAAUSD", date(2024, 3, 5), date(2024, 3, 5))
    assert [told(stage) for stage in look(instance)] == [
        [(name, ("AAAUSD",), 1, 2), (name, ("AAAUSD",), 5, 5)] for name in ALL.split("+")
    ]


def test_a_late_day_takes_along_what_hangs_on_it_and_no_more(
    instance: dg.DagsterInstance,
) -> None:
    load(instance, "AAAUSD", FIRST, LAST)
    for work in look(instance)[0]:
        compute(instance, work)
    late = date(2024, 3, 4)
    load(instance, "AAAUSD", late, late)
    # Also if only the late day is asked for: what was computed from it is wrong now.
    for first, last in ((FIRST, LAST), (late, late)):
        assert [told(stage) for stage in look(instance, first, last)] == [
            [("market_data_unified", ("AAAUSD",), 4, 4)],
            [("market_data_enriched+multi_timeframe_analysis", ("AAAUSD",), 4, 7)],
        ]


def test_days_behind_those_that_are_asked_for_are_left_alone_unless_they_were_computed(
    instance: dg.DagsterInstance,
) -> None:
    load(instance, "AAAUSD", FIRST, LAST)
    asked = date(2024, 3, 2)
    assert [told(stage) for stage in look(instance, FIRST, asked)] == [[(ALL, ("AAAUSD",), 1, 2)]]


def test_a_day_that_was_computed_while_its_input_changed_is_stale(
    instance: dg.DagsterInstance,
) -> None:
    load(instance, "AAAUSD", FIRST, FIRST)
    (work,) = look(instance)[0]
    seen = newest_read(instance, UNIFY, PAIRS[:1], FIRST, FIRST)[0, 0]
    load(instance, "AAAUSD", FIRST, FIRST)
    event = dg.AssetMaterialization(
        UNIFY.keys[0],
        partition=partition_key("AAAUSD", FIRST),
        tags=data_version_tags(data_version(int(seen))),
    )
    instance.report_runless_asset_event(event)
    assert told(look(instance)[0]) == [(ALL, ("AAAUSD",), 1, 1)]
    assert work.steps[0] is UNIFY


def test_force_computes_what_is_asked_for_whether_it_is_stale_or_not(
    instance: dg.DagsterInstance,
) -> None:
    load(instance, "AAAUSD", FIRST, LAST)
    for work in look(instance)[0]:
        compute(instance, work)
    two_days = (LAST - timedelta(1), LAST)
    assert [told(stage) for stage in look(instance, *two_days, force=True)] == [
        [(ALL, ("AAAUSD",), 9, 10)]
    ]


def test_pairs_that_are_no_neighbours_run_apart(instance: dg.DagsterInstance) -> None:
    for pair in ("AAAUSD", "CCCUSD"):
        load(instance, pair, FIRST, FIRST)
    assert [told(stage) for stage in look(instance)] == [
        [(ALL, ("AAAUSD",), 1, 1), (ALL, ("CCCUSD",), 1, 1)]
    ]
