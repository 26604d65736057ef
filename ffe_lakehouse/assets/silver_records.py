"""Silver of the engine's records: its decisions with the market they saw, its trades as they ended.

What is computed stands in ``transforms``; here is what each table reads, and how it is read.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.assets.derived import Batch
from ffe_lakehouse.assets.silver import by_pair, by_timeframe, read
from ffe_lakehouse.derivation import Derived, Upstream
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.schemas import TIMESTAMP, TableSchema
from ffe_lakehouse.schemas.records import RAW_AI_DECISIONS, RAW_TRADE_EXECUTIONS
from ffe_lakehouse.schemas.silver import (
    MARKET_DATA_ENRICHED,
    MARKET_DATA_UNIFIED,
    MULTI_TIMEFRAME_ANALYSIS,
)
from ffe_lakehouse.schemas.silver_records import (
    DECISION_HISTORY,
    PROVIDER_DECISIONS,
    TRADE_LIFECYCLE,
)
from ffe_lakehouse.transforms.asof import LOOK_BACK_DAYS
from ffe_lakehouse.transforms.decisions import (
    OF_THE_BAR,
    decision_history,
    provider_decisions,
)
from ffe_lakehouse.transforms.trades import entry_window, trade_lifecycle, window

_OF_A_BAR = ["asset_pair", "timeframe", "timestamp", *OF_THE_BAR]
LONGEST_TRADE_DAYS = 730
"""Of a longer trade, a bar that changes in its first days no longer makes the trade stale."""

DECIDE = Derived(
    (DECISION_HISTORY, PROVIDER_DECISIONS),
    (
        Upstream((RAW_AI_DECISIONS,)),
        Upstream((MARKET_DATA_ENRICHED, MULTI_TIMEFRAME_ANALYSIS), LOOK_BACK_DAYS),
    ),
)
TRADE = Derived(
    (TRADE_LIFECYCLE,),
    (
        Upstream((RAW_TRADE_EXECUTIONS,)),
        Upstream((MARKET_DATA_UNIFIED, MARKET_DATA_ENRICHED, RAW_AI_DECISIONS), LONGEST_TRADE_DAYS),
    ),
)


def decide_days(lake: DeltaLakeManager, batch: Batch) -> Sequence[pa.Table]:
    """Each decision with the bars that had closed before it, and what each provider said."""
    decisions = read(lake, RAW_AI_DECISIONS, batch.where)
    histories = []
    for pair, of_pair in by_pair(decisions).items():
        ends = pc.min_max(of_pair["timestamp"]).as_py()
        where = Where(
            (pair,),
            ends["min"] - timedelta(days=LOOK_BACK_DAYS),
            ends["max"] + timedelta.resolution,
        )
        bars = by_timeframe(read(lake, MARKET_DATA_ENRICHED, where, _OF_A_BAR))
        analysis = read(lake, MULTI_TIMEFRAME_ANALYSIS, where)
        histories.append(decision_history(of_pair, bars, analysis))
    return [_joined(DECISION_HISTORY, histories), provider_decisions(decisions)]


def trade_days(lake: DeltaLakeManager, batch: Batch) -> Sequence[pa.Table]:
    """Each trade whose last version is of these days, with all that it went through."""
    # Every version: one of another day may be the one that holds.
    versions = read(lake, RAW_TRADE_EXECUTIONS, Where(batch.pairs))
    trades = [
        _lifecycle(lake, pair, _ended_within(of_pair, batch.start, batch.end))
        for pair, of_pair in by_pair(versions).items()
    ]
    return [_joined(TRADE_LIFECYCLE, trades)]


def _lifecycle(lake: DeltaLakeManager, pair: str, trades: pa.Table) -> pa.Table:
    ends, entries = window(trades), entry_window(trades)
    if ends is None or entries is None:
        return TRADE_LIFECYCLE.arrow.empty_table()
    minutes = Where((pair,), ends[0] + timedelta(LOOK_BACK_DAYS), ends[1], timeframes=("1m",))
    return trade_lifecycle(
        trades,
        read(lake, MARKET_DATA_UNIFIED, minutes, ["timestamp", "high", "low", "is_mock"]),
        by_timeframe(read(lake, MARKET_DATA_ENRICHED, Where((pair,), *entries), _OF_A_BAR)),
        # A decision of the very moment of the entry counts.
        read(lake, RAW_AI_DECISIONS, Where((pair,), end=ends[1] + timedelta.resolution)),
    )


def _ended_within(versions: pa.Table, start: datetime, end: datetime) -> pa.Table:
    """Every version of the trades whose last one is in ``[start, end)``."""
    last = versions.group_by("trade_id").aggregate([("timestamp", "max")])
    moment = pc.field("timestamp_max")
    inside = last.filter(
        (moment >= pa.scalar(start, TIMESTAMP)) & (moment < pa.scalar(end, TIMESTAMP))
    )
    wanted = inside["trade_id"].combine_chunks()
    return versions.filter(pc.is_in(versions["trade_id"], wanted))


def _joined(schema: TableSchema, tables: Iterable[pa.Table]) -> pa.Table:
    return pa.concat_tables([schema.arrow.empty_table(), *tables])
