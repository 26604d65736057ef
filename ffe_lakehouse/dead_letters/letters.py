"""Which dead letters there are, and how many of each kind. Reading only."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.schemas import BAD_RESPONSE, CLOSINGS, REASONS, dead_letters
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe

_BESIDE = frozenset({"outside_window", "unclosed_bar", BAD_RESPONSE})


@dataclass(frozen=True)
class Statistics:
    """How many letters there are, and how many of each kind; the most frequent come first.

    A letter with two reasons counts in both, so ``by_reason`` adds up to more than the total.
    """

    total: int
    by_state: dict[str, int]
    by_reason: dict[str, int]
    by_pair: dict[str, int]
    by_timeframe: dict[str, int]
    by_provider: dict[str, int]


def read_letters(
    lake: DeltaLakeManager,
    timeframes: Sequence[Timeframe] = tuple(TIMEFRAMES.values()),
    where: Where | None = None,
    reasons: Collection[str] = (),
) -> pa.Table:
    """Letters of all these timeframes, the most recently rejected first, open or closed.

    Args:
        lake: Where the dead-letter tables are.
        timeframes: Whose; a table that does not exist yet has no letters.
        where: Pairs and whole UTC days; every letter if left out.
        reasons: Only letters that have one of these, alone or among others; every letter if empty.

    Returns:
        Rows by ``schemas.dead_letters``.

    Raises:
        InputError: One of ``reasons`` is no reason code.
    """
    names = [dead_letters(timeframe).name for timeframe in timeframes]
    letters = pa.concat_tables(
        [dead_letters(TIMEFRAMES["1d"]).arrow.empty_table()]
        + [lake.read(name, where or Where()) for name in names if lake.table_exists(name)]
    )
    return having(letters, reasons).sort_by(
        [("_extracted_at", "descending"), ("timestamp", "descending"), ("letter_id", "ascending")]
    )


def having(letters: pa.Table, reasons: Collection[str]) -> pa.Table:
    """The letters that have one of ``reasons``, alone or among others; all of them if it is empty.

    Raises:
        InputError: One of ``reasons`` is no reason code.
    """
    for reason in reasons:
        if reason not in REASONS:
            raise InputError(f"unknown reason {reason!r}: use one of {', '.join(REASONS)}")
    if not reasons:
        return letters
    wanted = [not set(reasons).isdisjoint(found) for found in letters["reasons"].to_pylist()]
    return letters.filter(pa.array(wanted, pa.bool_()))


def against_their_day(letters: pa.Table) -> pa.Table:
    """The letters that speak against the bars of their day.

    A bar too many at an end of an answer does not, and an answer that was none as a whole is no
    record of the day.
    """
    beside = [_BESIDE.issuperset(reasons) for reasons in letters["reasons"].to_pylist()]
    return letters.filter(pa.array([not each for each in beside], pa.bool_()))


def statistics(letters: pa.Table, closings: pa.Table | None = None) -> Statistics:
    """Count letters.

    Args:
        letters: Rows by ``schemas.dead_letters``.
        closings: Rows by ``schemas.CLOSINGS``, of these letters and any others.
    """
    if closings is None:
        closings = CLOSINGS.arrow.empty_table()
    closed = closings.select(["letter_id", "action"])
    states = letters.select(["letter_id"]).join(closed, "letter_id")["action"]
    return Statistics(
        total=letters.num_rows,
        by_state=_histogram(pc.fill_null(states, "open")),
        by_reason=_histogram(pc.list_flatten(letters["reasons"])),
        by_pair=_histogram(letters["asset_pair"]),
        by_timeframe=_histogram(letters["timeframe"]),
        by_provider=_histogram(letters["source_provider"]),
    )


def _histogram(values: pa.ChunkedArray) -> dict[str, int]:
    counts = [(entry["values"], entry["counts"]) for entry in pc.value_counts(values).to_pylist()]
    return dict(sorted(counts, key=lambda item: (-item[1], item[0])))
