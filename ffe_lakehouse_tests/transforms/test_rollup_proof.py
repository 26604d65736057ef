"""Coarse bars against the roll-up of finer ones: simulated, recorded, and broken on purpose."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.providers.base import CandleQuery
from ffe_lakehouse.providers.simulated import SimulatedProvider
from ffe_lakehouse.settings import SimulatedFaults
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.rollup import roll_up
from ffe_lakehouse.transforms.rollup_proof import PRICE_TOLERANCE, VOLUME_TOLERANCE, rollup_proof
from ffe_lakehouse_tests.builders import day
from ffe_lakehouse_tests.transforms.vendor_bars import real_candles

ONE_MINUTE, FIVE_MINUTES, ONE_HOUR = (TIMEFRAMES[code] for code in ("1m", "5m", "1h"))
NO_DAYS = np.array([], dtype="datetime64[D]")
FRIDAY = 4  # days after 2024-01-01, a Monday


def simulated(code: str, pair: str = "BTCUSD", days: int = 3, before: int = 0) -> pa.Table:
    """Candles of the first days from 2024-01-05 on, a Friday, and of some days before."""
    provider = SimulatedProvider(0, SimulatedFaults())
    window = day(FRIDAY - before), day(FRIDAY + days)
    query = CandleQuery(parse_symbol(pair), TIMEFRAMES[code], *window)
    return pa.concat_tables(page.candles for page in provider.fetch(query))


def days_of(candles: pa.Table) -> np.ndarray:
    return np.unique(candles["timestamp"].to_numpy().astype("datetime64[D]"))


def with_value(candles: pa.Table, row: int, name: str, value: float | None) -> pa.Table:
    values = candles[name].to_pylist()
    values[row] = value
    field = candles.schema.field(name)
    index = candles.schema.get_field_index(name)
    return candles.set_column(index, field, pa.array(values, field.type))


def without(candles: pa.Table, rows: Sequence[int]) -> pa.Table:
    return candles.filter(pa.array(~np.isin(np.arange(candles.num_rows), rows)))


@pytest.mark.parametrize("pair", ["BTCUSD", "EURUSD", "AAPL"])
@pytest.mark.parametrize(("finer", "coarse"), [*combinations(TIMEFRAMES, 2)])
def test_every_simulated_bar_is_the_roll_up_of_every_finer_timeframe(
    pair: str, finer: str, coarse: str
) -> None:
    bars, parts = simulated(coarse, pair), simulated(finer, pair, before=1)
    proof = rollup_proof(bars, parts, TIMEFRAMES[coarse], TIMEFRAMES[finer], days_of(parts))
    assert proof.judged.all()
    assert not proof.unequal.any()


RECORDED = [
    # vendor, pair, finer, coarse; coarse bars: all, those with all parts, with some
    ("oanda", "BTCUSD", "1m", "5m", 867, 863, 4),
    ("oanda", "EURUSD", "15m", "1h", 24_908, 24_896, 12),
    ("coinbase", "BTCUSD", "1m", "1d", 9, 5, 4),
]


@pytest.mark.parametrize(("vendor", "pair", "finer", "coarse", "n", "full", "partial"), RECORDED)
def test_recorded_bars_are_the_roll_up_to_the_last_bit(
    shared_data: Path,
    vendor: str,
    pair: str,
    finer: str,
    coarse: str,
    n: int,
    full: int,
    partial: int,
) -> None:
    folder = shared_data / "candles" / vendor
    parts, bars = real_candles(folder, pair, finer), real_candles(folder, pair, coarse)
    made_of_parts = roll_up(parts, TIMEFRAMES[coarse])["timestamp"]
    bars = bars.filter(pc.is_in(bars["timestamp"], made_of_parts))
    assert bars.num_rows == len(made_of_parts) == n == full + partial
    timeframes = TIMEFRAMES[coarse], TIMEFRAMES[finer]
    proof = rollup_proof(bars, parts, *timeframes, NO_DAYS, 0.0, 1e-15)
    assert (proof.judged.sum(), proof.unequal.sum()) == (full, 0)
    # Minutes that are missing had no trade. With one of the bars the recording begins.
    proof = rollup_proof(bars, parts, *timeframes, days_of(parts), 0.0, 1e-15)
    begins_within = bars["timestamp"][0].as_py() < parts["timestamp"][0].as_py()
    assert list(np.flatnonzero(~proof.judged)) == ([0] if begins_within else [])
    assert not proof.unequal.any()


MEASURES = ("open", "high", "low", "close", "volume")


@pytest.mark.parametrize("name", MEASURES)
def test_each_measure_that_is_off_is_found_and_names_its_bar(name: str) -> None:
    bars, parts = simulated("1h"), simulated("1m")
    value = bars[name][17].as_py()
    tolerance = VOLUME_TOLERANCE if name == "volume" else PRICE_TOLERANCE
    for factor, expected in [(1 + 3 * tolerance, [17]), (1 - 3 * tolerance, [17])]:
        broken = with_value(bars, 17, name, value * factor)
        proof = rollup_proof(broken, parts, ONE_HOUR, ONE_MINUTE, NO_DAYS)
        assert list(np.flatnonzero(proof.unequal)) == expected
        assert proof.rolled[name][17].as_py() == pytest.approx(value, rel=1e-12)
    within = with_value(bars, 17, name, value * (1 + tolerance / 3))
    assert not rollup_proof(within, parts, ONE_HOUR, ONE_MINUTE, NO_DAYS).unequal.any()


def test_float32_prices_are_equal_to_the_ones_that_they_were_rounded_from() -> None:
    bars, parts = simulated("1h"), simulated("1m")
    for name in ("open", "high", "low", "close"):
        rounded = bars[name].cast(pa.float32(), safe=False).cast(pa.float64())
        bars = bars.set_column(bars.schema.get_field_index(name), name, rounded)
    assert not rollup_proof(bars, parts, ONE_HOUR, ONE_MINUTE, NO_DAYS).unequal.any()


def test_a_cent_of_a_bitcoin_is_a_difference() -> None:
    bars, parts = simulated("1h"), simulated("1m")
    close = bars["close"][3].as_py()
    assert 10_000 < close < 99_999
    broken = with_value(bars, 3, "close", close + 0.01)
    assert rollup_proof(broken, parts, ONE_HOUR, ONE_MINUTE, NO_DAYS).unequal.sum() == 1


def test_a_hole_in_the_finer_bars_counts_against_the_vendor_only_where_the_day_is_whole() -> None:
    bars = simulated("1h", days=2)
    parts = without(simulated("1m", days=2), range(70, 80))  # ten minutes of the second hour
    loaded = rollup_proof(bars, parts, ONE_HOUR, ONE_MINUTE, NO_DAYS)
    assert list(np.flatnonzero(~loaded.judged)) == [1]
    assert not loaded.unequal.any()
    friday, saturday = days_of(parts)
    for whole, unequal in (([saturday], []), ([friday], [1]), ([friday, saturday], [1])):
        proof = rollup_proof(bars, parts, ONE_HOUR, ONE_MINUTE, np.array(whole))
        assert list(np.flatnonzero(proof.unequal)) == unequal


def test_a_minute_without_a_trade_changes_nothing_on_a_whole_day() -> None:
    parts = without(simulated("1m"), [7, 8, 9, 1000])
    bars = roll_up(parts, FIVE_MINUTES)
    proof = rollup_proof(bars, parts, FIVE_MINUTES, ONE_MINUTE, days_of(parts))
    assert proof.judged.all()
    assert not proof.unequal.any()


def test_a_bar_without_any_finer_one_is_made_of_nothing_on_a_whole_day() -> None:
    bars, parts = simulated("5m", days=1), without(simulated("1m", days=1), range(15, 20))
    proof = rollup_proof(bars, parts, FIVE_MINUTES, ONE_MINUTE, days_of(parts))
    assert list(np.flatnonzero(proof.unequal)) == [3]
    assert proof.rolled.slice(3, 1).to_pylist()[0]["close"] is None
    unknown = rollup_proof(bars, parts, FIVE_MINUTES, ONE_MINUTE, NO_DAYS)
    assert list(np.flatnonzero(~unknown.judged)) == [3]


def test_what_lies_before_the_first_finer_bar_is_not_judged() -> None:
    bars, parts = simulated("5m", days=2), simulated("1m", days=2).slice(12)
    proof = rollup_proof(bars, parts, FIVE_MINUTES, ONE_MINUTE, days_of(parts))
    assert list(np.flatnonzero(~proof.judged)) == [0, 1, 2]
    assert not proof.unequal.any()


@pytest.mark.parametrize("table", ["coarse", "finer"])
def test_a_volume_that_is_not_known_is_not_compared(table: str) -> None:
    bars, parts = simulated("1h"), simulated("1m")
    if table == "coarse":
        bars = with_value(bars, 2, "volume", None)
    else:
        parts = with_value(parts, 2 * 60 + 5, "volume", None)
    assert not rollup_proof(bars, parts, ONE_HOUR, ONE_MINUTE, NO_DAYS).unequal.any()
    worse = with_value(bars, 2, "close", 1.0)
    proof = rollup_proof(worse, parts, ONE_HOUR, ONE_MINUTE, NO_DAYS)
    assert list(np.flatnonzero(proof.unequal)) == [2]


def test_a_volume_of_zero_is_a_volume() -> None:
    bars, parts = simulated("1h"), simulated("1m")
    nothing = with_value(bars, 2, "volume", 0.0)
    proof = rollup_proof(nothing, parts, ONE_HOUR, ONE_MINUTE, NO_DAYS)
    assert list(np.flatnonzero(proof.unequal)) == [2]


def test_without_finer_bars_nothing_is_judged() -> None:
    bars = simulated("1h")
    proof = rollup_proof(bars, bars.slice(0, 0), ONE_HOUR, ONE_MINUTE, NO_DAYS)
    assert not proof.judged.any()
    assert proof.rolled.num_rows == bars.num_rows
    none = rollup_proof(bars.slice(0, 0), simulated("1m"), ONE_HOUR, ONE_MINUTE, NO_DAYS)
    assert none.judged.size == none.rolled.num_rows == 0


BARS, PARTS = simulated("1h", days=1), simulated("1m", days=1)


@given(
    st.randoms(use_true_random=False), st.sets(st.integers(0, 23)), st.sets(st.integers(0, 1439))
)
def test_exactly_the_bars_that_were_changed_are_found_in_any_order(
    random: Any, changed: set[int], missing: set[int]
) -> None:
    close = BARS["close"].to_numpy() * np.where(np.isin(np.arange(24), list(changed)), 1.001, 1)
    bars = BARS.set_column(BARS.schema.get_field_index("close"), "close", pa.array(close))
    order = list(range(24))
    random.shuffle(order)
    parts = without(PARTS, sorted(missing)).take(
        np.random.default_rng(0).permutation(1440 - len(missing))
    )
    proof = rollup_proof(bars.take(pa.array(order)), parts, ONE_HOUR, ONE_MINUTE, NO_DAYS)
    holes = {minute // 60 for minute in missing}
    assert {order[row] for row in np.flatnonzero(proof.judged)} == set(range(24)) - holes
    assert {order[row] for row in np.flatnonzero(proof.unequal)} == changed - holes


def test_a_finer_bar_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="duplicate"):
        rollup_proof(
            BARS, pa.concat_tables([PARTS, PARTS.slice(0, 1)]), ONE_HOUR, ONE_MINUTE, NO_DAYS
        )
