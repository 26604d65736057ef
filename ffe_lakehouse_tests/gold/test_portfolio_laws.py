"""The portfolio on random data: against a plain computation, and in any order of runs."""

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from itertools import accumulate
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
from ffe_lakehouse_tests.gold_lake import GoldLake

MART = "mart_daily_portfolio_summary"
INITIAL = 100_000.0
AS_QUOTE, AS_BASE, CROSSES = ("BTCUSD", "EURUSD", "AAPL"), ("USDJPY", "USDCHF"), ("EURGBP",)
PAIRS = (*AS_QUOTE, *AS_BASE, *CROSSES)


def fill(gold: GoldLake, seed: int) -> None:
    """Trades of all pairs, and snapshots of two platforms; simulated ones first, and later, too."""
    random = Random(seed)  # noqa: S311 - not for secrets
    first_day, first_real_day = random.randrange(DAYS // 3), random.randrange(DAYS // 3, DAYS)
    for half_hour in random.sample(range(first_day * 48, DAYS * 48), 70):
        is_mock = half_hour < first_real_day * 48 or random.random() < 0.3
        net_pnl = random.choice([random.gauss(0, 4_000), random.gauss(0, 5), 0.0, None])
        more = {"asset_pair": random.choice(PAIRS), "exit_price": random.uniform(0.5, 200)}
        gold.trade(half_hour / 48, net_pnl, record_is_mock=is_mock, **more)
    for half_hour in random.sample(range(first_day * 48, DAYS * 48), 30):
        is_mock = half_hour < first_real_day * 48 or random.random() < 0.3
        platform = random.choice(["desk", "oanda"])
        positions = [any_position(random) for _ in range(random.randrange(4))]
        gold.snapshot(half_hour / 48, positions, platform=platform, is_mock=is_mock)


def any_position(random: Random) -> dict[str, Any]:
    values = {
        "side": random.choice(["LONG", "SHORT"]),
        "size": random.uniform(0.01, 5_000),
        "entry_price": 1.0,
        "current_price": random.uniform(0.5, 200),
        "unrealized_pnl": random.gauss(0, 9_000),
    }
    missing = random.choice([*values, *[None] * 10])
    pair = random.choice(PAIRS)
    return {"asset_pair": pair, "product": pair, **values, **({missing: None} if missing else {})}


def plainly(gold: GoldLake) -> Iterator[Row]:
    """Every row of the mart, each computed on its own from all that is in the lake."""
    snapshots = gold.rows["bronze/raw_portfolio_snapshots"]
    trades = [row for row in gold.rows["silver/trade_lifecycle"] if row["net_pnl"] is not None]
    records = [(row["partition_date"], row["is_mock"]) for row in snapshots]
    records += [(row["partition_date"], row["record_is_mock"]) for row in trades]
    first = min(day for day, _ in records)
    border = min(day for day, is_mock in records if not is_mock)
    equities: dict[bool, list[float]] = {True: [INITIAL], False: [INITIAL]}
    falls: dict[bool, list[float]] = {True: [], False: []}
    for day in (day_of(number) for number in range(DAYS) if day_of(number) >= first):
        is_mock = day < border
        known = [row for row in snapshots if row["is_mock"] == is_mock and date_of(row) <= day]
        counted = [
            (date_of(row), in_dollars(row))
            for row in trades
            if row["record_is_mock"] == is_mock and date_of(row) <= day
        ]
        realized = sum(value for _, value in counted if value is not None)
        held = what_is_held(known, day)
        equity = INITIAL + realized + held["unrealized_pnl"]
        equities[is_mock].append(equity)
        falls[is_mock].append(equity / max(equities[is_mock]) - 1)
        today = [value for when, value in counted if when == day and value is not None]
        yield held | {
            "date": day,
            "account_currency": "USD",
            "is_mock": is_mock,
            "balance": INITIAL + realized,
            "day_realized_pnl": float(sum(today)),
            "realized_pnl": float(realized),
            "equity": equity,
            "unconverted_trades": len([value for _, value in counted if value is None]),
            "drawdown": falls[is_mock][-1],
            "max_drawdown": min(falls[is_mock]),
        }


def what_is_held(known: list[Row], day: date) -> Row:
    newest = {row["platform"]: row for row in sorted(known, key=lambda row: row["timestamp"])}
    positions = [each for row in newest.values() for each in row["positions"]]
    exposures = [(each["asset_pair"], exposure(each)) for each in positions]
    by_pair: defaultdict[str, float] = defaultdict(float)
    for pair, value in exposures:
        if value is not None:
            by_pair[pair] += value
    reported = [date_of(row) for row in newest.values()]
    return {
        "positions": len(positions),
        "unrealized_pnl": float(sum(each["unrealized_pnl"] or 0 for each in positions)),
        "gross_exposure": float(sum(abs(value) for _, value in exposures if value is not None)),
        "net_exposure": float(sum(value for _, value in exposures if value is not None)),
        "exposure_by_pair": dict(by_pair),
        "unconverted_positions": len([pair for pair, value in exposures if value is None]),
        "snapshot_at": max((row["timestamp"] for row in newest.values()), default=None),
        "days_since_snapshot": (day - min(reported)).days if reported else None,
        "is_carried_forward": bool(reported) and max(reported) < day,
    }


def exposure(position: Row) -> float | None:
    size, price = position["size"], position["current_price"]
    sign = {"LONG": 1, "SHORT": -1}.get(position["side"])
    if sign is None or size is None or position["asset_pair"] in CROSSES:
        return None
    if position["asset_pair"] in AS_BASE:
        return float(sign * size)
    return None if price is None else float(sign * size * price)


def in_dollars(trade: Row) -> float | None:
    if trade["asset_pair"] in CROSSES:
        return None
    price = trade["exit_price"] if trade["asset_pair"] in AS_BASE else 1
    return float(trade["net_pnl"] / price)


def date_of(row: Row) -> date:
    day: date = row["partition_date"]
    return day


def spread(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Rows without their exposures by pair; and these, a row each."""
    exposures = [
        {"date": row["date"], "asset_pair": pair, "exposure": value}
        for row in rows
        for pair, value in row["exposure_by_pair"].items()
    ]
    return [row | {"exposure_by_pair": "-"} for row in rows], exposures


def new_lake(folder: Path, dbt_folder: Path, seed: int) -> GoldLake:
    gold = GoldLake(DeltaLakeManager(folder), dbt_folder)
    fill(gold, seed)
    gold.write()
    return gold


@pytest.mark.parametrize("seed", range(6))
def test_every_row_is_what_a_plain_computation_says(gold: GoldLake, seed: int) -> None:
    fill(gold, seed)
    texts = gold.build(MART, last=DAYS - 1)
    for row in texts:
        pairs = list(json.loads(row["exposure_by_pair"]))
        assert pairs == sorted(pairs)
    rows = [row | {"exposure_by_pair": json.loads(row["exposure_by_pair"])} for row in texts]
    (found, found_by_pair), (wanted, wanted_by_pair) = spread(rows), spread(list(plainly(gold)))
    assert_same(found, wanted, ["date"])
    assert_same(found_by_pair, wanted_by_pair, ["date", "asset_pair"])


@pytest.mark.parametrize("seed", range(2))
def test_the_days_add_up_to_the_total(gold: GoldLake, seed: int) -> None:
    fill(gold, seed)
    rows = gold.build(MART, last=DAYS - 1)
    for is_mock in (True, False):
        of_kind = [row for row in rows if row["is_mock"] == is_mock]
        total = accumulate(row["day_realized_pnl"] for row in of_kind)
        assert [row["realized_pnl"] for row in of_kind] == pytest.approx(list(total), abs=1e-9)
        lowest = accumulate((row["drawdown"] for row in of_kind), min)
        assert [row["max_drawdown"] for row in of_kind] == list(lowest)


@settings(max_examples=4)
@given(seed=st.integers(0, 10_000), runs=runs_in_any_order())
def test_runs_in_any_order_end_in_the_same_rows_bit_by_bit(
    seed: int, runs: list[Run], dbt_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = new_lake(tmp_path_factory.mktemp("whole"), dbt_folder, seed)
    expected = run(whole, MART, [(0, DAYS - 1, None)])
    parts = new_lake(tmp_path_factory.mktemp("parts"), dbt_folder, seed)
    assert run(parts, MART, runs) == expected
