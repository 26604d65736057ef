"""Trades as they ended: the version that holds, the P&L, the decision behind it, real records."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.schemas.records import RAW_TRADE_EXECUTIONS
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED
from ffe_lakehouse.schemas.silver_records import TRADE_LIFECYCLE
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.transforms.trades import entry_window, trade_lifecycle, window
from ffe_lakehouse_tests.transforms.silver_inputs import (
    MINUTE,
    NOON,
    at,
    closed_by,
    decision,
    decisions,
    enriched,
    of_each_pair,
    ragged_markets,
    real_records,
    trade,
    trades,
)

ONE = TIMEFRAMES["1m"]
NO_BARS = MARKET_DATA_ENRICHED.arrow.empty_table()
LATER = at(NOON + 60 * MINUTE)

prices = st.floats(0.001, 1e6)


def lifecycle(*rows: dict[str, Any], behind: pa.Table | None = None) -> list[dict[str, Any]]:
    known = decisions() if behind is None else behind
    return trade_lifecycle(trades(*rows), NO_BARS, {}, known).to_pylist()


def closed(**columns: Any) -> dict[str, Any]:
    """A trade that ended with a profit of 20 (1 a unit of the base, ten percent)."""
    return trade(
        **{"exit_time": LATER, "exit_price": 110.0, "exit_size": 2.0, "fees": 0.0} | columns
    )


# --- laws


@given(
    ragged_markets(),
    st.integers(-60 * MINUTE, 60 * MINUTE),
    st.integers(0, 60 * MINUTE),
    st.booleans(),
)
def test_what_closes_after_a_trade_never_changes_its_row(
    market: dict[Timeframe, pa.Table], begin: int, length: int, is_open: bool
) -> None:
    entry, end = NOON + begin, NOON + begin + length
    times = {"entry_time": at(entry), "exit_time": None if is_open else at(end)}
    rows = trades(closed(**times, decision_id="d"))
    behind = [decision({"id": "d"}, timestamp=at(entry + shift)) for shift in (-5, 0, 1)]
    whole = trade_lifecycle(rows, market[ONE], market, decisions(*behind))
    by_exit = closed_by(market[ONE], ONE, end)
    by_entry = {each: closed_by(bars, each, entry) for each, bars in market.items()}
    known = trade_lifecycle(rows, by_exit, by_entry, decisions(*behind[:2]))
    assert known.equals(whole)
    TRADE_LIFECYCLE.pandera.validate(whole.to_pandas())


@given(prices, prices, prices, st.sampled_from(["LONG", "SHORT"]), st.none() | prices)
def test_the_pnl_follows_from_prices_sizes_and_fees(
    entry: float, end: float, size: float, side: str, fees: float | None
) -> None:
    sizes = {"entry_size": size, "exit_size": size}
    (row,) = lifecycle(closed(entry_price=entry, exit_price=end, side=side, fees=fees, **sizes))
    gross = (end - entry if side == "LONG" else entry - end) * size
    assert row["gross_pnl"] == pytest.approx(gross)
    assert row["net_pnl"] == pytest.approx(gross - (fees or 0.0))
    assert row["return"] == pytest.approx(row["net_pnl"] / (entry * size))
    assert (row["pnl_basis"], row["pnl_agrees"], row["pnl_difference"]) == (None, None, None)


# --- versions


def test_the_latest_exit_holds_in_whatever_order_the_versions_come() -> None:
    versions = [
        trade(_extracted_at=at(NOON + 9)),
        closed(exit_price=105.0, exit_time=at(NOON + 30 * MINUTE), _extracted_at=at(NOON + 8)),
        closed(exit_price=106.0, _extracted_at=at(NOON + 6)),
        closed(exit_price=107.0, _extracted_at=at(NOON + 7)),
    ]
    for order in permutations(versions):
        (row,) = lifecycle(*order, trade(trade_id="t-0"))[1:]
        assert (row["exit_price"], row["timestamp"]) == (107.0, LATER)
        assert (row["revision"], row["is_revised"]) == (3, True)
        assert row["known_at"] == at(NOON + 7)


def test_a_trade_that_was_open_and_is_closed_now_is_not_revised() -> None:
    (row,) = lifecycle(trade(), closed())
    assert (row["status"], row["revision"], row["is_revised"]) == ("closed", 1, False)


def test_an_open_trade_has_no_outcome() -> None:
    (row,) = lifecycle(trade(fees=1.0, realized_pnl=5.0, exit_size=1.0))
    assert (row["status"], row["timestamp"]) == ("open", at(NOON))
    outcome = (
        *("gross_pnl", "net_pnl", "return", "pnl_basis", "pnl_agrees", "pnl_difference"),
        *("holding_seconds", "remaining_size", "excursion_bars", "excursion_minutes"),
        *("max_adverse_excursion", "max_favourable_excursion"),
    )
    assert {row[name] for name in outcome} == {None}


def test_a_trade_of_one_pair_and_bars_of_another_are_refused() -> None:
    bars = {ONE: enriched(ONE, [NOON], asset_pair="ETHUSD")}
    with pytest.raises(InputError, match="BTCUSD, ETHUSD"):
        trade_lifecycle(trades(closed()), NO_BARS, bars, decisions())


def test_no_trade_is_no_row() -> None:
    none = trade_lifecycle(trades(), NO_BARS, {}, decisions())
    assert none.equals(TRADE_LIFECYCLE.arrow.empty_table())
    assert window(trades()) is None
    assert entry_window(trades()) is None


# --- P&L


@pytest.mark.parametrize(
    ("engine", "fees", "basis", "difference"),
    [
        (17.0, 3.0, "net", 0.0),
        (20.0, 3.0, "gross", 0.0),
        (20.0, 0.0, "net", 0.0),
        (20.0, None, "gross", 0.0),
        (20.0 + 1e-4, 0.0, "net", 1e-4),
        (20.0 + 3e-4, 0.0, "none", 3e-4),
        (-20.0, 0.0, "none", -40.0),
        (18.0, 3.0, "none", 1.0),
    ],
)
def test_the_engines_pnl_is_compared_with_both_of_ours(
    engine: float, fees: float | None, basis: str, difference: float
) -> None:
    (row,) = lifecycle(closed(realized_pnl=engine, fees=fees))
    assert (row["pnl_basis"], row["pnl_agrees"]) == (basis, basis != "none")
    assert row["pnl_difference"] == pytest.approx(difference, abs=1e-12)


def test_a_partial_exit_counts_what_was_closed() -> None:
    (row,) = lifecycle(closed(exit_size=0.5))
    assert (row["gross_pnl"], row["return"]) == (5.0, 0.1)
    assert row["remaining_size"] == 1.5


@pytest.mark.parametrize("missing", ["exit_price", "exit_size"])
def test_without_a_price_or_a_size_there_is_no_pnl(missing: str) -> None:
    (row,) = lifecycle(closed(**{missing: None}, realized_pnl=20.0))
    assert row["status"] == "closed"
    assert {row[name] for name in ("gross_pnl", "net_pnl", "return", "pnl_agrees")} == {None}
    assert row["holding_seconds"] == 3600.0


# --- entry


def test_the_regime_is_that_of_the_newest_bar_closed_by_the_entry() -> None:
    bars = {ONE: enriched(ONE, [NOON - MINUTE, NOON])}
    (row,) = trade_lifecycle(trades(closed()), NO_BARS, bars, decisions()).to_pylist()
    bar = bars[ONE].to_pylist()[0]
    assert (row["entry_bar_timestamp"], row["entry_bar_closed_at"]) == (at(NOON - MINUTE), at(NOON))
    assert (row["regime_at_entry"], row["trend_direction_at_entry"]) == (
        bar["market_regime"],
        bar["trend_direction"],
    )
    assert row["entry_deviation"] == pytest.approx(100.0 / bar["close"] - 1)


def test_a_named_decision_is_the_newest_of_that_id_by_the_entry() -> None:
    fell = [decision({"id": "d"}, timestamp=at(NOON + shift)) for shift in (-9, 0, 1)]
    rows = [closed(trade_id=str(i), decision_id=name) for i, name in enumerate(["d", "x", None])]
    found = lifecycle(*rows, behind=decisions(*fell))
    keys = ("decision_id", "matched_decision_id", "decision_timestamp", "decision_match")
    assert [tuple(row[key] for key in keys) for row in found] == [
        ("d", "d", at(NOON), "given"),
        ("x", None, None, "missing"),
        (None, None, None, "none"),
    ]


def test_the_window_reaches_from_before_the_first_entry_to_the_last_exit_of_any_version() -> None:
    rows = trades(closed(), closed(exit_time=at(NOON + MINUTE)), trade(entry_time=at(NOON + 5)))
    begin = at(NOON) - timedelta(days=10)
    assert window(rows) == (begin, LATER)
    assert entry_window(rows) == (begin, at(NOON + 5))


# --- the engine's own files


def real_lifecycle(shared_data: Path, folder: Path) -> list[dict[str, Any]]:
    rows, refused = real_records(shared_data, folder, RAW_TRADE_EXECUTIONS)
    assert (rows.num_rows, refused) == (16, 0)
    return [
        row
        for of_pair in of_each_pair(rows)
        for row in trade_lifecycle(of_pair, NO_BARS, {}, decisions()).to_pylist()
    ]


def test_the_pnl_of_every_real_trade_agrees_with_the_engines(
    shared_data: Path, tmp_path: Path
) -> None:
    found = real_lifecycle(shared_data, tmp_path)
    assert len(found) == 15
    for row in found:
        assert row["pnl_agrees"] is True, row
        assert row["return"] * 100 == pytest.approx(row["engine_roi_percent"], abs=1e-9)
        # The engine cuts the fraction of a second off.
        assert 0 <= row["holding_seconds"] - row["engine_holding_seconds"] < 1
    short = {row["trade_id"]: row for row in found}["trade-003"]
    assert (short["side"], short["net_pnl"], short["fees"]) == ("SHORT", 240.0, None)
    assert short["pnl_basis"] == "gross"


def test_the_revised_real_trade_has_one_row_with_its_last_exit(
    shared_data: Path, tmp_path: Path
) -> None:
    found = real_lifecycle(shared_data, tmp_path)
    (row,) = [row for row in found if row["trade_id"].startswith("98bc28df")]
    assert (row["revision"], row["is_revised"]) == (1, True)
    assert row["exit_time"] == datetime(2026, 4, 1, 23, 55, 20, 40384, UTC)
    assert row["net_pnl"] == pytest.approx(-0.005265)
    assert sum(row["is_revised"] for row in found) == 1
