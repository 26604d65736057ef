"""The last closed bar, against the definition read bar by bar."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.transforms.asof import (
    LOOK_BACK_DAYS,
    as_times,
    last_closed,
    microseconds,
    moment,
    newest_closed,
    take_or_null,
)
from ffe_lakehouse_tests.transforms.silver_inputs import (
    MINUTE,
    NOON,
    at,
    enriched,
    ragged_markets,
)

DAYS = LOOK_BACK_DAYS * 1440 * MINUTE
ONE, FIVE, HOUR = (TIMEFRAMES[code] for code in ("1m", "5m", "1h"))

times = st.integers(-14 * 1440, 14 * 1440).map(lambda minute: NOON + minute * MINUTE)


@given(
    st.lists(st.tuples(times, st.integers(1, 1440)), max_size=20),
    st.lists(times, min_size=1, max_size=10),
)
def test_the_last_closed_bar_is_the_one_that_the_definition_names(
    spans: list[tuple[int, int]], moments: list[int]
) -> None:
    bars = np.array([(opened, opened + length * MINUTE) for opened, length in spans]).reshape(-1, 2)
    for number, now in zip(
        last_closed(bars[:, 0], bars[:, 1], np.array(moments)), moments, strict=True
    ):
        closed = [(close, i) for i, (_, close) in enumerate(bars.tolist()) if close <= now]
        _, last = max(closed, default=(0, -1))
        too_old = last >= 0 and bars[last, 0] < now - DAYS
        assert number == (-1 if too_old else last)


@given(ragged_markets(), st.lists(times, min_size=1, max_size=5))
def test_of_all_timeframes_the_latest_close_wins_and_then_the_finest(
    market: dict[Timeframe, pa.Table], moments: list[int]
) -> None:
    rows = newest_closed(market, ["close"], np.array(moments)).to_pylist()
    for row, now in zip(rows, moments, strict=True):
        closed = [
            (bar["timestamp"] + timeframe.duration, -timeframe.duration, timeframe.code, bar)
            for timeframe, bars in market.items()
            for bar in bars.to_pylist()
            if at(now - DAYS) <= bar["timestamp"] <= at(now) - timeframe.duration
        ]
        if not closed:
            assert set(row.values()) == {None}
            continue
        close, _, code, bar = max(closed, key=lambda each: each[:2])
        assert row == {
            "bar_timeframe": code,
            "bar_timestamp": bar["timestamp"],
            "bar_closed_at": close,
            "close": bar["close"],
        }


@pytest.mark.parametrize(("late", "found"), [(0, True), (1, False)])
def test_a_bar_counts_for_ten_days_from_its_open(late: int, found: bool) -> None:
    rows = newest_closed({HOUR: enriched(HOUR, [NOON])}, [], np.array([NOON + DAYS + late]))
    assert rows["bar_timestamp"].to_pylist() == [at(NOON) if found else None]


@pytest.mark.parametrize(("early", "found"), [(0, True), (1, False)])
def test_a_bar_counts_from_the_microsecond_it_closes(early: int, found: bool) -> None:
    now = NOON + 60 * MINUTE - early
    rows = newest_closed({HOUR: enriched(HOUR, [NOON])}, [], np.array([now]))
    assert rows["bar_timestamp"].to_pylist() == [at(NOON) if found else None]


def test_two_timeframes_that_close_at_once_give_the_finer_bar() -> None:
    market = {FIVE: enriched(FIVE, [NOON]), ONE: enriched(ONE, [NOON + 4 * MINUTE])}
    rows = newest_closed(market, [], np.array([NOON + 5 * MINUTE]))
    assert rows["bar_timeframe"].to_pylist() == ["1m"]


def test_without_bars_every_moment_has_a_row_of_nulls() -> None:
    rows = newest_closed({}, ["close", "market_regime"], np.array([NOON, NOON]))
    assert rows.num_rows == 2
    assert all(set(row.values()) == {None} for row in rows.to_pylist())
    assert newest_closed({}, ["close"], np.array([], dtype=np.int64)).num_rows == 0


def test_a_row_that_is_not_there_is_null_where_the_column_is_not_nullable() -> None:
    rows = take_or_null(enriched(HOUR, [NOON]), np.array([-1, 0]))
    assert rows["asset_pair"].to_pylist() == [None, "BTCUSD"]


def test_times_go_to_microseconds_and_back() -> None:
    values = as_times(np.array([NOON, 5]), np.array([True, False]))
    assert values.to_pylist() == [at(NOON), None]
    assert microseconds(values)[0] == NOON == moment(at(NOON))
