"""Asset checks of Bronze: one property each, one result a partition.

They report; what guards the lake is the ingestion itself. In a run over many partitions the rows
are read once a pair, and every check says something about every partition of it.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.assets.events import evaluated, finished, target
from ffe_lakehouse.assets.metadata import METADATA_ROWS
from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.lake import DeltaLakeManager, Where, newest_versions
from ffe_lakehouse.partitions import (
    PairDays,
    daily_by_pair,
    run_partitions,
    split_key,
    table_key,
    windows,
)
from ffe_lakehouse.schemas import PRICES, TIMESTAMP, raw_candles
from ffe_lakehouse.settings import Settings, get_settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.transforms.quality import (
    implausible_moves,
    outside_price_range,
    schema_violations,
)
from ffe_lakehouse.watermarks import asked_until, latest_materializations, metadata_of

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
CHECK_PREFIX = "check_raw_market_data_"
"""Steps that check a timeframe are named so, with its code behind."""
_SAMPLE = 20
# A weekend and a holiday: as far back as the bar before a window may lie in a market that closes.
_BY_VENDOR = [("source_provider", "ascending"), ("timestamp", "ascending")]
_BEFORE = timedelta(days=5)

CHECKS: dict[str, tuple[dg.AssetCheckSeverity, str]] = {
    "ohlc_rules": (ERROR, "Every bar obeys the OHLC rules of the table's Pandera schema."),
    "no_nulls": (ERROR, "No null where the table allows none."),
    "unique_versions": (ERROR, "One row per pair, timestamp, provider and extraction."),
    "conservation": (
        ERROR,
        (
            "fetched = written + unchanged + duplicate + rejected, and the table holds as many rows"
            " as the materialization says."
        ),
    ),
    "price_range": (WARN, "Prices lie inside the range of the asset class."),
    "plausible_moves": (WARN, "No bar spans, or jumps, more than FFE_MAX_LOG_MOVE."),
    "completeness": (WARN, "Every bar that the trading calendar expects is there."),
    "market_hours": (WARN, "No bar while the market was closed."),
    "quality_score": (WARN, "The quality score is not below FFE_MIN_QUALITY_SCORE."),
}


def bronze_checks() -> list[dg.AssetChecksDefinition]:
    """The checks of all six Bronze tables."""
    return [_checks_of(timeframe) for timeframe in TIMEFRAMES.values()]


@dataclass(frozen=True)
class Finding:
    """What a check found in one partition.

    Attributes:
        count: How often the property is broken; 0 passes.
        sample: At most 20 offenders, in words.
        note: What else there is to say.
    """

    count: int = 0
    sample: Sequence[str] = ()
    note: str | None = None

    @classmethod
    def of(cls, rows: pd.DataFrame | None) -> "Finding":
        """Of the rows that break a property."""
        if rows is None or rows.empty:
            return cls()
        shown = rows.head(_SAMPLE)
        prices = [name for name in PRICES if name in rows]
        words = [
            " ".join(
                [f"{row.timestamp:%Y-%m-%dT%H:%MZ}", *(f"{getattr(row, p):.10g}" for p in prices)]
            )
            for row in shown.itertuples()
        ]
        return cls(len(rows), words)

    def evaluation(
        self,
        key: dg.AssetKey,
        name: str,
        severity: dg.AssetCheckSeverity,
        record: dg.EventLogRecord,
    ) -> dg.AssetCheckEvaluation:
        """The result of a check on one partition, whose materialization it has looked at."""
        metadata: dict[str, Any] = {"count": self.count}
        if self.sample:
            lines = "\n".join(f"- {text}" for text in self.sample)
            metadata["sample"] = dg.MetadataValue.md(lines)
        return dg.AssetCheckEvaluation(
            asset_key=key,
            check_name=name,
            partition=record.partition_key,
            passed=self.count == 0,
            severity=severity,
            description=self.note,
            metadata=metadata,
            target_materialization_data=target(record),
        )


def _checks_of(timeframe: Timeframe) -> dg.AssetChecksDefinition:
    key, partitions = table_key(raw_candles(timeframe)), daily_by_pair()
    with warnings.catch_warnings():
        # `partitions_def` is in preview: without it, a check loads all partitions of the asset.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        specs = [
            dg.AssetCheckSpec(name, asset=key, description=what, partitions_def=partitions)
            for name, (_, what) in CHECKS.items()
        ]

    @dg.multi_asset_check(name=f"{CHECK_PREFIX}{timeframe}", specs=specs, can_subset=True)
    def check(
        context: dg.AssetCheckExecutionContext, io_manager: dg.ResourceParam[DeltaIOManager]
    ) -> Iterator[dg.DagsterEvent]:
        names = {check_key.name for check_key in context.selected_asset_check_keys}
        for window in windows(run_partitions(context)):
            records = latest_materializations(context.instance, key, window.keys)
            bars = _Bars.read(timeframe, window, io_manager.lake)
            found = _findings(bars, records, get_settings())
            evaluations = [
                finding.evaluation(key, name, CHECKS[name][0], record)
                for name, record, finding in found
                if name in names
            ]
            yield from evaluated(context, evaluations)
        yield from finished(context)

    return check


@dataclass(frozen=True)
class _Bars:
    """Bars of one pair, as they are stored.

    Attributes:
        timeframe: Of the table.
        window: Days that are checked.
        rows: Every version of the window's bars, as the table has them.
        newest: The newest version of every bar, by vendor and time, from days before the window on.
    """

    timeframe: Timeframe
    window: PairDays
    rows: pd.DataFrame
    newest: pd.DataFrame

    @classmethod
    def read(cls, timeframe: Timeframe, window: PairDays, lake: DeltaLakeManager) -> "_Bars":
        schema = raw_candles(timeframe)
        where = Where((window.pair,), window.start - _BEFORE, window.end)
        table = lake.read(schema.name, where)
        newest = newest_versions(table, schema.key).sort_by(_BY_VENDOR).to_pandas()
        rows = table.filter(pc.field("timestamp") >= pa.scalar(window.start, TIMESTAMP))
        return cls(timeframe, window, rows.to_pandas(), newest)

    def offenders(self, settings: Settings) -> dict[str, pd.DataFrame]:
        """For every check of rows: the rows that break it; for completeness: the missing bars."""
        symbol = parse_symbol(self.window.pair)
        broken = schema_violations(raw_candles(self.timeframe), self.rows)
        times = self.newest["timestamp"].dt.tz_convert(None).to_numpy()
        first = self.window.start - _BEFORE
        expected = expected_bars(symbol, self.timeframe, first, self.window.end)
        limits = settings.price_range[symbol.asset_class]
        moves = implausible_moves(self.newest, settings.max_log_move)
        missing = pd.Series(expected[~np.isin(expected, times)]).dt.tz_localize("UTC")
        return {
            "ohlc_rules": self.rows.iloc[broken["rules"]],
            "no_nulls": self.rows.iloc[broken["nulls"]],
            "unique_versions": self.rows.iloc[broken["unique"]],
            "price_range": self.newest[outside_price_range(self.newest, limits)],
            "plausible_moves": self.newest[moves],
            "market_hours": self.newest[~np.isin(times, expected)],
            "completeness": missing.to_frame("timestamp"),
        }


def _findings(
    bars: _Bars, records: Mapping[str, dg.EventLogRecord], settings: Settings
) -> Iterator[tuple[str, dg.EventLogRecord, Finding]]:
    """What each check found in each materialized partition."""
    for name, rows in bars.offenders(settings).items():
        of_day = dict(list(rows.groupby(rows["timestamp"].dt.date, sort=False)))
        for partition, record in records.items():
            found = of_day.get(split_key(partition)[1])
            if found is not None and name == "completeness":
                found = found[found["timestamp"] < pd.Timestamp(asked_until(record))]
            yield name, record, Finding.of(found)
    stored = bars.rows["partition_date"].value_counts()
    for partition, record in records.items():
        rows_stored = int(stored.get(split_key(partition)[1], 0))
        yield "conservation", record, _conservation(record, rows_stored)
        yield "quality_score", record, _quality(record, settings.min_quality_score)


def _conservation(record: dg.EventLogRecord, stored: int) -> Finding:
    metadata = metadata_of(record)
    if not set(METADATA_ROWS) <= metadata.keys():
        return Finding(note="reported by hand, without counts: nothing to compare")
    fetched, *parts = (int(str(metadata[name].value)) for name in METADATA_ROWS)
    said = int(str(metadata["dagster/partition_row_count"].value))
    sample = []
    if fetched != sum(parts):
        sample.append(f"{fetched} fetched, but {' + '.join(map(str, parts))} accounted for")
    if stored != said:
        sample.append(f"{said} rows when it was materialized, {stored} in the table")
    return Finding(len(sample), sample)


def _quality(record: dg.EventLogRecord, least: float) -> Finding:
    told = metadata_of(record).get("quality_score")
    if told is None:
        return Finding(note="reported by hand, without a score: nothing to compare")
    score = float(str(told.value))
    if score >= least:
        return Finding(note=f"{score:.2%}")
    below = f"Data quality below threshold: {score:.2%} is less than {least:.2%}"
    return Finding(1, [below], below)
