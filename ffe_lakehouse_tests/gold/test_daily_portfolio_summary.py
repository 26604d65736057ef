"""The portfolio, case by case. Currencies are in ``test_portfolio_currencies``."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from ffe_lakehouse.schemas.records import RAW_PORTFOLIO_SNAPSHOTS
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.gold.portfolio_and_regimes import Row, day_of
from ffe_lakehouse_tests.gold_lake import GoldLake, at
from ffe_lakehouse_tests.transforms.silver_inputs import real_records

MART = "mart_daily_portfolio_summary"
BALANCE = 100_000.0
HOUR = 1 / 24


def position(size: float | None = 2.0, **more: Any) -> dict[str, Any]:
    """A long position in BTCUSD at 50,000 that is 10 ahead."""
    return {
        "asset_pair": "BTCUSD",
        "product": "BTC-USD",
        "side": "LONG",
        "size": size,
        "entry_price": 49_995.0,
        "current_price": 50_000.0,
        "unrealized_pnl": 10.0,
    } | more


def column(rows: list[Row], name: str) -> list[Any]:
    return [row[name] for row in rows]


def test_a_lake_without_anything_has_no_rows(gold: GoldLake) -> None:
    assert gold.build(MART) == []


def test_bars_and_decisions_alone_are_no_portfolio(gold: GoldLake) -> None:
    gold.bar(0, "trend", 1)
    gold.decision(0)
    assert gold.build(MART) == []


def test_there_is_a_row_for_every_day_to_the_last(gold: GoldLake) -> None:
    gold.trade(1.5, 10.0)
    assert column(gold.build(MART, last=4), "date") == [day_of(day) for day in (1, 2, 3, 4)]


def test_an_open_trade_begins_no_portfolio(gold: GoldLake) -> None:
    gold.trade(1, None, status="open", exit_time=None, exit_price=None, exit_size=None)
    gold.trade(1, None)
    gold.snapshot(2, [])
    assert column(gold.build(MART, last=3), "date") == [day_of(2), day_of(3)]


def test_trades_without_snapshots_make_the_balance(gold: GoldLake) -> None:
    for day, net_pnl in ((0.5, 100.0), (0.6, -30.0), (2.5, 5.0)):
        gold.trade(day, net_pnl)
    rows = gold.build(MART, last=2)
    assert column(rows, "day_realized_pnl") == [70.0, 0.0, 5.0]
    assert column(rows, "realized_pnl") == [70.0, 70.0, 75.0]
    assert column(rows, "balance") == column(rows, "equity") == [100_070, 100_070, 100_075]
    for name, value in {
        "positions": 0,
        "unrealized_pnl": 0.0,
        "gross_exposure": 0.0,
        "exposure_by_pair": "{}",
        "snapshot_at": None,
        "days_since_snapshot": None,
        "is_carried_forward": False,
    }.items():
        assert column(rows, name) == [value] * 3


def test_snapshots_without_trades_make_the_equity(gold: GoldLake) -> None:
    gold.snapshot(0.5, [position(), position(1.0, asset_pair="ETHUSD", unrealized_pnl=-4.0)])
    (row,) = gold.build(MART, last=0)
    assert (row["balance"], row["unrealized_pnl"], row["equity"]) == (BALANCE, 6.0, BALANCE + 6)
    assert (row["positions"], row["snapshot_at"]) == (2, at(0.5))


def test_ten_times_a_tenth_is_one(gold: GoldLake) -> None:
    for day in range(10):
        gold.trade(day, 0.1)
    gold.snapshot(9, [position(unrealized_pnl=0.1) for _ in range(10)])
    *_, row = gold.build(MART, last=9)
    assert (row["realized_pnl"], row["unrealized_pnl"]) == (1.0, 1.0)


def test_the_trades_of_all_pairs_count(gold: GoldLake) -> None:
    gold.trade(0.5, 1.0)
    gold.trade(0.5, 2.0, asset_pair="ETHUSD")
    gold.trade(0.5, 4.0, asset_pair="AAPL")
    assert column(gold.build(MART, last=0), "realized_pnl") == [7.0]


def test_a_short_position_counts_against_a_long_one(gold: GoldLake) -> None:
    gold.snapshot(
        0, [position(3.0), position(1.0, side="SHORT"), position(1.0, side="SHORT", asset_pair="A")]
    )
    (row,) = gold.build(MART, last=0)
    assert (row["gross_exposure"], row["net_exposure"]) == (250_000.0, 50_000.0)
    assert row["exposure_by_pair"] == '{"A":-50000.0,"BTCUSD":100000.0}'


def test_a_day_without_records_carries_the_positions_forward(gold: GoldLake) -> None:
    gold.snapshot(0.5, [position()])
    gold.trade(1.5, 7.0)
    gold.snapshot(3.5, [position()])
    rows = gold.build(MART, last=3)
    assert column(rows, "positions") == [1, 1, 1, 1]
    assert column(rows, "unrealized_pnl") == [10.0] * 4
    assert column(rows, "equity") == [100_010, 100_017, 100_017, 100_017]
    assert column(rows, "snapshot_at") == [at(0.5), at(0.5), at(0.5), at(3.5)]
    assert column(rows, "days_since_snapshot") == [0, 1, 2, 0]
    assert column(rows, "is_carried_forward") == [False, True, True, False]


def test_an_empty_snapshot_ends_all_positions(gold: GoldLake) -> None:
    gold.snapshot(0, [position()])
    gold.snapshot(1, [])
    rows = gold.build(MART, last=2)
    assert column(rows, "positions") == [1, 0, 0]
    assert column(rows, "exposure_by_pair") == ['{"BTCUSD":100000.0}', "{}", "{}"]
    assert column(rows, "snapshot_at") == [at(0), at(1), at(1)]


def test_the_newest_snapshot_of_a_day_counts(gold: GoldLake) -> None:
    gold.snapshot(1 - 1e-6, [position(5.0)])
    gold.snapshot(0.2, [position(1.0), position(1.0)])
    gold.snapshot(0.6, [position(2.0)])
    gold.snapshot(1, [position(9.0)])
    rows = gold.build(MART, last=1)
    assert column(rows, "net_exposure") == [250_000.0, 450_000.0]
    assert column(rows, "snapshot_at") == [at(1 - 1e-6), at(1)]


def test_a_platform_that_stops_reporting_is_carried_forward(gold: GoldLake) -> None:
    gold.snapshot(0.5, [position(1.0)], platform="oanda")
    gold.snapshot(0.9, [position(1.0), position(1.0, asset_pair="ETHUSD")])
    gold.snapshot(1.5, [position(3.0)])
    gold.snapshot(3.5, [])
    rows = gold.build(MART, last=4)
    assert column(rows, "positions") == [3, 2, 2, 1, 1]
    assert column(rows, "net_exposure") == [150_000, 200_000, 200_000, 50_000, 50_000]
    assert column(rows, "days_since_snapshot") == [0, 1, 2, 3, 4]
    assert column(rows, "is_carried_forward") == [False, False, True, False, True]
    assert rows[0]["exposure_by_pair"] == '{"BTCUSD":100000.0,"ETHUSD":50000.0}'


def test_a_revised_snapshot_counts_in_its_newest_version(gold: GoldLake) -> None:
    gold.snapshot(0.5, [position(1.0)])
    gold.write()
    gold.rows.clear()
    gold.snapshot(0.5, [position(2.0)], record="revised", _extracted_at=at(5))
    assert column(gold.build(MART, last=0), "net_exposure") == [100_000.0]


def test_what_the_engine_does_not_say_counts_nothing(gold: GoldLake) -> None:
    gold.snapshot(
        0,
        [
            position(unrealized_pnl=None),
            position(side=None),
            position(None),
            position(current_price=None),
        ],
    )
    (row,) = gold.build(MART, last=0)
    assert (row["positions"], row["unconverted_positions"]) == (4, 3)
    assert (row["unrealized_pnl"], row["gross_exposure"]) == (30.0, 100_000.0)


def test_a_portfolio_whose_exposures_are_all_unknown_has_none(gold: GoldLake) -> None:
    gold.snapshot(0, [position(side=None)])
    (row,) = gold.build(MART, last=0)
    assert (row["gross_exposure"], row["net_exposure"]) == (0.0, 0.0)
    assert row["exposure_by_pair"] == "{}"


def test_the_drawdown_is_measured_from_the_highest_equity(gold: GoldLake) -> None:
    for day, net_pnl in ((0, -10_000.0), (1, 35_000.0), (2, -25_000.0), (4, 50_000.0)):
        gold.trade(day, net_pnl)
    rows = gold.build(MART, last=4)
    assert column(rows, "drawdown") == pytest.approx([-0.1, 0.0, -0.2, -0.2, 0.0])
    assert column(rows, "max_drawdown") == pytest.approx([-0.1, -0.1, -0.2, -0.2, -0.2])


def test_open_positions_count_in_the_drawdown(gold: GoldLake) -> None:
    gold.snapshot(0, [position(unrealized_pnl=100_000.0)])
    gold.snapshot(1, [position(unrealized_pnl=0.0)])
    assert column(gold.build(MART, last=1), "drawdown") == [0.0, -0.5]


def test_a_balance_below_zero_is_a_drawdown_beyond_one(gold: GoldLake) -> None:
    gold.trade(0, -150_000.0)
    (row,) = gold.build(MART, last=0)
    assert (row["balance"], row["drawdown"]) == (-50_000.0, -1.5)


def test_the_balance_begins_where_the_setting_says(
    gold: GoldLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_INITIAL_BALANCE", "50")
    get_settings.cache_clear()
    gold.trade(0, -5.0)
    (row,) = gold.build(MART, last=0)
    assert (row["balance"], row["drawdown"]) == (45.0, -0.1)


def test_everything_begins_anew_with_the_first_real_record(gold: GoldLake) -> None:
    gold.trade(0, -50_000.0, record_is_mock=True)
    gold.snapshot(0, [position()], is_mock=True)
    gold.snapshot(2, [position()], is_mock=True, platform="oanda")
    gold.trade(2, 10.0)
    gold.trade(3, 99.0, record_is_mock=True)
    gold.snapshot(3, [position(1.0)])
    rows = gold.build(MART, last=3)
    assert column(rows, "is_mock") == [True, True, False, False]
    assert column(rows, "realized_pnl") == [-50_000.0, -50_000.0, 10.0, 10.0]
    assert column(rows, "positions") == [1, 1, 0, 1]
    assert column(rows, "snapshot_at") == [at(0), at(0), None, at(3)]
    assert column(rows, "max_drawdown")[2:] == [0.0, 0.0]


def test_a_real_snapshot_ends_the_simulation_as_well(gold: GoldLake) -> None:
    gold.trade(0, 5.0, record_is_mock=True)
    gold.snapshot(1, [])
    gold.trade(1, 7.0, record_is_mock=True)
    assert column(gold.build(MART, last=1), "realized_pnl") == [5.0, 0.0]


def test_the_engines_own_records_make_a_portfolio(
    gold: GoldLake, shared_data: Path, tmp_path: Path
) -> None:
    snapshots, _ = real_records(shared_data, tmp_path / "lake", RAW_PORTFOLIO_SNAPSHOTS)
    assert snapshots.num_rows == 3
    last = (date(2026, 2, 15) - day_of(0)).days
    first, *_, latest = gold.build(MART, last, write=False)
    # The newest of the three snapshots of its only day; 2,101 EUR at 1.19111.
    assert first["date"] == date(2026, 2, 13)
    assert first["snapshot_at"] == datetime(2026, 2, 13, 20, 50, 23, 83850, tzinfo=UTC)
    assert (first["positions"], first["unrealized_pnl"]) == (1, -9.1352)
    assert first["equity"] == pytest.approx(BALANCE - 9.1352, abs=1e-9)
    assert first["net_exposure"] == pytest.approx(2101.0 * 1.19111, abs=1e-9)
    assert first["exposure_by_pair"] == f'{{"EURUSD":{first["net_exposure"]}}}'
    assert (first["is_mock"], first["unconverted_positions"]) == (False, 0)
    assert (latest["is_carried_forward"], latest["days_since_snapshot"]) == (True, 2)
    assert latest["equity"] == first["equity"]
