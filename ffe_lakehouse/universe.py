"""The universe of pairs: symbol lists from files and arguments, and the pairs that Dagster knows.

A list is taken as a whole or not at all: one symbol that cannot be understood refuses it, and the
message says where it stands.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import sqlalchemy as db
from dagster._core.storage.event_log.schema import DynamicPartitionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.partitions import ASSET_PAIR
from ffe_lakehouse.settings import AssetClass, Settings
from ffe_lakehouse.symbols import Symbol, parse_symbol

_NAMED = 20


@dataclass(frozen=True)
class Member:
    """A pair that Dagster has partitions for.

    Attributes:
        pair: Dagster partition.
        asset_class: ``None`` if it is no pair: somebody added it by hand, in the UI.
        calendar: When its market is open: ``24/7``, ``24/5``, or the code of an exchange.
        since: When it became known (UTC); ``None`` if Dagster's storage cannot tell.
    """

    pair: str
    asset_class: AssetClass | None
    calendar: str | None
    since: datetime | None


def symbols_from_list(texts: Iterable[str]) -> list[Symbol]:
    """Symbols from texts, each once, in order.

    Raises:
        InputError: One of them is none.
    """
    return _parse("the list", ((f"symbol {n}", text) for n, text in enumerate(texts, 1)))


def symbols_from_text_file(path: Path) -> list[Symbol]:
    """Symbols from a file with one a line; ``#`` begins a comment.

    Raises:
        InputError: There is no such file, it has no symbol, or one that is none.
    """
    with _blaming(path):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    texts = [line.partition("#")[0].strip() for line in lines]
    return _parse(str(path), ((f"line {n}", text) for n, text in enumerate(texts, 1) if text))


def symbols_from_csv(path: Path, column: str = "symbol") -> list[Symbol]:
    """Symbols from a column of a CSV file; its name may differ in case.

    Raises:
        InputError: There is no such file or column, it has no symbol, or one that is none.
    """
    with _blaming(path), path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        header = next(lines, [])
        rows = [(lines.line_num, row) for row in lines if row]
    places = [n for n, name in enumerate(header) if name.strip().lower() == column.strip().lower()]
    if len(places) != 1:
        fault = "has several columns" if places else "has no column"
        raise InputError(
            f"{path} {fault} {column!r}: its columns are {', '.join(header) or 'none'}"
        )
    place = places[0]
    return _parse(
        str(path), ((f"line {n}", row[place] if place < len(row) else "") for n, row in rows)
    )


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read the symbol list {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read the symbol list {path}: {error}") from error


def _parse(source: str, entries: Iterable[tuple[str, str]]) -> list[Symbol]:
    symbols: dict[Symbol, None] = {}
    bad: list[str] = []
    count = 0
    for place, text in entries:
        count += 1
        try:
            symbols[parse_symbol(text)] = None
        except InputError:
            bad.append(f"{place} {text!r}")
    if bad:
        shown = ", ".join(bad[:_NAMED])
        rest = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise InputError(
            f"{source}: nothing was taken, since {len(bad)} of {count} symbols are neither a pair"
            f" (BTCUSD, EUR_USD) nor a ticker (AAPL, BRK.B): {shown}{rest}"
        )
    if not symbols:
        raise InputError(f"{source} has no symbol")
    return list(symbols)


def members(instance: dg.DagsterInstance, settings: Settings) -> list[Member]:
    """The pairs that Dagster has partitions for, sorted by name."""
    since = _added(instance)
    return [
        _member(pair, since.get(pair), settings)
        for pair in sorted(instance.get_dynamic_partitions(ASSET_PAIR))
    ]


def _member(pair: str, since: datetime | None, settings: Settings) -> Member:
    try:
        asset_class = parse_symbol(pair).asset_class
    except InputError:
        return Member(pair, None, None, since)
    calendars = {"crypto": "24/7", "forex": "24/5", "equity": settings.equity_calendar}
    return Member(pair, asset_class, calendars[asset_class], since)


def _added(instance: dg.DagsterInstance) -> dict[str, datetime]:
    """When each pair was added (UTC). Dagster stores it, but has no method that tells."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return {}
    table = DynamicPartitionsTable.c
    query = db.select(table.partition, table.create_timestamp).where(
        table.partitions_def_name == ASSET_PAIR
    )
    with storage.index_connection() as connection:
        rows = connection.execute(query).all()
    return {pair: added.replace(tzinfo=UTC) for pair, added in rows}


def remove_pairs(instance: dg.DagsterInstance, texts: Sequence[str]) -> list[str]:
    """Take pairs out of Dagster's partitions; what was loaded of them stays in the lake.

    Args:
        instance: Whose partitions.
        texts: In any spelling; a partition that is no pair, by its exact name.

    Returns:
        The partitions that were removed.

    Raises:
        InputError: One of them is not there; then none is removed.
    """
    known = instance.get_dynamic_partitions(ASSET_PAIR)
    removed = list(dict.fromkeys(_known_as(text, known) for text in texts))
    for pair in removed:
        instance.delete_dynamic_partition(ASSET_PAIR, pair)
    return removed


def _known_as(text: str, known: Sequence[str]) -> str:
    if text in known:
        return text
    pair = parse_symbol(text).name
    if pair not in known:
        there = ", ".join(sorted(known)[:_NAMED]) or "none"
        rest = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
        raise InputError(f"{pair} is not in the universe: there are {there}{rest}")
    return pair
