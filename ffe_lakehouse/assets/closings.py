"""The asset of the closings: dead letters are replayed as bars, or discarded, in a Dagster run.

Here it is decided what Dagster is told, and in which order things are stored. How a record becomes
a bar, and how a letter is closed once, stands in ``dead_letters``.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import date, datetime
from functools import partial
from typing import Literal

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from ffe_lakehouse.assets.closing_events import Tally, bars_told, closings_told, letters_told
from ffe_lakehouse.assets.events import finished, materialized
from ffe_lakehouse.assets.metadata import OWNERS, table_metadata
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.dead_letters import (
    Action,
    Closing,
    Write,
    check_mapping,
    close,
    having,
    open_letters,
    read_closings,
    read_letters,
    replay,
)
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.io_manager import WRITE_MODE, DeltaIOManager
from ffe_lakehouse.lake import Where
from ffe_lakehouse.partitions import (
    PairDays,
    daily_by_pair,
    partition_key,
    run_partitions,
    table_key,
    windows,
)
from ffe_lakehouse.schemas import CLOSINGS, REASONS, dead_letters, raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe, parse_timeframe
from ffe_lakehouse.watermarks import State, survey

CLOSING_OP = "close_dead_letters"
"""The step that closes them."""
BEING_LOADED = "day_being_loaded"
"""Why a letter stays open whose day another run is loading right now."""


class ClosingConfig(dg.Config):
    """Which dead letters of the run's partitions are closed, and how."""

    action: Literal["replay", "discard"] = Field(
        description="`replay`: judge the stored records by today's rules; what passes becomes a bar"
        " and is closed, what does not stays open. `discard`: close without writing."
    )
    why: str = Field(description="In words; it stands beside each letter that is closed.")
    by: str = Field(description="Who closes them: your name.")
    reasons: list[str] = Field(
        default=[],
        description=f"Only letters with one of these reasons: {', '.join(REASONS)}. All, if empty.",
    )
    timeframes: list[str] = Field(
        default=[], description=f"Only these: {', '.join(TIMEFRAMES)}. All, if empty."
    )
    mapping: dict[str, str] = Field(
        default={},
        description="For a replay: column to field of the record, where the record has it wrong."
        ' {"high": "low", "low": "high"} swaps the two; an empty field leaves the column without'
        " a value.",
    )


def closings_asset(clock: Callable[[], datetime] = utc_now) -> dg.AssetsDefinition:
    """The asset ``dlq/closings``.

    Args:
        clock: The present moment (UTC).
    """
    spec = dg.AssetSpec(
        key=table_key(CLOSINGS),
        description=f"{CLOSINGS.description} To close letters of some days, materialize these,"
        " and say in the launchpad what to do with them; or use `ffe dlq replay|discard`.",
        group_name="dlq",
        owners=OWNERS,
        kinds={"python", "deltalake"},
        skippable=True,
        deps=[table_key(dead_letters(timeframe)) for timeframe in TIMEFRAMES.values()],
        metadata={
            **table_metadata(CLOSINGS, get_settings().lake_uri),
            WRITE_MODE: "append",
        },
    )

    @dg.multi_asset(
        name=CLOSING_OP,
        specs=[spec],
        partitions_def=daily_by_pair(),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def close_dead_letters(
        context: dg.AssetExecutionContext,
        config: ClosingConfig,
        io_manager: dg.ResourceParam[DeltaIOManager],
    ) -> Iterator[dg.DagsterEvent]:
        check_request(config)
        run = _Run(context, config, io_manager, clock())
        for window in windows(run_partitions(context)):
            yield from run.close(window)
        yield from finished(context)

    return close_dead_letters


def check_request(config: ClosingConfig) -> None:
    """Refuse what cannot be done, before anything is.

    Raises:
        InputError: Nobody, or no why; a reason, timeframe or column that there is not; a mapping
            where nothing is read.
    """
    for name in ("why", "by"):
        if not getattr(config, name).strip():
            raise InputError(f"say {name}: it stands beside each letter that is closed")
    for text in config.timeframes:
        parse_timeframe(text)
    having(dead_letters(TIMEFRAMES["1d"]).arrow.empty_table(), config.reasons)
    check_mapping(config.mapping)
    if config.mapping and config.action == "discard":
        raise InputError("a mapping is for a replay: discarded letters are not read")


class _Run:
    """One run: what is asked for, and where it is done."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        config: ClosingConfig,
        io_manager: DeltaIOManager,
        now: datetime,
    ) -> None:
        self._context, self._config, self._now = context, config, now
        self._lake = io_manager.lake
        self._write: Write = partial(io_manager.write_changes, context)
        action: Action = "replayed" if config.action == "replay" else "discarded"
        self._closing = Closing(action, config.by, config.why, now, context.run.run_id)

    def close(self, window: PairDays) -> Iterator[dg.DagsterEvent]:
        """Close letters of one pair; every day of which some were taken is reported."""
        totals: defaultdict[date, Tally] = defaultdict(Tally)
        for timeframe in map(parse_timeframe, self._config.timeframes or TIMEFRAMES):
            tallies = yield from self._close(window, timeframe)
            for day, tally in tallies.items():
                totals[day] += tally
        about = {"action": self._config.action, "closed_by": self._config.by}
        about["why"] = self._config.why
        yield from materialized(self._context, list(closings_told(window.pair, totals, about)))

    def _close(
        self, window: PairDays, timeframe: Timeframe
    ) -> Generator[dg.DagsterEvent, None, Mapping[date, Tally]]:
        """Close letters of one timeframe; returns what became of them, by day."""
        where = Where((window.pair,), window.start, window.end)
        letters = read_letters(self._lake, [timeframe], where)
        letters = open_letters(letters, read_closings(self._lake, where))
        taken = having(letters, self._config.reasons)
        tallies = {day: Tally(n) for day, n in _per_day(taken).items()}
        if not tallies:
            return tallies
        settled = taken
        if self._config.action == "replay":
            settled = self._replay(timeframe, taken, tallies)
        of_what = (timeframe, window.pair, tallies)
        still_open = open_letters(letters, settled)
        instance = self._context.instance
        told = list(letters_told(instance, *of_what, still_open, self._now))
        if self._config.action == "replay":
            told += bars_told(instance, self._lake, *of_what, still_open, self._now)
        yield from materialized(self._context, told)
        # Closed last: until then, all of this can be done again, and then changes nothing.
        closed = close(self._lake, settled, self._closing)
        for day, n in _per_day(closed).items():
            tallies[day].closed = n
        return tallies

    def _replay(
        self, timeframe: Timeframe, letters: pa.Table, tallies: Mapping[date, Tally]
    ) -> pa.Table:
        """Write what passes as bars; the letters that are settled with that."""
        pair = letters["asset_pair"][0].as_py()
        keys = {str(partition_key(pair, day)): day for day in tallies}
        table = table_key(raw_candles(timeframe))
        known = survey(self._context.instance, table, list(keys), self._now)
        busy = [keys[key] for key in keys if known[key].state is State.IN_PROGRESS]
        is_busy = pc.is_in(letters["partition_date"], pa.array(busy, pa.date32()))
        for day, n in _per_day(letters.filter(is_busy)).items():
            tallies[day].why_open[BEING_LOADED] += n
        letters = letters.filter(pc.invert(is_busy))
        if not letters.num_rows:
            return letters
        found = replay(self._lake, timeframe, letters, self._config.mapping, self._now, self._write)
        days = letters["partition_date"].to_pylist()
        for day, written, there, why in zip(
            days, found.written.tolist(), found.there.tolist(), found.why_open, strict=True
        ):
            tallies[day].written += written
            tallies[day].there += there
            tallies[day].why_open.update(why)
        return letters.filter(pa.array(found.settled))


def _per_day(rows: pa.Table) -> Counter[date]:
    return Counter(rows["partition_date"].to_pylist())
