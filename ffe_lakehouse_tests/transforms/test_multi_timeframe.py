"""The laws of confluence: nothing from the future, the formula as it is documented."""

import math
from datetime import timedelta
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.schemas.silver import MULTI_TIMEFRAME_ANALYSIS
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.transforms.multi_timeframe import WEIGHTS, analyse, confluence, momentum, trend
from ffe_lakehouse_tests.transforms.silver_inputs import (
    MINUTE,
    NOON,
    at,
    closed_by,
    enriched,
    ragged_markets,
)

Market = dict[Timeframe, pa.Table]
ONE, FIVE, HOUR, DAY = (TIMEFRAMES[code] for code in ("1m", "5m", "1h", "1d"))
START, END = at(NOON - 20 * 86_400_000_000), at(NOON + 86_400_000_000)

scores = st.one_of(st.just(math.nan), st.floats(-1, 1))


# --- laws


@settings(max_examples=50)
@given(ragged_markets(), st.sampled_from(list(TIMEFRAMES.values())))
def test_bars_that_close_later_change_no_row(market: Market, base: Timeframe) -> None:
    for row in analyse(market, base, START, END).to_pylist():
        now = int(row["closed_at"].timestamp() * 1e6)
        known = {each: closed_by(bars, each, now) for each, bars in market.items()}
        assert analyse(known, base, START, END).to_pylist()[-1] == row


@settings(max_examples=50)
@given(ragged_markets(), st.sampled_from(list(TIMEFRAMES.values())))
def test_every_part_is_the_last_bar_that_had_closed(market: Market, base: Timeframe) -> None:
    rows = analyse(market, base, START, END)
    assert rows["timestamp"].to_pylist() == market[base]["timestamp"].to_pylist()
    for row in rows.to_pylist():
        for code, timeframe in TIMEFRAMES.items():
            bars = market[timeframe].to_pylist()
            limits = row["closed_at"] - timedelta(days=10), row["closed_at"] - timeframe.duration
            within = [bar for bar in bars if limits[0] <= bar["timestamp"] <= limits[1]]
            last = within[-1] if within else {"timestamp": None, "market_regime": None}
            assert row[f"bar_{code}"] == last["timestamp"]
            assert row[f"regime_{code}"] == last["market_regime"]


@given(
    ragged_markets(), st.sampled_from(list(TIMEFRAMES.values())), st.randoms(use_true_random=False)
)
def test_neither_the_order_of_the_bars_nor_of_the_days_matters(
    market: Market, base: Timeframe, random: Random
) -> None:
    whole = analyse(market, base, START, END)
    shuffled = {}
    for timeframe, bars in market.items():
        order = list(range(bars.num_rows))
        random.shuffle(order)
        shuffled[timeframe] = bars.take(pa.array(order, pa.int64()))
    cut = at(NOON)
    parts = [analyse(shuffled, base, START, cut), analyse(shuffled, base, cut, END)]
    assert pa.concat_tables(parts).equals(whole)


@given(st.lists(st.tuples(*[scores] * 6), min_size=1))
def test_confluence_is_the_weighted_mean_of_what_is_there(rows: list[tuple[float, ...]]) -> None:
    columns = dict(zip(TIMEFRAMES, np.array(rows).T, strict=True))
    for row, found in zip(rows, confluence(columns), strict=True):
        seen = [(WEIGHTS[c], s) for c, s in zip(TIMEFRAMES, row, strict=True) if not math.isnan(s)]
        if not seen:
            assert math.isnan(found)
            continue
        mean = sum(weight * score for weight, score in seen) / sum(weight for weight, _ in seen)
        assert found == pytest.approx(mean, abs=1e-12)
        assert -1 <= found <= 1


@given(
    st.floats(-1e9, 1e9),
    st.floats(1e-9, 1e9),
    st.floats(0, 100),
    st.floats(0, 100),
    st.floats(-1e9, 1e9),
    st.floats(1e-3, 1e3),
)
def test_parts_lie_within_one_and_do_not_hang_on_the_price_unit(
    spread: float, atr: float, adx: float, rsi: float, hist: float, unit: float
) -> None:
    def parts(scale: float) -> tuple[float, float]:
        values = {"ema_12": spread * scale, "ema_26": 0.0, "macd_hist_12_26_9": hist * scale}
        bars = enriched(ONE, [NOON], **values, atr_14=atr * scale, adx_14=adx, rsi_14=rsi)
        return float(trend(bars)[0]), float(momentum(bars)[0])

    assert all(-1 <= part <= 1 for part in parts(1.0))
    assert parts(unit) == pytest.approx(parts(1.0), abs=1e-9)


# --- the formula


def bar(timeframe: Timeframe, opened: int, **columns: float | None) -> pa.Table:
    calm = {"ema_12": 101.0, "ema_26": 100.0, "atr_14": 2.0, "adx_14": 20.0, "rsi_14": 60.0}
    return enriched(timeframe, [opened], **calm | {"macd_hist_12_26_9": 0.5} | columns)


def test_the_worked_example_of_the_docs() -> None:
    day = NOON - NOON % (1440 * MINUTE) - 1440 * MINUTE
    falling = {"ema_12": 97.0, "ema_26": 100.0, "adx_14": 40.0, "rsi_14": 35.0}
    market = {FIVE: bar(FIVE, NOON), DAY: bar(DAY, day, **falling, macd_hist_12_26_9=-1.0)}
    (row,) = analyse(market, FIVE, START, END).to_pylist()
    assert row["trend_5m"] == pytest.approx(math.tanh(0.5) * 0.8)  # 0.3697
    assert row["momentum_5m"] == pytest.approx((0.2 + math.tanh(0.25)) / 2)  # 0.2225
    assert row["score_5m"] == pytest.approx(0.2961, abs=1e-4)
    assert row["trend_1d"] == pytest.approx(math.tanh(-1.5))  # -0.9051
    assert row["momentum_1d"] == pytest.approx((-0.3 + math.tanh(-0.5)) / 2)  # -0.3811
    assert row["score_1d"] == pytest.approx(-0.6431, abs=1e-4)
    assert row["confluence_score"] == pytest.approx((2 * 0.2961 - 6 * 0.6431) / 8, abs=1e-4)
    assert row["timeframes_seen"] == 2


@pytest.mark.parametrize(
    "missing", ["ema_12", "ema_26", "atr_14", "adx_14", "rsi_14", "macd_hist_12_26_9"]
)
def test_a_bar_without_one_of_the_indicators_has_no_score(missing: str) -> None:
    (row,) = analyse({FIVE: bar(FIVE, NOON, **{missing: None})}, FIVE, START, END).to_pylist()
    assert (row["score_5m"], row["timeframes_seen"], row["confluence_score"]) == (None, 0, None)
    assert row["bar_5m"] == at(NOON)


def test_a_market_that_does_not_move_has_no_score() -> None:
    (row,) = analyse({FIVE: bar(FIVE, NOON, atr_14=0.0)}, FIVE, START, END).to_pylist()
    assert (row["trend_5m"], row["momentum_5m"], row["score_5m"]) == (None, None, None)


def test_a_bar_that_opened_ten_days_ago_counts_and_an_older_one_does_not() -> None:
    ten_days, close = 10 * 1440 * MINUTE, NOON + MINUTE
    for opened, found in [(close - ten_days, True), (close - ten_days - MINUTE, False)]:
        market = {ONE: bar(ONE, NOON), HOUR: bar(HOUR, opened)}
        (row,) = analyse(market, ONE, START, END).to_pylist()
        assert (row["bar_1h"] is not None) is found


def test_one_simulated_bar_makes_the_row_simulated() -> None:
    hour = enriched(HOUR, [NOON - 60 * MINUTE], is_mock=True)
    (row,) = analyse({FIVE: bar(FIVE, NOON), HOUR: hour}, FIVE, START, END).to_pylist()
    assert row["is_mock"]
    (row,) = analyse({FIVE: bar(FIVE, NOON)}, FIVE, START, END).to_pylist()
    assert not row["is_mock"]


def test_bars_of_two_pairs_are_refused() -> None:
    other = enriched(HOUR, [NOON], asset_pair="ETHUSD")
    with pytest.raises(InputError, match="rows of BTCUSD, ETHUSD: hand in one pair at a time"):
        analyse({FIVE: bar(FIVE, NOON), HOUR: other}, FIVE, START, END)


def test_no_base_bar_is_no_row() -> None:
    none = analyse({HOUR: enriched(HOUR, [NOON])}, FIVE, START, END)
    assert none.equals(MULTI_TIMEFRAME_ANALYSIS.arrow.empty_table())


def test_rows_obey_the_schema_of_their_table() -> None:
    market = {each: enriched(each, [NOON - NOON % 86_400_000_000]) for each in TIMEFRAMES.values()}
    rows = analyse(market, HOUR, START, END)
    MULTI_TIMEFRAME_ANALYSIS.pandera.validate(rows.to_pandas())
    assert rows["storage_period"].to_pylist() == ["2024"]
    assert analyse(market, FIVE, START, END)["storage_period"].to_pylist() == ["2024-03"]
