"""Trading calendars, by hand-picked days, by recorded feeds, and by their laws."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.calendars import expected_bars, is_open
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES

BTC, EURUSD, AAPL = map(parse_symbol, ["BTCUSD", "EURUSD", "AAPL"])
ALL_CODES = list(TIMEFRAMES)
FOUR_YEARS = datetime(2020, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def equity_calendar(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Lets a test choose ``FFE_EQUITY_CALENDAR``."""
    get_settings.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    get_settings.cache_clear()


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def bars(pair: str, code: str, start: str, end: str) -> list[str]:
    found = expected_bars(parse_symbol(pair), TIMEFRAMES[code], utc(start), utc(end))
    return [str(bar) for bar in found.astype("datetime64[m]")]


def recorded(path: Path, column: str) -> np.ndarray:
    return pq.read_table(path)[column].to_numpy().astype("datetime64[us]")


# --- recorded feeds


def test_oanda_has_no_forex_bar_that_the_calendar_does_not_expect(shared_data: Path) -> None:
    for code in ("15m", "1h"):
        delivered = recorded(shared_data / f"candles/oanda/EURUSD_{code}.parquet", "time")
        expected = expected_bars(EURUSD, TIMEFRAMES[code], *FOUR_YEARS)
        assert len(np.setdiff1d(delivered, expected)) == 0, code


def test_oanda_lacks_only_the_29_bars_around_the_daily_opening_that_are_true_gaps(
    shared_data: Path,
) -> None:
    delivered = recorded(shared_data / "candles/oanda/EURUSD_15m.parquet", "time")
    expected = expected_bars(EURUSD, TIMEFRAMES["15m"], *FOUR_YEARS)
    missing = np.setdiff1d(expected, delivered)
    assert len(expected) == 99_648
    assert len(missing) == 29
    by_day, counts = np.unique(missing.astype("datetime64[D]"), return_counts=True)
    assert dict(zip(by_day.astype(str).tolist(), counts.tolist(), strict=True)) == {
        "2020-04-15": 1,
        "2020-05-31": 4,  # opened an hour late
        "2020-09-28": 1,
        "2021-03-07": 1,
        "2021-03-28": 1,
        "2021-04-04": 2,
        "2021-06-21": 1,
        "2021-07-11": 1,
        "2021-08-01": 1,
        "2021-08-15": 1,
        "2021-08-22": 1,
        "2021-11-21": 8,  # opened two hours late
        "2023-01-01": 4,  # opened an hour late
        "2023-01-02": 2,
    }


def test_apple_traded_on_exactly_the_expected_days_of_23_years(shared_data: Path) -> None:
    delivered = recorded(shared_data / "candles/equities/AAPL_1d.parquet", "timestamp")
    expected = expected_bars(AAPL, TIMEFRAMES["1d"], utc("1998-01-01"), utc("2021-04-01"))
    assert np.array_equal(delivered, expected)


# --- forex


@pytest.mark.parametrize(
    ("moment", "open_"),
    [
        ("2024-03-08T21:59", True),  # Friday before New York's clocks change: closes at 22:00
        ("2024-03-08T22:00", False),
        ("2024-03-10T20:59", False),  # Sunday after: opens at 21:00
        ("2024-03-10T21:00", True),
        ("2020-12-24T21:59", True),
        ("2020-12-24T22:00", False),
        ("2019-12-25T21:59", False),
        ("2019-12-25T22:00", True),
        ("2019-12-31T22:00", False),
        ("2020-01-01T21:59", False),
        ("2020-01-01T22:00", True),
        ("2022-12-25T22:00", False),  # Christmas on a Sunday: Monday is off as well
        ("2022-12-26T21:59", False),
        ("2022-12-26T22:00", True),
        ("2023-01-01T22:00", True),  # New Year's Day on a Sunday: Monday is not
        ("2041-07-07T21:00", True),  # beyond 2037, where old time-zone tables end
        ("2041-07-07T20:59", False),
    ],
)
def test_forex_keeps_the_week_and_the_holidays_of_new_york(moment: str, open_: bool) -> None:
    assert is_open(EURUSD, utc(moment)) is open_


def test_a_bar_is_expected_if_the_market_is_open_for_a_part_of_it() -> None:
    # Friday 2024-07-05, closing at 21:00, to Sunday 2024-07-07, opening at 21:00.
    week_end = ("2024-07-05T12:00", "2024-07-08")
    assert bars("EURUSD", "4h", *week_end) == [
        *("2024-07-05T12:00", "2024-07-05T16:00", "2024-07-05T20:00", "2024-07-07T20:00")
    ]
    assert bars("EURUSD", "1d", "2024-07-05", "2024-07-08") == [
        *("2024-07-05T00:00", "2024-07-07T00:00")
    ]


def test_a_forex_saturday_expects_nothing() -> None:
    for code in ALL_CODES:
        assert bars("EURUSD", code, "2024-07-06", "2024-07-07") == []


# --- equities


def test_an_equity_session_runs_from_the_opening_to_the_closing_minute() -> None:
    day = bars("AAPL", "1m", "2024-07-01", "2024-07-02")
    assert (day[0], day[-1], len(day)) == ("2024-07-01T13:30", "2024-07-01T19:59", 390)
    half_day = bars("AAPL", "1m", "2024-07-03", "2024-07-04")
    assert (half_day[-1], len(half_day)) == ("2024-07-03T16:59", 210)
    assert bars("AAPL", "4h", "2024-07-01", "2024-07-02") == [
        *("2024-07-01T12:00", "2024-07-01T16:00")
    ]


def test_daily_equity_bars_are_expected_at_midnight_utc_of_the_session(
    equity_calendar: pytest.MonkeyPatch,
) -> None:
    assert bars("AAPL", "1d", "2024-07-03", "2024-07-08") == [
        *("2024-07-03T00:00", "2024-07-05T00:00")
    ]
    # Sydney's summer session opens at 23:00 UTC of the day before.
    equity_calendar.setenv("FFE_EQUITY_CALENDAR", "XASX")
    get_settings.cache_clear()
    assert bars("BHP", "1d", "2024-01-08", "2024-01-09") == ["2024-01-08T00:00"]
    assert bars("BHP", "1h", "2024-01-07", "2024-01-08") == ["2024-01-07T23:00"]


def test_lunch_breaks_expect_no_bars(equity_calendar: pytest.MonkeyPatch) -> None:
    equity_calendar.setenv("FFE_EQUITY_CALENDAR", "XHKG")
    get_settings.cache_clear()
    day = bars("HSBC", "1m", "2024-07-02", "2024-07-03")
    assert len(day) == 150 + 180
    assert not is_open(parse_symbol("HSBC"), utc("2024-07-02T04:00"))
    assert is_open(parse_symbol("HSBC"), utc("2024-07-02T05:00"))


def test_an_unknown_equity_calendar_is_named(equity_calendar: pytest.MonkeyPatch) -> None:
    equity_calendar.setenv("FFE_EQUITY_CALENDAR", "NOWHERE")
    get_settings.cache_clear()
    with pytest.raises(InputError, match="unknown equity calendar 'NOWHERE'"):
        is_open(AAPL, utc("2024-07-02"))


# --- laws


def test_a_calendar_that_does_not_reach_as_far_says_so_instead_of_expecting_nothing() -> None:
    with pytest.raises(InputError, match="forex is known from 1970-01-01 to 2049-12-31"):
        expected_bars(EURUSD, TIMEFRAMES["1h"], utc("1969-12-31"), utc("1970-01-02"))


def test_a_moment_without_a_time_zone_is_refused() -> None:
    naive = utc("2024-01-01").replace(tzinfo=None)
    with pytest.raises(InputError, match="no time zone"):
        is_open(BTC, naive)


def test_other_time_zones_mean_the_same_moment() -> None:
    east = timezone(timedelta(hours=9))
    start, end = utc("2024-07-07"), utc("2024-07-09")
    local = expected_bars(EURUSD, TIMEFRAMES["1h"], start.astimezone(east), end.astimezone(east))
    assert np.array_equal(local, expected_bars(EURUSD, TIMEFRAMES["1h"], start, end))


moments = st.datetimes(datetime(2019, 12, 1), datetime(2023, 3, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(tzinfo=UTC)
)
symbols = st.sampled_from([BTC, EURUSD, AAPL])


@settings(deadline=None)
@given(symbols, st.sampled_from(ALL_CODES), moments, st.integers(0, 10 * 1440))
def test_expected_bars_lie_ascending_on_the_grid_within_the_window(symbol, code, start, minutes):
    end = start + timedelta(minutes=minutes)
    found = expected_bars(symbol, TIMEFRAMES[code], start, end)
    assert found.dtype == np.dtype("datetime64[us]")
    assert (found.astype(np.int64) % TIMEFRAMES[code].step.astype(np.int64) == 0).all()
    assert (np.diff(found.astype(np.int64)) > 0).all()
    inside = (found >= np.datetime64(start.replace(tzinfo=None))) & (
        found < np.datetime64(end.replace(tzinfo=None))
    )
    assert inside.all()


@settings(deadline=None)
@given(symbols, st.sampled_from(ALL_CODES), st.lists(moments, min_size=3, max_size=3).map(sorted))
def test_a_window_expects_what_its_parts_expect(symbol, code, cuts):
    start, middle, end = cuts
    timeframe = TIMEFRAMES[code]
    whole = expected_bars(symbol, timeframe, start, end)
    parts = [
        expected_bars(symbol, timeframe, start, middle),
        expected_bars(symbol, timeframe, middle, end),
    ]
    assert np.array_equal(whole, np.concatenate(parts))


@settings(deadline=None)
@given(symbols, moments)
def test_the_market_is_open_in_exactly_the_expected_minutes(symbol, moment):
    minute = moment.replace(second=0, microsecond=0)
    expected = expected_bars(symbol, TIMEFRAMES["1m"], minute, minute + timedelta(minutes=1))
    assert is_open(symbol, moment) is bool(len(expected))


@settings(deadline=None)
@given(symbols, st.sampled_from(["5m", "15m", "1h", "4h", "1d"]), moments)
def test_a_coarse_bar_is_expected_if_one_of_its_minutes_is(symbol, code, moment):
    timeframe = TIMEFRAMES[code]
    start = timeframe.floor(moment)
    end = start + timeframe.duration
    coarse = expected_bars(symbol, timeframe, start, end)
    minutes = expected_bars(symbol, TIMEFRAMES["1m"], start, end)
    assert len(coarse) == (len(minutes) > 0)


def test_four_years_of_forex_have_so_many_minutes() -> None:
    assert len(expected_bars(EURUSD, TIMEFRAMES["1m"], *FOUR_YEARS)) == 1_494_720
