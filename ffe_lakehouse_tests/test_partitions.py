"""Partition keys and windows of days."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.partitions import (
    ONE_DAY,
    PairDays,
    check_range,
    contiguous,
    daily_by_pair,
    days_between,
    key_texts,
    partition_key,
    split_key,
    windows,
)
from ffe_lakehouse.settings import get_settings

pairs = st.sampled_from(["BTCUSD", "EURUSD", "BRK.B", "F"])
days = st.dates(date(2024, 1, 1), date(2024, 2, 15))
NOW = datetime(2024, 7, 5, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings of the test, not of the machine."""
    monkeypatch.delenv("FFE_START_DATE", raising=False)
    get_settings.cache_clear()
    yield
    monkeypatch.undo()
    get_settings.cache_clear()


@given(pairs, st.dates(date(2015, 1, 1), date(2024, 7, 1)))
@settings(deadline=None)
def test_a_key_that_is_split_is_made_of_its_parts(pair: str, day: date) -> None:
    key = partition_key(pair, day)
    assert split_key(key) == (pair, day)
    assert split_key(str(key)) == (pair, day)
    assert str(key) == f"{pair}|{day}"


@given(pairs, st.sets(days))
@settings(deadline=None)
def test_windows_of_days_cover_exactly_the_days_in_as_few_pieces_as_there_are_holes(
    pair: str, wanted: set[date]
) -> None:
    found = list(contiguous(pair, wanted))
    assert [day for window in found for day in window.days] == sorted(wanted)
    assert {window.pair for window in found} <= {pair}
    for before, after in pairwise(found):
        assert after.first - before.last > ONE_DAY


@given(st.lists(st.tuples(pairs, days), unique=True))
@settings(deadline=None)
def test_windows_of_keys_hold_every_key_once_whatever_the_order(
    wanted: list[tuple[str, date]],
) -> None:
    found = windows([partition_key(pair, day) for pair, day in wanted])
    keys = [key for window in found for key in window.keys]
    assert sorted(keys) == sorted(partition_key(pair, day) for pair, day in wanted)
    appeared = list(dict.fromkeys(pair for pair, _ in wanted))
    assert list(dict.fromkeys(window.pair for window in found)) == appeared


def test_a_window_is_half_open_in_time_and_includes_its_last_day() -> None:
    window = PairDays("BTCUSD", date(2024, 2, 28), date(2024, 3, 1))
    assert window.start == datetime(2024, 2, 28, tzinfo=UTC)
    assert window.end == datetime(2024, 3, 2, tzinfo=UTC)
    assert window.days == [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)]
    assert days_between(date(2024, 1, 2), date(2024, 1, 1)) == []


def test_the_running_day_can_be_addressed_and_the_next_one_cannot() -> None:
    today = datetime.now(UTC).date()
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("asset_pair", ["BRK.B"])
        known = daily_by_pair().get_partition_keys(dynamic_partitions_store=instance)
    near = [partition_key("BRK.B", today + timedelta(n)) for n in (-1, 0, 1)]
    assert [key in known for key in near] == [True, True, False]
    assert min(known) == partition_key("BRK.B", date(2015, 1, 1))


def test_a_range_up_to_the_running_day_is_accepted() -> None:
    check_range(date(2015, 1, 1), NOW.date(), NOW)


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        (date(2024, 7, 2), date(2024, 7, 1), "swap them"),
        (date(2024, 7, 1), date(2024, 7, 6), "in the future.*2024-07-05"),
        (date(2014, 12, 31), date(2024, 7, 1), "FFE_START_DATE=2014-12-31"),
    ],
    ids=["reversed", "future", "too early"],
)
def test_a_range_that_cannot_be_loaded_is_refused_with_the_way_out(
    first: date, last: date, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        check_range(first, last, NOW)


def test_an_earlier_start_date_lets_earlier_days_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFE_START_DATE", "2010-01-01")
    get_settings.cache_clear()
    check_range(date(2010, 1, 1), date(2010, 1, 2), NOW)


def test_keys_as_texts_are_those_that_dagster_makes() -> None:
    pairs, days = ["BTCUSD", "BRK.B"], days_between(date(2024, 2, 28), date(2024, 3, 1))
    assert key_texts(pairs, days) == [partition_key(pair, day) for pair in pairs for day in days]
