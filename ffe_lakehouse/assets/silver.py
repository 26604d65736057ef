"""Silver market data: bars of all vendors fused, enriched, and seen over six timeframes at once.

What is computed stands in ``transforms``; here is what each table reads, and how it is read.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.assets.derived import Batch
from ffe_lakehouse.derivation import Derived, Upstream
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.lake.configured import spark_engine
from ffe_lakehouse.schemas import TableSchema, raw_candles
from ffe_lakehouse.schemas.reconciliation import PROVIDER_RECONCILIATION
from ffe_lakehouse.schemas.silver import (
    MARKET_DATA_ENRICHED,
    MARKET_DATA_UNIFIED,
    MULTI_TIMEFRAME_ANALYSIS,
)
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.transforms.asof import LOOK_BACK_DAYS
from ffe_lakehouse.transforms.enrichment import CARRIED, enrich
from ffe_lakehouse.transforms.fusion import fuse
from ffe_lakehouse.transforms.history import HISTORY_DAYS, history_start
from ffe_lakehouse.transforms.multi_timeframe import USED, analyse
from ffe_lakehouse.transforms.reconciliation import reconcile

_ALL = tuple(TIMEFRAMES.values())
_BRONZE = Upstream(tuple(raw_candles(timeframe) for timeframe in _ALL))

UNIFY = Derived((MARKET_DATA_UNIFIED, PROVIDER_RECONCILIATION), (_BRONZE,))
ENRICH = Derived((MARKET_DATA_ENRICHED,), (Upstream((MARKET_DATA_UNIFIED,), HISTORY_DAYS),))
ANALYSE = Derived((MULTI_TIMEFRAME_ANALYSIS,), (Upstream((MARKET_DATA_ENRICHED,), LOOK_BACK_DAYS),))


def unify_days(lake: DeltaLakeManager, batch: Batch) -> Sequence[pa.Table]:
    """One bar of each moment, of the vendor that goes before the others; and how they differ."""
    priority = get_settings().provider_priority
    bars = {each: read(lake, raw_candles(each), batch.where) for each in _ALL}
    return [
        pa.concat_tables(fuse(rows, timeframe, priority) for timeframe, rows in bars.items()),
        pa.concat_tables(reconcile(rows, timeframe) for timeframe, rows in bars.items()),
    ]


def enrich_days(lake: DeltaLakeManager, batch: Batch) -> Sequence[pa.Table]:
    """The bars with their indicators, from as far back as they need."""
    start, end = batch.start, batch.end
    if get_settings().engine == "spark":
        from ffe_lakehouse.spark_silver import enrich_pairs

        return [enrich_pairs(spark_engine(), lake, batch.pairs, start, end)]
    enriched = [MARKET_DATA_ENRICHED.arrow.empty_table()]
    for timeframe in _ALL:
        where = Where(
            batch.pairs, history_start(timeframe, start), end, timeframes=(str(timeframe),)
        )
        bars = read(lake, MARKET_DATA_UNIFIED, where, CARRIED)
        enriched += [enrich(of_pair, timeframe, start, end) for of_pair in by_pair(bars).values()]
    return [pa.concat_tables(enriched)]


def analyse_days(lake: DeltaLakeManager, batch: Batch) -> Sequence[pa.Table]:
    """Six timeframes at each close of ``FFE_BASE_TIMEFRAME``."""
    start, end = batch.start, batch.end
    base = TIMEFRAMES[get_settings().base_timeframe]
    where = Where(batch.pairs, start - timedelta(days=LOOK_BACK_DAYS), end)
    rows = read(lake, MARKET_DATA_ENRICHED, where, USED)
    analysed = [MULTI_TIMEFRAME_ANALYSIS.arrow.empty_table()]
    for of_pair in by_pair(rows).values():
        analysed.append(analyse(by_timeframe(of_pair), base, start, end))
    return [pa.concat_tables(analysed)]


def read(
    lake: DeltaLakeManager, schema: TableSchema, where: Where, columns: Sequence[str] | None = None
) -> pa.Table:
    """Rows of a table in its order; none if nobody has written it yet."""
    if not lake.table_exists(schema.name):
        rows = schema.arrow.empty_table()
        return rows.select(columns) if columns else rows
    return lake.read(schema.name, where, columns)


def by_pair(rows: pa.Table) -> dict[str, pa.Table]:
    """Rows that are sorted by pair first, a slice for each pair."""
    return _runs(rows, "asset_pair")


def by_timeframe(rows: pa.Table) -> Mapping[Timeframe, pa.Table]:
    """Rows of one pair that are sorted by timeframe first, a slice for each timeframe."""
    return {TIMEFRAMES[code]: part for code, part in _runs(rows, "timeframe").items()}


def _runs(rows: pa.Table, column: str) -> dict[str, pa.Table]:
    found: dict[str, pa.Table] = {}
    begin = 0
    for run in pc.value_counts(rows[column]).to_pylist():
        found[run["values"]] = rows.slice(begin, run["counts"])
        begin += run["counts"]
    return found
