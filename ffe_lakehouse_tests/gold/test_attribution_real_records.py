"""The marts of attribution of the engine's own files: what they say, counted by hand."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from ffe_lakehouse.assets.derived import Batch
from ffe_lakehouse.assets.silver_records import DECIDE, TRADE, decide_days, trade_days
from ffe_lakehouse.lake import Where
from ffe_lakehouse.records import Loader, files_below
from ffe_lakehouse_tests.gold_lake import DAY, GoldLake

PROVIDERS, MODES = "mart_provider_attribution", "mart_ensemble_effectiveness"
PAIRS = ("BTCUSD", "ETHUSD", "EURUSD", "GBPUSD")
FIRST, LAST = date(2025, 1, 1), date(2026, 4, 2)
"""The files begin on the first day, and end on the one before the last."""


@pytest.fixture
def real(gold: GoldLake, shared_data: Path) -> GoldLake:
    """The engine's files in Bronze, and Silver computed of them."""
    loader = Loader(
        lake=gold.lake,
        write=gold.lake.append_if_changed,
        run_id="run-1",
        start=FIRST,
        now=datetime(2026, 6, 1, tzinfo=UTC),
    )
    loader.load(files_below(shared_data / "records"))
    batch = Batch(PAIRS, FIRST, LAST)
    for step, compute in ((DECIDE, decide_days), (TRADE, trade_days)):
        for table, rows in zip(step.tables, compute(gold.lake, batch), strict=True):
            gold.lake.merge_if_changed(table, rows, Where())
    return gold


def built(gold: GoldLake, mart: str) -> list[dict[str, Any]]:
    return gold.build(mart, last=(LAST - DAY).days, write=False)


def at_the_end(rows: list[dict[str, Any]], *names: str) -> set[tuple[Any, ...]]:
    """These columns of the last day; money is rounded off where floats cannot have it."""
    return {
        tuple(round(row[name], 9) if "pnl" in name else row[name] for name in names)
        for row in rows
        if row["date"] == LAST
    }


def test_what_each_provider_was_worth(real: GoldLake) -> None:
    rows = built(real, PROVIDERS)
    figures = ("decisions", "executed", "mean_confidence", "trades", "attributed_net_pnl")
    # The simulated decisions of BTCUSD came after its first real trade: they never count. The
    # ensembles of ETHUSD say what `local` wanted, and not how sure it was.
    assert at_the_end(rows, "asset_pair", "provider", *figures) == {
        ("BTCUSD", "local", 4, 0, (100 + 0 + 100 + 90) / 4, 1, 2000 * 0.1),
        ("BTCUSD", "cli", 0, 0, None, 2, -500 * 0.08 + 2000 * 0.15),
        ("BTCUSD", "ensemble", 0, 0, None, 1, 2000 * 0.12),
        ("BTCUSD", "unknown", 0, 0, None, 2, 0.0),
        ("ETHUSD", "local", 3, 1, None, 1, 200 * 2.0),
        ("ETHUSD", "unknown", 3, 2, 80.0, 2, 0.0),
        ("EURUSD", "unknown", 0, 0, None, 5, -0.004375),
        ("GBPUSD", "unknown", 0, 0, None, 1, -0.005265),
    }
    assert at_the_end(rows, "calls", "hits", "hit_rate", "brier_score", "is_mock") == {
        (0, 0, None, None, False)
    }, "no trade of the engine names a decision that it left behind"


def test_on_which_days_it_happened(real: GoldLake) -> None:
    money, decided = {}, {}
    for row in built(real, PROVIDERS):
        key = row["asset_pair"], row["provider"], row["date"].isoformat()
        if row["day_attributed_net_pnl"]:
            money[key] = round(row["day_attributed_net_pnl"], 9)
        if row["day_decisions"]:
            decided[key] = row["day_decisions"]
    assert money == {
        ("BTCUSD", "local", "2025-11-13"): 200.0,
        ("BTCUSD", "cli", "2025-11-14"): -40.0,
        ("BTCUSD", "ensemble", "2025-11-15"): 240.0,
        ("BTCUSD", "cli", "2025-11-17"): 300.0,
        ("ETHUSD", "local", "2025-11-16"): 400.0,
        ("EURUSD", "unknown", "2026-04-01"): -0.004375,
        # The outcome of 2026-02-27 was revised.
        ("GBPUSD", "unknown", "2026-04-01"): -0.005265,
    }
    assert decided == {
        ("BTCUSD", "local", "2025-12-19"): 2,
        ("BTCUSD", "local", "2025-12-21"): 2,
        ("ETHUSD", "unknown", "2025-01-01"): 3,
        ("ETHUSD", "local", "2025-01-01"): 1,
        ("ETHUSD", "local", "2025-11-27"): 1,
        ("ETHUSD", "local", "2025-11-29"): 1,
    }


def test_what_each_way_of_deciding_was_worth(real: GoldLake) -> None:
    rows = built(real, MODES)
    figures = ("decisions", "executed", "mean_confidence", "trades", "winning_trades", "net_pnl")
    assert at_the_end(rows, "asset_pair", "decision_mode", *figures) == {
        ("BTCUSD", "single", 4, 0, 72.5, 0, 0, 0.0),
        ("BTCUSD", "unknown", 0, 0, None, 6, 3, 700.0),
        ("ETHUSD", "single", 3, 2, 80.0, 0, 0, 0.0),
        ("ETHUSD", "voting", 3, 1, 80.0, 0, 0, 0.0),
        ("ETHUSD", "unknown", 0, 0, None, 3, 1, 400.0),
        ("EURUSD", "unknown", 0, 0, None, 5, 0, -0.004375),
        ("GBPUSD", "unknown", 0, 0, None, 1, 0, -0.005265),
    }
    assert at_the_end(rows, "mean_agreement", "mean_failure_rate") == {(None, None)}
