"""When a live pair is stale: never in a closed market, and after five minutes in an open one."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.monitoring.freshness import (
    DAILY_BEGINS,
    Reach,
    daily_policy,
    is_awaited,
    latest_deadline,
    newest_due,
    watched_since,
)
from ffe_lakehouse.symbols import Symbol, parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe

NEW_YORK = ZoneInfo("America/New_York")
BTC, EUR, AAPL = map(parse_symbol, ["BTCUSD", "EURUSD", "AAPL"])
FIVE = timedelta(minutes=5)
MOMENT = timedelta(microseconds=1)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)

# Any moment of eight years, or a full minute: New York changes its clocks sixteen times in them.
begin = datetime(2019, 1, 1, tzinfo=UTC)
minutes = st.integers(0, 8 * 365 * 1440).map(lambda n: begin + n * MINUTE)
moments = minutes | st.tuples(minutes, st.integers(0, 59_999_999)).map(
    lambda both: both[0] + both[1] * MOMENT
)
symbols = st.sampled_from([BTC, EUR, AAPL])
timeframes = st.sampled_from(list(TIMEFRAMES.values()))
allowances = st.integers(1, 120).map(lambda minutes: timedelta(minutes=minutes))


def at(text: str) -> datetime:
    """A moment of New York."""
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).astimezone(UTC)


def closed_by(symbol: Symbol, timeframe: Timeframe, moment: datetime) -> datetime | None:
    """The newest bar that a perfect loader has at ``moment``."""
    end = moment - timeframe.duration + MOMENT
    bars = expected_bars(symbol, timeframe, end - 20 * DAY, end)
    return bars[-1].item().replace(tzinfo=UTC) if bars.size else None


@given(st.integers(0, 416), st.integers(0, 48 * 60 - 1), allowances)
def test_nothing_is_awaited_of_forex_at_a_weekend(
    week: int, minute: int, allowed: timedelta
) -> None:
    # Added before the zone is known: New York changes its clocks on Sundays at 02:00.
    local = datetime.fromisoformat("2019-01-04T17:00") + week * 7 * DAY + minute * MINUTE
    assert not is_awaited(EUR, local.replace(tzinfo=NEW_YORK), allowed)


@given(
    st.integers(0, 2920),
    st.integers(0, 9 * 60 + 29) | st.integers(16 * 60, 24 * 60 - 1),
    allowances,
)
def test_nothing_is_awaited_of_equities_at_night(day: int, minute: int, allowed: timedelta) -> None:
    local = datetime.fromisoformat("2019-01-01T00:00") + day * DAY + minute * MINUTE
    assert not is_awaited(AAPL, local.replace(tzinfo=NEW_YORK), allowed)


@given(symbols, timeframes, moments, allowances, st.floats(0, 1))
def test_a_loader_that_is_behind_by_no_more_than_allowed_is_never_stale(
    symbol: Symbol, timeframe: Timeframe, now: datetime, allowed: timedelta, share: float
) -> None:
    due = newest_due(symbol, timeframe, now, allowed)
    loaded = closed_by(symbol, timeframe, now - allowed * share)
    assert due is None or not Reach(last=loaded).lacks(due)


@given(symbols, timeframes, moments, allowances)
def test_a_loader_that_lacks_what_closed_longer_ago_lacks_what_is_due(
    symbol: Symbol, timeframe: Timeframe, now: datetime, allowed: timedelta
) -> None:
    due = newest_due(symbol, timeframe, now, allowed)
    assert due is not None
    assert due == closed_by(symbol, timeframe, now - allowed)
    assert due + timeframe.duration + allowed <= now
    before = closed_by(symbol, timeframe, due + timeframe.duration - MOMENT)
    assert before is not None
    assert Reach(last=before).lacks(due)
    assert not Reach(last=due).lacks(due)
    assert Reach().lacks(due)


@pytest.mark.parametrize(
    ("symbol", "opening", "before"),
    [
        (EUR, "2024-03-10T17:00", "2024-03-08T16:59"),  # the clocks went forward that morning
        (EUR, "2024-03-03T17:00", "2024-03-01T16:59"),
        (EUR, "2024-11-03T17:00", "2024-11-01T16:59"),  # and back
        (EUR, "2023-12-25T17:00", "2023-12-22T16:59"),  # Christmas on a Monday
        (AAPL, "2024-03-11T09:30", "2024-03-08T15:59"),
        (AAPL, "2024-07-05T09:30", "2024-07-03T12:59"),  # a holiday, after half a day
        (AAPL, "2024-11-04T09:30", "2024-11-01T15:59"),
    ],
)
def test_the_first_minutes_after_an_opening_need_nothing_and_the_next_need_the_first_bar(
    symbol: Symbol, opening: str, before: str
) -> None:
    minute = TIMEFRAMES["1m"]
    opens = at(opening)
    assert not is_awaited(symbol, opens - MOMENT, FIVE)
    assert not is_awaited(symbol, opens + FIVE - MOMENT, FIVE)
    assert is_awaited(symbol, opens + FIVE, FIVE)
    assert newest_due(symbol, minute, opens + FIVE, FIVE) == at(before)
    assert newest_due(symbol, minute, opens + FIVE + MINUTE, FIVE) == opens


@pytest.mark.parametrize(
    "closed",
    [
        "2024-01-13T12:00",
        "2024-01-14T12:00",
        "2024-07-04T12:00",
        "2024-07-03T13:30",
        "2024-12-25T11:00",
        "2024-11-29T13:30",
    ],
)
def test_a_weekend_a_holiday_and_the_second_half_of_half_a_day_are_closed(closed: str) -> None:
    assert not is_awaited(AAPL, at(closed), FIVE)


@pytest.mark.parametrize(
    ("code", "due"),
    [
        ("1m", "2024-01-10T10:01"),
        ("5m", "2024-01-10T09:55"),
        ("15m", "2024-01-10T09:45"),
        ("1h", "2024-01-10T09:00"),
        ("4h", "2024-01-10T04:00"),
        ("1d", "2024-01-09T00:00"),
    ],
)
def test_every_timeframe_has_its_own_newest_bar(code: str, due: str) -> None:
    now = datetime(2024, 1, 10, 10, 7, tzinfo=UTC)
    expected = datetime.fromisoformat(due).replace(tzinfo=UTC)
    assert newest_due(BTC, TIMEFRAMES[code], now, FIVE) == expected


def test_the_daily_bar_of_an_equity_is_awaited_in_the_next_session() -> None:
    friday = datetime(2024, 1, 12, tzinfo=UTC)
    assert newest_due(AAPL, TIMEFRAMES["1d"], friday + DAY + FIVE, FIVE) == friday
    assert not is_awaited(AAPL, friday + DAY + FIVE, FIVE)
    tuesday = at("2024-01-16T09:36")  # Monday was a holiday
    assert newest_due(AAPL, TIMEFRAMES["1d"], tuesday, FIVE) == friday
    assert is_awaited(AAPL, tuesday, FIVE)


def test_whether_the_vendor_was_asked_for_a_bar_is_told_by_how_far_it_was_asked() -> None:
    due = datetime(2024, 1, 10, 10, 1, tzinfo=UTC)
    assert not Reach().was_asked_for(due)
    assert not Reach(asked_until=due).was_asked_for(due)
    assert Reach(asked_until=due + MOMENT).was_asked_for(due)


NOON = datetime(2024, 1, 10, 12, tzinfo=UTC)


def test_a_pair_is_watched_since_its_first_look_until_the_looks_pause_too_long() -> None:
    first = watched_since({}, None, ["BTCUSD"], NOON, FIVE)
    assert first == {"BTCUSD": NOON}
    later = watched_since(first, NOON, ["BTCUSD", "ETHUSD"], NOON + FIVE, FIVE)
    assert later == {"BTCUSD": NOON, "ETHUSD": NOON + FIVE}
    awake = NOON + 2 * FIVE + MOMENT
    assert watched_since(later, NOON + FIVE, ["ETHUSD"], awake, FIVE) == {"ETHUSD": awake}


def test_a_clock_that_is_put_back_begins_anew() -> None:
    before = watched_since({}, None, ["BTCUSD"], NOON, FIVE)
    assert watched_since(before, NOON, ["BTCUSD"], NOON - DAY, FIVE) == {"BTCUSD": NOON - DAY}


@given(moments, st.integers(1, 4000).map(lambda minutes: timedelta(minutes=minutes)))
def test_the_latest_deadline_is_the_last_that_has_passed(now: datetime, sla: timedelta) -> None:
    deadline = latest_deadline(now, sla)
    assert deadline <= now < deadline + DAY
    begins = deadline - sla
    assert begins - begins.replace(hour=0, minute=0, second=0, microsecond=0) == DAILY_BEGINS


def test_by_default_the_daily_pipeline_has_to_be_done_at_three() -> None:
    policy = daily_policy(timedelta(minutes=120))
    assert policy == dg.FreshnessPolicy.cron("0 3 * * *", timedelta(hours=2))


@given(st.floats(1e-6, 1e5, exclude_min=True))
def test_dagster_takes_the_policy_of_every_setting(minutes: float) -> None:
    daily_policy(timedelta(minutes=minutes))
