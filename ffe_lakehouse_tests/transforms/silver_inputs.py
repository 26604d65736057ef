"""What the Silver transforms read, made up: enriched bars, decisions and trades, row by row."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import strategies as st

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.records import Loader, files_below
from ffe_lakehouse.schemas import TIMESTAMP, TableSchema
from ffe_lakehouse.schemas.records import RAW_AI_DECISIONS, RAW_TRADE_EXECUTIONS
from ffe_lakehouse.schemas.silver import INDICATORS, MARKET_DATA_ENRICHED, REGIMES
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe

PAIR = "BTCUSD"
MINUTE = 60_000_000
NOON = 1_710_504_000_000_000
"""2024-03-15 12:00 UTC: on every grid but the day's."""


def at(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)


def table(schema: TableSchema, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows by ``schema``; what a row does not name is null, or the cheapest value that is not."""
    rows = list(rows)
    cheapest = {pa.string(): "-", pa.float64(): 1.0, pa.bool_(): False, pa.int64(): 0}
    cheapest |= {TIMESTAMP: at(NOON), pa.date32(): at(NOON).date()}
    arrays = []
    for field in schema.arrow:
        blank = None if field.nullable else cheapest[field.type]
        arrays.append(pa.array([row.get(field.name, blank) for row in rows], field.type))
    return pa.table(arrays, schema=schema.arrow)


@cache
def made_up(step: int, opened: int) -> dict[str, Any]:
    """Values of a bar that hang on its length and its open time alone."""
    random = np.random.default_rng([step, opened])
    values: dict[str, Any] = {name: random.uniform(1.0, 100.0) for name in INDICATORS}
    values |= {name: random.uniform(90.0, 110.0) for name in ("close", "high", "low")}
    values["market_regime"] = REGIMES[random.integers(3)]
    values["trend_direction"] = int(random.integers(-1, 2))
    values["macd_hist_12_26_9"] = random.normal()
    if random.integers(7) == 0:
        values |= dict.fromkeys(("ema_26", "adx_14", "rsi_14", "market_regime"))
    return values | {"timestamp": opened, "asset_pair": PAIR, "is_warm": True}


def enriched(timeframe: Timeframe, opens: Iterable[int], **columns: Any) -> pa.Table:
    """Enriched bars that open then; ``columns`` replaces what is made up."""
    step, code = int(timeframe.step.astype(np.int64)), {"timeframe": timeframe.code}
    return table(MARKET_DATA_ENRICHED, [made_up(step, each) | code | columns for each in opens])


def closed_by(bars: pa.Table, timeframe: Timeframe, moment: int) -> pa.Table:
    """Those of the bars that close at or before ``moment``."""
    opens = bars["timestamp"].cast(pa.int64()).to_numpy()
    return bars.filter(pa.array(opens + timeframe.step.astype(np.int64) <= moment))


@st.composite
def ragged_markets(draw: st.DrawFn) -> dict[Timeframe, pa.Table]:
    """All six timeframes around ``NOON``, each with holes of its own; some may be empty."""
    market = {}
    for timeframe in TIMEFRAMES.values():
        step = int(timeframe.step.astype(np.int64))
        last = (NOON + 60 * MINUTE) // step
        back = draw(st.sets(st.integers(0, 14), max_size=12))
        market[timeframe] = enriched(timeframe, sorted((last - each) * step for each in back))
    return market


def decision(said: Mapping[str, Any], **columns: Any) -> dict[str, Any]:
    """A row of ``raw_ai_decisions`` that keeps ``said`` and has the columns that the tests need."""
    plain = (
        *("action", "confidence", "reasoning", "signal_only", "executed", "ai_provider"),
        *("model_name", "market_regime"),
    )
    time = said.get("timestamp")
    moment = datetime.fromisoformat(time) if isinstance(time, str) else at(NOON)
    metadata = said.get("ensemble_metadata")
    return {
        "decision_id": said.get("id", "d-1"),
        "timestamp": moment if moment.tzinfo else moment.replace(tzinfo=UTC),
        "asset_pair": said.get("asset_pair", PAIR),
        "action": "BUY",
        "entry_price": float(said["entry_price"]) if said.get("entry_price") else None,
        "ensemble_metadata": None if metadata is None else json.dumps(metadata),
        "record": json.dumps(said, sort_keys=True),
        "is_mock": bool((said.get("market_data") or {}).get("mock")),
        **{name: said[name] for name in plain if name in said},
        **columns,
    }


def decisions(*rows: Mapping[str, Any]) -> pa.Table:
    return table(RAW_AI_DECISIONS, rows)


def trade(**columns: Any) -> dict[str, Any]:
    """A row of ``raw_trade_executions``: long from ``NOON``, open unless it says otherwise."""
    row = {
        "trade_id": "t-1",
        "asset_pair": PAIR,
        "side": "LONG",
        "entry_time": at(NOON),
        "entry_price": 100.0,
        "entry_size": 2.0,
        **columns,
    }
    row.setdefault("timestamp", row.get("exit_time") or row["entry_time"])
    row.setdefault("record", json.dumps(row, sort_keys=True, default=str))
    return row


def trades(*rows: Mapping[str, Any]) -> pa.Table:
    return table(RAW_TRADE_EXECUTIONS, rows)


def real_records(shared_data: Path, folder: Path, schema: TableSchema) -> tuple[pa.Table, int]:
    """The engine's own files in a lake in ``folder``: a Bronze table, and the refused records."""
    lake = DeltaLakeManager(folder)
    loader = Loader(
        lake=lake,
        write=lake.append_if_changed,
        run_id="run-1",
        start=date(2015, 1, 1),
        now=datetime(2026, 6, 1, tzinfo=UTC),
    )
    loaded, _ = loader.load(files_below(shared_data / "records"))
    (refused,) = (each.rejected for each in loaded if each.schema is schema)
    return lake.read(schema.name), refused


def of_each_pair(rows: pa.Table) -> list[pa.Table]:
    """The rows of one pair after the other."""
    return [rows.filter(pc.equal(rows["asset_pair"], pair)) for pair in rows["asset_pair"].unique()]
