"""The job that closes dead letters. What it does with them is said in its config."""

import dagster as dg

from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.schemas import CLOSINGS

DLQ_REPLAY = "dlq_replay"

dlq_replay = dg.define_asset_job(
    DLQ_REPLAY,
    selection=dg.AssetSelection.assets(table_key(CLOSINGS)).without_checks(),
    description="Replay dead letters as bars, or discard them. The launchpad asks which, by whom,"
    " and why. `ffe dlq replay` and `ffe dlq discard` run this.",
)
