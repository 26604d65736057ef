"""What a derived day reads, and when it is stale."""

from datetime import date
from itertools import pairwise

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.assets.derivations import derivations
from ffe_lakehouse.derivation import (
    Derived,
    Upstream,
    data_version,
    in_order,
    is_stale,
    newest_read,
    seen_by,
)
from ffe_lakehouse.partitions import partition_key, table_key
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.schemas.silver import (
    MARKET_DATA_ENRICHED,
    MARKET_DATA_UNIFIED,
    MULTI_TIMEFRAME_ANALYSIS,
)
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.watermarks import Known, State

HOURS, DAYS = raw_candles(TIMEFRAMES["1h"]), raw_candles(TIMEFRAMES["1d"])
FUSED = Derived((MARKET_DATA_UNIFIED,), (Upstream((HOURS, DAYS)),))
LOOKS_BACK = Derived((MARKET_DATA_ENRICHED,), (Upstream((HOURS,), days_back=2),))
FIRST, LAST = date(2024, 3, 4), date(2024, 3, 8)


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def happen(instance: dg.DagsterInstance, table: object, pair: str, day: date) -> int:
    """Materialize one day; the number of the event."""
    key = table_key(table)
    instance.report_runless_asset_event(
        dg.AssetMaterialization(key, partition=partition_key(pair, day))
    )
    (record,) = instance.fetch_materializations(key, limit=1).records
    return record.storage_id


def read(instance: dg.DagsterInstance, derived: Derived, *pairs: str) -> list[list[int]]:
    found: list[list[int]] = newest_read(instance, derived, pairs, FIRST, LAST).tolist()
    return found


def test_a_day_is_there_to_be_computed_once_any_of_its_tables_has_it(
    instance: dg.DagsterInstance,
) -> None:
    hours = happen(instance, HOURS, "BTCUSD", date(2024, 3, 5))
    days = happen(instance, DAYS, "BTCUSD", date(2024, 3, 5))
    only = happen(instance, DAYS, "ETHUSD", date(2024, 3, 8))
    assert read(instance, FUSED, "BTCUSD", "ETHUSD") == [[0, days, 0, 0, 0], [0, 0, 0, 0, only]]
    assert hours < days


def test_a_day_hangs_on_the_days_before_it_as_far_as_it_reads_and_no_further(
    instance: dg.DagsterInstance,
) -> None:
    for day in (4, 5, 6, 7, 8):
        happen(instance, HOURS, "BTCUSD", date(2024, 3, day))
    late = happen(instance, HOURS, "BTCUSD", date(2024, 3, 3))
    found = read(instance, LOOKS_BACK, "BTCUSD")[0]
    assert found[:2] == [late, late]
    assert late not in found[2:]


def test_of_a_day_that_is_not_there_nothing_is_computed_though_the_days_before_it_are(
    instance: dg.DagsterInstance,
) -> None:
    first = happen(instance, HOURS, "BTCUSD", FIRST)
    assert read(instance, LOOKS_BACK, "BTCUSD") == [[first, 0, 0, 0, 0]]


@given(st.integers(1, 10**12), st.integers(1, 10**12))
def test_a_day_is_stale_if_something_happened_after_what_it_has_seen(seen: int, new: int) -> None:
    known = Known(State.LATE, data_version(seen))
    assert is_stale(known, new) == (new > seen)


@pytest.mark.parametrize(
    ("known", "stale"),
    [
        (Known(State.MISSING), True),
        (Known(State.FAILED, data_version(7)), True),
        (Known(State.IN_PROGRESS, data_version(1)), False),
        (Known(State.LATE, "reported by hand"), True),
        (Known(State.LATE, data_version(7)), False),
    ],
)
def test_what_was_never_computed_or_failed_is_stale_and_what_is_being_computed_is_not(
    known: Known, stale: bool
) -> None:
    assert is_stale(known, 7) is stale
    assert not is_stale(known, 0), "there is nothing to compute"


def test_a_version_that_nobody_here_wrote_has_seen_nothing() -> None:
    assert seen_by("closed:24:simulated") == seen_by("") == 0
    assert seen_by(data_version(12)) == 12


def test_steps_run_after_what_they_read() -> None:
    steps = [each.derived for each in derivations()]
    ordered = in_order(reversed(steps))
    assert {step.name for step in ordered} == {step.name for step in steps}
    place = {table.name: n for n, step in enumerate(ordered) for table in step.tables}
    for n, step in enumerate(ordered):
        for upstream in step.reads:
            assert all(place.get(table.name, -1) < n for table in upstream.tables)


def test_steps_in_a_circle_are_refused() -> None:
    tables = (MARKET_DATA_UNIFIED, MARKET_DATA_ENRICHED, MULTI_TIMEFRAME_ANALYSIS)
    circle = [
        Derived((made,), (Upstream((read,)),)) for read, made in pairwise((*tables, tables[0]))
    ]
    with pytest.raises(ValueError, match="a circle among"):
        in_order(circle)


def test_dagster_is_told_the_same_days() -> None:
    upstream = Upstream((HOURS,), days_back=2)
    mapping = upstream.mapping
    assert isinstance(mapping, dg.MultiPartitionMapping)
    dates = mapping.downstream_mappings_by_upstream_dimension["date"].partition_mapping
    assert isinstance(dates, dg.TimeWindowPartitionMapping)
    assert dates.start_offset == -2
    assert isinstance(Upstream((HOURS,)).mapping, dg.IdentityPartitionMapping)
