"""Regimes on random data: against a plain computation of every row, and in any order of runs."""

import statistics
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse_tests.gold.portfolio_and_regimes import (
    DAYS,
    Row,
    Run,
    assert_same,
    day_of,
    run,
    runs_in_any_order,
)
from ffe_lakehouse_tests.gold_lake import GoldLake, at

MART = "mart_market_regime_stats"
KEY = ("asset_pair", "regime", "direction", "date")
PAIRS = {"BTCUSD": "USD", "EURJPY": "JPY"}
DIRECTIONS = {1: "up", 0: "flat", -1: "down", None: "unknown"}
HOUR = 1 / 24


def fill(gold: GoldLake, seed: int) -> None:
    """Bars with holes of more than ten days, and trades of every kind around them."""
    random = Random(seed)  # noqa: S311 - not for secrets
    for pair in PAIRS:
        hours = random.sample(range(7 * 24), 60) + random.sample(range(20 * 24, DAYS * 24), 20)
        for hour in hours:
            regime = random.choice(["trend", "range", "volatile", None])
            direction = random.choice([1, 0, -1, None])
            value = None if random.random() < 0.1 else random.gauss(0, 0.01)
            is_mock = random.random() < 0.02
            more: Row = {"asset_pair": pair, "log_returns": value, "is_mock": is_mock}
            gold.bar(hour * HOUR, regime, direction, **more)
        first_real_day = random.randrange(1, DAYS)
        for _ in range(60):
            # To the half hour: half of the entries are at a bar's close, or at where one would be.
            entry = random.randrange(DAYS * 48 - 1) / 48
            exit_ = random.randrange(int(entry * 48) + 1, DAYS * 48) / 48
            is_mock = exit_ < first_real_day or random.random() < 0.3
            more = {"asset_pair": pair, "entry_time": at(entry), "record_is_mock": is_mock}
            kind = random.choice(["settled"] * 8 + ["unpriced", "open"])
            if kind == "open":
                gone = dict.fromkeys(("exit_time", "exit_price", "exit_size", "holding_seconds"))
                gold.trade(entry, None, status="open", **more, **gone)
            else:
                gold.trade(exit_, random.gauss(0, 50) if kind == "settled" else None, **more)


def plainly(gold: GoldLake) -> Iterator[Row]:
    """Every row of the mart, each computed on its own from all that is in the lake."""
    for pair in PAIRS:
        bars = of_pair(gold, "silver/market_data_enriched", pair)
        trades = of_pair(gold, "silver/trade_lifecycle", pair)
        first = min(row["partition_date"] for row in bars + trades)
        border = min(row["partition_date"] for row in trades if not row["record_is_mock"])
        counting = [
            trade
            for trade in trades
            if trade["status"] == "closed"
            and trade["net_pnl"] is not None
            and trade["record_is_mock"] == (trade["partition_date"] < border)
        ]
        for day in (day_of(number) for number in range(DAYS) if day_of(number) >= first):
            seen = [bar for bar in bars if bar["partition_date"] <= day]
            settled = [trade for trade in counting if trade["partition_date"] <= day]
            now = [trade for trade in settled if trade["record_is_mock"] == (day < border)]
            appeared = {regime_of(bar) for bar in seen} | {at_entry(each, bars) for each in settled}
            for regime, direction in appeared:
                there = [bar for bar in seen if regime_of(bar) == (regime, direction)]
                made = [trade for trade in now if at_entry(trade, bars) == (regime, direction)]
                share = len(there) / len(seen) if seen else None
                key = {"asset_pair": pair, "regime": regime, "direction": direction, "date": day}
                yield key | {"time_share": share} | one_row(pair, day, there, made)


def one_row(pair: str, day: date, bars: list[Row], trades: list[Row]) -> Row:
    returns = [bar["log_returns"] for bar in bars if bar["log_returns"] is not None]
    pnls = [trade["net_pnl"] for trade in trades]
    today = [trade["net_pnl"] for trade in trades if trade["partition_date"] == day]
    wins = len([pnl for pnl in pnls if pnl > 0])
    return {
        "timeframe": "1h",
        "quote_currency": PAIRS[pair],
        "is_mock": any(bar["is_mock"] for bar in bars)
        or any(trade["record_is_mock"] for trade in trades),
        "day_bars": len([bar for bar in bars if bar["partition_date"] == day]),
        "day_trades": len(today),
        "day_net_pnl": float(sum(today)),
        "bars": len(bars),
        "trades": len(pnls),
        "winning_trades": wins,
        "win_rate": wins / len(pnls) if pnls else None,
        "net_pnl": float(sum(pnls)),
        "expectancy": statistics.fmean(pnls) if pnls else None,
        "mean_bar_return": statistics.fmean(returns) if returns else None,
        "bar_volatility": statistics.stdev(returns) if len(returns) > 1 else None,
    }


def of_pair(gold: GoldLake, table: str, pair: str) -> list[Row]:
    return [row for row in gold.rows[table] if row["asset_pair"] == pair]


def regime_of(bar: Row) -> tuple[str, str]:
    return bar["market_regime"] or "unknown", DIRECTIONS[bar["trend_direction"]]


def at_entry(trade: Row, bars: list[Row]) -> tuple[str, str]:
    closed = [bar for bar in bars if bar["timestamp"] + timedelta(hours=1) <= trade["entry_time"]]
    if not closed:
        return "unknown", "unknown"
    newest = max(closed, key=lambda bar: bar["timestamp"])
    is_old = trade["entry_time"] - newest["timestamp"] > timedelta(days=10)
    return ("unknown", "unknown") if is_old else regime_of(newest)


def new_lake(folder: Path, dbt_folder: Path, seed: int) -> GoldLake:
    gold = GoldLake(DeltaLakeManager(folder), dbt_folder)
    fill(gold, seed)
    gold.write()
    return gold


@pytest.mark.parametrize("seed", range(4))
def test_every_row_is_what_a_plain_computation_says(gold: GoldLake, seed: int) -> None:
    fill(gold, seed)
    expected = list(plainly(gold))
    assert {row["is_mock"] for row in expected} == {True, False}
    assert_same(gold.build(MART, last=DAYS - 1), expected, KEY)


@pytest.mark.parametrize("seed", range(2))
def test_the_regimes_of_a_pair_add_up_to_the_pair(gold: GoldLake, seed: int) -> None:
    fill(gold, seed)
    rows = gold.build(MART, last=DAYS - 1)
    performance = gold.build("mart_trading_performance", last=DAYS - 1, write=False)
    for whole in performance:
        parts = [
            row
            for row in rows
            if (row["asset_pair"], row["date"]) == (whole["asset_pair"], whole["date"])
        ]
        bars = of_pair(gold, "silver/market_data_enriched", whole["asset_pair"])
        seen = [bar for bar in bars if bar["partition_date"] <= whole["date"]]
        assert sum(row["bars"] for row in parts) == len(seen)
        assert sum(row["time_share"] or 0 for row in parts) == pytest.approx(1.0 if seen else 0.0)
        for name in ("day_trades", "day_net_pnl", "trades", "winning_trades", "net_pnl"):
            assert sum(row[name] for row in parts) == pytest.approx(whole[name], abs=1e-9), name


@settings(max_examples=4)
@given(seed=st.integers(0, 10_000), runs=runs_in_any_order(tuple(PAIRS)))
def test_runs_in_any_order_end_in_the_same_rows_bit_by_bit(
    seed: int, runs: list[Run], dbt_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = new_lake(tmp_path_factory.mktemp("whole"), dbt_folder, seed)
    expected: list[dict[str, Any]] = run(whole, MART, [(0, DAYS - 1, None)])
    parts = new_lake(tmp_path_factory.mktemp("parts"), dbt_folder, seed)
    assert run(parts, MART, runs) == expected
