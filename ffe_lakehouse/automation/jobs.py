"""Jobs: selections of assets under a name."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from ffe_lakehouse.assets.bronze import RETRY_WAITS_TAG
from ffe_lakehouse.assets.derivations import derivations
from ffe_lakehouse.marts import pair_marts, portfolio_marts
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.schemas import TableSchema, dead_letters, raw_candles
from ffe_lakehouse.schemas.records import RAW_NEWS_SENTIMENT, record_letters
from ffe_lakehouse.timeframes import TIMEFRAMES

INGESTION = "ingestion"
"""Loads Bronze and its dead letters, without the checks."""

_BRONZE = dg.AssetSelection.assets(
    *(
        table_key(table(timeframe))
        for timeframe in TIMEFRAMES.values()
        for table in (raw_candles, dead_letters)
    )
)
_DERIVED = dg.AssetSelection.groups("silver", "quality")

ingestion = dg.define_asset_job(
    INGESTION,
    selection=_BRONZE.without_checks(),
    description="Load candles into Bronze. `ffe backfill` runs this, and so does the sensor.",
)

NEWS = "news"

news = dg.define_asset_job(
    NEWS,
    selection=dg.AssetSelection.assets(
        table_key(RAW_NEWS_SENTIMENT), table_key(record_letters(RAW_NEWS_SENTIMENT))
    ).without_checks(),
    description="Load news and their sentiment from a vendor. `ffe backfill --layers news` runs"
    " this.",
)

PROCESSING = "processing"

processing = dg.define_asset_job(
    PROCESSING,
    selection=_DERIVED,
    description="Compute what is derived from Bronze. The sensor runs this, without the checks.",
)

MARTS, PORTFOLIO = "marts", "portfolio"


def mart_jobs() -> tuple[UnresolvedAssetJobDefinition, UnresolvedAssetJobDefinition]:
    """The jobs of Gold: of what is of a pair, and of what is of the portfolio."""
    of_pairs = [each.tables[0] for each in pair_marts()]
    return (
        _mart_job(MARTS, "the marts of pairs", of_pairs),
        _mart_job(PORTFOLIO, "the portfolio's mart", portfolio_marts()),
    )


def _mart_job(name: str, what: str, tables: Sequence[TableSchema]) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*(table_key(table) for table in tables)),
        description=f"Compute {what}, and test what was computed. `ffe backfill --layers gold` runs"
        " this, and so do the schedules of Gold.",
    )


HISTORICAL = "historical"

historical = dg.define_asset_job(
    HISTORICAL,
    selection=_BRONZE | _DERIVED,
    description="Load days and compute what is derived from them, with all checks: for the past.",
)

CHECKING = "checking"
"""Runs asset checks, and nothing else."""


def checking() -> UnresolvedAssetJobDefinition:
    """The job ``checking``; made when it is asked for, since plug-ins are loaded for it."""
    return dg.define_asset_job(
        CHECKING,
        selection=dg.AssetSelection.checks_for_assets(
            *(
                table_key(table(timeframe))
                for timeframe in TIMEFRAMES.values()
                for table in (raw_candles, dead_letters)
            ),
            *(key for each in derivations() for key in each.derived.keys),
        ),
        description="Run the asset checks of Bronze, its dead letters, and what is derived."
        " `ffe check` runs this.",
    )


DAILY = "daily_market_data_pipeline"

daily = dg.define_asset_job(
    DAILY,
    selection=_BRONZE | _DERIVED,
    description="Every night at 01:00 UTC: what is still open of yesterday and of the look-back,"
    " then the checks and what is derived. A failure that may heal is tried three times more.",
    tags={RETRY_WAITS_TAG: "300,600,1200", "dagster/max_runtime": str(2 * 3600)},
)
