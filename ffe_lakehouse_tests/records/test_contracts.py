"""What each kind of record has to be, in every spelling that is one."""

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from ffe_lakehouse.schemas.records import (
    RAW_AI_DECISIONS,
    RAW_NEWS_SENTIMENT,
    RAW_PORTFOLIO_SNAPSHOTS,
    RAW_TRADE_EXECUTIONS,
    RECORD_REASONS,
)
from ffe_lakehouse_tests.records.desk import (
    ENGINE,
    Desk,
    at,
    counts,
    decision,
    outcome,
    position,
    snapshot,
    trade,
)


def accepted(desk: Desk, kind: str, record: dict[str, Any]) -> dict[str, Any]:
    """The row of a record that is taken."""
    desk.put(f"{kind}/a.json", record)
    ((name, loaded),) = desk.load().items()
    assert counts(loaded) == (1, 0, 0, 0), desk.rows(f"dlq/{name}")
    (row,) = desk.rows(f"bronze/{name}")
    return row


# --- what is taken


def test_a_decision_may_lack_everything_but_four_fields(desk: Desk) -> None:
    row = accepted(desk, "decisions", decision())
    given = {"decision_id", "timestamp", "asset_pair", "action", "record", "source_provider"}
    given |= {"_extracted_at", "_ingestion_id", "is_mock", "storage_period"}
    given |= {"partition_date", "partition_asset_pair"}
    assert {name for name, value in row.items() if value is not None} == given
    assert row["source_provider"] == "engine"
    assert row["storage_period"] == "2025"
    assert json.loads(row["record"]) == decision()


def test_every_field_of_a_decision_gets_into_its_column(desk: Desk) -> None:
    said = decision(
        action=" sell ",
        confidence="80.5",
        reasoning="it falls",
        entry_price="50500",
        stop_loss_price=51000,
        stop_loss_fraction=0.02,
        take_profit_percentage=5,
        suggested_amount=0,
        recommended_position_size=0.0,
        signal_only=True,
        executed=False,
        execution_time="2025-12-02T18:00:00+02:00",
        execution_result={"success": True, "message": "taken"},
        ai_provider="ensemble",
        model_name="default",
        market_regime="TREND",
        ensemble_metadata={"b": 1, "a": [2]},
        debate_metadata={},
        market_data={"mock": True, "close": 1.5},
        balance_snapshot={"USD": 1},
    )
    row = accepted(desk, "decisions", said)
    expected = {
        "action": "SELL",
        "confidence": 80.5,
        "reasoning": "it falls",
        "entry_price": 50500.0,
        "stop_loss_price": 51000.0,
        "stop_loss_fraction": 0.02,
        "take_profit_percentage": 5.0,
        "suggested_amount": 0.0,
        "recommended_position_size": 0.0,
        "signal_only": True,
        "executed": False,
        "execution_time": at("2025-12-02T16:00:00"),
        "execution_success": True,
        "execution_message": "taken",
        "ai_provider": "ensemble",
        "model_name": "default",
        "market_regime": "TREND",
        "ensemble_metadata": '{"a":[2],"b":1}',
        "debate_metadata": "{}",
        "market_data": '{"close":1.5,"mock":true}',
        "balance_snapshot": '{"USD":1}',
        "is_mock": True,
    }
    assert {name: row[name] for name in expected} == expected
    assert set(RAW_AI_DECISIONS.arrow.names) - expected.keys() == {
        *("decision_id", "timestamp", "asset_pair", "record", "source_provider"),
        *("_extracted_at", "_ingestion_id", "partition_date", "partition_asset_pair"),
        "storage_period",
    }


@pytest.mark.parametrize("spelling", ["BTCUSD", "btc-usd", "BTC_USD", "BTC/USD", " btcusd "])
def test_a_pair_may_be_spelled_in_any_way(desk: Desk, spelling: str) -> None:
    row = accepted(desk, "decisions", decision(asset_pair=spelling))
    assert row["asset_pair"] == row["partition_asset_pair"] == "BTCUSD"


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("2025-01-01T23:30:00", "2025-01-01T23:30:00"),
        ("2025-01-01T23:30:00Z", "2025-01-01T23:30:00"),
        ("2025-01-01 23:30:00.000001", "2025-01-01T23:30:00.000001"),
        ("2025-01-01T23:30:00-05:00", "2025-01-02T04:30:00"),
        ("2025-01-01T01:30:00+05:30", "2024-12-31T20:00:00"),
        ("2025-01-01", "2025-01-01T00:00:00"),
    ],
)
def test_a_time_is_turned_to_utc_and_without_a_zone_it_is_utc(
    desk: Desk, said: str, moment: str
) -> None:
    row = accepted(desk, "decisions", decision(timestamp=said))
    assert row["timestamp"] == at(moment)
    assert row["partition_date"] == at(moment).date()


def test_every_field_of_a_trade_gets_into_its_column(desk: Desk) -> None:
    said = trade(
        decision_id="d-9",
        side="short",
        exit_price_source="provider:oanda",
        holding_duration_seconds=60903,
        roi_percent="-0.4324499841336609916830864826",
    )
    row = accepted(desk, "trade_outcomes", said)
    expected = {
        "trade_id": "t-1",
        "timestamp": at("2026-02-14T13:57:23.770471"),
        "asset_pair": "EURUSD",
        "product": "EUR_USD",
        "decision_id": "d-9",
        "side": "SHORT",
        "entry_time": at("2026-02-13T21:02:20.383862"),
        "entry_price": 1.19111,
        "entry_size": 2101.0,
        "exit_time": at("2026-02-14T13:57:23.770471"),
        "exit_price": 1.19222,
        "exit_price_source": "provider:oanda",
        "exit_size": 2101.0,
        "realized_pnl": 0.0,
        "fees": 0.0,
        "holding_duration_seconds": 60903.0,
        "roi_percent": -0.432449984133661,
        "source_provider": "engine",
    }
    assert {name: row[name] for name in expected} == expected


def test_an_open_trade_is_of_the_moment_of_its_entry(desk: Desk) -> None:
    said = trade(exit_time=None, exit_price=None, exit_size=None, realized_pnl=None)
    row = accepted(desk, "trade_outcomes", said)
    assert row["timestamp"] == row["entry_time"]
    assert row["exit_time"] is None


def test_an_outcome_of_the_older_memory_is_a_trade_named_by_its_decision(desk: Desk) -> None:
    row = accepted(desk, "outcomes", outcome())
    expected = {
        "trade_id": "trade-1",
        "decision_id": "trade-1",
        "asset_pair": "BTCUSD",
        "product": "BTC/USD",
        "side": "SHORT",
        "timestamp": at("2025-11-13T19:23:54"),
        "entry_time": at("2025-11-12T19:23:54"),
        "entry_size": 0.1,
        "exit_size": 0.1,
        "holding_duration_seconds": 86_400.0,
        "roi_percent": 2.0,
        "fees": None,
        "ai_provider": "local",
        "source_provider": "engine_memory",
    }
    assert {name: row[name] for name in expected} == expected


def test_a_snapshot_keeps_each_position(desk: Desk) -> None:
    positions = [position(), position(product="btc-usd", side=None, size=None, entry_price=None)]
    row = accepted(desk, "pnl_snapshots", snapshot(positions=positions, position_count="2"))
    assert row["total_pnl"] == -9.5
    assert row["position_count"] == 2
    assert [each["asset_pair"] for each in row["positions"]] == ["EURUSD", "BTCUSD"]
    assert [each["size"] for each in row["positions"]] == [2101.0, None]
    assert row["positions"][1]["side"] is None


def test_a_portfolio_may_be_empty(desk: Desk) -> None:
    row = accepted(desk, "pnl_snapshots", snapshot(positions=[], total_pnl=None))
    assert row["positions"] == []


def test_the_record_keeps_the_digits_of_its_numbers(desk: Desk) -> None:
    text = '{"z":1.10,"id":"d","n":123456789012345678901234567890,"action":"BUY",'
    text += '"asset_pair":"BTCUSD","timestamp":"2025-12-02T00:00:00Z","entry_price":1E2}'
    desk.put("decisions/a.json", text.encode())
    desk.load()
    (row,) = desk.rows("bronze/raw_ai_decisions")
    assert row["record"] == (
        '{"action":"BUY","asset_pair":"BTCUSD","entry_price":1E2,"id":"d",'
        '"n":123456789012345678901234567890,"timestamp":"2025-12-02T00:00:00Z","z":1.10}'
    )
    assert row["entry_price"] == 100.0


# --- what is stored


@pytest.mark.parametrize("table", ENGINE, ids=lambda table: str(table.name))
def test_what_is_stored_obeys_the_pandera_schema_of_its_table(desk: Desk, table: Any) -> None:
    desk.put("decisions/a.jsonl", [decision(), decision(id="2", entry_price=5, confidence=0)])
    desk.put(
        "trade_outcomes/a.jsonl", [trade(), trade(trade_id="2", exit_time=None, exit_price=None)]
    )
    desk.put("pnl_snapshots/a.jsonl", [snapshot(), snapshot(platform="other", positions=[])])
    desk.load()
    frame = desk.lake.read(table.name).to_pandas()
    assert len(table.pandera.validate(frame, lazy=True)) == 2


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (RAW_AI_DECISIONS, "confidence", 101.0),
        (RAW_AI_DECISIONS, "entry_price", 0.0),
        (RAW_TRADE_EXECUTIONS, "exit_price", -1.0),
        (RAW_TRADE_EXECUTIONS, "exit_time", datetime(2000, 1, 1, tzinfo=UTC)),
    ],
    ids=["confidence", "entry_price", "exit_price", "exit_time"],
)
def test_the_pandera_schema_finds_what_a_rule_forbids(
    desk: Desk, table: Any, column: str, value: object
) -> None:
    desk.put("decisions/a.json", decision())
    desk.put("trade_outcomes/a.json", trade())
    desk.load()
    rows = desk.lake.read(table.name)
    index = rows.schema.get_field_index(column)
    rows = rows.set_column(
        index, rows.schema.field(index), pa.array([value], rows.schema.types[index])
    )
    with pytest.raises(Exception, match=column):
        table.pandera.validate(rows.to_pandas(), lazy=True)


def test_no_rule_is_left_without_a_table() -> None:
    rules = [rule.code for table in (*ENGINE, RAW_NEWS_SENTIMENT) for rule in table.rules]
    assert set(rules) <= RECORD_REASONS.keys()
    assert RAW_PORTFOLIO_SNAPSHOTS.rules == ()
