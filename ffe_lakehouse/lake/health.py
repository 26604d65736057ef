"""What is wrong with the tables of a lake: told from their files, so that a torn log can be, too.

Nothing is changed here; ``mending`` does that. No damage raises: it is found, or it is not there.
"""

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, groupby
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from ffe_lakehouse.lake.checksums import NAME as CHECKSUMS
from ffe_lakehouse.lake.checksums import parse
from ffe_lakehouse.lake.log_files import (
    LOG,
    LakeFiles,
    Log,
    Lost,
    merged,
    open_parquet,
    read_log,
)

AT_WORK = timedelta(days=1)
"""What no version knows and is younger may be of a writer at work."""

Kind: TypeAlias = Literal[
    "empty_commit",
    "torn_commit",
    "missing_commit",
    "broken_checkpoint",
    "broken_hint",
    "unreadable",
    "missing_file",
    "wrong_size",
    "damaged_file",
    "orphaned_files",
    "leftover_files",
]
FILE_KINDS: tuple[Kind, ...] = ("missing_file", "wrong_size", "damaged_file")
"""Damage of a data file that the newest version needs."""

_LEFTOVER = re.compile(r".*\.tmp|.*#\d+")


@dataclass(frozen=True)
class Damage:
    """Something that was found in a table.

    Attributes:
        table: Its name.
        kind: What it is.
        path: The file, or the first one, relative to the table.
        text: What it means, and what to do.
        harmful: The newest version lacks rows, or cannot be read.
        mendable: ``mend`` does something about it.
        lost: Whose rows are lost.
    """

    table: str
    kind: Kind
    path: str
    text: str
    harmful: bool = True
    mendable: bool = True
    lost: tuple[Lost, ...] = ()


def examine(files: LakeFiles, table: str, now: datetime, *, deep: bool = False) -> list[Damage]:
    """What is wrong with a table; nothing for one that is well.

    Args:
        files: The lake.
        table: Name of a table in it.
        now: The present moment (UTC) by the clock of the files.
        deep: Also read every data file and every checkpoint as a whole. A file that was written
            with a checksum (``checksums``) is compared with it. Of others, a flipped bit is seen if
            the file cannot be decoded, or if a value leaves the bounds that the log tells of its
            column: most bits only make another number of a number, and these are not seen.
    """
    found: list[Damage] = []
    try:
        log = read_log(files, table, deep=deep)
        there = files.below(table)
        unknown = _unknown(log, there)
        found += _log_damages(files, table, log, unknown)
        found += _beside(table, there, unknown, now)
        if not any(each.harmful and not _is_readable(each) for each in found):
            found += _file_damages(files, table, there, deep=deep)
    except Exception as error:  # noqa: BLE001 - a damaged file may raise anything
        text = f"cannot be read ({_first_line(error)}): see why; else restore it from a backup"
        found.append(Damage(table, "unreadable", "", text, mendable=False))
    return found


def _is_readable(damage: Damage) -> bool:
    """An empty commit is read as one without rows, if there are others to start from."""
    return damage.kind == "empty_commit" and damage.mendable


def _log_damages(
    files: LakeFiles, table: str, log: Log, unknown: Mapping[str, Any]
) -> Iterator[Damage]:
    """What is wrong with the log; ``unknown`` are data files that no version knows."""
    if log.hint in ("torn", "wrong"):
        is_wrong = log.hint == "wrong"
        text = (
            "names a checkpoint that is not there: the table cannot be read" if is_wrong else "torn"
        )
        path = f"{LOG}/_last_checkpoint"
        yield Damage(table, "broken_hint", path, f"{text}; it is moved away", harmful=is_wrong)
    can = log.can_start
    for version, paths in log.broken.items():
        needed = version > log.base
        text = f"the checkpoint of version {version} cannot be read; "
        if not needed:
            text += "a newer one can: it is moved away"
        elif can:
            text += "the commits are complete without it: it is moved away"
        else:
            text += "nor are all commits there that it stands for: restore the table from a backup"
        yield Damage(
            table, "broken_checkpoint", paths[0], text, harmful=needed, mendable=can or not needed
        )
    bad = log.bad
    lost = _traces(files, table, unknown) if bad else ()
    for state, versions in _runs(log, bad):
        yield _bad_commits(files, table, log, state, versions, lost)
    for state, versions in _runs(log, list(range(min(log.commits, default=0), log.base + 1))):
        if state != "good":
            text = (
                f"{_named(versions)} {_SAID[state]}, but a newer checkpoint can be read: only older"
                " versions are lost. Rows may be, too, if it was empty when that was written"
            )
            path = f"{LOG}/{versions[0]:020}.json"
            yield Damage(table, _KIND[state], path, text, harmful=False, mendable=False)


_KIND: dict[str, Kind] = {
    "empty": "empty_commit",
    "torn": "torn_commit",
    "missing": "missing_commit",
}
_SAID = {"empty": "is empty", "torn": "is torn", "missing": "is missing"}


def _bad_commits(
    files: LakeFiles,
    table: str,
    log: Log,
    state: str,
    versions: list[int],
    lost: tuple[Lost, ...],
) -> Damage:
    text = f"the commit of {_named(versions)} {_SAID[state]}"
    mendable = log.can_start or (log.newest == versions[-1] and versions[0] == 0)
    if versions[-1] == log.newest:
        text += ": its rows are not in the table; it is taken away"
    elif state == "empty" and mendable:
        text += ": its rows are not in the table. "
        # Only a disk leaves such files; an object store stores one as a whole or not at all.
        mendable = files.is_local
        how = "An empty one that can be read takes its place" if mendable else "Load its days again"
        text += how
    elif mendable:
        after = _runs(log, list(range(versions[-1] + 1, log.newest + 1)))
        later = [version for each, of in after if each == "good" for version in of]
        text += (
            f": the table cannot be read. It goes back to version {versions[0] - 1}; the rows of"
            f" {_named(later) if later else 'no other version'} are lost with it"
        )
        lost += tuple(each for version in later for each in log.commits[version].changed)
    else:
        text += ", and nothing before it can be read: restore the table from a backup"
    path = f"{LOG}/{versions[0]:020}.json"
    return Damage(table, _KIND[state], path, text, mendable=mendable, lost=merged(lost))


def _runs(log: Log, versions: list[int]) -> Iterator[tuple[str, list[int]]]:
    """Versions in a row whose commits are alike."""
    steps = count()
    for (state, _), run in groupby(versions, lambda v: (log.state(v), v - next(steps))):
        yield state, list(run)


def _named(versions: list[int]) -> str:
    if len(versions) == 1:
        return f"version {versions[0]}"
    return f"versions {versions[0]} to {versions[-1]}"


def _file_damages(
    files: LakeFiles, table: str, there: Mapping[str, Any], *, deep: bool
) -> Iterator[Damage]:
    """What is wrong with the data files of the newest version."""
    opened = DeltaTable(f"{files.uri}/{table}", storage_options=dict(files.options))
    checksums = read_checksums(files, table) if deep else {}
    for live in pa.table(opened.get_add_actions(flatten=True)).to_pylist():
        path = unquote(live["path"])
        if "://" in path or path.startswith("/"):
            continue  # of another table
        size = there[path].size if path in there else files.size(f"{table}/{path}")
        kind: Kind | None = None
        if size is None:
            kind, text = "missing_file", "it is missing"
        elif size != live["size_bytes"]:
            kind, text = "wrong_size", f"it has {size:,} bytes instead of {live['size_bytes']:,}"
        elif deep and (text := _flipped(files, f"{table}/{path}", live, checksums.get(path))):
            kind = "damaged_file"
        if kind is not None:
            text += ": its rows are lost. It is taken out of the table, its days are loaded again"
            yield Damage(table, kind, path, text, lost=(_lost_of_live(live),))


def _flipped(files: LakeFiles, path: str, live: Mapping[str, Any], checksum: int | None) -> str:
    """Why a data file is not what was written; empty if it is, as far as can be told."""
    # Outside of the attempt: a disk or a store that gives no answer is no damage.
    content = files.read(path)
    if checksum is not None:
        is_same = zlib.crc32(content) == checksum
        return "" if is_same else "its checksum is not the one it was written with"
    try:
        rows = open_parquet(content).read()
        rows.validate(full=True)  # Texts are not looked at when they are read.
        if live["num_records"] not in (None, len(rows)):
            return f"it has {len(rows):,} rows instead of {live['num_records']:,}"
        for name in rows.column_names:
            low, high = live.get(f"min.{name}"), live.get(f"max.{name}")
            if low is not None and high is not None and _is_exact(rows[name].type):
                found = pc.min_max(rows[name]).as_py()
                # Spark tells milliseconds.
                slack = timedelta(milliseconds=1) if isinstance(high, datetime) else None
                if found["min"] < low or found["max"] > (high + slack if slack else high):
                    return f"it has values of {name} outside of {low} to {high}"
    except Exception as error:  # noqa: BLE001 - a damaged file may raise anything
        return f"it cannot be decoded ({_first_line(error)})"
    return ""


def read_checksums(files: LakeFiles, table: str) -> dict[str, int]:
    """Checksums of the data files of a table, as far as they were written with one."""
    path = f"{table}/{CHECKSUMS}"
    return parse(files.read(path)) if files.size(path) is not None else {}


def _is_exact(kind: pa.DataType) -> bool:
    """Whether the log tells bounds of such values as they are: long texts are cut."""
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return bool(number or pa.types.is_temporal(kind))


def _unknown(log: Log, there: Mapping[str, Any]) -> dict[str, Any]:
    """Data files that no version knows, of any age."""
    known = log.files.union(*(commit.files for commit in log.commits.values()))
    return {
        path: found
        for path, found in there.items()
        if path not in known and path.endswith(".parquet") and not _is_hidden(path)
    }


def _is_hidden(path: str) -> bool:
    """As Delta says it: below a folder that begins so, and is no partition."""
    return any(part.startswith(("_", ".")) and "=" not in part for part in path.split("/"))


def _beside(
    table: str, there: Mapping[str, Any], unknown: Mapping[str, Any], now: datetime
) -> Iterator[Damage]:
    """Files that nobody needs, and that are too old to be of a writer at work."""

    def is_old(found: Any) -> bool:
        return bool(found.mtime is not None and now - found.mtime.astimezone(UTC) > AT_WORK)

    orphans = sorted(path for path, found in unknown.items() if is_old(found))
    if orphans:
        text = (
            f"{len(orphans):,} data files belong to no version, such as a killed writer leaves;"
            " they harm nobody. The weekly vacuum deletes them"
        )
        yield Damage(table, "orphaned_files", orphans[0], text, harmful=False, mendable=False)
    log = [path for path in there if path.startswith(f"{LOG}/") and is_old(there[path])]
    leftovers = sorted(path for path in log if _LEFTOVER.fullmatch(path.rpartition("/")[2]))
    for path in leftovers:
        text = "a commit that was begun, and never made; it is moved away"
        yield Damage(table, "leftover_files", path, text, harmful=False)


def _traces(files: LakeFiles, table: str, unknown: Mapping[str, Any]) -> tuple[Lost, ...]:
    """Pairs and days of data files that no version knows: a commit that is gone may have them."""
    found = []
    for path in unknown:
        try:
            footer = open_parquet(files.read(f"{table}/{path}")).metadata
            names = [footer.schema.column(n).path for n in range(footer.num_columns)]
            at = names.index("partition_date")
            groups = (
                footer.row_group(n).column(at).statistics for n in range(footer.num_row_groups)
            )
            days = [day for each in groups for day in (each.min, each.max)]
        except Exception:  # noqa: BLE001 - torn, too, or another table's
            days = []
        pair = re.search(r"partition_asset_pair=([^/]+)/", path)
        found.append(
            Lost(
                unquote(pair[1]) if pair else None, min(days, default=None), max(days, default=None)
            )
        )
    return merged(found)


def _lost_of_live(live: Mapping[str, Any]) -> Lost:
    """The same, as delta-rs tells of it."""
    return Lost(
        live.get("partition.partition_asset_pair"),
        live.get("min.partition_date"),
        live.get("max.partition_date"),
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
