"""dbt's tests of the performance find what they look for, and nothing else."""

from typing import Any

import pytest

from ffe_lakehouse.gold import runner
from ffe_lakehouse.gold.scope import Scope
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.gold.portfolio_and_regimes import failing_tests
from ffe_lakehouse_tests.gold_lake import GoldLake, at

MART = "mart_trading_performance"


def trade(gold: GoldLake) -> None:
    """A win, a loss, and one of each kind that is not settled; simulated ones before."""
    gold.trade(0.5, 70.0, record_is_mock=True)
    gold.trade(1.5, 98.0, gross_pnl=100.0, fees=2.0)
    gold.trade(2.2, None, status="open")
    gold.trade(2.5, None)
    gold.trade(4.5, -50.0)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ({"trades": 3}, {"every_trade_counts_once"}),
        ({"is_mock": True}, {"every_trade_counts_once"}),
        ({"day_fees": 1.0}, {"net_pnl_is_gross_pnl_less_fees"}),
        ({"net_pnl": 70.0}, {"equity_is_capital_and_net_pnl"}),
        ({"max_drawdown": 0.0}, {"no_drawdown_is_deeper_than_the_deepest"}),
        ({"sharpe_ratio": float("inf")}, {"finite"}),
    ],
)
def test_a_row_that_breaks_a_law_is_found(
    gold: GoldLake, damage: dict[str, Any], found: set[str]
) -> None:
    trade(gold)
    gold.build(MART, last=4)
    assert failing_tests(gold, MART, **damage) == found


def test_days_that_nobody_has_computed_yet_break_no_law(gold: GoldLake) -> None:
    trade(gold)
    gold.build(MART, last=1, first=1)
    gold.build(MART, last=4, first=4)
    assert failing_tests(gold, MART) == set()


def test_another_capital_is_found(gold: GoldLake, monkeypatch: pytest.MonkeyPatch) -> None:
    trade(gold)
    gold.build(MART, last=4)
    monkeypatch.setenv("FFE_INITIAL_CAPITAL", "20000")
    get_settings.cache_clear()
    outcomes = runner.test(Scope(gold.lake, at(4).date()), [MART], gold.dbt)
    (wrong,) = (each for each in outcomes if each.status != "pass")
    assert "equity_is_capital_and_net_pnl" in wrong.unique_id
    assert wrong.failures == 5
