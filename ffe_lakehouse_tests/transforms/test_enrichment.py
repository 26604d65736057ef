"""The laws of enriched bars: nothing from the future, nothing that hangs on the batch."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.schemas.silver import INDICATORS, MARKET_DATA_ENRICHED
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.enrichment import CARRIED, WARM_UP, enrich
from ffe_lakehouse.transforms.history import HISTORY, HISTORY_DAYS, history_start
from ffe_lakehouse_tests.transforms.series import flat, grid, span, unified, walk

BOUNDARY = datetime(2024, 1, 1, tzinfo=UTC)
"""Where both a month and a year begin."""

HOURS = TIMEFRAMES["1h"]


@dataclass
class Example:
    """Bars around ``BOUNDARY``, and a window that holds some of them."""

    code: str
    bars: pa.Table
    start: datetime
    end: datetime

    def enriched(self, bars: pa.Table) -> pa.Table:
        """Some of the bars, enriched in the window."""
        return enrich(bars, TIMEFRAMES[self.code], self.start, self.end)


def at(bars: pa.Table, moment: datetime) -> int:
    """Number of bars that open before ``moment``."""
    return pc.sum(pc.less(bars["timestamp"], moment)).as_py() or 0


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Ragged bars on both sides of the start of a storage period, up to 900 of them."""
    code = draw(st.sampled_from(list(TIMEFRAMES)))
    n = draw(st.integers(1, 900))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random(n) < draw(st.sampled_from([0.0, 0.05, 0.5])), 9, 1)
    for gap in draw(st.lists(st.integers(0, n - 1), max_size=2)):
        steps[gap] = draw(st.integers(1, 12_000))
    slots = np.cumsum(steps) - draw(st.integers(0, 1000))
    shape = {"still": draw(st.sampled_from([0.0, 0.3, 1.0]))}
    shape["unknown"] = draw(st.sampled_from([0.0, 0.2, 1.0]))
    bars = unified(code, grid(code, BOUNDARY, slots), walk(seed, n, **shape))
    first, last = span(bars)
    if draw(st.booleans()):
        return Example(code, bars, first, last)
    moments = st.datetimes(first.replace(tzinfo=None), last.replace(tzinfo=None))
    start, end = sorted(draw(st.tuples(moments, moments)))
    return Example(code, bars, start.replace(tzinfo=UTC), end.replace(tzinfo=UTC))


# --- laws


@settings(max_examples=200)
@given(examples(), st.floats(0, 1))
def test_no_value_knows_a_later_bar(example: Example, share: float) -> None:
    whole = example.enriched(example.bars)
    kept = example.bars.slice(0, round(share * example.bars.num_rows))
    prefix = example.enriched(kept)
    assert prefix.equals(whole.slice(0, prefix.num_rows))
    assert prefix.num_rows == max(0, min(at(kept, example.end), kept.num_rows)) - at(
        kept, example.start
    )


@settings(max_examples=200)
@given(examples(), st.lists(st.floats(0, 1), max_size=4))
def test_a_row_has_the_same_bits_however_the_window_is_cut(
    example: Example, shares: list[float]
) -> None:
    length = example.end - example.start
    cuts = [example.start, *sorted(example.start + share * length for share in shares), example.end]
    timeframe = TIMEFRAMES[example.code]
    pieces = []
    for start, end in pairwise(cuts):
        first = at(example.bars, history_start(timeframe, start))
        read = example.bars.slice(first, at(example.bars, end) - first)
        pieces.append(enrich(read, timeframe, start, end))
    assert pa.concat_tables(pieces).equals(example.enriched(example.bars))


@settings(max_examples=50)
@given(examples())
def test_every_bar_of_the_window_comes_out_as_it_went_in(example: Example) -> None:
    rows = example.enriched(example.bars)
    assert rows.schema.equals(MARKET_DATA_ENRICHED.arrow)
    first, last = at(example.bars, example.start), at(example.bars, example.end)
    assert rows.select(CARRIED).equals(example.bars.slice(first, last - first))


@settings(max_examples=50)
@given(examples())
def test_what_is_seen_is_counted_from_the_start_of_the_history(example: Example) -> None:
    timeframe = TIMEFRAMES[example.code]
    rows = example.enriched(example.bars)
    opens = example.bars["timestamp"].to_pylist()
    for row in rows.select(["timestamp", "bars_seen", "is_warm"]).to_pylist()[::37]:
        since = history_start(timeframe, row["timestamp"])
        assert row["bars_seen"] == sum(since <= moment <= row["timestamp"] for moment in opens)
        assert row["is_warm"] == (row["bars_seen"] > WARM_UP)


def test_a_row_is_warm_after_the_stated_bars() -> None:
    bars = unified("1h", grid("1h", BOUNDARY, np.arange(WARM_UP + 2)), walk(1, WARM_UP + 2))
    rows = enrich(bars, HOURS, *span(bars))
    assert rows["is_warm"].to_pylist() == [False] * WARM_UP + [True] * 2


@pytest.mark.parametrize("code", TIMEFRAMES)
def test_the_last_day_of_a_leap_year_depends_on_no_day_before_the_stated_ones(code: str) -> None:
    last = datetime(2024, 12, 31, tzinfo=UTC)
    assert last - history_start(TIMEFRAMES[code], last) <= timedelta(days=HISTORY_DAYS)


def test_the_stated_days_of_history_are_needed() -> None:
    last = datetime(2024, 12, 31, tzinfo=UTC)
    assert last - history_start(TIMEFRAMES["1d"], last) == timedelta(days=HISTORY_DAYS)


@pytest.mark.parametrize("code", TIMEFRAMES)
def test_bars_before_the_history_are_not_looked_at(code: str) -> None:
    timeframe = TIMEFRAMES[code]
    first = history_start(timeframe, BOUNDARY)
    n = HISTORY[code] // timeframe.duration + 10
    known = unified(code, grid(code, first, np.arange(n)), walk(1, n))
    older = unified(code, grid(code, first, np.arange(-50, 0)), walk(2, 50))
    window = (BOUNDARY, span(known)[1])
    both = enrich(pa.concat_tables([older, known]), timeframe, *window)
    assert both.num_rows == 10
    assert both.equals(enrich(known, timeframe, *window))
    assert both["is_warm"].to_pylist() == [True] * 10


# --- when a value is there


def filled(rows: pa.Table) -> dict[str, int]:
    """Number of bars before the first value of each column."""
    return {
        name: int(np.argmax(rows[name].is_valid().to_numpy()))
        for name in [*INDICATORS, "market_regime", "trend_direction"]
    }


def test_each_value_is_there_since_the_bar_that_the_documentation_says() -> None:
    n = 300
    times = grid("1h", BOUNDARY, np.arange(n))
    bars = unified("1h", times, walk(3, n, still=0.0, unknown=0.0))
    assert filled(enrich(bars, HOURS, *span(bars))) == {
        "rsi_14": 14,
        "macd_12_26_9": 33,
        "macd_signal_12_26_9": 33,
        "macd_hist_12_26_9": 33,
        "bb_upper_20_2": 19,
        "bb_middle_20_2": 19,
        "bb_lower_20_2": 19,
        "atr_14": 14,
        "adx_14": 27,
        "plus_di_14": 14,
        "minus_di_14": 14,
        "ema_12": 11,
        "ema_26": 25,
        "sma_20": 19,
        "sma_50": 49,
        "sma_200": 199,
        "stoch_k_14_3": 17,
        "stoch_d_14_3_3": 17,
        "obv": 0,
        "vwap_session": 0,
        "returns": 1,
        "log_returns": 1,
        "realized_volatility_20": 20,
        "market_regime": 213,
        "trend_direction": 14,
    }


@pytest.mark.parametrize("n", [1, 2, 14, 15, 20, 21, 28, 34])
def test_a_few_bars_have_the_values_that_few_bars_allow(n: int) -> None:
    times = grid("1h", BOUNDARY, np.arange(300))
    bars = unified("1h", times, walk(3, 300, still=0.0, unknown=0.0))
    few = bars.slice(0, n)
    window = span(bars)
    assert enrich(few, HOURS, *window).equals(enrich(bars, HOURS, *window).slice(0, n))


def test_no_bars_make_no_rows() -> None:
    bars = unified("1h", grid("1h", BOUNDARY, np.arange(3)), flat(3))
    nothing = MARKET_DATA_ENRICHED.arrow.empty_table()
    assert enrich(bars.slice(0, 0), HOURS, *span(bars)).equals(nothing)
    assert enrich(bars, HOURS, BOUNDARY, BOUNDARY).equals(nothing)
    assert enrich(bars, HOURS, BOUNDARY + timedelta(days=9), BOUNDARY + timedelta(days=800)).equals(
        nothing
    )


def test_a_market_that_stands_still_has_finite_values() -> None:
    n = WARM_UP + 100
    bars = unified("1h", grid("1h", BOUNDARY, np.arange(n)), flat(n, price=600.1))
    last = enrich(bars, HOURS, *span(bars)).slice(n - 1).to_pylist()[0]
    still = {"rsi_14", "atr_14", "adx_14", "plus_di_14", "minus_di_14", "stoch_k_14_3", "obv"}
    still |= {"stoch_d_14_3_3", "returns", "log_returns", "realized_volatility_20"}
    assert {name: last[name] for name in still} == dict.fromkeys(still, 0.0)
    prices = [name for name in INDICATORS if name[:3] in ("bb_", "ema", "sma", "vwa")]
    assert {name: last[name] for name in prices} == pytest.approx(dict.fromkeys(prices, 600.1))
    assert [last[f"macd{part}_12_26_9"] for part in ("", "_signal", "_hist")] == pytest.approx(
        [0, 0, 0], abs=1e-10
    )
    assert (last["market_regime"], last["trend_direction"]) == ("range", 0)


def test_a_market_without_volume_has_everything_else() -> None:
    n = 300
    times = grid("1h", BOUNDARY, np.arange(n))
    without = unified("1h", times, walk(5, n, unknown=1.0))
    with_it = unified("1h", times, walk(5, n, unknown=0.0))
    rows, others = (enrich(bars, HOURS, *span(bars)) for bars in (without, with_it))
    assert rows["obv"].null_count == rows["vwap_session"].null_count == n
    volumes = ["volume", "obv", "vwap_session"]
    assert rows.drop_columns(volumes).equals(others.drop_columns(volumes))


# --- what is refused


@pytest.mark.parametrize("order", [[0, 2, 1], [0, 1, 1]])
def test_bars_that_do_not_ascend_are_refused(order: list[int]) -> None:
    bars = unified("1h", grid("1h", BOUNDARY, np.arange(3)), flat(3))
    with pytest.raises(ValueError, match="do not ascend in time"):
        enrich(bars.take(pa.array(order)), HOURS, *span(bars))


def test_a_bar_without_a_close_is_refused() -> None:
    prices = flat(3)
    prices["close"] = np.array([1.0, np.nan, 1.0])
    bars = unified("1h", grid("1h", BOUNDARY, np.arange(3)), prices)
    with pytest.raises(ValueError, match="close"):
        enrich(bars, HOURS, *span(bars))
