"""Whether the history that is read suffices, and how windows are cut by storage period."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.transforms.enrichment import WARM_UP
from ffe_lakehouse.transforms.history import (
    history_start,
    period_end,
    period_start,
    split_by_period,
)

YEARS = (datetime(2002, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))

moments = st.datetimes(datetime(1999, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis wants bounds without a zone
timeframes = st.sampled_from(list(TIMEFRAMES.values()))


@pytest.mark.parametrize("pair", ["BTCUSD", "EURUSD", "AAPL"])
@pytest.mark.parametrize("code", TIMEFRAMES)
def test_every_bar_of_a_market_that_misses_none_is_warm(code: str, pair: str) -> None:
    timeframe = TIMEFRAMES[code]
    begins = [since for since, _ in split_by_period(timeframe, *YEARS)]
    reach = history_start(timeframe, begins[0])
    opens = expected_bars(parse_symbol(pair), timeframe, reach, YEARS[1])
    bounds = [[history_start(timeframe, begin), begin] for begin in begins]
    naive = [[moment.replace(tzinfo=None) for moment in both] for both in bounds]
    first, last = np.searchsorted(opens, np.array(naive, "datetime64[us]")).T
    assert (last - first).min() >= WARM_UP


@given(timeframes, moments, moments)
def test_a_window_is_cut_where_periods_begin_and_nowhere_else(
    timeframe: Timeframe, one: datetime, other: datetime
) -> None:
    start, end = min(one, other), max(one, other)
    stretches = split_by_period(timeframe, start, end)
    cuts = [start, *(until for _, until in stretches)]
    assert list(pairwise(cuts)) == stretches
    assert cuts[-1] == end
    assert all(period_start(timeframe, cut) == cut for cut in cuts[1:-1])
    for since, until in stretches:
        last = until - timedelta(microseconds=1)
        assert period_start(timeframe, last) == period_start(timeframe, since)


@given(timeframes, moments)
def test_a_moment_lies_in_its_period(timeframe: Timeframe, moment: datetime) -> None:
    start, end = period_start(timeframe, moment), period_end(timeframe, moment)
    assert start <= moment < end
    assert period_start(timeframe, end) == end
    assert period_start(timeframe, end - timedelta(microseconds=1)) == start


def test_a_window_that_holds_nothing_has_no_stretches() -> None:
    assert split_by_period(TIMEFRAMES["1m"], YEARS[0], YEARS[0]) == []
    assert split_by_period(TIMEFRAMES["1m"], YEARS[1], YEARS[0]) == []


@pytest.mark.parametrize(
    ("code", "start"), [("15m", (2024, 3, 1)), ("1h", (2024, 1, 1)), ("1d", (2024, 1, 1))]
)
def test_a_storage_period_is_a_month_or_a_year(code: str, start: tuple[int, int, int]) -> None:
    moment = datetime(2024, 3, 31, 23, 59, tzinfo=UTC)
    assert period_start(TIMEFRAMES[code], moment) == datetime(*start, tzinfo=UTC)
