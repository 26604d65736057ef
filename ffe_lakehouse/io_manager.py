"""The Delta IO manager: Dagster's contexts on one side, ``DeltaLakeManager`` on the other.

An asset says how it is written with ``WRITE_MODE`` in its metadata; its table is the one of its
key. Loads prune by pair and day before they read.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import dagster as dg
import pandas as pd
import pyarrow as pa
from pydantic import Field, PrivateAttr

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.lake.frames import as_arrow
from ffe_lakehouse.lake.tables import table_schema
from ffe_lakehouse.lake.versions import Changes
from ffe_lakehouse.partitions import PairDays, windows
from ffe_lakehouse.schemas import TableSchema

WRITE_MODE = "ffe/write_mode"
"""Metadata key of an asset: how its rows get into its table."""

WriteMode = Literal["append", "append_if_changed", "merge", "overwrite"]

Rows: TypeAlias = pd.DataFrame | pa.Table


class DeltaIOManager(dg.ConfigurableIOManager):
    """Writes and reads the tables of one lake for Dagster.

    ``append`` adds rows (once a run and step, however often the step is tried),
    ``append_if_changed`` adds what is new or revised, ``merge`` updates by key, ``overwrite``
    replaces exactly the partitions of the run.

    A frame with rows outside of these partitions is refused, whole.
    """

    storage_path: str
    storage_options: dict[str, str] = Field(default_factory=dict)
    compression: str = "zstd"
    durable: bool = True
    _lake: DeltaLakeManager | None = PrivateAttr(default=None)

    @property
    def lake(self) -> DeltaLakeManager:
        """The lake itself, for what is no asset output."""
        if self._lake is None:
            self._lake = DeltaLakeManager(
                self.storage_path, self.storage_options, self.compression, durable=self.durable
            )
        return self._lake

    def write_changes(
        self,
        context: dg.AssetExecutionContext,
        schema: TableSchema,
        rows: pa.Table,
        where: Where,
    ) -> Changes:
        """Append what is new of ``rows`` from within an asset that commits batch by batch."""
        commit = commit_info(context.run.run_id, schema.name, where)
        return self.lake.append_if_changed(schema, rows, where, commit)

    def handle_output(self, context: dg.OutputContext, obj: Rows | None) -> None:
        """Store what an asset returned, by its ``WRITE_MODE``.

        Raises:
            InputError: No frame, unknown mode, or rows outside of the run's partitions.
        """
        if not isinstance(obj, (pd.DataFrame, pa.Table)):
            raise InputError(
                f"{context.asset_key.to_user_string()} returned {type(obj).__name__}:"
                " return a pandas.DataFrame or a pyarrow.Table"
            )
        mode = (context.definition_metadata or {}).get(WRITE_MODE, "overwrite")
        schema = table_schema("/".join(context.asset_key.path))
        rows = as_arrow(schema, obj)
        box = _box(context.asset_partition_keys) if context.has_asset_partitions else None
        if box is not None:
            _refuse_strays(schema, rows, box)
        where = _where(box) if box is not None else Where()
        version = self._writer(str(mode), where, context)(schema, rows)
        context.add_output_metadata(
            {
                "dagster/uri": self.lake.table_uri(schema.name),
                "dagster/partition_row_count": rows.num_rows,
                "delta_version": -1 if version is None else version,
            }
        )

    def load_input(self, context: dg.InputContext) -> Rows:
        """The upstream partitions of a run, newest versions only, as the type that is asked for."""
        schema = table_schema("/".join(context.asset_key.path))
        where = Where()
        if context.has_asset_partitions:
            where = _where(_box(context.asset_partition_keys))
        rows = self.lake.read(schema.name, where, newest=bool(schema.values))
        return rows if context.dagster_type.typing_type is pa.Table else rows.to_pandas()

    def _writer(self, mode: str, where: Where, context: dg.OutputContext) -> Any:
        commit = commit_info(context.run_id, "/".join(context.asset_key.path), where)
        if mode == "append":
            once = f"{context.run_id}/{context.step_key}"
            return partial(self.lake.append, commit=commit, once=once)
        if mode == "append_if_changed":
            return lambda schema, rows: (
                self.lake.append_if_changed(schema, rows, where, commit).version
            )
        if mode == "merge":
            return partial(self.lake.merge, commit=commit)
        if mode == "overwrite":
            return partial(self.lake.overwrite, where=where, commit=commit)
        raise InputError(
            f"unknown {WRITE_MODE} {mode!r} of {context.asset_key.to_user_string()}:"
            f" use one of {', '.join(get_args(WriteMode))}"
        )


def _box(keys: Sequence[str]) -> list[PairDays]:
    """Partition keys as windows of equal days; a run's keys are always such a cross product."""
    box = windows(keys)
    if len({(window.first, window.last) for window in box}) > 1:
        raise InputError(f"partitions are no box of pairs and days: {', '.join(keys[:5])}, …")
    return box


def _where(box: list[PairDays]) -> Where:
    # Dagster hands the keys of a range over in no order (2 pairs: either one came first).
    pairs = tuple(sorted(window.pair for window in box))
    return Where(pairs, box[0].start, box[0].end)


def _refuse_strays(schema: TableSchema, rows: pa.Table, box: list[PairDays]) -> None:
    pairs = pa.array([window.pair for window in box])
    days = pa.scalar(box[0].first), pa.scalar(box[0].last)
    inside = pa.compute.and_(
        pa.compute.is_in(rows["partition_asset_pair"], pairs),
        pa.compute.and_(
            pa.compute.greater_equal(rows["partition_date"], days[0]),
            pa.compute.less_equal(rows["partition_date"], days[1]),
        ),
    )
    strays = rows.filter(pa.compute.invert(inside))
    if strays.num_rows:
        first = strays.select(["partition_asset_pair", "partition_date"]).slice(0, 1).to_pylist()[0]
        raise InputError(
            f"{schema.name}: {strays.num_rows} rows lie outside of the run's partitions, the first"
            f" in {first['partition_asset_pair']} {first['partition_date']}; nothing was written"
        )


def commit_info(run_id: str, asset: str, where: Where) -> Mapping[str, str]:
    """What a commit says of the run that made it: its id, its asset, its pairs and days."""
    days = ""
    if where.start is not None and where.end is not None:
        days = f"{where.start:%Y-%m-%d}...{where.end - timedelta(days=1):%Y-%m-%d}"
    return {
        "dagster/run_id": run_id,
        "dagster/asset_key": asset,
        "dagster/partitions": f"{','.join(where.pairs or ())}|{days}",
    }
