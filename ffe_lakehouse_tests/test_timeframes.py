"""The six timeframes: spellings, durations, and the bar that is running."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe, parse_timeframe

timeframes = st.sampled_from(list(TIMEFRAMES.values()))
moments = st.datetimes(datetime(1970, 1, 1), datetime(2050, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(tzinfo=UTC)
)


@pytest.mark.parametrize("timeframe", TIMEFRAMES.values(), ids=str)
def test_a_code_names_itself_in_any_case_and_between_blanks(timeframe: Timeframe) -> None:
    assert parse_timeframe(timeframe.code) is timeframe
    if not timeframe.code.endswith("m"):
        assert parse_timeframe(f" {timeframe.code.upper()}\n") is timeframe


def test_1M_is_not_taken_for_a_minute_as_it_is_a_month_elsewhere() -> None:  # noqa: N802
    with pytest.raises(InputError, match="'1M'"):
        parse_timeframe("1M")


@pytest.mark.parametrize(
    ("text", "code"),
    [("60min", "1h"), ("M15", "15m"), ("240m", "4h"), ("Daily", "1d"), ("24h", "1d")],
)
def test_other_common_spellings_are_understood(text: str, code: str) -> None:
    assert parse_timeframe(text).code == code


@pytest.mark.parametrize(
    "text", ["", " ", "2h", "1w", "1h|1d", "../1h", "1\x00h", "\uff11h", "h" * 300]
)
def test_any_other_timeframe_is_refused_with_the_list_of_the_six(text: str) -> None:
    with pytest.raises(InputError, match="use one of 1m, 5m, 15m, 1h, 4h, 1d"):
        parse_timeframe(text)


def test_timeframes_order_by_duration_and_tile_the_day() -> None:
    assert sorted(TIMEFRAMES.values(), reverse=True)[::-1] == list(TIMEFRAMES.values())
    assert [frame.bars_per_day for frame in TIMEFRAMES.values()] == [1440, 288, 96, 24, 6, 1]
    assert all(frame.bars_per_day * frame.duration == timedelta(1) for frame in TIMEFRAMES.values())
    assert all(frame.step == np.timedelta64(frame.duration) for frame in TIMEFRAMES.values())


@given(timeframes, moments)
@settings(deadline=None)
def test_the_running_bar_holds_the_moment_and_lies_on_the_grid(
    timeframe: Timeframe, moment: datetime
) -> None:
    opened = timeframe.floor(moment)
    assert opened <= moment < opened + timeframe.duration
    assert (opened - datetime(1970, 1, 1, tzinfo=UTC)) % timeframe.duration == timedelta(0)
    assert timeframe.floor(opened) == opened


def test_fine_timeframes_are_stored_by_month_and_coarse_ones_by_year() -> None:
    periods = {code: frame.storage_period for code, frame in TIMEFRAMES.items()}
    assert periods == {"1m": "M", "5m": "M", "15m": "M", "1h": "Y", "4h": "Y", "1d": "Y"}
