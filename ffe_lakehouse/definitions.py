"""The Dagster code location: the one place where everything meets."""

import warnings
from datetime import timedelta
from typing import Any

import dagster as dg

from ffe_lakehouse.assets.bronze import bronze_assets
from ffe_lakehouse.assets.closings import closings_asset
from ffe_lakehouse.assets.derivations import derived_assets
from ffe_lakehouse.assets.maintenance import maintenance_assets
from ffe_lakehouse.assets.news import news_assets
from ffe_lakehouse.assets.quality import quality_assets
from ffe_lakehouse.assets.records import record_assets
from ffe_lakehouse.assets.reference import reference_assets
from ffe_lakehouse.automation.alert_sensors import alert_sensors
from ffe_lakehouse.automation.daily import daily_schedule
from ffe_lakehouse.automation.derive import derivation_sensor
from ffe_lakehouse.automation.dlq_job import dlq_replay
from ffe_lakehouse.automation.engine import simulated_engine
from ffe_lakehouse.automation.freshness import freshness_checks
from ffe_lakehouse.automation.housekeeping import housekeeping_job, housekeeping_schedule
from ffe_lakehouse.automation.incremental import incremental_load_sensor
from ffe_lakehouse.automation.jobs import (
    checking,
    daily,
    historical,
    ingestion,
    mart_jobs,
    news,
    processing,
)
from ffe_lakehouse.automation.landing import landing, landing_sensor
from ffe_lakehouse.automation.landing_records import records
from ffe_lakehouse.automation.maintenance import maintenance_jobs, maintenance_schedules
from ffe_lakehouse.automation.refresh import mart_schedules
from ffe_lakehouse.checks import bronze_checks
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.letter_checks import letter_checks
from ffe_lakehouse.monitoring.freshness import daily_policy
from ffe_lakehouse.rollup_checks import rollup_checks
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.silver_checks import derived_checks
from ffe_lakehouse.standing_checks import left_failed_checks

# Dagster 1.13 hands this parameter on by itself, when it binds a sensor to its jobs.
warnings.filterwarnings("ignore", "Parameter `owners` of initializer `SensorDefinition")


@dg.definitions
def defs() -> dg.Definitions:
    """Every asset, check, job, schedule, sensor and resource."""
    return dg.Definitions.merge(below_gold(), _gold())


def _gold() -> dg.Definitions:
    """The marts. dbt takes two seconds to import: whoever does not need them does without."""
    from ffe_lakehouse.assets.gold import gold_assets

    assets, jobs = gold_assets(), mart_jobs()
    return dg.Definitions(
        assets=assets,
        asset_checks=left_failed_checks([key for asset in assets for key in asset.keys]),
        jobs=jobs,
        schedules=mart_schedules(*jobs),
    )


def _spark() -> dict[str, Any]:
    """With ``FFE_ENGINE=spark`` its session, for assets of your own."""
    settings = get_settings()
    if settings.engine != "spark":
        return {}
    from dagster_pyspark import LazyPySparkResource

    from ffe_lakehouse.lake.spark import spark_settings

    found = spark_settings(settings.spark_conf, settings.spark_master)
    return {"pyspark": LazyPySparkResource(spark_config=found)}


def below_gold() -> dg.Definitions:
    """Bronze, Silver, and what keeps them loaded."""
    settings = get_settings()
    nightly = daily_policy(timedelta(minutes=settings.daily_sla_minutes))
    computed = [*bronze_assets(), *derived_assets(), *quality_assets(nightly)]
    tidying, upkeep = housekeeping_job(), maintenance_jobs()
    return dg.Definitions(
        assets=[
            *computed,
            *news_assets(),
            *record_assets(),
            closings_asset(),
            *reference_assets(),
            *maintenance_assets(),
        ],
        asset_checks=[
            *bronze_checks(),
            *rollup_checks(),
            *derived_checks(),
            *letter_checks(),
            *freshness_checks(),
            *left_failed_checks([key for asset in computed for key in asset.keys]),
        ],
        jobs=[
            *(ingestion, processing, historical, checking(), daily, news),
            *(landing, records, simulated_engine, dlq_replay, tidying),
            *upkeep,
        ],
        schedules=[
            daily_schedule(),
            housekeeping_schedule(tidying),
            *maintenance_schedules(upkeep),
        ],
        sensors=[
            incremental_load_sensor(),
            derivation_sensor(),
            landing_sensor(),
            *alert_sensors(),
        ],
        resources={
            **_spark(),
            "io_manager": DeltaIOManager(
                storage_path=settings.lake_uri,
                storage_options=settings.storage_options,
                compression=settings.compression,
                durable=settings.durable_writes,
            ),
        },
        # One process a run: a process a step costs three seconds, and a step needs less.
        executor=dg.in_process_executor,
    )
