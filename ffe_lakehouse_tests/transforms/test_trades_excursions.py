"""How far the price went for and against a trade, from the 1m bars that lie within it."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.trades import trade_lifecycle
from ffe_lakehouse_tests.transforms.silver_inputs import (
    MINUTE,
    NOON,
    at,
    decisions,
    enriched,
    trade,
    trades,
)

ONE = TIMEFRAMES["1m"]
SECOND = 1_000_000


def bars(*prices: tuple[int, float, float], **columns: Any) -> pa.Table:
    """1m bars: minutes after ``NOON``, high and low."""
    made = [enriched(ONE, [NOON + m * MINUTE], high=h, low=lo, **columns) for m, h, lo in prices]
    return pa.concat_tables([enriched(ONE, []), *made])


def ended(begin: int, end: int, trade_id: str = "t-1", **columns: Any) -> dict[str, Any]:
    """A trade from and to these seconds after ``NOON``, at 100 and 101."""
    times = {"entry_time": at(NOON + begin * SECOND), "exit_time": at(NOON + end * SECOND)}
    return trade(trade_id=trade_id, exit_price=101.0, exit_size=2.0, **times, **columns)


def rows(minutes: pa.Table, *ends: dict[str, Any]) -> list[dict[str, Any]]:
    return trade_lifecycle(trades(*ends), minutes, {}, decisions()).to_pylist()


def excursions(row: dict[str, Any]) -> tuple[float | None, float | None, int]:
    return (
        row["max_adverse_excursion"],
        row["max_favourable_excursion"],
        row["excursion_bars"],
    )


@given(
    st.dictionaries(st.integers(0, 30), st.tuples(st.floats(50, 150), st.floats(0, 40))),
    st.lists(
        st.tuples(st.integers(0, 1900), st.integers(0, 1900), st.sampled_from(["LONG", "SHORT"])),
        min_size=1,
        max_size=5,
    ),
    st.randoms(use_true_random=False),
)
def test_excursions_are_those_of_the_bars_that_lie_wholly_within(
    market: dict[int, tuple[float, float]], spans: list[tuple[int, int, str]], random: Any
) -> None:
    minutes = [(m, high, high - height) for m, (high, height) in market.items()]
    random.shuffle(minutes)
    ends = [
        ended(begin, begin + length, str(number), side=side)
        for number, (begin, length, side) in enumerate(spans)
    ]
    found = {row["trade_id"]: row for row in rows(bars(*minutes), *ends)}
    for number, (begin, length, side) in enumerate(spans):
        row = found[str(number)]
        within = [each for each in minutes if begin <= each[0] * 60 <= begin + length - 60]
        full = [m for m in range(100) if begin <= m * 60 <= begin + length - 60]
        assert row["excursion_minutes"] == len(full)
        if not within:
            assert excursions(row) == (None, None, 0)
            continue
        lowest = min(100.0, 101.0, *(low for _, _, low in within)) / 100.0 - 1
        highest = max(100.0, 101.0, *(high for _, high, _ in within)) / 100.0 - 1
        pair = (lowest, highest) if side == "LONG" else (-highest, -lowest)
        assert excursions(row) == (pytest.approx(pair[0]), pytest.approx(pair[1]), len(within))
        assert row["max_adverse_excursion"] <= 0 <= row["max_favourable_excursion"]


def test_a_bar_that_sticks_out_of_the_trade_is_left_out() -> None:
    market = bars((0, 500.0, 1.0), (1, 110.0, 95.0), (2, 500.0, 1.0))
    (row,) = rows(market, ended(30, 150))
    assert excursions(row) == (pytest.approx(-0.05), pytest.approx(0.1), 1)
    (row,) = rows(market, ended(60, 120))
    assert excursions(row) == (pytest.approx(-0.05), pytest.approx(0.1), 1)


def test_entry_and_exit_price_belong_to_the_trade() -> None:
    (row,) = rows(bars((0, 100.5, 100.2)), ended(0, 60))
    assert excursions(row) == (0.0, pytest.approx(0.01), 1)
    (row,) = rows(bars((0, 100.5, 100.2)), ended(0, 60, side="SHORT"))
    assert excursions(row) == (pytest.approx(-0.01), 0.0, 1)


def test_a_trade_shorter_than_a_bar_has_no_excursion() -> None:
    (row,) = rows(bars((0, 110.0, 90.0)), ended(1, 59))
    assert excursions(row) == (None, None, 0)
    assert row["excursion_minutes"] == 0


def test_bars_that_are_missing_show_in_the_minutes() -> None:
    (row,) = rows(bars((1, 110.0, 90.0)), ended(0, 600))
    assert (row["excursion_bars"], row["excursion_minutes"]) == (1, 10)


def test_a_simulated_bar_within_makes_the_row_simulated() -> None:
    market = bars((1, 110.0, 90.0), is_mock=True)
    inside, before = rows(market, ended(0, 50, "a"), ended(60, 120, "b"))[::-1]
    assert (inside["is_mock"], inside["record_is_mock"]) == (True, False)
    assert before["is_mock"] is False


def test_ten_thousand_trades_over_one_day_agree_with_the_trade_alone() -> None:
    random = np.random.default_rng(7)
    highs = random.uniform(100, 120, 1440)
    market = enriched(ONE, [NOON + m * MINUTE for m in range(1440)])
    market = market.set_column(
        market.schema.get_field_index("high"), market.schema.field("high"), pa.array(highs)
    )
    begins = random.integers(0, 80_000, 10_000)
    ends = [ended(int(b), int(b) + 3600, f"{i:05}") for i, b in enumerate(begins)]
    together = {row["trade_id"]: row for row in rows(market, *ends)}
    for number in (0, 5000, 9999):
        (alone,) = rows(market, ends[number])
        assert together[alone["trade_id"]] == alone
