"""The Dagster code location: the one place where everything meets."""

import dagster as dg

from ffe_lakehouse.assets.bronze import bronze_assets
from ffe_lakehouse.automation.jobs import checking, ingestion
from ffe_lakehouse.checks import bronze_checks
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.settings import get_settings


@dg.definitions
def defs() -> dg.Definitions:
    """Every asset, check, job and resource."""
    settings = get_settings()
    return dg.Definitions(
        assets=bronze_assets(),
        asset_checks=bronze_checks(),
        jobs=[ingestion, checking],
        resources={
            "io_manager": DeltaIOManager(
                storage_path=settings.lake_uri, compression=settings.compression
            ),
        },
        # One process a run: a process a step costs three seconds, and a step needs less.
        executor=dg.in_process_executor,
    )
