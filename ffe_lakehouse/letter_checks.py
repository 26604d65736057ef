"""The asset check of the dead letters: how much of a day is refused, and nobody has settled it.

Refusing a record guards the lake; it does not mend anything. This says of every day whether
somebody should look, and stays red until the letters are replayed, or discarded.
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg

from ffe_lakehouse.assets.events import evaluated, finished, target
from ffe_lakehouse.dead_letters import (
    against_their_day,
    open_letters,
    read_closings,
    read_letters,
)
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.lake import Where
from ffe_lakehouse.partitions import (
    daily_by_pair,
    run_partitions,
    split_key,
    table_key,
    windows,
)
from ffe_lakehouse.schemas import dead_letters
from ffe_lakehouse.settings import OpenLetters, get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe
from ffe_lakehouse.watermarks import latest_materializations, metadata_of

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
OPEN_LETTERS = "open_letters"
"""Name of the check."""
LETTER_CHECK_PREFIX = "check_dead_letters_"
"""Steps that check the letters of a timeframe are named so, with its code behind."""


def letter_checks() -> list[dg.AssetChecksDefinition]:
    """The check of the dead letters of all six timeframes."""
    return [_check_of(timeframe) for timeframe in TIMEFRAMES.values()]


def _check_of(timeframe: Timeframe) -> dg.AssetChecksDefinition:
    key = table_key(dead_letters(timeframe))
    with warnings.catch_warnings():
        # `partitions_def` is in preview: without it, a check loads all partitions of the asset.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        spec = dg.AssetCheckSpec(
            OPEN_LETTERS,
            asset=key,
            description="Of the records of a day, no larger share is open dead letters than"
            " FFE_OPEN_LETTERS__WARN (a warning) and FFE_OPEN_LETTERS__ERROR (an error) allow.",
            partitions_def=daily_by_pair(),
        )

    @dg.multi_asset_check(name=f"{LETTER_CHECK_PREFIX}{timeframe}", specs=[spec], can_subset=True)
    def check(
        context: dg.AssetCheckExecutionContext, io_manager: dg.ResourceParam[DeltaIOManager]
    ) -> Iterator[dg.DagsterEvent]:
        lake, limits = io_manager.lake, get_settings().open_letters
        for window in windows(run_partitions(context)):
            records = latest_materializations(context.instance, key, window.keys)
            where = Where((window.pair,), window.start, window.end)
            letters = read_letters(lake, [timeframe], where)
            letters = against_their_day(open_letters(letters, read_closings(lake, where)))
            reasons: defaultdict[date, list[list[str]]] = defaultdict(list)
            days = letters["partition_date"].to_pylist()
            for day, codes in zip(days, letters["reasons"].to_pylist(), strict=True):
                reasons[day].append(codes)
            evaluations = [
                _evaluation(key, record, reasons[split_key(partition)[1]], limits)
                for partition, record in records.items()
            ]
            yield from evaluated(context, evaluations)
        yield from finished(context)

    return check


def _evaluation(
    key: dg.AssetKey,
    record: dg.EventLogRecord,
    reasons: Sequence[Sequence[str]],
    limits: OpenLetters,
) -> dg.AssetCheckEvaluation:
    """What the check says of a day; ``reasons`` are those of each of its open letters."""
    told = metadata_of(record).get("rows_fetched")
    # A later answer may have had fewer records than there are letters of earlier ones.
    fetched = max(int(str(told.value)) if told else 0, len(reasons))
    share = len(reasons) / fetched if fetched else 0.0
    metadata: dict[str, Any] = {"count": len(reasons), "fetched": fetched, "share": share}
    if reasons:
        counts = Counter(code for codes in reasons for code in codes)
        lines = [f"- {code}: {count}" for code, count in counts.most_common()]
        metadata["sample"] = dg.MetadataValue.md("\n".join(lines))
    passed = share <= min(limits.warn, limits.error)
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=OPEN_LETTERS,
        partition=record.partition_key,
        passed=passed,
        severity=ERROR if share > limits.error else WARN,
        description=None
        if passed
        else f"{share:.2%} of the day's {fetched} records are open dead letters. Mend their cause"
        " and replay them, or discard them: `ffe dlq show|replay|discard`.",
        metadata=metadata,
        target_materialization_data=target(record),
    )
