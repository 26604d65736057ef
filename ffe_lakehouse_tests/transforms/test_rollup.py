"""The laws of rolling candles up, on candles that Hypothesis makes."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.providers.base import RAW_CANDLES
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.rollup import roll_up

MINUTE = 60_000_000
START = 1_700_006_400_000_000  # 2023-11-15 00:00 UTC: midnight, so on every grid

prices = st.floats(0.001, 100_000)
amounts = st.one_of(st.just(0.0), st.floats(0.001, 1e6))


@st.composite
def minutes(draw: st.DrawFn, unknown: bool = True) -> pa.Table:
    """1m candles of some minutes within three hours, ascending, some measures unknown."""
    at = sorted(draw(st.sets(st.integers(0, 179), min_size=1, max_size=60)))
    optional = st.one_of(st.none(), amounts) if unknown else amounts
    optional_price = st.one_of(st.none(), prices) if unknown else prices
    rows = [
        {
            "timestamp": START + minute * MINUTE,
            "open": draw(prices),
            "high": draw(prices),
            "low": draw(prices),
            "close": draw(prices),
            "volume": draw(optional),
            "trade_count": draw(optional),
            "vwap": draw(optional_price),
        }
        for minute in at
    ]
    return table(rows)


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.table(
        [pa.array([row.get(field.name) for row in rows], field.type) for field in RAW_CANDLES],
        schema=RAW_CANDLES,
    )


def candle(minute: int, price: float = 1.0, **measures: float | None) -> dict[str, Any]:
    same = dict.fromkeys(("open", "high", "low", "close"), price)
    return {"timestamp": START + minute * MINUTE, **same, **measures}


def one_hour(*rows: dict[str, Any]) -> dict[str, Any]:
    rolled = roll_up(table(list(rows)), TIMEFRAMES["1h"]).to_pylist()
    assert len(rolled) == 1
    return rolled[0]


# --- laws


@given(minutes())
def test_rolling_up_in_two_steps_is_rolling_up_in_one(candles: pa.Table) -> None:
    two_steps = roll_up(roll_up(candles, TIMEFRAMES["5m"]), TIMEFRAMES["1h"])
    one_step = roll_up(candles, TIMEFRAMES["1h"])
    exact = ["timestamp", "open", "high", "low", "close"]
    assert two_steps.select(exact).equals(one_step.select(exact))
    for name in ("volume", "trade_count", "vwap"):
        pairs = zip(two_steps[name].to_pylist(), one_step[name].to_pylist(), strict=True)
        for a, b in pairs:
            assert (a is None and b is None) or math.isclose(a, b, rel_tol=1e-9)


@given(minutes(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(candles: pa.Table, random: Any) -> None:
    order = list(range(candles.num_rows))
    random.shuffle(order)
    shuffled = candles.take(pa.array(order))
    assert roll_up(shuffled, TIMEFRAMES["15m"]).equals(roll_up(candles, TIMEFRAMES["15m"]))


@given(minutes(), st.integers(0, 11))
def test_no_bar_looks_past_its_bucket(candles: pa.Table, bucket: int) -> None:
    start, end = START + bucket * 15 * MINUTE, START + (bucket + 1) * 15 * MINUTE
    times = candles["timestamp"].cast(pa.int64()).to_numpy()
    inside = candles.filter(pa.array((times >= start) & (times < end)))
    whole = roll_up(candles, TIMEFRAMES["15m"])
    of_bucket = whole.filter(pa.array(whole["timestamp"].cast(pa.int64()).to_numpy() == start))
    assert of_bucket.equals(roll_up(inside, TIMEFRAMES["15m"]))


@given(minutes())
def test_every_bar_agrees_with_the_definition_row_by_row(candles: pa.Table) -> None:
    quarter = 15 * MINUTE
    buckets: dict[int, list[dict[str, Any]]] = {}
    plain = candles.set_column(0, "timestamp", candles["timestamp"].cast(pa.int64()))
    for row in plain.to_pylist():
        buckets.setdefault(row["timestamp"] // quarter * quarter, []).append(row)
    rolled = roll_up(candles, TIMEFRAMES["15m"])
    assert rolled.schema == RAW_CANDLES
    assert rolled["timestamp"].cast(pa.int64()).to_pylist() == list(buckets)
    for bar, parts in zip(rolled.to_pylist(), buckets.values(), strict=True):
        assert bar["open"] == parts[0]["open"]
        assert bar["high"] == max(part["high"] for part in parts)
        assert bar["low"] == min(part["low"] for part in parts)
        assert bar["close"] == parts[-1]["close"]
        for name in ("volume", "trade_count"):
            known = [part[name] for part in parts if part[name] is not None]
            expected = math.fsum(known) if len(known) == len(parts) else None
            assert bar[name] == (None if expected is None else pytest.approx(expected))


@given(minutes(unknown=False))
def test_the_mean_price_lies_between_the_parts_and_is_weighted(candles: pa.Table) -> None:
    parts = candles.to_pylist()
    rolled = roll_up(candles, TIMEFRAMES["1d"]).to_pylist()[0]
    weighing = [part for part in parts if part["volume"] > 0]
    if not weighing:
        assert rolled["vwap"] is None
        return
    mean = np.average(
        [part["vwap"] for part in weighing], weights=[part["volume"] for part in weighing]
    )
    assert rolled["vwap"] == pytest.approx(mean, rel=1e-9)


# --- what is unknown


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    bar = one_hour(candle(0, volume=1.0, trade_count=2.0), candle(1, volume=None, trade_count=3.0))
    assert bar["volume"] is None
    assert bar["trade_count"] == 5.0


def test_a_market_without_volume_keeps_none() -> None:
    bar = one_hour(candle(0), candle(1))
    assert (bar["volume"], bar["trade_count"], bar["vwap"]) == (None, None, None)


def test_the_mean_price_needs_every_part_that_traded() -> None:
    known = candle(0, volume=1.0, vwap=2.0)
    assert one_hour(known, candle(1, volume=1.0, vwap=None))["vwap"] is None
    assert one_hour(known, candle(1, volume=None, vwap=2.0))["vwap"] is None
    assert one_hour(known, candle(1, volume=0.0, vwap=None))["vwap"] == 2.0
    assert one_hour(known, candle(1, volume=3.0, vwap=6.0))["vwap"] == 5.0
    assert one_hour(candle(0, volume=0.0, vwap=2.0))["vwap"] is None


def test_a_null_price_stays_null_and_an_unreadable_one_stays_nan() -> None:
    nan = float("nan")
    bar = one_hour(candle(0), candle(1) | {"high": None, "close": None}, candle(2) | {"low": nan})
    assert bar["high"] is None
    assert math.isnan(bar["low"])
    assert bar["close"] == 1.0
    assert math.isnan(one_hour(candle(0), candle(1) | {"high": nan})["high"])
    assert one_hour(candle(0) | {"high": nan}, candle(1) | {"high": None})["high"] is None


# --- what is refused


def test_nothing_rolls_up_to_nothing() -> None:
    assert roll_up(RAW_CANDLES.empty_table(), TIMEFRAMES["1h"]).equals(RAW_CANDLES.empty_table())


@pytest.mark.parametrize("rows", [[0, 1, 1], [1, 0, 1]])
def test_a_candle_that_occurs_twice_is_refused_before_it_counts_twice(rows: list[int]) -> None:
    with pytest.raises(ValueError, match="two candles of 2023-11-15T00:01"):
        roll_up(table([candle(minute) for minute in rows]), TIMEFRAMES["1h"])


def test_a_candle_without_a_time_is_refused() -> None:
    with pytest.raises(ValueError, match="without a timestamp"):
        roll_up(table([candle(0), candle(1) | {"timestamp": None}]), TIMEFRAMES["1h"])
