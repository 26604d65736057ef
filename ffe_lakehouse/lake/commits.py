"""Commits: what is written beside them, and trying again when another writer was faster."""

import random
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from deltalake import CommitProperties, Transaction
from deltalake.exceptions import CommitFailedError

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


def retried(attempt: Callable[[], T]) -> T:
    """Run ``attempt``, which starts from a fresh snapshot, until nobody was faster."""
    for remaining in reversed(range(_ATTEMPTS)):
        try:
            return attempt()
        except CommitFailedError:
            if not remaining:
                raise
            time.sleep(random.uniform(0, 0.05 * (_ATTEMPTS - remaining)))  # noqa: S311 - jitter
    raise AssertionError("unreachable")
