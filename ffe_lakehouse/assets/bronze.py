"""Bronze candles and their dead letters: one multi-asset a timeframe, all from one factory."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import dagster as dg
from deltalake.exceptions import DeltaError

from ffe_lakehouse.assets.events import data_version_tags, finished, materialized
from ffe_lakehouse.assets.metadata import day_metadata, letter_metadata, table_spec
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.dead_letters import read_closings
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.in_flight import interleave
from ffe_lakehouse.ingestion import DayReport, Ingestion
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.partitions import (
    PairDays,
    daily_by_pair,
    partition_key,
    run_partitions,
    table_key,
    windows,
)
from ffe_lakehouse.providers.base import Provider, ProviderError
from ffe_lakehouse.providers.registry import get_provider
from ffe_lakehouse.schemas import TableSchema, dead_letters, raw_candles
from ffe_lakehouse.settings import Settings, get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.watermarks import Known, data_version, latest_materializations, survey

INGEST_PREFIX = "raw_market_data_"
"""Steps that load a timeframe are named so, with its code behind."""
FAILED, REFUSED = "failed", "refused"
"""Metadata of a failed step, reasons by pair: the vendor failed; days were refused."""
_SAMPLE = 20
_ALONE = (ProviderError, InputError, DeltaError, OSError)
"""What ends the loading of one window, and leaves the others alone."""


RETRY_WAITS_TAG = "ffe/retry_waits"
"""Run tag: seconds before each new try of a step that failed and may heal: ``300,600,1200``."""
_HEALING_KINDS = frozenset({"rate_limited", "timeout", "unavailable"})


class IngestConfig(dg.Config):
    """Who is asked; what is left out comes from the settings."""

    provider: str | None = None
    source_dir: str | None = None


def bronze_assets(
    clock: Callable[[], datetime] = utc_now,
) -> list[dg.AssetsDefinition]:
    """The Bronze and dead-letter assets of all six timeframes.

    Args:
        clock: The present moment (UTC).
    """
    return [_ingestion_asset(timeframe, clock) for timeframe in TIMEFRAMES.values()]


def _ingestion_asset(timeframe: Timeframe, clock: Callable[[], datetime]) -> dg.AssetsDefinition:
    bronze, letters = raw_candles(timeframe), dead_letters(timeframe)

    @dg.multi_asset(
        name=f"{INGEST_PREFIX}{timeframe}",
        specs=[
            table_spec(letters, "dlq", "append_if_changed"),
            table_spec(bronze, "bronze", "append_if_changed"),
        ],
        partitions_def=daily_by_pair(),
        # One run a pair and contiguous range. Inside of it, batches are committed and reported.
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def ingest(
        context: dg.AssetExecutionContext,
        config: IngestConfig,
        io_manager: dg.ResourceParam[DeltaIOManager],
    ) -> Iterator[dg.DagsterEvent]:
        settings = get_settings()
        provider = _provider(config, settings)
        ingestion = Ingestion(
            provider=provider,
            timeframe=timeframe,
            batch_days=settings.batch_days,
            max_reject_ratio=settings.max_reject_ratio,
            run_id=context.run.run_id,
            write=lambda schema, rows, where: io_manager.write_changes(
                context, schema, rows, where
            ),
            clock=clock,
            closings=lambda where: read_closings(io_manager.lake, where),
        )
        failed: defaultdict[str, list[str]] = defaultdict(list)
        refused: defaultdict[str, list[str]] = defaultdict(list)
        healable: list[Exception] = []
        waits = [
            float(wait) for wait in context.run.tags.get(RETRY_WAITS_TAG, "").split(",") if wait
        ]
        in_flight = settings.max_in_flight if provider.waits else 1
        keys, asked_at = _not_yet_loaded(context, table_key(bronze)), clock()
        loading = windows(keys)
        known = survey(context.instance, table_key(bronze), keys, asked_at)
        for window, found in interleave(loading, ingestion.days, in_flight, _ALONE):
            if isinstance(found, Exception):
                failed[window.pair].append(_reason(found, window))
                healable += [found] if _may_heal(found) else []
                continue
            events = [
                event
                for report in found
                for event in _events(report, window.pair, timeframe, asked_at, known)
            ]
            yield from materialized(context, events)
            for report in filter(lambda report: report.refused, found):
                refused[window.pair].append(_refusal(report, letters))
        if healable and context.retry_number < len(waits):
            raise dg.RetryRequested(
                max_retries=len(waits), seconds_to_wait=waits[context.retry_number]
            ) from healable[0]
        if failed or refused:
            raise _failure(timeframe, failed, refused)
        yield from finished(context)

    return ingest


def _not_yet_loaded(context: dg.AssetExecutionContext, key: dg.AssetKey) -> Sequence[str]:
    """The partitions of the run; in a later try, without those that an earlier one has loaded."""
    keys = run_partitions(context)
    if not context.retry_number:
        return keys
    records = latest_materializations(context.instance, key, keys)
    run_id = context.run.run_id
    return [each for each in keys if each not in records or records[each].run_id != run_id]


def _may_heal(error: Exception) -> bool:
    """Whether waiting may help: not against a wrong key, a wrong answer or a wrong pair."""
    if isinstance(error, ProviderError):
        return error.kind in _HEALING_KINDS
    return isinstance(error, (DeltaError, OSError))


def _provider(config: IngestConfig, settings: Settings) -> Provider:
    if config.source_dir is not None:
        settings = settings.model_copy(update={"files_dir": Path(config.source_dir)})
    return get_provider(config.provider or settings.default_provider, settings)


def _events(
    report: DayReport,
    pair: str,
    timeframe: Timeframe,
    asked_at: datetime,
    known: Mapping[str, Known],
) -> Iterator[dg.AssetMaterialization]:
    """What a day's report says to Dagster: first of its dead letters, then of its bars."""
    key = partition_key(pair, report.day)
    yield dg.AssetMaterialization(
        table_key(dead_letters(timeframe)),
        partition=key,
        metadata=letter_metadata(report),
        tags=data_version_tags(f"{report.rejected} rejected"),
    )
    if not report.refused:
        yield dg.AssetMaterialization(
            table_key(raw_candles(timeframe)),
            partition=key,
            metadata=day_metadata(report, asked_at),
            tags=data_version_tags(
                data_version(
                    report.day,
                    asked_at,
                    report.versions,
                    report.vendors,
                    look_again=report.missing > 0 and not known[key].has_closed,
                )
            ),
        )


def _refusal(report: DayReport, letters: TableSchema) -> str:
    reasons = ", ".join(f"{count} {code}" for code, count in report.reasons.most_common(3))
    return (
        f"{report.day}: {report.rejected} of {report.fetched} records rejected ({reasons});"
        f" they are in {letters.name}, and FFE_MAX_REJECT_RATIO is the limit"
    )


def _reason(error: Exception, window: PairDays) -> str:
    kind = error.kind if isinstance(error, ProviderError) else type(error).__name__
    return f"{window.first} to {window.last}: {kind}: {error}"


def _failure(
    timeframe: Timeframe, failed: dict[str, list[str]], refused: dict[str, list[str]]
) -> dg.Failure:
    """The end of a run in which pairs failed: says which, and why."""
    by_kind = {FAILED: _sampled(failed), REFUSED: _sampled(refused)}
    reasons = [
        f"{pair} {reason}"
        for by_pair in by_kind.values()
        for pair, several in by_pair.items()
        for reason in several
    ]
    return dg.Failure(
        f"{timeframe}: {len(failed | refused)} pair(s) failed. " + "; ".join(reasons[:_SAMPLE]),
        metadata=by_kind,
        allow_retries=False,
    )


def _sampled(reasons: dict[str, list[str]]) -> dict[str, list[str]]:
    """At most 20 reasons a pair, and how many there are more."""
    return {
        pair: several[:_SAMPLE] + [f"and {len(several) - _SAMPLE} more"] * (len(several) > _SAMPLE)
        for pair, several in reasons.items()
    }
