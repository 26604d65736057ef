"""The dbt-duckdb plug-in of the lake: sources are loaded from Delta, marts are stored to Delta.

dbt makes it by the name of this module (``dbt/profiles.yml``). What is loaded and stored, the
``Scope`` says.
"""

from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.duckdb.utils import SourceConfig, TargetConfig

from ffe_lakehouse.gold.scope import current
from ffe_lakehouse.gold.sources import load
from ffe_lakehouse.lake.frames import as_arrow
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.schemas.gold import marts
from ffe_lakehouse.schemas.table import DERIVED


class Plugin(BasePlugin):
    """Between dbt's DuckDB, which is in memory, and the Delta tables."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Remember where results are computed."""
        self._duckdb = conn

    def default_materialization(self) -> str:
        """Sources are views of Arrow tables: nothing is copied."""
        return "view"

    def load(self, source_config: SourceConfig) -> pa.Table:
        """The rows of a source."""
        return load(current(), source_config.schema, source_config.identifier)

    def store(self, target_config: TargetConfig) -> None:
        """Store the rows of a mart: one commit, none if nothing has changed.

        Raises:
            InputError: The model's columns are not those of its YAML.
        """
        scope, relation = current(), target_config.relation
        mart = marts()[str(relation.identifier)]
        with self._duckdb.cursor() as cursor:
            first = scope.first
            since = "" if first is None else f" where date >= date '{first.isoformat()}'"
            rows = cursor.sql(f"select * from {relation}{since}").to_arrow_table()  # noqa: S608 - dbt's own
        scope.stored[mart.name] = scope.lake.merge_if_changed(
            mart, as_arrow(mart, placed(mart, rows)), scope.written(mart), scope.commit
        )


def placed(mart: TableSchema, rows: pa.Table) -> pa.Table:
    """Rows of a model with the columns that say where they are stored."""
    values: dict[str, Any] = {
        "partition_date": lambda: rows["date"],
        "partition_asset_pair": lambda: rows["asset_pair"],
        "storage_period": lambda: pc.strftime(rows["date"], format="%Y"),
    }
    for column in DERIVED:
        if column.name in mart.arrow.names:
            rows = rows.append_column(column.name, values[column.name]())
    return rows
