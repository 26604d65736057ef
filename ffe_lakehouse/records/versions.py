"""Versions of records: which of a load are new, in which order, and which are known already.

Pure. A record that was stored once is not stored again by loading its file again, although a newer
version has come since.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from itertools import pairwise


class Fate(Enum):
    """What becomes of a lawful record."""

    WRITTEN = "written"
    """New, or a version that its fact does not have, or has again."""
    UNCHANGED = "unchanged"
    """Known as it is."""
    DUPLICATE = "duplicate"
    """An exact repetition of the one before it in the same load."""


@dataclass(frozen=True)
class Told:
    """One version of a fact, as a file tells it.

    Attributes:
        key: Which fact.
        text: The record.
        changed_at: When its file was last changed (UTC).
    """

    key: Hashable
    text: str
    changed_at: datetime


@dataclass
class Known:
    """What is stored of one fact.

    Attributes:
        texts: All its versions.
        newest: The one that holds.
        since: When that became known (UTC).
    """

    texts: set[str]
    newest: str
    since: datetime


def known_versions(rows: Iterable[tuple[Hashable, str, datetime]]) -> dict[Hashable, Known]:
    """Stored versions (key, record, when it became known) by fact."""
    found: dict[Hashable, Known] = {}
    for key, text, since in rows:
        known = found.setdefault(key, Known(set(), text, since))
        known.texts.add(text)
        if since >= known.since:
            known.newest, known.since = text, since
    return found


def settle(
    told: Sequence[Told], known: Mapping[Hashable, Known]
) -> tuple[list[Fate], list[list[int]]]:
    """Decide what becomes of each record of a load.

    Args:
        told: In the order of their files' changes: of one fact, the last holds.
        known: What is stored.

    Returns:
        The fate of each, and the numbers of those that are written, in rounds: no round has two of
        one fact, and of one fact the versions follow each other.
    """
    of_fact: dict[Hashable, list[int]] = {}
    for number, each in enumerate(told):
        of_fact.setdefault(each.key, []).append(number)
    fates = [Fate.UNCHANGED] * len(told)
    rounds: list[list[int]] = []
    for key, numbers in of_fact.items():
        distinct = numbers[:1]
        for before, number in pairwise(numbers):
            if told[number].text == told[before].text:
                fates[number] = Fate.DUPLICATE
            else:
                distinct.append(number)
        for turn, number in enumerate(_written([told[n] for n in distinct], known.get(key))):
            fates[distinct[number]] = Fate.WRITTEN
            if turn == len(rounds):
                rounds.append([])
            rounds[turn].append(distinct[number])
    return fates, rounds


def _written(versions: Sequence[Told], known: Known | None) -> list[int]:
    """Which of these versions of one fact, each unlike the one before it, have to be stored."""
    if known is None:
        return list(range(len(versions)))
    if versions[-1].text == known.newest and all(each.text in known.texts for each in versions):
        return []
    written: list[int] = []
    for number, each in enumerate(versions):
        current = versions[written[-1]].text if written else known.newest
        # An old file that is loaded again does not undo what came after it; one that was changed
        # since does, even if it only goes back to what it said before.
        is_stale = not written and each.text in known.texts and each.changed_at <= known.since
        if each.text != current and not is_stale:
            written.append(number)
    return written
