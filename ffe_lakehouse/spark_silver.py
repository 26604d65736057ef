"""Silver's enriched bars on a cluster: the same pure transform, by pair and timeframe.

Spark reads the unified bars, brings those of a pair and timeframe together, and calls ``enrich`` on
the executors, which need this package. What is read for which days stands in ``transforms.history``
for both engines.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.lake.spark import SparkEngine
from ffe_lakehouse.schemas.silver import MARKET_DATA_ENRICHED, MARKET_DATA_UNIFIED
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.enrichment import CARRIED, enrich
from ffe_lakehouse.transforms.history import history_start

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_KEYS = ("asset_pair", "timeframe")
_BARS = pa.schema([MARKET_DATA_UNIFIED.arrow.field(name) for name in CARRIED])


def enriched_frame(
    engine: SparkEngine,
    lake: DeltaLakeManager,
    pairs: Sequence[str],
    start: datetime,
    end: datetime,
) -> "DataFrame":
    """The enriched bars in ``[start, end)`` as a frame of Spark: nothing is computed yet.

    Args:
        engine: Whose cluster.
        lake: Where ``silver/market_data_unified`` is; its executors must reach it.
        pairs: Canonical pairs.
        start: First open time, included (UTC).
        end: Last open time, excluded (UTC).

    Returns:
        Columns of ``market_data_enriched``, in no order.

    Raises:
        InputError: There are no unified bars yet, or Spark is not there.
    """
    if not lake.table_exists(MARKET_DATA_UNIFIED.name):
        raise InputError(f"there is no {MARKET_DATA_UNIFIED.name} to enrich: derive it first")
    start, end = start.astimezone(UTC), end.astimezone(UTC)

    def enrich_group(keys: tuple[Any, ...], bars: pd.DataFrame) -> pd.DataFrame:
        ascending = bars.sort_values("timestamp")
        rows = pa.Table.from_pandas(ascending, _BARS, preserve_index=False)
        enriched: pd.DataFrame = enrich(rows, TIMEFRAMES[keys[1]], start, end).to_pandas()
        return enriched

    frame = engine.frame(lake.table_uri(MARKET_DATA_UNIFIED.name))
    return (
        frame.where(_read(pairs, start, end))
        .select(*CARRIED)
        .groupBy(*_KEYS)
        .applyInPandas(enrich_group, _spark_schema(MARKET_DATA_ENRICHED.arrow))
    )


def enrich_pairs(
    engine: SparkEngine,
    lake: DeltaLakeManager,
    pairs: Sequence[str],
    start: datetime,
    end: datetime,
) -> pa.Table:
    """The enriched bars in ``[start, end)``, computed by Spark; arguments as ``enriched_frame``.

    Returns:
        Rows by ``market_data_enriched``, in the table's order.
    """
    schema = MARKET_DATA_ENRICHED
    rows = enriched_frame(engine, lake, pairs, start, end).toArrow().cast(schema.arrow)
    return rows.sort_by([(name, "ascending") for name in schema.sort_by])


def _read(pairs: Sequence[str], start: datetime, end: datetime) -> "Column":
    """Which unified bars are needed, so that Spark opens the files of these alone."""
    from pyspark.sql import functions as sql

    of_timeframes = sql.lit(False)
    for code, timeframe in TIMEFRAMES.items():
        since = history_start(timeframe, start)
        of_timeframes |= (
            (sql.col("timeframe") == code)
            & (sql.col("timestamp") >= sql.lit(since))
            # A period is a prefix of the ISO date, a month's or a year's: texts compare as dates.
            & (sql.col("storage_period") >= since.date().isoformat()[:4])
        )
    last = (end - timedelta(microseconds=1)).date().isoformat()[:7]
    return (
        sql.col("partition_asset_pair").isin(list(pairs))
        & (sql.col("storage_period") <= last)
        & (sql.col("timestamp") < sql.lit(end))
        & of_timeframes
    )


def _spark_schema(schema: pa.Schema) -> Any:
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema)
