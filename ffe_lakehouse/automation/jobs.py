"""Jobs: selections of assets under a name."""

import dagster as dg

from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES

INGESTION = "ingestion"
"""Loads Bronze and its dead letters, without the checks."""

ingestion = dg.define_asset_job(
    INGESTION,
    selection=dg.AssetSelection.groups("bronze", "dlq").without_checks(),
    description="Load candles into Bronze. `ffe backfill` runs this.",
)

CHECKING = "checking"
"""Runs the asset checks of Bronze, and nothing else."""

checking = dg.define_asset_job(
    CHECKING,
    selection=dg.AssetSelection.checks_for_assets(
        *(dg.AssetKey(raw_candles(timeframe).name.split("/")) for timeframe in TIMEFRAMES.values())
    ),
    description="Run the asset checks of Bronze. `ffe check` runs this.",
)
