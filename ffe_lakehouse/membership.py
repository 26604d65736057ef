"""Which symbols an index had when: ``reference/index_membership``, one row a stay.

Loading lists into it, and telling the members of any day, belong here; how a list is read belongs
in ``symbol_lists``, which pairs are kept loaded in ``universe``.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.schemas import INDEX_MEMBERSHIP
from ffe_lakehouse.symbols import Symbol

_NAMED = 20


@dataclass(frozen=True)
class Change:
    """What a list changed in its index.

    Attributes:
        index: Its name.
        as_of: Day (UTC) from which on the list is true.
        members: How many symbols the index has on that day.
        added: Symbols that it had not before.
        removed: Symbols that it has no more.
    """

    index: str
    as_of: date
    members: int
    added: list[str]
    removed: list[str]

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"Index {self.index} from {self.as_of} on: {self.members} members,"
            f" {len(self.added)} added, {len(self.removed)} removed"
        )


def index_name(text: str) -> str:
    """The name of an index: lower case, with an underscore for all that is no letter or digit.

    Raises:
        InputError: Nothing is left of ``text``.
    """
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    if not name:
        raise InputError(f"{text!r} names no index: it needs a letter or a digit, as s_and_p_500")
    return name


def load_index(
    instance: dg.DagsterInstance,
    lake: DeltaLakeManager,
    index: str,
    symbols: Sequence[Symbol],
    as_of: date | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Change:
    """Make ``symbols`` the members of an index from a day on, and report that to Dagster.

    Loaded again, a list changes nothing; another one of the same day takes its place. Two at once
    are loaded one after the other.

    Args:
        instance: Dagster's memory.
        lake: Where the table is.
        index: As ``index_name`` writes it.
        symbols: All members.
        as_of: Day (UTC) from which on they are; today, if left out.
        clock: The present moment (UTC).

    Raises:
        InputError: The day is in the future, or before the newest change of the index: what comes
            after it was told by lists that were true then. Nothing is changed.
    """
    now = clock()
    day = as_of or now.date()
    if day > now.date():
        raise InputError(f"{day} is in the future: nobody knows the members of {index} then")
    commit = {"dagster/partitions": f"{index}|{day}"}
    change = partial(_with_list, index, {symbol.name for symbol in symbols}, day, now)
    before, after = lake.rewrite(INDEX_MEMBERSHIP, change, commit)
    had, has = _members(before, index, day), _members(after, index, day)
    found = Change(index, day, len(has), sorted(has - had), sorted(had - has))
    instance.report_runless_asset_event(_materialization(found, after.num_rows))
    return found


def members(lake: DeltaLakeManager, index: str, as_of: date) -> list[str]:
    """The symbols of an index on a day (UTC), sorted.

    Raises:
        InputError: There is no such index, or nothing is known of it so early.
    """
    name = INDEX_MEMBERSHIP.name
    stays = lake.read(name) if lake.table_exists(name) else INDEX_MEMBERSHIP.arrow.empty_table()
    known = stays.filter(pc.equal(stays["index_name"], index))
    if not known.num_rows:
        there = ", ".join(sorted(stays["index_name"].unique().to_pylist())) or "none yet"
        raise InputError(
            f"unknown index {index!r}: there are {there}; `ffe pairs load FILE --index` makes one"
        )
    first = pc.min(known["added"]).as_py()
    if as_of < first:
        raise InputError(f"{index} is known from {first} on, not on {as_of}")
    return sorted(_members(known, index, as_of))


def _with_list(index: str, symbols: set[str], day: date, now: datetime, rows: pa.Table) -> pa.Table:
    """All stays, with those of ``index`` such that ``symbols`` are its members from ``day`` on."""
    of_index = pc.equal(rows["index_name"], index)
    known = {(row["symbol"], row["added"]): row for row in rows.filter(of_index).to_pylist()}
    ends = {key: row["removed"] for key, row in known.items()}
    newest = max([added for _, added in ends] + [end for end in ends.values() if end], default=day)
    if newest > day:
        if _members(rows, index, day) == symbols:
            return rows
        raise InputError(
            f"{index} changed on {newest}, which is after {day}: load its lists in the order of"
            " their days"
        )
    # As before that day, so that another list of the same day takes the place of this one.
    stays = {key: None if end == day else end for key, end in ends.items() if key[1] < day}
    lasting = {key[0]: key for key, end in stays.items() if end is None}
    stays |= {lasting[symbol]: day for symbol in lasting.keys() - symbols}
    stays |= {(symbol, day): None for symbol in symbols - lasting.keys()}
    of_now = [
        known[key]
        if key in known and ends[key] == end
        else dict(zip(rows.column_names, (index, *key, end, now), strict=True))
        for key, end in stays.items()
    ]
    return pa.concat_tables(
        [
            rows.filter(pc.invert(of_index)),
            pa.Table.from_pylist(of_now, schema=INDEX_MEMBERSHIP.arrow),
        ]
    )


def _members(stays: pa.Table, index: str, day: date) -> set[str]:
    of_index = stays.filter(pc.equal(stays["index_name"], index)).to_pylist()
    return {
        stay["symbol"]
        for stay in of_index
        if stay["added"] <= day and (stay["removed"] is None or day < stay["removed"])
    }


def _materialization(change: Change, rows: int) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        table_key(INDEX_MEMBERSHIP),
        metadata={
            "index": change.index,
            "as_of": str(change.as_of),
            "members": change.members,
            "added": len(change.added),
            "removed": len(change.removed),
            "symbols_added": ", ".join(change.added[:_NAMED]),
            "symbols_removed": ", ".join(change.removed[:_NAMED]),
            "dagster/row_count": rows,
        },
    )
