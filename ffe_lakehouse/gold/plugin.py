"""The dbt-duckdb plug-in of the lake: sources are loaded from Delta, marts are stored to Delta.

dbt makes it by the name of this module (``dbt/profiles.yml``). What is loaded and stored, the
``Scope`` says.
"""

from collections import Counter
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.duckdb.utils import SourceConfig, TargetConfig
from dbt.flags import get_flags

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.gold.scope import Counts, current
from ffe_lakehouse.gold.sources import load
from ffe_lakehouse.lake.frames import as_arrow
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.schemas.gold import is_by_pair, marts
from ffe_lakehouse.schemas.table import DERIVED

_COMPUTE = ("build", "run")
"""dbt's commands that compute marts; the others find them as they are stored."""


class Plugin(BasePlugin):
    """Between dbt's DuckDB, which is in memory, and the Delta tables."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Remember where results are computed."""
        self._duckdb = conn

    def configure_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Let commands that compute nothing see the marts that are stored."""
        scope = current()
        if scope.connection is None:
            scope.connection = self._duckdb
            flags = get_flags()  # type: ignore[no-untyped-call] # dbt says no types of it
            if flags.WHICH not in _COMPUTE:
                _show_stored(cursor)

    def default_materialization(self) -> str:
        """Sources are views of Arrow tables: nothing is copied."""
        return "view"

    def load(self, source_config: SourceConfig) -> pa.Table:
        """The rows of a source."""
        return load(current(), source_config.schema, source_config.identifier)

    def store(self, target_config: TargetConfig) -> None:
        """Store the rows of a mart: one commit, none if nothing has changed.

        Raises:
            InputError: The model's columns are not those of its YAML, or it is of all pairs, and
                some were loaded.
        """
        if get_flags().EMPTY:  # type: ignore[no-untyped-call] # as above
            return  # `--empty` tries the models out on no rows: what is stored stays.
        scope, relation = current(), target_config.relation
        mart = marts()[str(relation.identifier)]
        if scope.pairs is not None and not is_by_pair(mart):
            raise InputError(f"{mart.name} is of all pairs: compute it without naming any")
        since = "" if scope.first is None else f" where date >= date '{scope.first.isoformat()}'"
        with self._duckdb.cursor() as cursor:
            # The relation is dbt's, and the day is one.
            query = f"select * from {relation}{since}"  # noqa: S608
            rows = as_arrow(mart, placed(mart, cursor.sql(query).to_arrow_table()))
        scope.lake.merge_if_changed(mart, rows, scope.written(mart), scope.commit)
        scope.stored[mart.name] = _counted(rows)


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


def _show_stored(cursor: duckdb.DuckDBPyConnection) -> None:
    """Put the stored rows of each mart where its model would have put them."""
    scope = current()
    for name, mart in marts().items():
        rows = mart.arrow.empty_table()
        if scope.lake.table_exists(mart.name):
            rows = scope.lake.read(mart.name, scope.written(mart))
        columns = ", ".join(column.name for column in mart.columns if column not in DERIVED)
        cursor.register("stored", rows)
        # Names of our own YAML.
        cursor.execute(f"create or replace table {name} as select {columns} from stored")  # noqa: S608
        cursor.unregister("stored")


def _counted(rows: pa.Table) -> Counts:
    by = [name for name in ("asset_pair", "date") if name in rows.column_names]
    counted = rows.group_by(by).aggregate([([], "count_all")]).to_pylist()
    return Counter({(each.get("asset_pair"), each["date"]): each["count_all"] for each in counted})
