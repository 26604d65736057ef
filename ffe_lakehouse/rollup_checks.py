"""The asset check that a vendor's coarse bars are the roll-up of its finer ones.

What is compared with what, and how it is said to Dagster. What equal means stands in
``transforms.rollup_proof``.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import cache
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ffe_lakehouse.assets.events import evaluated, finished, target
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.partitions import (
    PairDays,
    daily_by_pair,
    run_partitions,
    split_key,
    table_key,
    windows,
)
from ffe_lakehouse.providers.base import RAW_CANDLES
from ffe_lakehouse.schemas import PRICES, raw_candles
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.transforms.rollup_proof import rollup_proof
from ffe_lakehouse.watermarks import asked_at, closes_at, latest_materializations, metadata_of

ROLLUP_PROOF = "rollup_proof"
"""Name of the check."""
ROLLUP_CHECK_PREFIX = "check_rollup_"
"""Steps that prove a timeframe are named so, with its code behind."""
_SAMPLE = 20
_DAYS_AT_ONCE = 92
"""So that no more than 132,480 bars of 1m and vendor are in memory."""
_BEFORE = timedelta(days=5)
"""A weekend and a holiday: as far back as the bar before a window may lie."""
_COLUMNS = (*RAW_CANDLES.names, "source_provider", "partition_date")
_SHOWN = (*PRICES, "volume")
_MADE_OF = "of_finer_"
_ALONE = "nothing finer to compare"
_SESSION = "a session of an exchange is not compared: it is more, and less, than its UTC day"


def rollup_checks() -> list[dg.AssetChecksDefinition]:
    """The check of every Bronze table of candles but the finest."""
    return [_check_of(timeframe) for timeframe in TIMEFRAMES.values() if _finer_than(timeframe)]


def _check_of(timeframe: Timeframe) -> dg.AssetChecksDefinition:
    key = table_key(raw_candles(timeframe))
    with warnings.catch_warnings():
        # `partitions_def` is in preview: without it, a check loads all partitions of the asset.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        spec = dg.AssetCheckSpec(
            ROLLUP_PROOF,
            asset=key,
            description=f"Every {timeframe} bar is what the vendor's finer bars make of it.",
            partitions_def=daily_by_pair(),
        )

    @dg.multi_asset_check(name=f"{ROLLUP_CHECK_PREFIX}{timeframe}", specs=[spec], can_subset=True)
    def check(
        context: dg.AssetCheckExecutionContext, io_manager: dg.ResourceParam[DeltaIOManager]
    ) -> Iterator[dg.DagsterEvent]:
        for window in _parts(windows(run_partitions(context))):
            records = latest_materializations(context.instance, key, window.keys)
            bars = _proven(timeframe, window, io_manager.lake, context.instance)
            of_day = dict(list(bars.groupby("partition_date")))
            alone = _SESSION if _is_session(timeframe, window.pair) else _ALONE
            evaluations = [
                _evaluation(key, record, of_day.get(split_key(partition)[1], bars.iloc[:0]), alone)
                for partition, record in records.items()
            ]
            yield from evaluated(context, evaluations)
        yield from finished(context)

    return check


def _proven(
    timeframe: Timeframe, window: PairDays, lake: DeltaLakeManager, instance: dg.DagsterInstance
) -> pd.DataFrame:
    """The bars of a window, ascending, and what the finest table that can judge each makes of it.

    Returns:
        Columns of ``_COLUMNS``; ``judged_by`` (code of the finer timeframe, None if none can);
        ``unequal``; and the roll-up's ``_SHOWN`` columns, with ``_MADE_OF`` before their names.
    """
    coarse = _read(lake, timeframe, window)
    made_of = [_MADE_OF + name for name in _SHOWN]
    bars: pd.DataFrame = coarse.to_pandas().assign(
        judged_by=None, unequal=False, **dict.fromkeys(made_of, np.nan)
    )
    if _is_session(timeframe, window.pair):
        return bars

    @cache
    def finer_bars(finer: Timeframe) -> tuple[pa.Table, Mapping[str, dg.EventLogRecord]]:
        key = table_key(raw_candles(finer))
        parts = _read(lake, finer, window, _BEFORE)
        return parts, latest_materializations(instance, key, window.keys)

    for vendor in coarse["source_provider"].unique().to_pylist():
        for finer in _finer_than(timeframe):
            is_open = (bars["source_provider"] == vendor) & bars["judged_by"].isna()
            rows = np.flatnonzero(is_open)
            if not rows.size:
                break
            parts, records = finer_bars(finer)
            parts = parts.filter(pc.field("source_provider") == vendor)
            whole = np.intersect1d(_whole_days(records, vendor), parts["partition_date"].to_numpy())
            proof = rollup_proof(coarse.take(rows), parts, timeframe, finer, whole)
            bars.loc[rows[proof.judged], "judged_by"] = finer.code
            bars.loc[rows, "unequal"] = proof.unequal
            bars.loc[rows, made_of] = proof.rolled.select(_SHOWN).to_pandas().to_numpy()
    return bars


def _read(
    lake: DeltaLakeManager, timeframe: Timeframe, window: PairDays, before: timedelta = timedelta()
) -> pa.Table:
    """The newest version of every vendor's bars of a window, and of the time before it."""
    schema = raw_candles(timeframe)
    if not lake.table_exists(schema.name):
        return schema.arrow.empty_table().select(_COLUMNS)
    where = Where((window.pair,), window.start - before, window.end)
    return lake.read(schema.name, where, _COLUMNS, newest=True)


def _whole_days(records: Mapping[str, dg.EventLogRecord], vendor: str) -> NDArray[np.datetime64]:
    """Days of which the table has all that the vendor has.

    It alone answered, after the day could no longer change, and none of its records was refused.
    """
    clean = {"rows_rejected": "0", "source_provider": vendor}
    days = []
    for partition, record in records.items():
        day, told = split_key(partition)[1], metadata_of(record)
        is_clean = all(name in told and str(told[name].value) == clean[name] for name in clean)
        if is_clean and asked_at(record) >= closes_at(day):
            days.append(day)
    return np.array(days, dtype="datetime64[D]")


def _evaluation(
    key: dg.AssetKey, record: dg.EventLogRecord, bars: pd.DataFrame, alone: str
) -> dg.AssetCheckEvaluation:
    """What the check says of a day; ``bars`` are the day's, ``alone`` says why none is judged."""
    broken = bars[bars["unequal"]]
    judges = [code for code in TIMEFRAMES if (bars["judged_by"] == code).any()]
    judged = int(bars["judged_by"].notna().sum())
    metadata: dict[str, Any] = {"count": len(broken), "judged": judged, "bars": len(bars)}
    if len(broken):
        lines = [f"- {_words(row)}" for row in broken.head(_SAMPLE).to_dict("records")]
        metadata["sample"] = dg.MetadataValue.md("\n".join(lines))
    compared = f"{judged} of {len(bars)} bars compared with {', '.join(judges)}"
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=ROLLUP_PROOF,
        partition=record.partition_key,
        passed=broken.empty,
        severity=dg.AssetCheckSeverity.WARN,
        description=compared if judged else alone,
        metadata=metadata,
        target_materialization_data=target(record),
    )


def _words(bar: Mapping[Any, Any]) -> str:
    """A bar that is not the roll-up, with both."""
    ours = " ".join(f"{bar[name]:.10g}" for name in _SHOWN)
    theirs = " ".join(f"{bar[_MADE_OF + name]:.10g}" for name in _SHOWN)
    there = not np.isnan(bar[_MADE_OF + PRICES[0]])
    made = f"its {bar['judged_by']} bars make {theirs}" if there else f"no {bar['judged_by']} bar"
    return f"{bar['timestamp']:%Y-%m-%dT%H:%MZ} {bar['source_provider']} {ours}: {made}"


def _finer_than(timeframe: Timeframe) -> list[Timeframe]:
    """The finest first."""
    return [finer for finer in sorted(TIMEFRAMES.values()) if finer < timeframe]


def _is_session(timeframe: Timeframe, pair: str) -> bool:
    """Its bars are sessions of an exchange, with auctions and without what trades before or after.

    No roll-up of the minutes of a UTC day is that.
    """
    return timeframe == TIMEFRAMES["1d"] and parse_symbol(pair).asset_class == "equity"


def _parts(all_windows: Iterable[PairDays]) -> Iterator[PairDays]:
    """Windows that are not too long to be in memory."""
    for window in all_windows:
        days = window.days
        for begin in range(0, len(days), _DAYS_AT_ONCE):
            part = days[begin : begin + _DAYS_AT_ONCE]
            yield PairDays(window.pair, part[0], part[-1])
