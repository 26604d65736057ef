"""What the settings, and the market that a pair is of, do to its returns."""

import math
import statistics
from typing import Any

import pytest

from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.gold_lake import GoldLake

MART = "mart_trading_performance"
FRIDAY, SATURDAY, MONDAY = 4, 5, 7
PERIODS = {"BTCUSD": 365, "EURUSD": 260, "AAPL": 252}


def configure(monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"FFE_{name.upper()}", str(value))
    get_settings.cache_clear()


def column(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows]


def test_with_capital_as_the_basis_a_ruined_account_has_returns_as_before(
    gold: GoldLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, return_basis="capital", initial_capital=1000)
    for day, net_pnl in enumerate((500.0, -2_000.0, 100.0, 2e7)):
        gold.trade(day + 0.5, net_pnl)
    rows = gold.build(MART, last=3)
    # 2e7 is too much for that basis, too.
    assert column(rows, "daily_return") == [0.5, -2, 0.1, None]


def test_a_gain_that_cannot_be_annualized_has_no_annual_return(
    gold: GoldLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, initial_capital=1)
    gold.trade(0.5, 45.0)
    gold.trade(1.5, -1e-9)
    first, second = gold.build(MART, last=1)
    # 46 ^ 365 is no double; 46 ^ 182.5 is, but not when it is divided by so small a drawdown.
    assert first["annual_return"] is None
    assert second["annual_return"] == pytest.approx(46**182.5, rel=1e-6)
    assert second["max_drawdown"] < 0
    assert second["calmar_ratio"] is None


def test_steady_returns_keep_the_digits_of_their_sharpe_ratio(
    gold: GoldLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, return_basis="capital")
    for day in range(40):
        gold.trade(day + 0.5, 100.0 + math.sin(day) / 1000)
    rows = gold.build(MART, last=39)
    returns = column(rows, "daily_return")
    # ``statistics`` computes with fractions.
    expected = statistics.mean(returns) / statistics.stdev(returns) * math.sqrt(365)
    assert rows[-1]["sharpe_ratio"] == pytest.approx(expected, rel=1e-9)


def test_a_weekend_is_a_return_day_if_a_trade_was_settled(gold: GoldLake) -> None:
    for pair in ("EURUSD", "AAPL"):
        gold.trade(FRIDAY + 0.5, 100.0, asset_pair=pair)
        gold.trade(SATURDAY + 0.5, 50.0, asset_pair=pair)
    rows = gold.build(MART, last=MONDAY)
    assert column(rows, "is_return_day") == [True, True, False, True] * 2
    assert column(rows, "daily_return") == [0.01, 50 / 10_100, None, 0] * 2
    assert column(rows, "return_days") == [1, 2, 2, 3] * 2


def test_the_calendar_and_the_periods_of_a_year_are_those_of_the_market(gold: GoldLake) -> None:
    for pair in PERIODS:
        gold.trade(FRIDAY + 7.5, 100.0, asset_pair=pair)
    # The Monday after it, 15 January 2024, is a holiday in New York.
    rows = gold.build(MART, last=FRIDAY + 7 + 4)
    days = {row["asset_pair"]: row["return_days"] for row in rows}
    assert days == {"BTCUSD": 5, "EURUSD": 3, "AAPL": 2}
    annual = {row["asset_pair"]: row["annual_return"] for row in rows}
    for pair, periods in PERIODS.items():
        assert annual[pair] == pytest.approx(1.01 ** (periods / days[pair]) - 1)


def test_a_pair_is_counted_in_its_quote_currency(gold: GoldLake) -> None:
    for pair in ("USDJPY", "ETHBTC", "AAPL"):
        gold.trade(0.5, 1.0, asset_pair=pair)
    rows = gold.build(MART, last=0)
    assert {row["asset_pair"]: row["quote_currency"] for row in rows} == {
        "USDJPY": "JPY",
        "ETHBTC": "BTC",
        "AAPL": "USD",
    }
