"""Dagster's memory, reconstructed from the lake: what can be told of each day is reported again.

How a day stood is concluded in ``recollection``; here it becomes materializations and enrolments.
What Dagster knows is not touched, so that to do it twice does nothing the second time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg
import numpy as np
import pyarrow as pa
from dagster._core.events import DagsterEvent, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from dagster._core.instance.utils import RUNLESS_JOB_NAME, RUNLESS_RUN_ID

from ffe_lakehouse.assets.events import data_version_tags
from ffe_lakehouse.assets.metadata import METADATA_ROWS
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import ASSET_PAIR, partition_key, table_key
from ffe_lakehouse.providers.registry import provider_names
from ffe_lakehouse.recollection import Finality, Recollection, Sources, pairs_of, recollect
from ffe_lakehouse.schemas import TableSchema, dead_letters, raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.transforms.quality import quality_score
from ffe_lakehouse.universe import enrol
from ffe_lakehouse.watermarks import closes_at, data_version

_AT_ONCE = 2_000  # events that are stored in one transaction


@dataclass(frozen=True)
class TimeframeRebuilt:
    """What was reported of the two tables of one timeframe.

    Attributes:
        timeframe: Code.
        bars: Days of bars that were reported.
        letters: Days of dead letters that were reported.
        known: Days of bars that Dagster knew already, and that stay as they are.
        untold: Days of which the lake cannot tell how they stood; they are fetched again.
    """

    timeframe: str
    bars: int
    letters: int
    known: int
    untold: int


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuilding did.

    Attributes:
        timeframes: What was reported, by timeframe.
        pairs: Pairs that are in the universe again.
        skipped: Why nothing was reported of what the lake has under these names.
    """

    timeframes: list[TimeframeRebuilt]
    pairs: list[str]
    skipped: dict[str, str]


def rebuild(
    instance: dg.DagsterInstance,
    lake: DeltaLakeManager,
    now: datetime,
    told: Callable[[TimeframeRebuilt], None] = lambda _: None,
) -> Rebuilt:
    """Report to Dagster what the lake holds and Dagster does not know.

    Args:
        instance: Dagster's memory.
        lake: The tables.
        now: The present moment (UTC).
        told: Is handed each timeframe when it is done.
    """
    recollected: dict[str, list[Recollection]] = {}
    skipped: dict[str, str] = {}
    done = []
    for timeframe in TIMEFRAMES.values():
        sources, found = Sources(lake, timeframe, now), []
        for pair in sorted(
            {each for schema in _tables(timeframe) for each in pairs_of(lake, schema)}
        ):
            why_not = _why_not(pair)
            recollection = None if why_not else recollect(sources, pair)
            if why_not:
                skipped[pair] = why_not
            elif recollection is not None:
                found.append(recollection)
                recollected.setdefault(pair, []).append(recollection)
        done.append(_report(instance, timeframe, found))
        told(done[-1])
    # Last, so that nobody who looks at the universe finds a pair whose days are not there yet.
    return Rebuilt(done, _enrol(instance, recollected, now), skipped)


def forgotten(instance: dg.DagsterInstance, lake: DeltaLakeManager) -> dict[str, int]:
    """How many days of bars, by table, the lake holds and Dagster does not know."""
    counts = {}
    for timeframe in TIMEFRAMES.values():
        schema = raw_candles(timeframe)
        if lake.table_exists(schema.name):
            known = _known(instance, schema)
            counts[schema.name] = sum(key not in known for key in _keys_in(lake, schema))
    return {name: count for name, count in counts.items() if count}


def _keys_in(lake: DeltaLakeManager, schema: TableSchema) -> set[str]:
    columns = ["partition_asset_pair", "partition_date"]
    found: set[tuple[str, date]] = set()
    for batch in pa.RecordBatchReader.from_stream(lake.table(schema.name).scan(columns=columns)):
        days = pa.Table.from_batches([batch]).group_by(columns).aggregate([])
        found.update(zip(*(days[name].to_pylist() for name in columns), strict=True))
    earliest = get_settings().start_date
    return {
        partition_key(pair, day)
        for pair, day in found
        if day >= earliest and _why_not(pair) is None
    }


def _tables(timeframe: Timeframe) -> tuple[TableSchema, TableSchema]:
    return dead_letters(timeframe), raw_candles(timeframe)


def _why_not(pair: str) -> str | None:
    """Why nothing can be reported under this name; ``None`` for a canonical pair."""
    try:
        name = parse_symbol(pair).name
    except InputError as error:
        return str(error)
    return None if name == pair else f"it is another spelling of {name}"


def _known(instance: dg.DagsterInstance, schema: TableSchema) -> set[str]:
    """Partitions that were loaded, or that somebody tried to load: both is newer knowledge."""
    kinds = (
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    )
    storage, key = instance.event_log_storage, table_key(schema)
    return {
        each for kind in kinds for each in storage.get_latest_storage_id_by_partition(key, kind)
    }


def _report(
    instance: dg.DagsterInstance, timeframe: Timeframe, found: Sequence[Recollection]
) -> TimeframeRebuilt:
    # Asked after the lake was read: a day that was loaded meanwhile is known.
    known_letters, known_bars = (_known(instance, schema) for schema in _tables(timeframe))
    letters = [event for each in found for event in _letter_events(each, known_letters)]
    bars = [event for each in found for event in _bar_events(each, known_bars)]
    _store(instance, [*letters, *bars])
    days = sum(int((each.finality != Finality.UNTOLD).sum()) for each in found)
    untold = sum(each.untold for each in found)
    return TimeframeRebuilt(timeframe.code, len(bars), len(letters), days - len(bars), untold)


def _store(instance: dg.DagsterInstance, events: Sequence[dg.AssetMaterialization]) -> None:
    """Report many materializations of no run; one by one it takes 20 times as long."""
    at = datetime.now(UTC).timestamp()
    for begin in range(0, len(events), _AT_ONCE):
        instance.event_log_storage.store_event_batch(
            [
                EventLogEntry(  # type: ignore[no-untyped-call] # Dagster's __new__ is untyped
                    error_info=None,
                    level="info",
                    user_message="",
                    run_id=RUNLESS_RUN_ID,
                    timestamp=at,
                    job_name=RUNLESS_JOB_NAME,
                    dagster_event=DagsterEvent(
                        dg.DagsterEventType.ASSET_MATERIALIZATION.value,
                        RUNLESS_JOB_NAME,
                        event_specific_data=StepMaterializationData(event),
                    ),
                )
                for event in events[begin : begin + _AT_ONCE]
            ]
        )


def _bar_events(each: Recollection, known: set[str]) -> Iterator[dg.AssetMaterialization]:
    key = table_key(raw_candles(each.timeframe))
    for n, (day, finality) in enumerate(zip(each.days.tolist(), each.finality, strict=True)):
        partition = partition_key(each.pair, day)
        if finality != Finality.UNTOLD and partition not in known:
            yield dg.AssetMaterialization(
                key,
                partition=partition,
                metadata=_bar_metadata(each, n),
                tags=data_version_tags(_version(each, n, day)),
            )


def _version(each: Recollection, n: int, day: date) -> str:
    closed = each.finality[n] != Finality.OPEN
    return data_version(
        day,
        closes_at(day) if closed else datetime.min.replace(tzinfo=UTC),
        int(each.rows[n]),
        each.vendors[n],
        look_again=each.finality[n] == Finality.HOLES,
    )


def _bar_metadata(each: Recollection, n: int) -> dict[str, float | str | bool | dg.MetadataValue]:
    rows, letters = int(each.rows[n]), int(each.letters[n])
    expected, missing = int(each.expected[n]), int(each.missing[n])
    sound = letters - int(each.beside[n])
    metadata: dict[str, float | str | bool | dg.MetadataValue] = {
        **dict(zip(METADATA_ROWS, (rows + letters, rows, 0, 0, letters), strict=True)),
        "bars_expected": expected,
        "bars_missing": missing,
        "quality_score": quality_score(
            expected=expected, missing=missing, judged=rows + sound, rejected=sound
        ),
        "dagster/partition_row_count": rows,
        "source_provider": ", ".join(each.vendors[n]),
        "rebuilt": True,
    }
    for name, moments in (
        ("asked_at", each.asked_at),
        ("asked_until", each.asked_until),
        ("first_timestamp", each.first),
        ("last_timestamp", each.last),
    ):
        if not np.isnat(moments[n]):
            metadata[name] = dg.MetadataValue.timestamp(float(moments[n].astype(np.int64)) / 1e6)
    return metadata


def _letter_events(each: Recollection, known: set[str]) -> Iterator[dg.AssetMaterialization]:
    """Of every day that was loaded, and of those that were refused."""
    key = table_key(dead_letters(each.timeframe))
    is_told = (each.finality != Finality.UNTOLD) | (each.letters > 0)
    for n in np.flatnonzero(is_told):
        partition = partition_key(each.pair, each.days[n].item())
        letters, rows = int(each.letters[n]), int(each.rows[n])
        if partition not in known:
            yield dg.AssetMaterialization(
                key,
                partition=partition,
                metadata={
                    "rows_fetched": rows + letters,
                    "rows_rejected": letters,
                    "dagster/partition_row_count": letters,
                    "rebuilt": True,
                },
                tags=data_version_tags(f"{letters} rejected"),
            )


def _enrol(
    instance: dg.DagsterInstance, recollected: Mapping[str, Sequence[Recollection]], now: datetime
) -> list[str]:
    """Take the pairs into the universe that are not there."""
    known = instance.get_dynamic_partitions(ASSET_PAIR)
    new = sorted(set(recollected) - set(known))
    for pair in new:
        provider = _provider(recollected[pair])
        start = _start(recollected[pair], provider)
        enrol(instance, [pair], start=start, provider=provider, clock=lambda: now)
    return new


def _provider(tables: Sequence[Recollection]) -> str | None:
    """Whose the newest bars are, if that is one who can be asked."""
    found: list[tuple[datetime, str]] = []
    for each in tables:
        with_bars = np.flatnonzero(each.rows > 0)[-1:]
        found += [(each.last[n].item(), each.vendors[n][-1]) for n in with_bars]
    vendor = max(found)[1] if found else ""
    return vendor if vendor in provider_names() or vendor.startswith("ccxt:") else None


def _start(tables: Sequence[Recollection], provider: str | None) -> date | None:
    """From which day on the pair has all days of all timeframes, of that provider.

    With an earlier start, all that was never loaded would be: of ten years of daily bars that
    somebody once asked for, the minutes, too.
    """
    if len(tables) < len(TIMEFRAMES):
        return None
    first = max(each.days[0] for each in tables)
    is_there = np.logical_and.reduce(
        [
            [
                finality != Finality.UNTOLD and (not vendors or provider in vendors)
                for finality, vendors in zip(each.finality, each.vendors, strict=True)
            ][(first - each.days[0]).astype(int) :]
            for each in tables
        ]
    )
    there = np.flatnonzero(is_there)
    if not there.size:
        return None
    holes = np.flatnonzero(~is_there[: there[-1]])
    begin = first + (holes[-1] + 1 if holes.size else 0)
    start: date = begin.item()
    return max(start, get_settings().start_date)
