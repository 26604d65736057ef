"""The indicators that are not TA-Lib's own, against their definitions, bar by bar."""

import math
import statistics
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.enrichment import enrich
from ffe_lakehouse.transforms.indicators import on_balance_volume, session_vwap
from ffe_lakehouse_tests.transforms.series import flat, grid, span, unified, walk

START = datetime(2023, 12, 30, tzinfo=UTC)
HOURS = TIMEFRAMES["1h"]
NAN = math.nan


def enriched(seed: int, n: int, code: str = "1h", *, gaps: bool = False) -> list[dict[str, Any]]:
    slots = np.cumsum(np.random.default_rng(seed).integers(1, 9 if gaps else 2, n))
    bars = unified(code, grid(code, START, slots), walk(seed, n, still=0.2, unknown=0.2))
    rows: list[dict[str, Any]] = enrich(bars, TIMEFRAMES[code], *span(bars)).to_pylist()
    return rows


def period(row: dict[str, Any]) -> str:
    return str(row["storage_period"])


# --- definitions


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 150), st.booleans())
def test_obv_adds_up_what_went_up_less_what_went_down_since_the_period_began(
    seed: int, n: int, gaps: bool
) -> None:
    count, before = 0.0, None
    for row in enriched(seed, n, gaps=gaps):
        if before is None or period(before) != period(row):
            count = 0.0
        if before is not None and row["volume"] is not None:
            up = (row["close"] > before["close"]) - (row["close"] < before["close"])
            count += up * row["volume"]
        if row["volume"] is None:
            assert row["obv"] is None
        else:
            assert row["obv"] == pytest.approx(count, rel=1e-12, abs=1e-9)
        before = row


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 150), st.booleans())
def test_the_session_vwap_is_what_was_paid_over_what_was_traded_since_midnight(
    seed: int, n: int, gaps: bool
) -> None:
    day, turnover, traded = None, 0.0, 0.0
    for row in enriched(seed, n, gaps=gaps):
        if row["partition_date"] != day:
            day, turnover, traded = row["partition_date"], 0.0, 0.0
        if row["volume"] is not None:
            turnover += (row["high"] + row["low"] + row["close"]) / 3 * row["volume"]
            traded += row["volume"]
        if row["volume"] is None or traded == 0:
            assert row["vwap_session"] is None
        else:
            assert row["vwap_session"] == pytest.approx(turnover / traded, rel=1e-12)


def test_returns_and_their_deviation_agree_with_the_definition() -> None:
    rows = enriched(11, 120)
    logs = [NAN]
    for number, row in enumerate(rows[1:], start=1):
        ratio = row["close"] / rows[number - 1]["close"]
        logs.append(math.log(ratio))
        assert row["returns"] == pytest.approx(ratio - 1, abs=1e-15)
        assert row["log_returns"] == pytest.approx(logs[-1], abs=1e-15)
        if number >= 20:
            deviation = statistics.stdev(logs[number - 19 : number + 1])
            assert row["realized_volatility_20"] == pytest.approx(deviation, rel=1e-12)


def test_the_deviation_forgets_a_crash_that_has_left_its_window() -> None:
    crash = walk(7, 600, still=0.0)
    for name in ("open", "high", "low", "close"):
        crash[name][:100] *= 1e9
    bars = unified("1h", grid("1h", START, np.arange(600)), crash)
    later = bars.slice(121)
    window = (later["timestamp"][0].as_py(), span(bars)[1])
    with_it, without = (enrich(b, HOURS, *window).slice(20) for b in (bars, later))
    name = "realized_volatility_20"
    assert with_it[name].slice(23).equals(without[name].slice(23))


# --- on-balance volume


def test_obv_begins_with_nothing_at_the_first_bar_of_a_series() -> None:
    close, volume = np.array([1.0, 2.0, 1.5]), np.array([7.0, 5.0, 2.0])
    assert on_balance_volume(close, volume).tolist() == [0.0, 5.0, 3.0]


def test_a_bar_without_volume_has_no_obv_and_takes_none_from_the_later_ones() -> None:
    close = np.array([1.0, 2.0, 3.0, 2.5])
    volume = np.array([7.0, 5.0, NAN, 2.0])
    np.testing.assert_array_equal(on_balance_volume(close, volume), [0.0, 5.0, NAN, 3.0])


def test_obv_of_the_first_bar_of_a_period_is_measured_against_the_last_one_before_it() -> None:
    prices = flat(4)
    prices["close"] = np.array([100.0, 101.0, 102.0, 101.0])
    prices["high"] = np.full(4, 102.0)
    last = datetime(2023, 12, 31, 22, tzinfo=UTC)
    bars = unified("1h", grid("1h", last, np.arange(4)), prices)
    assert enrich(bars, HOURS, *span(bars))["obv"].to_pylist() == [0.0, 5.0, 5.0, 0.0]


# --- session VWAP


def vwap(volume: list[float], hours: list[int]) -> list[float]:
    price = 10.0 + np.arange(len(volume))
    times = np.array(hours) * 3_600_000_000
    return session_vwap(times, price, price, price, np.array(volume)).tolist()


def test_a_session_begins_at_midnight() -> None:
    assert vwap([1.0, 3.0, 2.0], [22, 23, 24]) == [10.0, 10.75, 12.0]


def test_there_is_no_vwap_before_something_was_traded() -> None:
    np.testing.assert_array_equal(vwap([0.0, 1.0, 0.0], [0, 1, 2]), [NAN, 11.0, 11.0])


def test_a_bar_without_volume_has_no_vwap_and_leaves_it_as_it_was() -> None:
    np.testing.assert_array_equal(vwap([1.0, NAN, 1.0], [0, 1, 2]), [10.0, NAN, 11.0])


def test_a_quiet_day_is_exact_after_a_busy_one() -> None:
    assert vwap([1e15, 1e-9, 3e-9], [0, 24, 25]) == pytest.approx([10.0, 11.0, 11.75], rel=1e-15)
