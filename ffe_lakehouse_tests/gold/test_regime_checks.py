"""dbt's tests of the regimes find what they look for."""

from typing import Any

import pytest

from ffe_lakehouse_tests.gold.portfolio_and_regimes import failing_tests
from ffe_lakehouse_tests.gold_lake import GoldLake, at

MART = "mart_market_regime_stats"


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ({}, set()),
        ({"time_share": 0.4}, {"time_shares_add_up_to_one"}),
        ({"day_bars": 0}, {"regimes_add_up_to_the_pair"}),
        ({"day_trades": 0}, {"regimes_add_up_to_the_pair"}),
        ({"day_net_pnl": 5.01}, {"regimes_add_up_to_the_pair"}),
        ({"bars": 0}, {"counts_include_the_day"}),
        ({"trades": 0}, {"counts_include_the_day"}),
        ({"winning_trades": 2}, {"counts_include_the_day"}),
        ({"bar_volatility": float("inf")}, {"finite"}),
    ],
)
def test_a_row_that_breaks_a_law_is_found(
    gold: GoldLake, damage: dict[str, Any], found: set[str]
) -> None:
    gold.bar(0, "trend", 1)
    gold.bar(1, "trend", 1)
    gold.trade(1.5, 5.0, entry_time=at(1.2))
    gold.build(MART, last=1)
    assert failing_tests(gold, MART, **damage) == found
