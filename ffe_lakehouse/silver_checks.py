"""Asset checks of what is derived: lawful, once, complete, and up to date.

One property each, one result a partition. That no value knows the future is no check but a test:
it is a property of the code, not of the data.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, TypeAlias

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.assets.derivations import derivations
from ffe_lakehouse.assets.events import evaluated, finished
from ffe_lakehouse.assets.silver import read
from ffe_lakehouse.checks import ERROR, WARN, Finding
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.derivation import Derived, newest_read, seen_by
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
from ffe_lakehouse.schemas import TableSchema, raw_candles
from ffe_lakehouse.schemas.reconciliation import PROVIDER_RECONCILIATION
from ffe_lakehouse.schemas.records import RAW_AI_DECISIONS
from ffe_lakehouse.schemas.silver import (
    MARKET_DATA_ENRICHED,
    MARKET_DATA_UNIFIED,
    MULTI_TIMEFRAME_ANALYSIS,
)
from ffe_lakehouse.schemas.silver_records import DECISION_HISTORY, TRADE_LIFECYCLE
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.quality import schema_violations
from ffe_lakehouse.watermarks import latest_materializations, survey

DERIVED_CHECK_PREFIX = "check_"
"""Steps that check a derived table are named so, with the table's name behind."""
_UP_TO_DATE, _NOTHING_LOST = "up_to_date", "nothing_lost"
_SAMPLE = 20
_DAYS_AT_ONCE = 92
"""So that no more than 170,000 rows of a pair are in memory."""

Findings: TypeAlias = Mapping[date, Finding]
"""What is wrong with each day; a day that is not in it is well."""
Look: TypeAlias = Callable[[DeltaLakeManager, Where, pa.Table], Findings]
"""Judges the rows of a table, of one pair and some days."""
Count: TypeAlias = Callable[[DeltaLakeManager, Where], Counter[tuple[date, str]]]
"""How many rows of each day and timeframe there should be."""
Checks: TypeAlias = dict[str, tuple[dg.AssetCheckSeverity, str, Look]]


def derived_checks() -> list[dg.AssetChecksDefinition]:
    """The checks of every derived table."""
    return [
        _checks_of(table, each.derived) for each in derivations() for table in each.derived.tables
    ]


def checks_of(table: TableSchema) -> list[str]:
    """Names of the checks of a derived table."""
    return [*_lawful(table), *_OWN.get(table.name, {}), _UP_TO_DATE]


def _checks_of(table: TableSchema, derived: Derived) -> dg.AssetChecksDefinition:
    key, partitions = table_key(table), daily_by_pair()
    looks = _lawful(table) | _OWN.get(table.name, {})
    told = {name: (severity, what) for name, (severity, what, _) in looks.items()}
    told[_UP_TO_DATE] = (WARN, "Nothing that it reads was materialized since it was computed.")
    with warnings.catch_warnings():
        # `partitions_def` is in preview: without it, a check loads all partitions of the asset.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        specs = [
            dg.AssetCheckSpec(name, asset=key, description=what, partitions_def=partitions)
            for name, (_, what) in told.items()
        ]

    @dg.multi_asset_check(
        name=f"{DERIVED_CHECK_PREFIX}{key.path[-1]}", specs=specs, can_subset=True
    )
    def check(
        context: dg.AssetCheckExecutionContext, io_manager: dg.ResourceParam[DeltaIOManager]
    ) -> Iterator[dg.DagsterEvent]:
        names = {check_key.name for check_key in context.selected_asset_check_keys}
        for window in _parts(windows(run_partitions(context))):
            where = Where((window.pair,), window.start, window.end)
            rows = read(io_manager.lake, table, where)
            found = {
                name: look(io_manager.lake, where, rows)
                for name, (_, _, look) in looks.items()
                if name in names
            }
            behind = _stale(context.instance, derived, key, window)
            if _UP_TO_DATE in names:
                found[_UP_TO_DATE] = behind
            if _NOTHING_LOST in found:  # What has come since is not lost: it is behind.
                lost = found[_NOTHING_LOST].items()
                found[_NOTHING_LOST] = {day: each for day, each in lost if day not in behind}
            records = latest_materializations(context.instance, key, window.keys)
            yield from evaluated(
                context,
                [
                    of_name.get(split_key(partition)[1], Finding()).evaluation(
                        key, name, told[name][0], record
                    )
                    for name, of_name in found.items()
                    for partition, record in records.items()
                ],
            )
        yield from finished(context)

    return check


def _parts(box: Sequence[PairDays]) -> Iterator[PairDays]:
    for window in box:
        for place in range(0, len(window.days), _DAYS_AT_ONCE):
            days = window.days[place : place + _DAYS_AT_ONCE]
            yield PairDays(window.pair, days[0], days[-1])


def _lawful(table: TableSchema) -> Checks:
    """What holds of every table: its Pandera schema, looked at in three parts."""

    def look(kind: str) -> Look:
        def judge(_: DeltaLakeManager, __: Where, rows: pa.Table) -> Findings:
            broken = schema_violations(table, rows.to_pandas())[kind]
            names = [name for name in table.key if name != "asset_pair"]
            return _by_day(
                rows.take(broken),
                lambda row: " ".join(str(row[name]) for name in names),
            )

        return judge

    rules = "; ".join(rule.description for rule in table.rules) or "it has none"
    return {
        "rules": (ERROR, f"Every row obeys the rules of the table: {rules}.", look("rules")),
        "no_nulls": (ERROR, "No null where the table allows none.", look("nulls")),
        "unique": (ERROR, f"One row of each {', '.join(table.key)}.", look("unique")),
    }


def _by_day(rows: pa.Table, *tell: Callable[[dict[str, Any]], str | None]) -> Findings:
    """What there is to tell of rows: each function says what is wrong with one, if it is."""
    found: dict[date, list[str]] = {}
    for row in rows.to_pylist():
        texts = [text for text in (each(row) for each in tell) if text is not None]
        if texts:
            found.setdefault(row["partition_date"], []).extend(texts)
    return {day: Finding(len(texts), texts[:_SAMPLE]) for day, texts in found.items()}


def _stale(
    instance: dg.DagsterInstance, derived: Derived, key: dg.AssetKey, window: PairDays
) -> Findings:
    newest = newest_read(instance, derived, [window.pair], window.first, window.last)[0]
    known = survey(instance, key, window.keys, utc_now())
    behind = "computed from what has changed since: the sensor will, or `ffe backfill --layers"
    return {
        day: Finding(1, note=f"{behind} silver` does it now")
        for day, number, each in zip(window.days, newest, known.values(), strict=True)
        if seen_by(each.version) < number
    }


def _as_many_as(count: Count) -> Look:
    """Nothing is lost, and nothing made up: as many rows of a day and timeframe as ``count``."""

    def look(lake: DeltaLakeManager, where: Where, rows: pa.Table) -> Findings:
        kinds = [""] * rows.num_rows
        if "timeframe" in rows.column_names:
            kinds = rows["timeframe"].to_pylist()
        there = Counter(zip(rows["partition_date"].to_pylist(), kinds, strict=True))
        there.subtract(count(lake, where))
        wrong: dict[date, list[str]] = {}
        for (day, kind), surplus in there.items():
            if surplus:
                few = "too many" if surplus > 0 else "missing"
                wrong.setdefault(day, []).append(f"{kind} {abs(surplus)} {few}".strip())
        return {day: Finding(len(texts), texts) for day, texts in wrong.items()}

    return look


def _bronze_bars(lake: DeltaLakeManager, where: Where) -> Counter[tuple[date, str]]:
    found: Counter[tuple[date, str]] = Counter()
    for timeframe in TIMEFRAMES.values():
        times = read(lake, raw_candles(timeframe), where, ["timestamp"])["timestamp"]
        days = pc.value_counts(pc.unique(times).cast(pa.date32())).to_pylist()
        found.update({(each["values"], timeframe.code): each["counts"] for each in days})
    return found


def _rows_of(table: TableSchema, *, base_alone: bool = False) -> Count:
    def count(lake: DeltaLakeManager, where: Where) -> Counter[tuple[date, str]]:
        if base_alone:
            where = replace(where, timeframes=(get_settings().base_timeframe,))
        rows = read(lake, table, where, ["partition_date", "timeframe"])
        return Counter(zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True))

    return count


def _decisions(lake: DeltaLakeManager, where: Where) -> Counter[tuple[date, str]]:
    rows = read(lake, RAW_AI_DECISIONS, where, ["decision_id", "timestamp", "partition_date"])
    distinct = rows.group_by(rows.column_names).aggregate([])
    return Counter((day, "") for day in distinct["partition_date"].to_pylist())


def _vendors_apart(_: DeltaLakeManager, __: Where, rows: pa.Table) -> Findings:
    most = get_settings().max_deviation_bps

    def apart(row: dict[str, Any]) -> str | None:
        far = row["median_deviation_bps"]
        if far is None or far <= most:
            return None
        return f"{_vendors(row)}: closes are {far:.4g} basis points apart, in the median"

    def shifted(row: dict[str, Any]) -> str | None:
        if not row["offset_bars"]:
            return None
        return f"{_vendors(row)}: fit best {row['offset_bars']} bar(s) apart: one stamps the end?"

    return _by_day(rows, apart, shifted)


def _vendors(row: dict[str, Any]) -> str:
    return f"{row['timeframe']} {row['vendor_a']} and {row['vendor_b']}"


def _doubled(lake: DeltaLakeManager, where: Where, rows: pa.Table) -> Findings:
    """Trades that have a row on another day, too: they were computed anew, and left it."""
    everywhere = read(lake, TRADE_LIFECYCLE, Where(where.pairs), ["trade_id"])
    counts = Counter(everywhere["trade_id"].to_pylist())

    def doubled(row: dict[str, Any]) -> str | None:
        times = counts[row["trade_id"]]
        return f"{row['trade_id']}: {times} rows" if times > 1 else None

    return _by_day(rows, doubled)


def _pnl_apart(_: DeltaLakeManager, __: Where, rows: pa.Table) -> Findings:
    def apart(row: dict[str, Any]) -> str | None:
        if row["pnl_agrees"] is not False:  # Null: there is nothing to compare.
            return None
        said, found = row["engine_pnl"], row["net_pnl"]
        return f"{row['trade_id']}: {said:.10g} by the engine, {found:.10g} by its prices"

    return _by_day(rows, apart)


_LOST = "As many rows of each timeframe as there are"
_OWN: dict[str, Checks] = {
    MARKET_DATA_UNIFIED.name: {
        _NOTHING_LOST: (
            ERROR,
            f"{_LOST} bars in Bronze, of any vendor.",
            _as_many_as(_bronze_bars),
        )
    },
    MARKET_DATA_ENRICHED.name: {
        _NOTHING_LOST: (
            ERROR,
            f"{_LOST} unified bars.",
            _as_many_as(_rows_of(MARKET_DATA_UNIFIED)),
        )
    },
    MULTI_TIMEFRAME_ANALYSIS.name: {
        _NOTHING_LOST: (
            ERROR,
            "As many rows as there are bars of the base timeframe.",
            _as_many_as(_rows_of(MARKET_DATA_ENRICHED, base_alone=True)),
        )
    },
    DECISION_HISTORY.name: {
        _NOTHING_LOST: (ERROR, "A row of every decision in Bronze.", _as_many_as(_decisions))
    },
    TRADE_LIFECYCLE.name: {
        "one_row_a_trade": (ERROR, "No trade has a row on another day, too.", _doubled),
        "pnl_agrees": (WARN, "The engine's P&L is that of prices and sizes.", _pnl_apart),
    },
    PROVIDER_RECONCILIATION.name: {
        "vendors_agree": (
            WARN,
            "Closes differ by no more than FFE_MAX_DEVIATION_BPS, and fit best where they stand.",
            _vendors_apart,
        )
    },
}
