"""Every number of every day is what an independent computation says."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ffe_lakehouse.assets.derived import Batch
from ffe_lakehouse.assets.silver_records import decide_days, trade_days
from ffe_lakehouse.gold.runner import build
from ffe_lakehouse.gold.scope import Scope
from ffe_lakehouse.lake import Where
from ffe_lakehouse.records import Loader, files_below
from ffe_lakehouse.schemas.records import RAW_AI_DECISIONS, RAW_TRADE_EXECUTIONS
from ffe_lakehouse.schemas.silver_records import (
    DECISION_HISTORY,
    PROVIDER_DECISIONS,
    TRADE_LIFECYCLE,
)
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse_tests.gold.performance_oracle import Oracle, differences
from ffe_lakehouse_tests.gold_lake import DAY, GoldLake

MART = "mart_trading_performance"
THREE_YEARS = 3 * 365
PAIRS = {"BTCUSD": "crypto", "EURUSD": "forex", "AAPL": "equity"}
OF_THE_ROW = {"asset_pair", "quote_currency", "is_mock"}


def trade_for_years(gold: GoldLake, pair: str, seed: int) -> None:
    """Some 700 trades: some open, without P&L, without fees, or of zero."""
    random = np.random.default_rng(seed)
    moments = np.sort(random.uniform(5, THREE_YEARS - 5, 700))
    for moment in moments.tolist():
        gross = float(random.normal(3.0, 90.0)) * (random.random() > 0.05)
        fees = float(random.uniform(0, 3)) if random.random() > 0.2 else None
        more: dict[str, Any] = {"asset_pair": pair, "fees": fees, "gross_pnl": gross}
        more["holding_seconds"] = float(random.exponential(20_000.0))
        net: float | None = gross - (fees or 0.0)
        kind = random.random()
        if kind < 0.03:
            more |= {"status": "open", "holding_seconds": None, "gross_pnl": None}
            net = None
        elif kind < 0.06:
            more["gross_pnl"] = net = None
        elif kind < 0.1:
            more["holding_seconds"] = None
        gold.trade(moment, net, **more)


@pytest.mark.parametrize(("basis", "risk_free_rate"), [("equity", 0.04), ("capital", 0.013)])
def test_years_of_trades_equal_the_oracle(
    gold: GoldLake, monkeypatch: pytest.MonkeyPatch, basis: str, risk_free_rate: float
) -> None:
    monkeypatch.setenv("FFE_RETURN_BASIS", basis)
    monkeypatch.setenv("FFE_RISK_FREE_RATE", str(risk_free_rate))
    get_settings.cache_clear()
    for seed, pair in enumerate(PAIRS):
        trade_for_years(gold, pair, seed)
    trades = gold.rows[TRADE_LIFECYCLE.name]
    rows = gold.build(MART, last=THREE_YEARS)

    for pair, asset_class in PAIRS.items():
        found = [row for row in rows if row["asset_pair"] == pair]
        known = [each for each in trades if each["asset_pair"] == pair]
        first = min(each["partition_date"] for each in known)
        oracle = Oracle(asset_class, basis=basis, risk_free_rate=risk_free_rate)
        expected = list(oracle.rows(known, first, DAY + timedelta(days=THREE_YEARS)))
        assert differences(found, expected) == []
        assert {*expected[0], *OF_THE_ROW} == set(found[0])
        # The years were worth looking at.
        assert len(found) > 1_080
        assert min(row["equity"] for row in found) > 0
        assert found[-1]["max_drawdown"] < -0.1
        assert found[-1]["max_drawdown_days"] > 30


def told_by_the_engine(folder: Path) -> Iterator[dict[str, Any]]:
    """Each trade of the engine's files, by its last end, read without any code of the lakehouse."""
    newest: dict[str, dict[str, Any]] = {}
    lines = [
        json.loads(line)
        for file in (folder / "trade_outcomes").iterdir()
        for line in file.read_text().splitlines()
    ]
    for line in sorted(lines, key=lambda each: str(each["exit_time"])):
        newest[line["trade_id"]] = line
    for line in newest.values():
        yield told(
            line["product"].replace("_", "").replace("-", ""),
            line["side"] == "LONG",
            *(float(line[name]) for name in ("entry_price", "exit_price", "exit_size", "fees")),
            *(datetime.fromisoformat(line[name]) for name in ("entry_time", "exit_time")),
        )
    for file in (folder / "outcomes").iterdir():
        line = json.loads(file.read_text())
        yield told(
            line["asset_pair"],
            line["action"] == "BUY",
            *(line[name] for name in ("entry_price", "exit_price", "position_size")),
            None,
            *(datetime.fromisoformat(line[f"{name}_timestamp"]) for name in ("entry", "exit")),
        )


def told(
    pair: str,
    is_long: bool,
    entry: float,
    end: float,
    size: float,
    fees: float | None,
    began: datetime,
    ended: datetime,
) -> dict[str, Any]:
    gross = (end - entry) * size * (1 if is_long else -1)
    return {
        "asset_pair": pair,
        "partition_date": ended.date(),
        "status": "closed",
        "gross_pnl": gross,
        "net_pnl": gross - (fees or 0.0),
        "fees": fees,
        "holding_seconds": (ended - began).total_seconds(),
    }


def land(gold: GoldLake, folder: Path, last: date) -> None:
    """The engine's files, through Bronze, in Silver."""
    loader = Loader(
        lake=gold.lake,
        write=gold.lake.append_if_changed,
        run_id="run-1",
        start=date(2023, 1, 1),
        now=datetime(2026, 6, 1, tzinfo=UTC),
    )
    loader.load(files_below(folder))
    bronze = [gold.lake.read(each.name) for each in (RAW_AI_DECISIONS, RAW_TRADE_EXECUTIONS)]
    pairs = sorted({pair for table in bronze for pair in table["asset_pair"].to_pylist()})
    batch = Batch(tuple(pairs), date(2023, 1, 1), last)
    tables = zip(
        (DECISION_HISTORY, PROVIDER_DECISIONS, TRADE_LIFECYCLE),
        (*decide_days(gold.lake, batch), *trade_days(gold.lake, batch)),
        strict=True,
    )
    for schema, rows in tables:
        gold.lake.merge_if_changed(schema, rows, Where())


def test_the_real_trades_of_the_engine_equal_the_oracle(gold: GoldLake, shared_data: Path) -> None:
    last = date(2026, 4, 30)
    records = shared_data / "records"
    land(gold, records, last)
    outcomes = build(Scope(gold.lake, last), [MART], gold.dbt)
    assert {each.status for each in outcomes} == {"success", "pass"}
    rows = gold.read(MART)

    trades = list(told_by_the_engine(records))
    assert len(trades) == 15
    traded = {each["asset_pair"] for each in trades}
    assert {row["asset_pair"] for row in rows if row["trades"]} == traded
    for pair in traded:
        found = [row for row in rows if row["asset_pair"] == pair and not row["is_mock"]]
        known = [each for each in trades if each["asset_pair"] == pair]
        oracle = Oracle(parse_symbol(pair).asset_class)
        expected = oracle.rows(known, found[0]["date"], last)
        assert differences(found, expected) == []
    assert sum(row["day_trades"] for row in rows) == 15
