"""News with their sentiment from vendors: one multi-asset, the dead letters beside the table."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import dagster as dg
from deltalake.exceptions import DeltaError

from ffe_lakehouse.assets.bronze import FAILED
from ffe_lakehouse.assets.events import data_version_tags, finished, materialized
from ffe_lakehouse.assets.metadata import METADATA_ROWS, table_spec
from ffe_lakehouse.assets.news_loading import NewsDay, NewsLoading
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.in_flight import interleave
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.partitions import (
    daily_by_pair,
    partition_key,
    run_partitions,
    table_key,
    windows,
)
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.news import news_provider
from ffe_lakehouse.providers.news_rows import LETTERS
from ffe_lakehouse.schemas.records import RAW_NEWS_SENTIMENT
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.watermarks import data_version

_ALONE = (ProviderError, InputError, DeltaError, OSError)
"""What ends the loading of one window, and leaves the others alone."""
_SAMPLE, _SAMPLE_ROWS = 20, 5


class NewsConfig(dg.Config):
    """Who is asked: ``alpha_vantage`` or ``polygon``; by default the first whose key is set."""

    provider: str | None = None


def news_assets(clock: Callable[[], datetime] = utc_now) -> list[dg.AssetsDefinition]:
    """The table of news and its dead letters.

    Args:
        clock: The present moment (UTC).
    """

    @dg.multi_asset(
        name="raw_news_sentiment",
        specs=[
            table_spec(LETTERS, "dlq", "append_if_changed"),
            table_spec(RAW_NEWS_SENTIMENT, "bronze", "append_if_changed"),
        ],
        partitions_def=daily_by_pair(),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def load_news(
        context: dg.AssetExecutionContext,
        config: NewsConfig,
        io_manager: dg.ResourceParam[DeltaIOManager],
    ) -> Iterator[dg.DagsterEvent]:
        settings = get_settings()
        try:
            provider = news_provider(config.provider, settings)
        except (InputError, ProviderError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        loading = NewsLoading(
            provider=provider,
            batch_days=settings.batch_days,
            run_id=context.run.run_id,
            write=lambda schema, rows, where: io_manager.write_changes(
                context, schema, rows, where
            ),
            clock=clock,
        )
        asked_at = clock()
        failed: defaultdict[str, list[str]] = defaultdict(list)
        asked_for = windows(run_partitions(context))
        for window, found in interleave(asked_for, loading.days, settings.max_in_flight, _ALONE):
            if isinstance(found, Exception):
                failed[window.pair].append(f"{window}: {_told(found)}")
                continue
            events = [
                event
                for report in found
                for event in _events(report, window.pair, provider.name, asked_at)
            ]
            yield from materialized(context, events)
        if failed:
            raise _failure(failed)
        yield from finished(context)

    return [load_news]


def _events(
    report: NewsDay, pair: str, provider: str, asked_at: datetime
) -> Iterator[dg.AssetMaterialization]:
    """What a day's report says to Dagster: first of its dead letters, then of its news."""
    key = partition_key(pair, report.day)
    letters: dict[str, Any] = {
        "rows_fetched": report.fetched,
        "rows_rejected": report.rejected,
        "dagster/partition_row_count": report.rejected,
    }
    if report.rejected:
        letters["reasons"] = dict(report.reasons.most_common())
    yield dg.AssetMaterialization(
        table_key(LETTERS),
        partition=key,
        metadata=letters,
        tags=data_version_tags(f"{report.rejected} rejected"),
    )
    yield dg.AssetMaterialization(
        table_key(RAW_NEWS_SENTIMENT),
        partition=key,
        metadata=_metadata(report, provider, asked_at),
        tags=data_version_tags(data_version(report.day, asked_at, report.versions, [provider])),
    )


def _metadata(report: NewsDay, provider: str, asked_at: datetime) -> dict[str, Any]:
    counts = (
        report.fetched,
        report.written,
        report.unchanged,
        report.duplicate,
        report.rejected,
    )
    metadata: dict[str, Any] = {
        **dict(zip(METADATA_ROWS, counts, strict=True)),
        "rows_revised": report.revised,
        "articles_unrelated": report.unrelated,
        "dagster/partition_row_count": report.versions,
        "source_provider": provider,
        "asked_at": dg.MetadataValue.timestamp(asked_at),
        "asked_until": dg.MetadataValue.timestamp(report.until),
    }
    times = report.rows["timestamp"].to_pylist()
    if times:
        metadata["first_timestamp"] = dg.MetadataValue.timestamp(times[0])
        metadata["last_timestamp"] = dg.MetadataValue.timestamp(times[-1])
        metadata["sample"] = dg.MetadataValue.md(_sample(report))
    return metadata


def _sample(report: NewsDay) -> str:
    names = ["timestamp", "ticker", "sentiment_score", "title"]
    rows = report.rows.select(names).slice(0, _SAMPLE_ROWS).to_pylist()
    lines = [
        f"| {row['timestamp']:%H:%M:%S} | {row['ticker']} | {row['sentiment_score']} |"
        f" {' '.join(row['title'].replace('|', '/').split())} |"
        for row in rows
    ]
    return "\n".join(["| UTC | ticker | score | title |", "|---|---|--:|---|", *lines])


def _told(error: Exception) -> str:
    kind = error.kind if isinstance(error, ProviderError) else type(error).__name__
    return f"{kind}: {error}"


def _failure(failed: dict[str, list[str]]) -> dg.Failure:
    """The end of a run in which pairs failed: says which, and why."""
    reasons = [f"{pair} {reason}" for pair, several in failed.items() for reason in several]
    return dg.Failure(
        f"news: {len(failed)} pair(s) failed. " + "; ".join(reasons[:_SAMPLE]),
        metadata={FAILED: {pair: several[:_SAMPLE] for pair, several in failed.items()}},
        allow_retries=False,
    )
