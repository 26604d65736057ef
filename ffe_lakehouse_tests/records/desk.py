"""A desk where files of records land, and the lake that they go into."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.records import Fate, Loaded, Loader, files_below
from ffe_lakehouse.schemas.records import (
    RAW_AI_DECISIONS,
    RAW_PORTFOLIO_SNAPSHOTS,
    RAW_TRADE_EXECUTIONS,
)
from ffe_lakehouse.symbols import parse_symbol

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
START = date(2015, 1, 1)
LONG_AGO = 1_700_000_000
ENGINE = (RAW_AI_DECISIONS, RAW_TRADE_EXECUTIONS, RAW_PORTFOLIO_SNAPSHOTS)


def decision(**changes: Any) -> dict[str, Any]:
    """A decision as small as one may be; ``changes`` replaces fields."""
    return {
        "id": "d-1",
        "asset_pair": "BTCUSD",
        "timestamp": "2025-12-02T15:51:23.549058",
        "action": "BUY",
    } | changes


def trade(**changes: Any) -> dict[str, Any]:
    """A trade with its outcome, numbers as texts."""
    return {
        "trade_id": "t-1",
        "product": "EUR_USD",
        "side": "LONG",
        "entry_time": "2026-02-13T21:02:20.383862+00:00",
        "entry_price": "1.19111",
        "entry_size": "2101.0",
        "exit_time": "2026-02-14T13:57:23.770471+00:00",
        "exit_price": "1.19222",
        "exit_size": "2101.0",
        "realized_pnl": "0E-30",
        "fees": "0",
    } | changes


def outcome(**changes: Any) -> dict[str, Any]:
    """A trade as the engine's older memory tells it."""
    return {
        "decision_id": "trade-1",
        "asset_pair": "BTC/USD",
        "action": "SELL",
        "entry_timestamp": "2025-11-12T19:23:54",
        "exit_timestamp": "2025-11-13T19:23:54",
        "entry_price": 50000,
        "exit_price": 49000,
        "position_size": 0.1,
        "realized_pnl": 100.0,
        "pnl_percentage": 2.0,
        "holding_period_hours": 24.0,
        "ai_provider": "local",
    } | changes


def position(**changes: Any) -> dict[str, Any]:
    """One position of a snapshot."""
    return {
        "product": "EUR_USD",
        "side": "LONG",
        "size": "2101.0",
        "entry_price": 1.19111,
        "current_price": 1.19,
        "unrealized_pnl": -2.3,
    } | changes


def snapshot(**changes: Any) -> dict[str, Any]:
    """A portfolio with one position."""
    return {
        "timestamp": "2026-02-13T15:38:16.025353",
        "platform": "Unified",
        "total_pnl": "-9.5",
        "position_count": 1,
        "positions": [position()],
    } | changes


def at(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def canonical(value: object) -> str:
    """JSON with sorted keys, as it stands in the lake."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


@dataclass
class Desk:
    """A landing folder and a lake.

    Attributes:
        folder: The home of both.
        now: What the clock says.
        pairs: Whose news are wanted.
        unread: Why files of the last load could not be read.
    """

    folder: Path
    now: datetime = NOW
    pairs: Sequence[str] = ()
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def landing(self) -> Path:
        """Where files land."""
        return self.folder / "landing"

    @property
    def lake(self) -> DeltaLakeManager:
        """The tables."""
        return DeltaLakeManager(self.folder / "lake")

    def put(self, name: str, content: object, changed: float = LONG_AGO) -> Path:
        """A file: bytes as they are, anything else as JSON; of ``.jsonl``, one line an element."""
        path = self.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, bytes):
            lines = content if isinstance(content, list) and path.suffix == ".jsonl" else [content]
            content = "\n".join(json.dumps(line) for line in lines).encode()
        path.write_bytes(content)
        os.utime(path, (changed, changed))
        return path

    def loader(self, **changes: Any) -> Loader:
        """Stores records in the lake."""
        told: dict[str, Any] = {
            "lake": self.lake,
            "write": self.lake.append_if_changed,
            "run_id": "run-1",
            "start": START,
            "now": self.now,
            "symbols": [parse_symbol(pair) for pair in self.pairs],
        }
        return Loader(**(told | changes))

    def load(self, *names: str) -> dict[str, Loaded]:
        """Load these files, or all; by table, without its layer."""
        files = [file for file in files_below(self.landing) if not names or file.name in names]
        loaded, self.unread = self.loader().load(files)
        return {each.schema.name.removeprefix("bronze/"): each for each in loaded}

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All versions in a table, by the order of the table."""
        if not self.lake.table_exists(table):
            return []
        found: list[dict[str, Any]] = self.lake.read(table).to_pylist()
        return found

    def versions(self) -> dict[str, int]:
        """The Delta version of every table: it counts commits."""
        names = [f"{layer}/{name}" for layer in ("bronze", "dlq") for name in self._names()]
        return {
            name: self.lake.table(name).version() for name in names if self.lake.table_exists(name)
        }

    def kept(self, table: str) -> Iterator[str]:
        """What is kept of every record, word by word: first in Bronze, then in the letters."""
        for layer in ("bronze", "dlq"):
            yield from (row["record"] for row in self.rows(f"{layer}/{table}"))

    def reasons(self, table: str) -> list[list[str]]:
        """The reasons of every letter."""
        return [row["reasons"] for row in self.rows(f"dlq/{table}")]

    @staticmethod
    def _names() -> list[str]:
        return [table.name.removeprefix("bronze/") for table in ENGINE]


def counts(loaded: Loaded) -> tuple[int, int, int, int]:
    """Written, unchanged, duplicate, rejected."""
    written, unchanged, duplicate = (loaded.count(fate) for fate in Fate)
    return written, unchanged, duplicate, loaded.rejected
