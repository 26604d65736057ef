"""Commits: what is written beside them, and trying again when another writer was faster."""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError

from ffe_lakehouse.lake.object_store import explained

# 64 parallel rewrites of disjoint partitions: one failed with the default 15, none with 50.
_COMMIT_RETRIES = 50
_ATTEMPTS = 20

T = TypeVar("T")


def commit_properties(
    metadata: Mapping[str, str] | None, turns: list[Transaction]
) -> CommitProperties:
    """A commit with ``metadata`` beside it, which is refused if another one took its turns."""
    return CommitProperties(
        custom_metadata=dict(metadata or {}),
        max_commit_retries=_COMMIT_RETRIES,
        app_transactions=turns,
    )


def turns_of(way: str, rows: pa.Table) -> list[str]:
    """Application ids of a write that must not be overtaken: one a pair of ``rows``.

    A table that knows no pairs has one for all.
    """
    if "partition_asset_pair" not in rows.column_names:
        return [way]
    return [f"{way}:{pair}" for pair in rows["partition_asset_pair"].unique().to_pylist()]


def transactions(table: DeltaTable, turns: Iterable[str]) -> list[Transaction]:
    """The next turn of every application id."""
    return [Transaction(name, (table.transaction_version(name) or 0) + 1) for name in turns]


def retried(attempt: Callable[[], T], place: str = "") -> T:
    """Run ``attempt``, which starts from a fresh snapshot, until nobody was faster.

    Args:
        attempt: Writes to a table; called again if another writer committed first.
        place: Address of the table, for the errors of an object store.
    """
    for remaining in reversed(range(_ATTEMPTS)):
        try:
            with explained(place):
                return attempt()
        except CommitFailedError:
            if not remaining:
                raise
            time.sleep(random.uniform(0, 0.05 * (_ATTEMPTS - remaining)))  # noqa: S311 - jitter
    raise AssertionError("unreachable")
