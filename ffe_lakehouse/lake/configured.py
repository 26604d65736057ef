"""The lake of this installation, as its settings say."""

from typing import TYPE_CHECKING

from ffe_lakehouse.lake.manager import DeltaLakeManager
from ffe_lakehouse.settings import get_settings

if TYPE_CHECKING:
    from ffe_lakehouse.lake.spark import SparkEngine


def open_lake() -> DeltaLakeManager:
    """The lake that ``FFE_STORAGE_PATH`` names, or that of ``FFE_HOME``; by ``FFE_ENGINE``."""
    settings = get_settings()
    return DeltaLakeManager(
        settings.lake_uri,
        settings.storage_options,
        settings.compression,
        durable=settings.durable_writes,
        engine=spark_engine() if settings.engine == "spark" else None,
    )


def spark_engine() -> "SparkEngine":
    """The cluster that ``FFE_SPARK_MASTER`` names. Nothing is started before it is used."""
    from ffe_lakehouse.lake.spark import SparkEngine

    settings = get_settings()
    return SparkEngine(settings.spark_conf, settings.spark_master, durable=settings.durable_writes)
