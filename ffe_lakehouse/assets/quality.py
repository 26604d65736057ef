"""Assets that tell of the quality of Bronze: the table of its gaps.

How a gap is found and classed stands in ``gaps``.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import dagster as dg
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ffe_lakehouse.assets.events import data_version_tags, finished, materialized
from ffe_lakehouse.assets.metadata import table_spec
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.gaps import CLASSES, Slot, gap_rows, look
from ffe_lakehouse.io_manager import DeltaIOManager, commit_info
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.partitions import (
    PairDays,
    daily_by_pair,
    partition_key,
    run_partitions,
    table_key,
    windows,
)
from ffe_lakehouse.schemas import CANDLE_GAPS, raw_candles
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.watermarks import partition_states


def quality_assets(
    freshness: dg.FreshnessPolicy | None = None, clock: Callable[[], datetime] = utc_now
) -> list[dg.AssetsDefinition]:
    """The assets of the group ``quality``.

    Args:
        freshness: By when they have to be computed.
        clock: The present moment (UTC).
    """

    @dg.multi_asset(
        name="candle_gaps",
        specs=[
            table_spec(
                CANDLE_GAPS,
                "quality",
                "overwrite",
                [dg.AssetDep(table_key(raw_candles(each))) for each in TIMEFRAMES.values()],
                freshness_policy=freshness,
            )
        ],
        partitions_def=daily_by_pair(),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def candle_gaps(
        context: dg.AssetExecutionContext, io_manager: dg.ResourceParam[DeltaIOManager]
    ) -> Iterator[dg.DagsterEvent]:
        box, now = windows(run_partitions(context)), clock()
        pairs = [window for window in box if _is_pair(window.pair)]
        if pairs:
            rows, counts = _find(context.instance, io_manager.lake, pairs, now)
            # A run's partitions are always the same days of each of its pairs.
            names, days = sorted(window.pair for window in pairs), pairs[0]
            where = Where(tuple(names), days.start, days.end)
            commit = commit_info(context.run.run_id, CANDLE_GAPS.name, where)
            io_manager.lake.overwrite(CANDLE_GAPS, rows, where, commit)
            yield from materialized(
                context, [event for each in counts.items() for event in _events(*each)]
            )
        if len(pairs) < len(box):
            others = ", ".join(window.pair for window in box if window not in pairs)
            raise dg.Failure(f"no pairs: {others}; `ffe pairs remove` them", allow_retries=False)
        yield from finished(context)

    return [candle_gaps]


def _find(
    instance: dg.DagsterInstance, lake: DeltaLakeManager, box: Sequence[PairDays], now: datetime
) -> tuple[pa.Table, dict[PairDays, NDArray[np.int64]]]:
    """The gaps of windows of equal days.

    Returns:
        Rows by ``schemas.CANDLE_GAPS``; and, of every window, how many gaps and how many bars of
        each ``Slot`` its days have, over all timeframes: shape (2, days, slots).
    """
    rows = []
    counts = {window: np.zeros((2, len(window.days), len(Slot)), np.int64) for window in box}
    pairs, first, last = [window.pair for window in box], box[0].first, box[0].last
    for timeframe in TIMEFRAMES.values():
        key = table_key(raw_candles(timeframe))
        states = partition_states(instance, key, pairs, first, last, now)
        for grid in look(lake, timeframe, box, states, now):
            gaps = grid.by_day()
            rows.append(gap_rows(grid, gaps, now))
            counts[grid.window][0] += grid.count(gaps.first, gaps.kinds)
            counts[grid.window][1] += grid.count(grid.times, grid.kinds)
    return pa.concat_tables(rows), counts


def _events(window: PairDays, counts: NDArray[np.int64]) -> Iterator[dg.AssetMaterialization]:
    """What the days of a window say to Dagster."""
    for day, gaps, bars in zip(window.days, *counts.tolist(), strict=True):
        lacking = bars[Slot.NOT_FETCHED], bars[Slot.VENDOR_HAS_NONE]
        expected = bars[Slot.STORED] + sum(lacking)
        metadata: dict[str, int] = {
            "bars_expected": expected,
            "dagster/partition_row_count": sum(gaps[slot] for slot in CLASSES.values()),
        }
        for name, slot in CLASSES.items():
            metadata |= {f"bars_{name}": bars[slot], f"gaps_{name}": gaps[slot]}
        yield dg.AssetMaterialization(
            table_key(CANDLE_GAPS),
            partition=partition_key(window.pair, day),
            metadata=metadata,
            tags=data_version_tags("{}+{} of {}".format(*lacking, expected)),
        )


def _is_pair(name: str) -> bool:
    """Somebody can have added anything as a partition, in the UI."""
    try:
        parse_symbol(name)
    except InputError:
        return False
    return True
