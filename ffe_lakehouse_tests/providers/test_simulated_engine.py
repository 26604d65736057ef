"""The simulated engine: one truth however it is asked, prices of its market, nothing from later."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.calendars import is_open
from ffe_lakehouse.providers.base import CandleQuery
from ffe_lakehouse.providers.simulated import SimulatedProvider
from ffe_lakehouse.providers.simulated_engine import SimulatedEngine
from ffe_lakehouse.settings import SimulatedFaults
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES

PAIRS = ["BTCUSD", "EURUSD", "AAPL"]
FIRST, LAST = date(2024, 2, 26), date(2024, 3, 17)
DAYS = [FIRST + timedelta(n) for n in range((LAST - FIRST).days + 1)]
LATER = datetime(2030, 1, 1, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)

Record = dict[str, Any]
Records = dict[str, list[Record]]
pairs = st.sampled_from(PAIRS)


def records(
    pair: str, first: date = FIRST, last: date = LAST, now: datetime = LATER, seed: int = 0
) -> Records:
    return SimulatedEngine(seed, parse_symbol(pair)).records(first, last, now)


whole = lru_cache(records)


def outcomes(told: Records) -> list[Record]:
    return [trade for trade in told["trade_outcomes"] if "exit_time" in trade]


def moment(record: Record) -> datetime:
    """What a record tells of last."""
    names = ("exit_time", "entry_time", "timestamp")
    return datetime.fromisoformat(next(record[name] for name in names if name in record))


def closes(pair: str) -> dict[datetime, float]:
    """What the vendor says: the close of each minute, by the moment at which it closes."""
    query = CandleQuery(
        parse_symbol(pair),
        TIMEFRAMES["1m"],
        datetime(2024, 2, 23, tzinfo=UTC),
        datetime(2024, 3, 20, tzinfo=UTC),
    )
    found = {}
    for page in SimulatedProvider(0, SimulatedFaults()).fetch(query):
        opens = page.candles["timestamp"].to_pylist()
        prices = page.candles["close"].to_pylist()
        found |= {at + MINUTE: price for at, price in zip(opens, prices, strict=True)}
    return found


# --- one truth


@settings(max_examples=25)
@given(pairs, st.sampled_from(DAYS), st.integers(0, 9), st.integers(0, 4))
def test_a_day_has_the_same_records_whatever_days_were_asked_for(
    pair: str, first: date, length: int, cut: int
) -> None:
    last = min(LAST, first + timedelta(length))
    between = min(last, first + timedelta(cut))
    parts = [records(pair, first, between)]
    if between < last:
        parts.insert(0, records(pair, between + DAY, last))
    for kind, told in whole(pair).items():
        wanted = [record for record in told if first <= moment(record).date() <= last]
        found = [record for part in parts for record in part[kind]]
        assert sorted(found, key=repr) == sorted(wanted, key=repr)


@settings(max_examples=25)
@given(pairs, st.integers(0, 6 * 1440), st.integers(0, 2000))
def test_the_running_day_grows_and_what_was_told_stays(pair: str, since: int, more: int) -> None:
    now = datetime(2024, 3, 4, tzinfo=UTC) + since * MINUTE + timedelta(seconds=31)
    last = date(2024, 3, 10)
    earlier, later = (
        records(pair, FIRST, last, now),
        records(pair, FIRST, last, now + more * MINUTE),
    )
    for kind, told in earlier.items():
        assert later[kind][: len(told)] == told
        assert all(moment(record) <= now for record in told)
        assert all(moment(record) > now - MINUTE for record in later[kind][len(told) :])


def test_a_decision_is_told_once_its_execution_is_over() -> None:
    for decision in whole("BTCUSD")["decisions"]:
        at = moment(decision)
        for now in (at, at + MINUTE):
            told = records("BTCUSD", at.date(), at.date(), now)["decisions"]
            written = [record for record in told if record["id"] == decision["id"]]
            assert written in ([], [decision])
            assert all((record["execution_time"] or "") <= now.isoformat() for record in written)
        assert written
        if at.date() > FIRST:
            break


def test_another_seed_is_another_engine_and_so_is_another_pair() -> None:
    engines = [records("BTCUSD"), records("BTCUSD", seed=1), records("ETHUSD")]
    ids = [{record["id"] for record in told["decisions"]} for told in engines]
    assert len(set.union(*ids)) == sum(map(len, ids))


# --- the market


@pytest.mark.parametrize("pair", PAIRS)
def test_prices_are_the_closes_of_the_market(pair: str) -> None:
    told, market = whole(pair), closes(pair)

    def price(at: str) -> float:
        return market[datetime.fromisoformat(at).replace(second=0, microsecond=0)]

    for decision in told["decisions"]:
        assert decision["entry_price"] == price(decision["timestamp"])
        assert decision["market_data"]["close"] == decision["entry_price"]
    for trade in told["trade_outcomes"]:
        assert float(trade["entry_price"]) == price(trade["entry_time"])
    for trade in outcomes(told):
        assert float(trade["exit_price"]) == price(trade["exit_time"])
    for snapshot in told["pnl_snapshots"]:
        if snapshot["positions"]:
            last = max(at for at in market if at <= moment(snapshot))
            assert {each["current_price"] for each in snapshot["positions"]} == {market[last]}


@pytest.mark.parametrize("pair", PAIRS)
def test_it_decides_and_trades_while_the_market_is_open(pair: str) -> None:
    told, symbol = whole(pair), parse_symbol(pair)
    assert all(is_open(symbol, moment(decision)) for decision in told["decisions"])
    for trade in outcomes(told):
        held = moment(trade) - datetime.fromisoformat(trade["entry_time"])
        assert is_open(symbol, moment(trade))
        assert timedelta(minutes=9) < held <= timedelta(days=2)


def test_a_day_without_a_market_has_empty_portfolios_and_nothing_else() -> None:
    labor_day = date(2024, 9, 2)  # the Saturday and Sunday before are closed as well
    told = records("AAPL", labor_day, labor_day)
    assert (told["decisions"], told["trade_outcomes"]) == ([], [])
    assert [each["position_count"] for each in told["pnl_snapshots"]] == [0] * 4


# --- what it does


def test_it_decides_six_to_ten_times_a_day() -> None:
    counts = Counter(moment(decision).date() for decision in whole("BTCUSD")["decisions"])
    assert set(counts) == set(DAYS)
    assert (min(counts.values()), max(counts.values())) == (6, 10)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_third_to_a_half_is_traded_on_both_sides(pair: str) -> None:
    told = whole(pair)
    executed = [record for record in told["decisions"] if record["executed"]]
    assert 1 / 3 < len(executed) / len(told["decisions"]) < 1 / 2
    sides = Counter(trade["side"] for trade in outcomes(told))
    assert min(sides["LONG"], sides["SHORT"]) > 0.3 * sides.total()


def test_trades_overlap() -> None:
    trades = sorted(outcomes(whole("BTCUSD")), key=lambda trade: str(trade["entry_time"]))
    assert any(before["exit_time"] > after["entry_time"] for before, after in pairwise(trades))


def by_id(told: Records) -> Iterator[tuple[Record, list[Record]]]:
    """Every decision with the records of its trade."""
    trades: dict[str, list[Record]] = {record["id"]: [] for record in told["decisions"]}
    for trade in told["trade_outcomes"]:
        trades.get(trade["decision_id"], []).append(trade)
    return ((decision, trades[decision["id"]]) for decision in told["decisions"])


@pytest.mark.parametrize("pair", PAIRS)
def test_exactly_what_is_executed_is_traded_as_it_was_decided(pair: str) -> None:
    for decision, trades in by_id(whole(pair)):
        assert bool(trades) == decision["executed"]
        assert decision["executed"] == (decision["execution_time"] is not None)
        if decision["executed"]:
            assert decision["action"] != "HOLD"
            assert decision["execution_result"]["success"]
            assert not decision["signal_only"]
        for trade in trades:
            assert trade["side"] == {"BUY": "LONG", "SELL": "SHORT"}[decision["action"]]
            assert trade["entry_time"] == decision["execution_time"] > decision["timestamp"]
            assert float(trade["entry_price"]) == decision["entry_price"]
            assert float(trade["entry_size"]) == decision["recommended_position_size"]
            assert parse_symbol(trade["product"]).name == pair


def test_a_trade_is_told_when_it_begins_and_when_it_ends() -> None:
    told = whole("BTCUSD")["trade_outcomes"]
    versions = Counter(trade["trade_id"] for trade in told)
    assert set(versions.values()) == {1, 2}
    for trade in told:
        begun_here = datetime.fromisoformat(trade["entry_time"]).date() >= FIRST
        if "exit_time" in trade:
            assert versions[trade["trade_id"]] == (2 if begun_here else 1)


@pytest.mark.parametrize("pair", PAIRS)
def test_profit_is_what_the_prices_say_less_the_fees_to_the_last_digit(pair: str) -> None:
    for trade in outcomes(whole(pair)):
        entry, end, size, fees = (
            Decimal(trade[name]) for name in ("entry_price", "exit_price", "exit_size", "fees")
        )
        sign = 1 if trade["side"] == "LONG" else -1
        pnl = Decimal(trade["realized_pnl"])
        assert pnl == sign * (end - entry) * size - fees
        assert 0 < fees < entry * size / 500
        assert abs(Decimal(trade["roi_percent"]) * entry * size - 100 * pnl) < Decimal("1e-15")
        held = moment(trade) - datetime.fromisoformat(trade["entry_time"])
        assert trade["holding_duration_seconds"] == held // timedelta(seconds=1)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_portfolio_holds_the_trades_that_are_open_then(pair: str) -> None:
    told = whole(pair)
    trades = outcomes(records(pair, FIRST, LAST + 3 * DAY))
    moments = [moment(snapshot) for snapshot in told["pnl_snapshots"]]
    start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    assert moments == [start + timedelta(hours=6 * n) for n in range(4 * len(DAYS))]
    held = 0
    for snapshot in told["pnl_snapshots"]:
        now = snapshot["timestamp"]
        wanted = [
            (trade["product"], trade["side"], float(trade["entry_size"]))
            for trade in sorted(trades, key=lambda trade: str(trade["entry_time"]))
            if trade["entry_time"] <= now < trade["exit_time"]
        ]
        positions = snapshot["positions"]
        held += len(positions)
        assert [(p["product"], p["side"], p["size"]) for p in positions] == wanted
        assert snapshot["position_count"] == len(wanted)
        assert snapshot["platform"] == f"simulated:{pair}"
        for position in positions:
            sign = 1 if position["side"] == "LONG" else -1
            change = position["current_price"] - position["entry_price"]
            pnl = sign * change * position["size"]
            assert position["unrealized_pnl"] == pytest.approx(pnl, rel=1e-6, abs=1e-9)
        total = sum(position["unrealized_pnl"] for position in positions)
        assert snapshot["total_pnl"] == pytest.approx(total)
    assert held


def test_a_trade_that_ends_in_the_minute_after_a_snapshot_is_still_held() -> None:
    told = records("BTCUSD", date(2023, 1, 1), date(2023, 12, 31))
    held = {snapshot["timestamp"][:16]: snapshot["positions"] for snapshot in told["pnl_snapshots"]}
    at_the_hour = [trade for trade in outcomes(told) if trade["exit_time"][:16] in held]
    assert at_the_hour
    for trade in at_the_hour:
        sizes = [position["size"] for position in held[trade["exit_time"][:16]]]
        assert float(trade["entry_size"]) in sizes


def test_every_decision_says_that_it_is_made_up() -> None:
    assert all(record["market_data"]["mock"] for record in whole("AAPL")["decisions"])
