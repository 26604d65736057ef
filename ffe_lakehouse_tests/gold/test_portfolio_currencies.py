"""What of a portfolio can be counted in the account's currency, and how its pairs are known."""

from typing import Any

import pyarrow as pa
import pytest

from ffe_lakehouse.gold.scope import Scope
from ffe_lakehouse.gold.sources import load
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.gold.portfolio_and_regimes import Row
from ffe_lakehouse_tests.gold_lake import GoldLake, at

MART = "mart_daily_portfolio_summary"


def position(pair: str, side: str = "LONG", **more: Any) -> dict[str, Any]:
    values = {"size": 200.0, "entry_price": 150.0, "current_price": 160.0, "unrealized_pnl": 3.0}
    return {"asset_pair": pair, "product": pair, "side": side, **values, **more}


def one_row(gold: GoldLake) -> Row:
    (row,) = gold.build(MART, last=0)
    return row


def set_currency(monkeypatch: pytest.MonkeyPatch, currency: str) -> None:
    monkeypatch.setenv("FFE_ACCOUNT_CURRENCY", currency)
    get_settings.cache_clear()


def test_a_pair_quoted_in_the_account_currency_counts_as_it_is(gold: GoldLake) -> None:
    gold.trade(0, 12.0, asset_pair="EURUSD")
    gold.snapshot(0, [position("EURUSD")])
    row = one_row(gold)
    assert (row["account_currency"], row["realized_pnl"]) == ("USD", 12.0)
    assert row["net_exposure"] == 32_000.0


def test_of_a_pair_whose_base_it_is_the_exit_price_converts_the_pnl(gold: GoldLake) -> None:
    gold.trade(0, 3_000.0, asset_pair="USDJPY", exit_price=150.0)
    row = one_row(gold)
    assert (row["realized_pnl"], row["unconverted_trades"]) == (20.0, 0)


def test_of_a_pair_whose_base_it_is_the_size_is_the_exposure(gold: GoldLake) -> None:
    gold.snapshot(0, [position("USDJPY", "SHORT", current_price=None)])
    row = one_row(gold)
    assert (row["gross_exposure"], row["net_exposure"]) == (200.0, -200.0)
    assert row["unconverted_positions"] == 0


def test_a_cross_is_left_out_and_counted(gold: GoldLake) -> None:
    gold.trade(0, 12.0, asset_pair="EURGBP")
    gold.trade(0, 5.0)
    gold.snapshot(0, [position("EURGBP"), position("BTCUSD", size=1.0)])
    row = one_row(gold)
    assert (row["day_realized_pnl"], row["realized_pnl"], row["unconverted_trades"]) == (5, 5, 1)
    assert (row["net_exposure"], row["unconverted_positions"]) == (160.0, 1)
    assert row["exposure_by_pair"] == '{"BTCUSD":160.0}'
    # The engine says it in the currency of the account, whatever the pair is.
    assert (row["positions"], row["unrealized_pnl"]) == (2, 6.0)


def test_trades_that_are_left_out_are_counted_to_date_and_anew_with_real_ones(
    gold: GoldLake,
) -> None:
    gold.trade(0, 1.0, asset_pair="EURGBP", record_is_mock=True)
    gold.trade(1, 1.0, asset_pair="EURGBP", record_is_mock=True)
    gold.trade(2, 1.0, asset_pair="EURGBP")
    rows = gold.build(MART, last=3)
    assert [row["unconverted_trades"] for row in rows] == [1, 2, 1, 1]


@pytest.mark.parametrize("coin", ["USDT", "USDC"])
def test_a_stablecoin_is_a_currency_of_its_own(
    gold: GoldLake, coin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold.trade(0, 12.0, asset_pair=f"ETH{coin}")
    gold.snapshot(0, [position(f"ETH{coin}")])
    row = one_row(gold)
    assert (row["realized_pnl"], row["unconverted_trades"]) == (0.0, 1)
    assert (row["gross_exposure"], row["unconverted_positions"]) == (0.0, 1)
    set_currency(monkeypatch, coin)
    row = one_row(gold)
    assert (row["realized_pnl"], row["net_exposure"]) == (12.0, 32_000.0)


def test_the_account_may_have_another_currency(
    gold: GoldLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_currency(monkeypatch, "EUR")
    gold.trade(0, 12.0, asset_pair="EURUSD", exit_price=1.2)
    gold.trade(0, 5.0, asset_pair="BTCEUR")
    gold.trade(0, 7.0)
    gold.snapshot(0, [position("EURUSD"), position("BTCUSD")])
    row = one_row(gold)
    assert (row["account_currency"], row["unconverted_trades"]) == ("EUR", 1)
    assert row["realized_pnl"] == pytest.approx(15.0)
    assert (row["net_exposure"], row["unconverted_positions"]) == (200.0, 1)


def test_a_pair_that_only_a_position_has_is_known(gold: GoldLake) -> None:
    gold.snapshot(0, [position("SOLUSD")])
    gold.snapshot(1, [position("AAPL")])
    gold.write()
    assert pairs(gold, last=0) == [("SOLUSD", "SOL", "USD")]
    assert pairs(gold) == [("AAPL", "AAPL", "USD"), ("SOLUSD", "SOL", "USD")]


def test_the_pairs_of_a_run_are_those_it_names(gold: GoldLake) -> None:
    gold.trade(0, 1.0)
    gold.trade(0, 1.0, asset_pair="ETHUSD")
    gold.snapshot(0, [position("SOLUSD")])
    gold.write()
    assert [pair for pair, *_ in pairs(gold, of=("ETHUSD",))] == ["ETHUSD"]
    assert [pair for pair, *_ in pairs(gold)] == ["BTCUSD", "ETHUSD", "SOLUSD"]


def test_no_bar_is_loaded_to_know_the_pairs(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1)
    gold.decision(0, asset_pair="EURUSD")
    gold.write()
    scope = Scope(gold.lake, at(0).date())
    assert load(scope, "ffe", "pairs")["asset_pair"].to_pylist() == ["BTCUSD", "EURUSD"]
    assert scope.loaded.keys() == {"ffe/pairs", "bronze/raw_portfolio_snapshots"}


def pairs(
    gold: GoldLake, last: int = 1, of: tuple[str, ...] | None = None
) -> list[tuple[str, str, str]]:
    """Pair, base and quote as the models are told."""
    table: pa.Table = load(Scope(gold.lake, at(last).date(), pairs=of), "ffe", "pairs")
    rows = table.select(["asset_pair", "base_currency", "quote_currency"]).to_pylist()
    return [tuple(row.values()) for row in rows]
