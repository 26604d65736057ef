"""Reference data as assets: the universe of pairs, and which symbols an index had when.

Nothing is computed here: both are external assets, whose materializations are reported by whoever
changes them (``universe``, ``membership``), from a command or from a run.
"""

import dagster as dg

from ffe_lakehouse.assets.metadata import OWNERS, table_metadata
from ffe_lakehouse.partitions import asset_pairs, table_key
from ffe_lakehouse.schemas import INDEX_MEMBERSHIP
from ffe_lakehouse.settings import get_settings

UNIVERSE = dg.AssetKey(["reference", "universe"])
_GROUP = "reference"


def reference_assets() -> list[dg.AssetSpec]:
    """The external assets of reference data."""
    return [
        dg.AssetSpec(
            key=UNIVERSE,
            description="How each pair is kept loaded: whose bars, from which day on."
            " `ffe pairs add` and `ffe pairs load` write it.",
            group_name=_GROUP,
            owners=OWNERS,
            partitions_def=asset_pairs,
        ),
        dg.AssetSpec(
            key=table_key(INDEX_MEMBERSHIP),
            description=f"{INDEX_MEMBERSHIP.description} `ffe pairs load --index-name` writes it.",
            group_name=_GROUP,
            owners=OWNERS,
            kinds={"deltalake"},
            metadata=table_metadata(INDEX_MEMBERSHIP, get_settings().lake_uri),
        ),
    ]
