"""Computed columns as rows of a Silver table: types, order, and the columns that say where to."""

from collections.abc import Mapping

import pyarrow as pa

from ffe_lakehouse.schemas import TableSchema, storage_periods
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe

YEARLY = TIMEFRAMES["1d"]
"""Tables of records are stored by year, as daily bars are."""


def silver_rows(
    schema: TableSchema, columns: Mapping[str, pa.Array | pa.ChunkedArray], timeframe: Timeframe
) -> pa.Table:
    """Rows by ``schema``; their partition follows from ``timestamp`` and ``asset_pair``.

    Args:
        schema: The table.
        columns: All its columns but the three of the partition, of one length.
        timeframe: Whose storage period the table has.
    """
    days = columns["timestamp"].to_numpy(zero_copy_only=False).astype("datetime64[D]")
    place = {
        "partition_date": pa.array(days),
        "partition_asset_pair": columns["asset_pair"],
        "storage_period": storage_periods(days, timeframe),
    }
    every = {**columns, **place}
    arrays = [every[field.name].cast(field.type) for field in schema.arrow]
    return pa.table(arrays, schema=schema.arrow)
