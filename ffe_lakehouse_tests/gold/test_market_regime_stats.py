"""Regimes, case by case. The laws, and the same on random data, are in ``test_regime_laws``."""

import math
import statistics
from typing import Any

import pytest

from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.transforms.asof import LOOK_BACK_DAYS
from ffe_lakehouse_tests.gold.portfolio_and_regimes import Row, day_of
from ffe_lakehouse_tests.gold_lake import GoldLake, at

MART = "mart_market_regime_stats"
HOUR = 1 / 24
MICROSECOND = HOUR / 3_600_000_000


def built(gold: GoldLake, last: float = 2, **more: Any) -> dict[tuple[str, str, int], Row]:
    """Rows by regime, direction and number of the day; of one pair."""
    rows = gold.build(MART, last, **more)
    return {(row["regime"], row["direction"], (row["date"] - day_of(0)).days): row for row in rows}


def entered(gold: GoldLake, entry: float, net_pnl: float | None = 1.0, **more: Any) -> None:
    """A trade from day ``entry`` to the end of the next hour."""
    gold.trade(entry + HOUR, net_pnl, entry_time=at(entry), **more)


def regime_of_the_only_trade(gold: GoldLake, last: float = 2) -> tuple[str, str]:
    (found,) = {
        (row["regime"], row["direction"]) for row in gold.build(MART, last) if row["trades"]
    }
    return found


def test_a_row_says_what_it_is_counted_in(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1, asset_pair="USDJPY")
    (row,) = gold.build(MART, last=0)
    assert (row["timeframe"], row["quote_currency"]) == ("1h", "JPY")


def test_a_lake_without_anything_has_no_rows(gold: GoldLake) -> None:
    assert gold.build(MART) == []


def test_bars_are_counted_by_regime_and_direction(gold: GoldLake) -> None:
    for hour, (regime, direction) in enumerate(
        [("trend", 1), ("trend", -1), ("trend", 1), ("range", 0)]
    ):
        gold.bar(hour * HOUR, regime, direction)
    gold.bar(1, "trend", 1)
    rows = built(gold, last=1)
    counts = {key: (row["day_bars"], row["bars"], row["time_share"]) for key, row in rows.items()}
    assert counts == {
        ("trend", "up", 0): (2, 2, 0.5),
        ("trend", "down", 0): (1, 1, 0.25),
        ("range", "flat", 0): (1, 1, 0.25),
        ("trend", "up", 1): (1, 3, 0.6),
        ("trend", "down", 1): (0, 1, 0.2),
        ("range", "flat", 1): (0, 1, 0.2),
    }


def test_a_regime_has_rows_from_the_day_on_which_it_appears(gold: GoldLake) -> None:
    gold.bar(0, "range", 1)
    gold.bar(2, "volatile", -1)
    assert sorted(built(gold, last=3)) == [
        *(("range", "up", day) for day in (0, 1, 2, 3)),
        *(("volatile", "down", day) for day in (2, 3)),
    ]


def test_a_bar_that_closes_at_midnight_is_of_the_day_on_which_it_opens(gold: GoldLake) -> None:
    gold.bar(23 * HOUR, "trend", 1)
    assert [row["day_bars"] for row in built(gold, last=1).values()] == [1, 0]


def test_bars_of_the_warm_up_are_unknown(gold: GoldLake) -> None:
    gold.bar(0, None, None)
    gold.bar(HOUR, None, -1)
    rows = built(gold, last=0)
    assert rows.keys() == {("unknown", "unknown", 0), ("unknown", "down", 0)}
    assert [row["time_share"] for row in rows.values()] == [0.5, 0.5]


def test_only_bars_of_the_chosen_timeframe_count(
    gold: GoldLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold.bar(0, "trend", 1)
    gold.bar(0, "range", 1, timeframe="4h")
    entered(gold, 2 * HOUR)
    assert regime_of_the_only_trade(gold, last=0) == ("trend", "up")
    monkeypatch.setenv("FFE_MART_TIMEFRAME", "4h")
    get_settings.cache_clear()
    rows = gold.build(MART, last=0, write=False)
    # A bar of four hours is not closed after two.
    assert [(row["regime"], row["bars"], row["trades"]) for row in rows] == [
        ("range", 1, 0),
        ("unknown", 0, 1),
    ]
    assert {row["timeframe"] for row in rows} == {"4h"}


def test_mean_and_volatility_are_those_of_the_known_returns(gold: GoldLake) -> None:
    returns = [0.01, -0.02, 0.005]
    gold.bar(0, "trend", 1, log_returns=None)
    for hour, value in enumerate(returns, 1):
        gold.bar(hour * 10 * HOUR, "trend", 1, log_returns=value)
        gold.bar((hour * 10 + 1) * HOUR, "range", 1, log_returns=0.5)
    row = built(gold)["trend", "up", 2]
    assert row["bars"] == 4
    assert math.isclose(row["mean_bar_return"], statistics.mean(returns))
    assert math.isclose(row["bar_volatility"], statistics.stdev(returns))


def test_one_return_has_a_mean_and_no_volatility(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1, log_returns=0.01)
    gold.bar(HOUR, "range", 1, log_returns=None)
    rows = built(gold, last=0)
    one, none = rows["trend", "up", 0], rows["range", "up", 0]
    assert (one["mean_bar_return"], one["bar_volatility"]) == (0.01, None)
    assert (none["mean_bar_return"], none["bar_volatility"]) == (None, None)


@pytest.mark.parametrize("value", [0.0, 0.01, -1e-5])
def test_bars_that_all_move_alike_have_no_volatility(gold: GoldLake, value: float) -> None:
    for hour in range(48):
        gold.bar(hour * HOUR, "range", 0, log_returns=value)
    assert 0 <= built(gold, last=1)["range", "flat", 1]["bar_volatility"] < 1e-9


def test_a_trade_is_of_the_newest_bar_that_was_closed_at_its_entry(gold: GoldLake) -> None:
    gold.bar(0, "range", -1)
    gold.bar(HOUR, "trend", 1)
    entered(gold, 2.5 * HOUR)
    assert regime_of_the_only_trade(gold) == ("trend", "up")


def test_a_bar_that_closes_at_the_entry_is_known(gold: GoldLake) -> None:
    gold.bar(0, "range", -1)
    gold.bar(HOUR, "trend", 1)
    entered(gold, 2 * HOUR)
    assert regime_of_the_only_trade(gold) == ("trend", "up")


def test_a_bar_that_closes_right_after_the_entry_is_not_known(gold: GoldLake) -> None:
    gold.bar(0, "range", -1)
    gold.bar(HOUR, "trend", 1)
    entered(gold, 2 * HOUR - MICROSECOND)
    assert regime_of_the_only_trade(gold) == ("range", "down")


def test_a_trade_before_every_bar_is_unknown(gold: GoldLake) -> None:
    gold.bar(5 * HOUR, "trend", 1)
    entered(gold, 5.5 * HOUR)
    assert regime_of_the_only_trade(gold) == ("unknown", "unknown")


def test_a_trade_in_the_warm_up_is_unknown_with_a_direction(gold: GoldLake) -> None:
    gold.bar(0, None, 1)
    entered(gold, 2 * HOUR)
    assert regime_of_the_only_trade(gold) == ("unknown", "up")


def test_a_bar_counts_for_ten_days_from_its_open_time(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1)
    entered(gold, LOOK_BACK_DAYS)
    assert regime_of_the_only_trade(gold, last=12) == ("trend", "up")


def test_an_older_bar_says_nothing(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1)
    entered(gold, LOOK_BACK_DAYS + MICROSECOND)
    assert regime_of_the_only_trade(gold, last=12) == ("unknown", "unknown")


def test_a_bar_of_another_pair_says_nothing(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1, asset_pair="ETHUSD")
    entered(gold, 2 * HOUR)
    assert regime_of_the_only_trade(gold) == ("unknown", "unknown")


def test_a_trade_is_counted_on_the_day_of_its_exit(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1)
    gold.trade(2.5, 4.0, entry_time=at(2 * HOUR))
    days = [row["day_trades"] for row in built(gold, last=3).values()]
    assert days == [0, 0, 1, 0]


def test_a_pair_without_bars_has_its_trades_under_unknown(gold: GoldLake) -> None:
    gold.trade(0.5, 4.0)
    gold.trade(1.5, -1.0)
    rows = built(gold, last=2)
    assert list(rows) == [("unknown", "unknown", day) for day in (0, 1, 2)]
    assert [row["net_pnl"] for row in rows.values()] == [4.0, 3.0, 3.0]
    assert {row["time_share"] for row in rows.values()} == {None}


def test_a_regime_without_trades_has_no_rates(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1)
    (row,) = built(gold, last=0).values()
    assert (row["trades"], row["winning_trades"], row["net_pnl"]) == (0, 0, 0.0)
    assert (row["win_rate"], row["expectancy"]) == (None, None)


def test_rates_are_those_of_the_trades_that_began_in_the_regime(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1)
    gold.bar(12 * HOUR, "range", 0)
    for net_pnl in (6.0, -3.0, 0.0):
        entered(gold, 2 * HOUR, net_pnl)
    entered(gold, 14 * HOUR, -8.0)
    rows = built(gold, last=0)
    trend, quiet = rows["trend", "up", 0], rows["range", "flat", 0]
    assert (trend["trades"], trend["winning_trades"]) == (3, 1)
    assert (trend["win_rate"], trend["expectancy"], trend["net_pnl"]) == (1 / 3, 1.0, 3.0)
    assert (quiet["win_rate"], quiet["expectancy"], quiet["net_pnl"]) == (0.0, -8.0, -8.0)


def test_ten_times_a_tenth_is_one(gold: GoldLake) -> None:
    for day in range(10):
        gold.bar(day, "trend", 1, log_returns=0.1)
        gold.trade(day + 0.5, 0.1, entry_time=at(day + 0.25))
    row = built(gold, last=9)["trend", "up", 9]
    assert (row["net_pnl"], row["mean_bar_return"]) == (1.0, 0.1)


def test_open_trades_and_those_without_a_pnl_do_not_count(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1)
    entered(gold, 2 * HOUR, None)
    gold.trade(0.5, None, status="open", exit_time=None, exit_price=None, exit_size=None)
    gold.trade(0.5, None, asset_pair="ETHUSD")
    rows = gold.build(MART, last=0)
    assert [(row["asset_pair"], row["trades"]) for row in rows] == [("BTCUSD", 0)]


def test_simulated_trades_no_longer_count_once_there_is_a_real_record(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1)
    entered(gold, 0.2, 5.0, record_is_mock=True)
    entered(gold, 1.2, 7.0, record_is_mock=True)
    gold.decision(1.5)
    entered(gold, 2.2, -1.0)
    entered(gold, 2.2, 9.0, record_is_mock=True)
    rows = built(gold).values()
    assert [(row["trades"], row["net_pnl"], row["is_mock"]) for row in rows] == [
        (1, 5.0, True),
        (0, 0.0, False),
        (1, -1.0, False),
    ]
    assert [row["bars"] for row in rows] == [1, 1, 1]


def test_a_simulated_bar_marks_its_regime_from_its_day_on(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1)
    gold.bar(1, "trend", 1, is_mock=True)
    gold.bar(1.5, "range", 1)
    assert {key: row["is_mock"] for key, row in built(gold).items()} == {
        ("trend", "up", 0): False,
        ("trend", "up", 1): True,
        ("trend", "up", 2): True,
        ("range", "up", 1): False,
        ("range", "up", 2): False,
    }
