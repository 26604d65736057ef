"""Which live pairs are stale right now, by what Dagster knows of them, and the check ``fresh``.

When a pair is stale is a rule of ``monitoring.freshness``; who is told is up to ``alert_sensors``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from ffe_lakehouse.automation.due import Live, live_pairs
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.monitoring.freshness import Reach, is_awaited, newest_due
from ffe_lakehouse.partitions import day_start, days_between, partition_key, split_key, table_key
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.watermarks import asked_until, latest_materializations, metadata_of

FRESH = "fresh"
"""Name of the check."""
_SAMPLE = 20


@dataclass(frozen=True)
class Judged:
    """How a live pair stands in one timeframe.

    Attributes:
        pair: Canonical pair.
        timeframe: Of the bars.
        due: Open time of the newest bar that should be there (UTC).
        reach: How far the days from that bar's on are loaded.
        is_awaited: The market is open, and has been for a while.
    """

    pair: str
    timeframe: Timeframe
    due: datetime
    reach: Reach
    is_awaited: bool

    @property
    def is_current(self) -> bool:
        """Whether that bar is there."""
        return not self.reach.lacks(self.due)

    @property
    def is_stale(self) -> bool:
        """Whether it is not, while the market is open."""
        return self.is_awaited and not self.is_current


def allowed() -> timedelta:
    """How far a live pair may be behind."""
    return timedelta(minutes=get_settings().freshness_minutes)


def judge(
    instance: dg.DagsterInstance, pairs: Sequence[Live], timeframe: Timeframe, now: datetime
) -> list[Judged]:
    """How the live pairs stand in one timeframe.

    Args:
        instance: Dagster's memory.
        pairs: The live pairs.
        timeframe: Of the bars.
        now: The present moment (UTC).
    """
    symbols = {live.pair: parse_symbol(live.pair) for live in pairs}
    due_of: dict[str, datetime] = {}
    for live in pairs:
        due = newest_due(symbols[live.pair], timeframe, now, allowed())
        if due is not None and (live.start is None or due >= day_start(live.start)):
            due_of[live.pair] = due
    # Only the day of that bar and what came after it: one or two partitions a pair.
    keys = [
        partition_key(pair, day)
        for pair, due in due_of.items()
        for day in days_between(due.date(), now.date())
    ]
    reaches = reach_of(instance, timeframe, keys)
    return [
        Judged(
            pair,
            timeframe,
            due,
            reaches.get(pair, Reach()),
            is_awaited(symbols[pair], now, allowed()),
        )
        for pair, due in due_of.items()
    ]


def reach_of(
    instance: dg.DagsterInstance, timeframe: Timeframe, keys: Sequence[str]
) -> dict[str, Reach]:
    """How far these partitions are loaded, by pair; a pair without any is left out."""
    reaches: dict[str, Reach] = {}
    records = latest_materializations(instance, table_key(raw_candles(timeframe)), keys)
    for key, record in records.items():
        pair, _ = split_key(key)
        told = metadata_of(record).get("last_timestamp")
        last = datetime.fromtimestamp(float(str(told.value)), UTC) if told else None
        until, before = asked_until(record), reaches.get(pair, Reach())
        reaches[pair] = Reach(
            max(filter(None, [last, before.last]), default=None),
            max(filter(None, [until, before.asked_until])),
        )
    return reaches


def evaluation(timeframe: Timeframe, judged: Sequence[Judged]) -> dg.AssetCheckEvaluation:
    """The result of the check ``fresh`` of one table."""
    stale = [each for each in judged if each.is_stale]
    awaited = sum(each.is_awaited for each in judged)
    sample = "\n".join(f"- {in_words(each)}" for each in stale[:_SAMPLE])
    return dg.AssetCheckEvaluation(
        asset_key=table_key(raw_candles(timeframe)),
        check_name=FRESH,
        passed=not stale,
        description=f"{len(stale)} of {awaited} live pairs in open markets are stale.",
        metadata={
            "count": len(stale),
            "pairs_in_open_markets": awaited,
            **({"sample": dg.MetadataValue.md(sample)} if stale else {}),
        },
    )


def in_words(judged: Judged) -> str:
    """What is wrong with a stale pair."""
    why = (
        "the vendor was asked for it and has none"
        if judged.reach.was_asked_for(judged.due)
        else "it was not asked for"
    )
    return f"{judged.pair}: no bar of {judged.due:%Y-%m-%d %H:%M} UTC or later: {why}"


def freshness_checks(clock: Callable[[], datetime] = utc_now) -> list[dg.AssetChecksDefinition]:
    """The check ``fresh`` of the six Bronze tables: of now and of all pairs, not of a partition.

    ``sla_sensor`` reports it, without a run; whoever wants to know at once can run it.

    Args:
        clock: The present moment (UTC).
    """
    specs = {
        timeframe: dg.AssetCheckSpec(
            FRESH,
            asset=table_key(raw_candles(timeframe)),
            description="Every live pair whose market is open has the newest bar that closed"
            " FFE_FRESHNESS_MINUTES ago.",
        )
        for timeframe in TIMEFRAMES.values()
    }

    @dg.multi_asset_check(name="check_freshness", specs=list(specs.values()), can_subset=True)
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        now, pairs = clock(), live_pairs(context.instance, get_settings())
        for timeframe, spec in specs.items():
            if spec.key in context.selected_asset_check_keys:
                found = evaluation(timeframe, judge(context.instance, pairs, timeframe, now))
                yield dg.AssetCheckResult(
                    asset_key=found.asset_key,
                    check_name=FRESH,
                    passed=found.passed,
                    description=found.description,
                    metadata=found.metadata,
                )

    return [check]
