"""``no_partitions_left_failed``: one standing check for every partitioned asset.

A red partition among ten thousand is easily overlooked. This says exactly how many there are, names
some, and how to recover.
"""

import dagster as dg

from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.partitions import windows
from ffe_lakehouse.watermarks import failed_partitions

LEFT_FAILED = "no_partitions_left_failed"
_SAMPLE = 20


def left_failed_checks(assets: list[dg.AssetKey]) -> list[dg.AssetChecksDefinition]:
    """The check of every asset in ``assets``, each partitioned by day and pair."""
    return [_left_failed(asset) for asset in assets]


def _left_failed(asset: dg.AssetKey) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name=LEFT_FAILED,
        description="No partition's last run failed.",
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        failed = failed_partitions(context.instance, asset, utc_now())
        if not failed:
            return dg.AssetCheckResult(passed=True, metadata={"count": 0})
        found = windows(list(failed))
        shown = [f"- {window.pair} {window}".replace("  ", " ") for window in found[:_SAMPLE]]
        if len(found) > _SAMPLE:
            shown.append(f"- and {len(found) - _SAMPLE} more")
        return dg.AssetCheckResult(
            passed=False,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{len(failed)} partition(s) failed. The run of each says why. What lies in"
            " the look-back is tried again by itself, so many times; for the rest, mend the cause,"
            " then `ffe backfill` these days, or materialize the failed partitions in the UI.",
            metadata={
                "count": len(failed),
                "sample": dg.MetadataValue.md("\n".join(shown)),
                "runs": sorted(set(failed.values()))[:_SAMPLE],
            },
        )

    return check
