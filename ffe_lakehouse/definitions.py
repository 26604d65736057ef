"""The Dagster code location: the one place where everything meets."""

import dagster as dg

from ffe_lakehouse.assets.bronze import bronze_assets
from ffe_lakehouse.assets.quality import quality_assets
from ffe_lakehouse.assets.reference import reference_assets
from ffe_lakehouse.automation.daily import daily_schedule
from ffe_lakehouse.automation.incremental import incremental_load_sensor
from ffe_lakehouse.automation.jobs import checking, daily, historical, ingestion, processing
from ffe_lakehouse.checks import bronze_checks
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.standing_checks import left_failed_checks


@dg.definitions
def defs() -> dg.Definitions:
    """Every asset, check, job, schedule, sensor and resource."""
    settings = get_settings()
    computed = [*bronze_assets(), *quality_assets()]
    return dg.Definitions(
        assets=[*computed, *reference_assets()],
        asset_checks=[
            *bronze_checks(),
            *left_failed_checks([key for asset in computed for key in asset.keys]),
        ],
        jobs=[ingestion, processing, historical, checking, daily],
        schedules=[daily_schedule()],
        sensors=[incremental_load_sensor()],
        resources={
            "io_manager": DeltaIOManager(
                storage_path=settings.lake_uri, compression=settings.compression
            ),
        },
        # One process a run: a process a step costs three seconds, and a step needs less.
        executor=dg.in_process_executor,
    )
