"""What the Dagster UI shows of a table and of each of its partitions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import dagster as dg
import numpy as np

from ffe_lakehouse.ingestion import DayReport
from ffe_lakehouse.io_manager import WRITE_MODE, WriteMode
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.transforms.candlestick import candlesticks
from ffe_lakehouse.transforms.quality import quality_score

OWNERS = ["team:data-engineering"]
_SAMPLE_ROWS = 5

METADATA_ROWS = (
    "rows_fetched",
    "rows_written",
    "rows_unchanged",
    "rows_duplicate",
    "rows_rejected",
)
"""Where the records of a partition went: the first is the sum of the others."""


def table_spec(
    schema: TableSchema, group: str, mode: WriteMode, deps: Sequence[dg.AssetDep] = (), **more: Any
) -> dg.AssetSpec:
    """The asset of a table that a step writes.

    Args:
        schema: The table.
        group: Group of the asset.
        mode: How its rows get into it.
        deps: What it is computed from.
        more: Anything else that an ``AssetSpec`` takes.
    """
    return dg.AssetSpec(
        table_key(schema),
        deps=deps,
        description=schema.description,
        group_name=group,
        owners=OWNERS,
        kinds={"python", "deltalake"},
        skippable=True,
        metadata={**table_metadata(schema, get_settings().lake_uri), WRITE_MODE: mode},
        **more,
    )


def table_metadata(schema: TableSchema, lake_uri: str) -> dict[str, Any]:
    """Metadata of the asset itself: columns, place, layout."""
    columns = [
        dg.TableColumn(
            column.name,
            str(column.type),
            column.description,
            dg.TableColumnConstraints(nullable=column.nullable),
        )
        for column in schema.columns
    ]
    return {
        "dagster/column_schema": dg.TableSchema(
            columns, dg.TableConstraints([rule.description for rule in schema.rules])
        ),
        "dagster/table_name": schema.name,
        "dagster/uri": f"{lake_uri}/{schema.name}",
        "key": ", ".join(schema.key),
        "delta_partitions": ", ".join(schema.partition_by),
    }


def day_metadata(report: DayReport, asked_at: datetime) -> dict[str, Any]:
    """Metadata of one day of Bronze bars, which the vendor was asked for at ``asked_at`` (UTC)."""
    metadata: dict[str, Any] = {
        **dict(
            zip(
                METADATA_ROWS,
                (
                    report.fetched,
                    report.written,
                    report.unchanged,
                    report.duplicate,
                    report.rejected,
                ),
                strict=True,
            )
        ),
        "rows_revised": report.revised,
        "bars_expected": report.expected,
        "bars_missing": report.missing,
        "quality_score": _score(report),
        "dagster/partition_row_count": report.versions,
        "source_provider": ", ".join(report.vendors),
        "asked_at": dg.MetadataValue.timestamp(asked_at),
        "asked_until": dg.MetadataValue.timestamp(report.until),
    }
    if report.times.size:
        metadata["first_timestamp"] = dg.MetadataValue.timestamp(_seconds(report.times[0]))
        metadata["last_timestamp"] = dg.MetadataValue.timestamp(_seconds(report.times[-1]))
        metadata["candles"] = dg.MetadataValue.md(candlesticks(report.prices))
        metadata["sample"] = dg.MetadataValue.md(_sample(report))
    return metadata


def letter_metadata(report: DayReport) -> dict[str, Any]:
    """Metadata of one day of dead letters."""
    metadata: dict[str, Any] = {
        "rows_fetched": report.fetched,
        "rows_rejected": report.rejected,
        "open_letters": report.open_letters,
        "dagster/partition_row_count": report.rejected,
    }
    if report.rejected:
        metadata["reject_ratio"] = report.rejected / report.fetched
        metadata["reasons"] = dict(report.reasons.most_common())
    return metadata


def _score(report: DayReport) -> float:
    # No bars of the day that have closed: they do not speak against it here either.
    beside = report.reasons["unclosed_bar"] + report.reasons["outside_window"]
    return quality_score(
        expected=report.expected,
        missing=report.missing,
        judged=report.fetched - beside,
        rejected=report.rejected - beside,
    )


def _seconds(moment: np.datetime64) -> float:
    return float(moment.astype("datetime64[us]").astype(np.int64)) / 1e6


def _sample(report: DayReport) -> str:
    rows = zip(report.times[:_SAMPLE_ROWS].astype("datetime64[s]"), report.prices, strict=False)
    lines = [
        f"| {time} | " + " | ".join(f"{price:.10g}" for price in prices) + " |"
        for time, prices in rows
    ]
    return "\n".join(["| timestamp | open | high | low | close |", "|---|--:|--:|--:|--:|", *lines])
