"""Incidents: each is told once when it begins and once when it is over, and not in between.

What is wrong is found elsewhere; what was told is kept by whoever asks (a sensor, in its cursor).
An incident counts as told only after its telling has succeeded, so a telling that failed is made up
for at the next look.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import NamedTuple

Told = dict[str, dict[str, dict[str, datetime]]]
"""Incidents that were told and are not over: title, subject, part, since (UTC). Fit for JSON."""

SUBJECTS = "{subjects}"
"""Stands in an advice for the names of all that it is given for."""

_IN_FULL = 2_500
_LONGEST = 3_500
"""Letters of a text: Slack advises against more than 4,000, and it is read on a phone. What does
not fit in full is named."""


class Key(NamedTuple):
    """What tells one incident from another, in words that stay the same while it lasts.

    Attributes:
        title: What is wrong.
        subject: With what: a pair, a job; empty if the title says it.
        part: With which part of it, such as a timeframe; empty if with all.
    """

    title: str
    subject: str = ""
    part: str = ""


@dataclass(frozen=True)
class Details:
    """What is told of an incident beside its key.

    Attributes:
        what: How far it goes, and why.
        to_do: What the reader can do about it.
    """

    what: str
    to_do: str


@dataclass(frozen=True)
class Incident:
    """Something that is wrong.

    Attributes:
        key: What.
        since: Since when (UTC).
        details: Finds out the rest; called only if it is told.
    """

    key: Key
    since: datetime
    details: Callable[[], Details] = field(compare=False)


@dataclass(frozen=True)
class Changes:
    """What there is to tell.

    Attributes:
        begun: Incidents that nobody was told of yet.
        over: Incidents that were told and are no more, with their beginning (UTC).
        told: What has been told, once this has been.
    """

    begun: list[Incident]
    over: dict[Key, datetime]
    told: Told


def changes(
    told: Told, present: Iterable[Incident], undecided: Collection[Key] = frozenset()
) -> Changes:
    """Compare what was told with what is wrong now.

    Args:
        told: Open incidents that were told.
        present: What is wrong now.
        undecided: Incidents of which nothing can be said now: if they were told, they stay open.
    """
    known = {
        Key(title, subject, part): since
        for title, subjects in told.items()
        for subject, parts in subjects.items()
        for part, since in parts.items()
    }
    now = {incident.key: incident for incident in present}
    begun = [incident for key, incident in now.items() if key not in known]
    over = {k: since for k, since in known.items() if k not in now and k not in undecided}
    still: Told = {}
    for key, since in [*known.items(), *((each.key, each.since) for each in begun)]:
        if key not in over:
            still.setdefault(key.title, {}).setdefault(key.subject, {})[key.part] = since
    return Changes(begun, over, still)


def in_words(found: Changes, place: str, now: datetime) -> str:
    """The changes as one text: what, since when, why, what to do. Empty if there are none.

    What is said of several subjects in the same words is said once.

    Args:
        found: What there is to tell.
        place: Whose incidents they are.
        now: The present moment (UTC).
    """
    blocks: dict[tuple[str, str], list[str]] = {}
    named: dict[str, list[str]] = {}
    length = 0
    for head, subject, tell in _to_tell(found, now):
        if length > _IN_FULL:
            named.setdefault(head, []).append(subject)
            continue
        body = tell()
        length += len(subject) + (len(body) if (head, body) not in blocks else 0)
        blocks.setdefault((head, body), []).append(subject)
    if not blocks:
        return ""
    texts = [_block(head, body, subjects) for (head, body), subjects in blocks.items()]
    texts += [f"{head}, too: {', '.join(subjects)}" for head, subjects in named.items()]
    text = "\n\n".join([f"Lakehouse {place}", *texts])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _to_tell(found: Changes, now: datetime) -> Iterator[tuple[str, str, Callable[[], str]]]:
    """The head, the subject and the maker of the body of every block."""
    begun = sorted(found.begun, key=lambda incident: incident.key[:2])
    for (title, subject), group in groupby(begun, key=lambda incident: incident.key[:2]):
        yield f"🔴 {title}", subject, partial(_begun, list(group))
    over = sorted(found.over.items(), key=lambda item: item[0][:2])
    for (title, subject), ended in groupby(over, key=lambda item: item[0][:2]):
        parts = {key.part: since for key, since in ended}
        yield f"🟢 Over: {title}", subject, partial(_over, parts, now)


def _block(head: str, body: str, subjects: list[str]) -> str:
    names = ", ".join(filter(None, subjects))
    text = f"{head}: {names}{body}" if names else head + body
    return text.replace(SUBJECTS, names.replace(" ", ""))


def _begun(incidents: list[Incident]) -> str:
    """Parts by what is said of them, and every advice once."""
    parts_of: dict[str, list[str]] = {}
    advice: dict[str, None] = {}
    for incident in incidents:
        details = incident.details()
        parts_of.setdefault(details.what, []).append(incident.key.part)
        advice[details.to_do] = None
    lines = [f" (since {_moment(min(each.since for each in incidents))})"]
    for what, parts in parts_of.items():
        named = ", ".join(filter(None, parts))
        lines.append(f"• {named}: {what}" if named else f"• {what}")
    return "\n".join(lines + [f"→ {to_do}" for to_do in advice])


def _over(parts: Mapping[str, datetime], now: datetime) -> str:
    since = min(parts.values())
    named = ", ".join(filter(None, parts))
    lasted = _duration(now - since)
    return f" ({f'{named}; ' if named else ''}since {_moment(since)}, {lasted})"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _duration(time: timedelta) -> str:
    minutes = max(0, round(time / timedelta(minutes=1)))
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
