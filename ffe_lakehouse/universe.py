"""The universe: the pairs that Dagster has partitions for, and how each is kept loaded.

Dagster remembers both: a pair is a key of the dynamic partitions ``asset_pair``, and its enrolment
is the last materialization of that partition of ``reference/universe``. Which symbols an index has
is another matter (``membership``).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg
import sqlalchemy as db
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.storage.event_log.schema import DynamicPartitionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from ffe_lakehouse.assets.events import data_version_tags
from ffe_lakehouse.assets.reference import UNIVERSE
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.partitions import ASSET_PAIR, check_range
from ffe_lakehouse.settings import AssetClass, Settings, get_settings
from ffe_lakehouse.symbols import parse_symbol

_NAMED = 20


@dataclass(frozen=True)
class Enrolment:
    """How a pair is kept loaded.

    Attributes:
        provider: Whose bars; ``None``: those of ``FFE_DEFAULT_PROVIDER``.
        start: First day (UTC) that has to be loaded; ``None``: the look-back alone.
    """

    provider: str | None = None
    start: date | None = None


@dataclass(frozen=True)
class Member:
    """A pair that Dagster has partitions for.

    Attributes:
        pair: Dagster partition.
        asset_class: ``None`` if it is no pair: somebody added it by hand, in the UI.
        calendar: When its market is open: ``24/7``, ``24/5``, or the code of an exchange.
        since: When it became known (UTC); ``None`` if Dagster's storage cannot tell.
        provider: Whose bars keep it loaded; ``None``: those of ``FFE_DEFAULT_PROVIDER``.
        start: First day (UTC) that is kept loaded; ``None``: the look-back alone.
        in_universe: False for a member of an index that nobody loads.
    """

    pair: str
    asset_class: AssetClass | None
    calendar: str | None
    since: datetime | None
    provider: str | None
    start: date | None
    in_universe: bool = True


def enrolments(instance: dg.DagsterInstance) -> dict[str, Enrolment]:
    """How every pair of the universe is kept loaded; one that was added in the UI, by default."""
    told = _versions(instance)
    return {
        pair: _enrolment(told.get(pair, ""))
        for pair in sorted(instance.get_dynamic_partitions(ASSET_PAIR))
    }


def enrol(
    instance: dg.DagsterInstance,
    pairs: Iterable[str],
    *,
    start: date | None,
    provider: str | None,
    clock: Callable[[], datetime] = utc_now,
) -> list[str]:
    """Add pairs to the universe, or change how they are kept loaded.

    Args:
        instance: Dagster's memory.
        pairs: Canonical pairs.
        start: First day (UTC) that has to be loaded; a pair that is known keeps an earlier one.
        provider: Whose bars; ``None`` leaves a pair that is known as it is.
        clock: The present moment (UTC).

    Returns:
        The pairs that were not known before.

    Raises:
        InputError: ``start`` is in the future, or before the first day of the lake. Then nothing
            is added.
    """
    if start is not None:
        now = clock()
        check_range(start, now.date(), now)
    told, known = _versions(instance), set(instance.get_dynamic_partitions(ASSET_PAIR))
    wanted = list(dict.fromkeys(pairs))
    # Before the partition, or a look at the wrong moment would ask the default provider.
    for pair in wanted:
        before = _enrolment(told.get(pair, "")) if pair in known else Enrolment()
        starts = [day for day in (before.start, start) if day is not None]
        after = Enrolment(provider or before.provider, min(starts, default=None))
        if _version(after) != told.get(pair):
            instance.report_runless_asset_event(enrolment_event(pair, after))
    new = [pair for pair in wanted if pair not in known]
    instance.add_dynamic_partitions(ASSET_PAIR, new)
    return new


def enrolment_event(pair: str, enrolment: Enrolment) -> dg.AssetMaterialization:
    """The event by which Dagster remembers it; to be stored before the pair gets its partition."""
    asset_class, calendar = _market(pair, get_settings())
    return dg.AssetMaterialization(
        UNIVERSE,
        partition=pair,
        metadata={
            "asset_class": asset_class,
            "calendar": calendar,
            "provider": enrolment.provider or "FFE_DEFAULT_PROVIDER",
            "start": str(enrolment.start or "the look-back alone"),
        },
        tags=data_version_tags(_version(enrolment)),
    )


def _versions(instance: dg.DagsterInstance) -> dict[str, str]:
    """What the last enrolment of each pair says, removed pairs included: one query."""
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        UNIVERSE, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
    )
    return {pair: of_pair[DATA_VERSION_TAG] for pair, of_pair in tags.items()}


def _version(enrolment: Enrolment) -> str:
    return f"{enrolment.start or ''}:{enrolment.provider or ''}"


def _enrolment(version: str) -> Enrolment:
    # A provider's name may have a colon in it.
    start, _, provider = version.partition(":")
    try:
        return Enrolment(provider or None, date.fromisoformat(start) if start else None)
    except ValueError:  # somebody reported a materialization by hand, in the UI
        return Enrolment()


def members(
    instance: dg.DagsterInstance, settings: Settings, only: Sequence[str] | None = None
) -> list[Member]:
    """The pairs that Dagster has partitions for, by name; or ``only`` these, there or not."""
    since, kept = _added(instance), enrolments(instance)
    found = []
    for pair in kept if only is None else only:
        asset_class, calendar = _market(pair, settings)
        enrolment = kept.get(pair, Enrolment())
        found.append(
            Member(
                pair,
                asset_class,
                calendar,
                since.get(pair),
                enrolment.provider,
                enrolment.start,
                pair in kept,
            )
        )
    return found


def _market(pair: str, settings: Settings) -> tuple[AssetClass | None, str | None]:
    """Asset class and calendar; nothing for what is no pair."""
    try:
        asset_class = parse_symbol(pair).asset_class
    except InputError:
        return None, None
    calendars = {"crypto": "24/7", "forex": "24/5", "equity": settings.equity_calendar}
    return asset_class, calendars[asset_class]


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
