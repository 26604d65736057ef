"""dbt's tests of the portfolio find what they look for."""

from typing import Any

import pytest

from ffe_lakehouse_tests.gold.portfolio_and_regimes import failing_tests
from ffe_lakehouse_tests.gold_lake import GoldLake, at

MART = "mart_daily_portfolio_summary"
SNAPSHOT = "snapshot_is_of_the_day_or_carried_forward"


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ({}, set()),
        ({"balance": 7.0}, {"equity_is_balance_and_open_pnl"}),
        ({"unrealized_pnl": 0.0}, {"equity_is_balance_and_open_pnl"}),
        ({"net_exposure": 199.0}, {"exposures_add_up"}),
        ({"gross_exposure": 199.0}, {"exposures_add_up"}),
        ({"exposure_by_pair": "{}"}, {"exposures_add_up"}),
        ({"drawdown": 0.01}, {"drawdown_is_within_the_largest"}),
        ({"drawdown": -0.5}, {"drawdown_is_within_the_largest"}),
        ({"snapshot_at": at(2)}, {SNAPSHOT}),
        ({"is_carried_forward": False}, {SNAPSHOT}),
        ({"days_since_snapshot": 0}, {SNAPSHOT}),
        ({"equity": float("inf")}, {"equity_is_balance_and_open_pnl", "finite"}),
    ],
)
def test_a_row_that_breaks_a_law_is_found(
    gold: GoldLake, damage: dict[str, Any], found: set[str]
) -> None:
    held = {"side": "LONG", "size": 2.0, "current_price": 100.0, "unrealized_pnl": -3.0}
    gold.snapshot(0, [{"asset_pair": "BTCUSD", "product": "BTC-USD", **held}])
    gold.trade(1, 5.0)
    gold.build(MART, last=1)
    assert failing_tests(gold, MART, **damage) == found
