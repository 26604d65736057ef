"""A lake whose Silver is written row by row, and whose marts dbt really computes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from ffe_lakehouse.gold.runner import Outcome, build
from ffe_lakehouse.gold.scope import Scope
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.schemas.gold import marts
from ffe_lakehouse.schemas.records import RAW_PORTFOLIO_SNAPSHOTS
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED
from ffe_lakehouse.schemas.silver_records import (
    DECISION_HISTORY,
    PROVIDER_DECISIONS,
    TRADE_LIFECYCLE,
)

DAY = date(2024, 1, 1)
"""Day 0 of the tests."""
_PLAIN: dict[pa.DataType, Any] = {
    pa.string(): "x",
    pa.bool_(): False,
    pa.int64(): 0,
    pa.float64(): 0.0,
}


def at(day: float) -> datetime:
    """The moment so many days after midnight of day 0 (UTC)."""
    return datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(days=day)


@dataclass
class GoldLake:
    """Rows of Silver and Bronze that are gathered, written, and computed from.

    Attributes:
        lake: The tables.
        dbt: Folder of what dbt knows of the project.
        rows: Rows that are not written yet, by table.
    """

    lake: DeltaLakeManager
    dbt: Path
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tables: dict[str, TableSchema] = field(default_factory=dict)

    def trade(self, day: float, net_pnl: float | None, **more: Any) -> None:
        """A trade that is closed on ``day`` (fractions are hours), an hour after it began."""
        moment = at(day)
        self.add(
            TRADE_LIFECYCLE,
            {
                "trade_id": f"t{len(self.rows.get(TRADE_LIFECYCLE.name, ()))}",
                "timestamp": moment,
                "status": "closed",
                "side": "LONG",
                "entry_time": moment - timedelta(hours=1),
                "entry_price": 100.0,
                "entry_size": 1.0,
                "exit_time": moment,
                "exit_price": 100.0 if net_pnl is None else 100.0 + net_pnl,
                "exit_size": 1.0,
                "gross_pnl": net_pnl,
                "net_pnl": net_pnl,
                "holding_seconds": 3600.0,
                "decision_match": "none",
            }
            | more,
        )

    def decision(self, day: float, **more: Any) -> None:
        """A decision of one provider."""
        self.add(
            DECISION_HISTORY,
            {
                "decision_id": f"d{len(self.rows.get(DECISION_HISTORY.name, ()))}",
                "timestamp": at(day),
                "action": "BUY",
                "confidence": 60.0,
                "ai_provider": "local",
                "decision_mode": "single",
            }
            | more,
        )

    def voice(self, day: float, decision_id: str, provider: str, **more: Any) -> None:
        """What one provider said towards a decision of an ensemble."""
        self.add(
            PROVIDER_DECISIONS,
            {
                "decision_id": decision_id,
                "timestamp": at(day),
                "provider": provider,
                "role": "voter",
                "action": "BUY",
                "confidence": 60.0,
                "adjusted_weight": 1.0,
            }
            | more,
        )

    def bar(self, day: float, regime: str | None, direction: int | None, **more: Any) -> None:
        """An enriched 1h bar that opens on ``day``."""
        self.add(
            MARKET_DATA_ENRICHED,
            {
                "timestamp": at(day),
                "timeframe": "1h",
                "market_regime": regime,
                "trend_direction": direction,
                "log_returns": 0.0,
            }
            | more,
        )

    def snapshot(self, day: float, positions: Sequence[Mapping[str, Any]], **more: Any) -> None:
        """The portfolio of a platform."""
        self.add(
            RAW_PORTFOLIO_SNAPSHOTS,
            {
                "timestamp": at(day),
                "platform": "desk",
                "positions": [dict(each) for each in positions],
                "position_count": len(positions),
                "total_pnl": 0.0,
                "_extracted_at": at(day),
            }
            | more,
        )

    def add(self, table: TableSchema, row: Mapping[str, Any]) -> None:
        """A row; what it does not say is plain: BTCUSD, null if it may be, else zero."""
        whole: dict[str, Any] = {}
        for column in table.columns:
            plain = None if column.nullable else _PLAIN.get(column.type, row["timestamp"])
            whole[column.name] = row.get(column.name, plain)
        pair = row.get("asset_pair", "BTCUSD")
        day = row["timestamp"].date()
        whole |= {"partition_date": day, "storage_period": f"{day.year}"}
        if "asset_pair" in whole:
            whole |= {"asset_pair": pair, "partition_asset_pair": pair}
        unknown = set(row) - set(whole)
        if unknown:
            raise KeyError(f"{table.name} has no {unknown}")
        self.rows.setdefault(table.name, []).append(whole)
        self.tables[table.name] = table

    def write(self) -> None:
        """Put what was gathered in the place of what is in these tables."""
        for name, rows in self.rows.items():
            table = self.tables[name]
            arrow = pa.Table.from_pylist(rows, schema=table.arrow)
            if table.append_only:
                self.lake.append_if_changed(table, arrow, Where())
            else:
                self.lake.merge_if_changed(table, arrow, Where())

    def build(
        self,
        mart: str,
        last: float = 30,
        first: float | None = None,
        pairs: tuple[str, ...] | None = None,
        write: bool = True,
    ) -> list[dict[str, Any]]:
        """Write, compute a mart from day ``first`` to day ``last``, and read it whole.

        Raises:
            AssertionError: The model, or one of its tests, failed.
        """
        outcomes = self.outcomes([mart], last, first, pairs, write=write)
        wrong = [each for each in outcomes if each.status not in ("success", "pass")]
        assert not wrong, "\n".join(f"{each.unique_id}: {each.message}" for each in wrong)
        return self.read(mart)

    def outcomes(
        self,
        models: Iterable[str],
        last: float = 30,
        first: float | None = None,
        pairs: tuple[str, ...] | None = None,
        write: bool = True,
    ) -> list[Outcome]:
        """What became of the models and their tests."""
        if write:
            self.write()
        scope = Scope(
            self.lake, at(last).date(), None if first is None else at(first).date(), pairs
        )
        return build(scope, models, self.dbt)

    def read(self, mart: str) -> list[dict[str, Any]]:
        """All rows of a mart as they are stored, without the columns of the partition."""
        rows = self.lake.read(f"gold/{mart}").to_pylist()
        places = ("partition_date", "partition_asset_pair", "storage_period")
        return [{k: v for k, v in row.items() if k not in places} for row in rows]


def columns_of(mart: str) -> list[str]:
    """Names of a mart's columns."""
    return [column.name for column in marts()[mart].columns]
