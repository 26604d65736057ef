"""What each kind of record has to be: its fields, as the columns of its Bronze table.

Here is what can be told of one record alone. The laws of its numbers are the ``rules`` of its
table; they are applied to all records at once, in ``rows``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ffe_lakehouse.records.fields import Fields
from ffe_lakehouse.schemas.records import (
    RAW_AI_DECISIONS,
    RAW_PORTFOLIO_SNAPSHOTS,
    RAW_TRADE_EXECUTIONS,
)
from ffe_lakehouse.schemas.table import TableSchema

_ACTIONS = {action: action for action in ("BUY", "SELL", "HOLD")}
_SIDES = {side: side for side in ("LONG", "SHORT")}
_SIDE_OF_ACTION = {"BUY": "LONG", "SELL": "SHORT"}
_HOUR = 3600.0
_MOST_POSITIONS = 2**53

Row = dict[str, Any]
"""Columns of a Bronze table by name, without what is known of every record alike."""


@dataclass(frozen=True)
class Contract:
    """How one kind of record is read.

    Attributes:
        table: Where its rows go.
        source_provider: Who left it.
        read: From its fields to its columns; ``None`` where there is no value.
        is_mock: It is of the simulated engine, whatever the record says.
    """

    table: TableSchema
    source_provider: str
    read: Callable[[Fields], Row]
    is_mock: bool = False


def _decision(said: Fields) -> Row:
    result = said.part("execution_result")
    return {
        "decision_id": said.text("id", required=True),
        "timestamp": said.time("timestamp", required=True),
        "asset_pair": said.pair("asset_pair"),
        "action": said.choice("action", _ACTIONS, "unknown_action"),
        **{
            name: said.number(name)
            for name in (
                "confidence",
                "entry_price",
                "stop_loss_price",
                "stop_loss_fraction",
                "take_profit_percentage",
                "suggested_amount",
                "recommended_position_size",
            )
        },
        **{name: said.flag(name) for name in ("signal_only", "executed")},
        "execution_time": said.time("execution_time"),
        "execution_success": result.flag("success"),
        "execution_message": result.text("message"),
        **{
            name: said.text(name)
            for name in ("reasoning", "ai_provider", "model_name", "market_regime")
        },
        **{
            name: said.json(name)
            for name in ("ensemble_metadata", "debate_metadata", "market_data", "balance_snapshot")
        },
        "is_mock": bool(said.part("market_data").flag("mock")),
    }


def _trade(said: Fields) -> Row:
    row: Row = {
        "trade_id": said.text("trade_id", required=True),
        "asset_pair": said.pair("product"),
        "product": said.text("product"),
        "decision_id": said.text("decision_id"),
        "side": said.choice("side", _SIDES, "unknown_side"),
        "entry_time": said.time("entry_time", required=True),
        "entry_price": said.number("entry_price", required=True),
        "entry_size": said.number("entry_size", required=True),
        "exit_time": said.time("exit_time"),
        **{
            name: said.number(name)
            for name in (
                "exit_price",
                "exit_size",
                "realized_pnl",
                "fees",
                "holding_duration_seconds",
                "roi_percent",
            )
        },
        "exit_price_source": said.text("exit_price_source"),
        "ai_provider": None,
        "is_mock": False,
    }
    return _dated(said, row, "exit_time")


def _outcome(said: Fields) -> Row:
    decision = said.text("decision_id", required=True)
    size = said.number("position_size", required=True)
    hours = said.number("holding_period_hours")
    row: Row = {
        "trade_id": decision,
        "asset_pair": said.pair("asset_pair"),
        "product": said.text("asset_pair"),
        "decision_id": decision,
        "side": said.choice("action", _SIDE_OF_ACTION, "unknown_side"),
        "entry_time": said.time("entry_timestamp", required=True),
        "entry_price": said.number("entry_price", required=True),
        "entry_size": size,
        "exit_time": said.time("exit_timestamp"),
        "exit_price": said.number("exit_price"),
        "realized_pnl": said.number("realized_pnl"),
        "fees": None,
        "holding_duration_seconds": None if hours is None else hours * _HOUR,
        "roi_percent": said.number("pnl_percentage"),
        "exit_price_source": None,
        "ai_provider": said.text("ai_provider"),
        "is_mock": False,
    }
    # The older memory knows no partial exits.
    row["exit_size"] = None if row["exit_time"] is None else size
    return _dated(said, row, "exit_timestamp")


def _dated(said: Fields, row: Row, exit_time: str) -> Row:
    """A trade with the moment that it tells of last; an exit is a time and a price, or neither."""
    said.both(exit_time, "exit_price")
    return row | {"timestamp": row["exit_time"] or row["entry_time"]}


def _snapshot(said: Fields) -> Row:
    count = said.number("position_count")
    if count is not None and (count % 1 or abs(count) > _MOST_POSITIONS):
        said.faults.add("wrong_type", f"position_count is {count}, not a whole number")
        count = None
    return {
        "timestamp": said.time("timestamp", required=True),
        "platform": said.text("platform", required=True),
        "total_pnl": said.number("total_pnl"),
        "position_count": None if count is None else int(count),
        "positions": [_position(each) for each in said.parts("positions")],
        "is_mock": False,
    }


def _position(said: Fields) -> Row:
    position: Row = {
        "asset_pair": said.pair("product"),
        "product": said.text("product"),
        "side": said.choice("side", _SIDES, "unknown_side", required=False),
        "size": said.number("size"),
        "entry_price": said.number("entry_price"),
        "current_price": said.number("current_price"),
        "unrealized_pnl": said.number("unrealized_pnl"),
    }
    for name in ("size", "entry_price", "current_price"):
        said.not_positive(name, position[name])
    return position


CONTRACTS: Mapping[str, Contract] = {
    "decisions": Contract(RAW_AI_DECISIONS, "engine", _decision),
    "trade_outcomes": Contract(RAW_TRADE_EXECUTIONS, "engine", _trade),
    "outcomes": Contract(RAW_TRADE_EXECUTIONS, "engine_memory", _outcome),
    "pnl_snapshots": Contract(RAW_PORTFOLIO_SNAPSHOTS, "engine", _snapshot),
}
"""By kind: the folder of the landing folder that its files lie in."""

SIMULATED: Mapping[str, Contract] = {
    kind: replace(CONTRACTS[kind], source_provider="simulated", is_mock=True)
    for kind in ("decisions", "trade_outcomes", "pnl_snapshots")
}
"""The same of what the simulated engine leaves."""
