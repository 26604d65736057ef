"""The engine's records as assets: what Dagster knows of their tables, and is told of every load.

Nothing is computed here. The assets are external: files are loaded when they come (``records`` in
``automation``), and every load reports the partitions that it has touched.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from ffe_lakehouse.assets.events import data_version_tags
from ffe_lakehouse.assets.metadata import METADATA_ROWS, OWNERS, table_metadata
from ffe_lakehouse.partitions import daily, daily_by_pair, partition_key, table_key
from ffe_lakehouse.records import Day, Fate, Loaded, Place
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.schemas.records import (
    RAW_AI_DECISIONS,
    RAW_PORTFOLIO_SNAPSHOTS,
    RAW_TRADE_EXECUTIONS,
    record_letters,
)
from ffe_lakehouse.settings import get_settings

LANDED = (RAW_AI_DECISIONS, RAW_TRADE_EXECUTIONS, RAW_PORTFOLIO_SNAPSHOTS)
"""Tables whose records come in files alone. News also come from vendors (``assets.news``)."""
NEW_LETTERS, REASONS = "letters_new", "reasons"
"""Metadata of a load: how many dead letters were not there before; how often each reason."""
UNRELATED = "articles_unrelated"
"""Metadata of a load of news: articles that mention no pair of the universe."""
_SAMPLE = 20


def record_assets() -> list[dg.AssetSpec]:
    """The tables of the engine's records, and their dead letters."""
    return [
        spec
        for table in LANDED
        for spec in (_spec(record_letters(table), "dlq", None), _spec(table, "bronze", _by(table)))
    ]


def _by(table: TableSchema) -> dg.PartitionsDefinition:
    if "partition_asset_pair" in table.arrow.names:
        return daily_by_pair()
    # The portfolio is of no single pair.
    return daily()


def _spec(
    table: TableSchema, group: str, partitions: dg.PartitionsDefinition | None
) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=table_key(table),
        description=f"{table.description} Comes in files: `ffe land`, or the landing folder.",
        group_name=group,
        owners=OWNERS,
        kinds={"python", "deltalake"},
        partitions_def=partitions,
        metadata=table_metadata(table, get_settings().lake_uri),
    )


def told_of(loaded: Loaded) -> Iterator[dg.AssetMaterialization]:
    """What a load says to Dagster: first of the dead letters and of itself, then of each day."""
    yield dg.AssetMaterialization(
        table_key(record_letters(loaded.schema)),
        metadata=_load_metadata(loaded),
        tags=data_version_tags(f"{loaded.letters} letters"),
    )
    for place, day in sorted(loaded.days.items(), key=lambda item: _key(item[0])):
        yield dg.AssetMaterialization(
            table_key(loaded.schema),
            partition=_key(place),
            metadata=_day_metadata(day),
            # Rows are only ever added. What is derived from them also hangs on newer versions.
            tags=data_version_tags(f"{day.rows}:{day.elsewhere}"),
        )


def _key(place: Place) -> str:
    pair, day = place
    return day.isoformat() if pair is None else partition_key(pair, day)


def _load_metadata(loaded: Loaded) -> dict[str, Any]:
    counts = [loaded.fetched, *(loaded.count(fate) for fate in Fate), loaded.rejected]
    return {
        **dict(zip(METADATA_ROWS, counts, strict=True)),
        NEW_LETTERS: loaded.new_letters,
        REASONS: dict(loaded.reasons.most_common()),
        "dagster/row_count": loaded.letters,
        "files": len(loaded.files),
        "file_names": _sampled(loaded.files),
        "days": len(loaded.days),
        UNRELATED: loaded.unrelated,
    }


def _day_metadata(day: Day) -> dict[str, Any]:
    # A record that was refused is of no day: the load as a whole counts it.
    counts = [day.counts.total(), *(day.counts[fate] for fate in Fate), 0]
    metadata: dict[str, Any] = {
        **dict(zip(METADATA_ROWS, counts, strict=True)),
        "dagster/partition_row_count": day.rows,
        "versions_on_other_days": day.elsewhere,
        "files": len(day.files),
        "file_names": _sampled(sorted(day.files)),
    }
    for name, moment in (("first_timestamp", day.first), ("last_timestamp", day.last)):
        if moment is not None:
            metadata[name] = dg.MetadataValue.timestamp(moment)
    return metadata


def _sampled(names: list[str]) -> list[str]:
    return names[:_SAMPLE] + [f"and {len(names) - _SAMPLE} more"] * (len(names) > _SAMPLE)
