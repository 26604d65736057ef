"""A lakehouse into whose Bronze a test puts bars, and whose Silver is computed by real runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ffe_lakehouse.assets.derivations import derivations
from ffe_lakehouse.automation.jobs import PROCESSING
from ffe_lakehouse.backfill import execute
from ffe_lakehouse.definitions import below_gold
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.partitions import ASSET_PAIR, PairDays, partition_key, table_key
from ffe_lakehouse.processing import Work, stages, stale_days
from ffe_lakehouse.providers.base import RAW_CANDLES
from ffe_lakehouse.schemas import TIMESTAMP, raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.transforms.rollup import roll_up
from ffe_lakehouse.transforms.rows import Provenance, bronze_rows


@dataclass
class SilverLakehouse:
    """Bronze by hand, Silver by runs.

    Attributes:
        instance: Dagster's memory.
        now: The present moment (UTC).
        works: Every run that was executed, in order.
    """

    instance: dg.DagsterInstance
    now: datetime
    works: list[Work] = field(default_factory=list)
    definitions: dg.Definitions = field(default_factory=below_gold)

    @property
    def lake(self) -> DeltaLakeManager:
        """Its tables."""
        return DeltaLakeManager(get_settings().lake_uri)

    def add(self, *pairs: str) -> None:
        """Take pairs into the universe."""
        self.instance.add_dynamic_partitions(ASSET_PAIR, pairs)

    def land(
        self,
        pair: str,
        timeframe: Timeframe,
        candles: pa.Table,
        days: Sequence[date],
        *,
        vendor: str = "tests",
        known: datetime | None = None,
        is_mock: bool = False,
    ) -> None:
        """Put candles into Bronze, and say that these days are loaded.

        Args:
            pair: Canonical pair.
            timeframe: Of the candles.
            candles: Rows by ``RAW_CANDLES``; those of other days are left out.
            days: Contiguous days.
            vendor: Whose bars they are.
            known: When they were extracted; now, if left out.
            is_mock: Whether they are simulated.
        """
        schema, window = raw_candles(timeframe), PairDays(pair, days[0], days[-1])
        candles = between(candles, window.start, window.end)
        source = Provenance(is_mock, pair, timeframe, known or self.now)
        rows = bronze_rows(candles, pa.array([vendor] * candles.num_rows), source)
        where = Where((pair,), window.start, window.end)
        self.lake.append_if_changed(schema, rows, where)
        for day in days:
            self.instance.report_runless_asset_event(
                dg.AssetMaterialization(table_key(schema), partition=partition_key(pair, day))
            )

    def derive(self, pairs: Sequence[str], first: date, last: date) -> list[Work]:
        """Compute what is stale of these days, and what hangs on them; the runs that did."""
        steps = [each.derived for each in derivations()]
        known = list(self.instance.get_dynamic_partitions(ASSET_PAIR))
        stale = stale_days(self.instance, steps, pairs, (first, last), self.now)
        works = [work for stage in stages(stale, steps, known) for work in stage]
        for work in works:
            self.run(work)
        return works

    def run(self, work: Work) -> None:
        """Execute one run.

        Raises:
            AssertionError: It failed.
        """
        self.works.append(work)
        job = self.definitions.resolve_job_def(PROCESSING)
        events = list(execute(self.instance, job, work.box, assets=work.keys))
        failures = [event.message for event in events if event.is_failure]
        assert not failures, failures

    def silver(self, names: Iterable[str]) -> dict[str, pa.Table]:
        """Tables by name, in their order."""
        return {name: self.lake.read(name) for name in names}


def between(candles: pa.Table, start: datetime, end: datetime) -> pa.Table:
    """Candles that open in ``[start, end)``."""
    time = pc.field("timestamp")
    inside = (time >= pa.scalar(start, TIMESTAMP)) & (time < pa.scalar(end, TIMESTAMP))
    return candles.filter(inside)


def real_candles(file: Path) -> pa.Table:
    """A recorded file as rows by ``RAW_CANDLES``; forex has no volume."""
    rows = pq.read_table(file)
    time = next(name for name in ("timestamp", "time") if name in rows.column_names)
    columns = {name: rows[name].cast(pa.float64()) for name in ("open", "high", "low", "close")}
    volume = rows["volume"].cast(pa.float64())
    if "EURUSD" in file.name:
        volume = pa.nulls(rows.num_rows, pa.float64())
    columns |= {"timestamp": rows[time].cast(TIMESTAMP), "volume": volume}
    nothing = pa.nulls(rows.num_rows, pa.float64())
    arrays = [columns.get(name, nothing) for name in RAW_CANDLES.names]
    return pa.table(arrays, schema=RAW_CANDLES).sort_by("timestamp")


def with_coarser(candles: pa.Table, codes: Sequence[str]) -> dict[Timeframe, pa.Table]:
    """Candles of the first timeframe, and their roll-ups to the others."""
    return {
        TIMEFRAMES[code]: candles if not place else roll_up(candles, TIMEFRAMES[code])
        for place, code in enumerate(codes)
    }


NOW = datetime(2021, 7, 1, 12, tzinfo=UTC)
