"""Which rows: pairs and a half-open stretch of time, as a predicate that prunes files.

A text that a user gives is quoted, and can end up as nothing but a text.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.schemas import TableSchema


@dataclass(frozen=True)
class Where:
    """Rows of some pairs whose time lies in ``[start, end)``; ``None`` leaves that side open.

    Of a table whose time is a day, the days that ``[start, end)`` touches. Moments need a time zone
    and are turned to UTC.

    Attributes:
        pairs: Canonical pairs, or every pair.
        start: First moment, included.
        end: First moment after.
        known_on: Leave out what was extracted after this moment.
        timeframes: Codes, of a table that holds several; every timeframe, or a table of one.

    Raises:
        InputError: A moment has no time zone.
    """

    pairs: tuple[str, ...] | None = None
    start: datetime | None = None
    end: datetime | None = None
    known_on: datetime | None = None
    timeframes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Turn the moments to UTC."""
        for name in ("start", "end", "known_on"):
            moment = getattr(self, name)
            if moment is not None:
                object.__setattr__(self, name, in_utc(moment))

    def sql(self, schema: TableSchema, prefix: str = "") -> str | None:
        """The predicate, partition columns first; ``None`` if every row is wanted."""
        parts = []
        if self.pairs is not None:
            among = f"{prefix}partition_asset_pair IN ({_texts(self.pairs)})"
            parts.append(among if self.pairs else "FALSE")
        if self.timeframes is not None:
            among = f"{prefix}timeframe IN ({_texts(self.timeframes)})"
            parts.append(among if self.timeframes else "FALSE")
        for operator, moment in ((">=", self.start), ("<", self.end)):
            if moment is None:
                continue
            if "storage_period" in schema.partition_by:
                # A period is a prefix of the ISO date, so texts compare as dates do; both the
                # month's and the year's spelling lie between these bounds.
                bound = moment.date().isoformat()[: 4 if operator == ">=" else 7]
                parts.append(f"{prefix}storage_period {operator.strip('=')}= {_texts([bound])}")
            literal = _literal(schema, operator, moment)
            parts.append(f"{prefix}{schema.time_column} {operator} {literal}")
        if self.known_on is not None:
            parts.append(f"{prefix}_extracted_at <= {_timestamp(self.known_on)}")
        return " AND ".join(parts) or None


def around(rows: pa.Table) -> Where:
    """The pairs, if it has them, and whole days that hold ``rows``, of which there is a first."""
    first, last = pc.min_max(rows["partition_date"]).as_py().values()
    pairs = None
    if "partition_asset_pair" in rows.column_names:
        pairs = tuple(rows["partition_asset_pair"].unique().to_pylist())
    return whole_days(pairs, first, last)


def whole_days(pairs: tuple[str, ...] | None, first: date | None, last: date | None) -> Where:
    """Rows of the UTC days from ``first`` to ``last``, included; ``None`` leaves a side open."""
    midnight = partial(datetime.combine, time=time(0), tzinfo=UTC)
    return Where(
        pairs,
        None if first is None else midnight(first),
        None if last is None else midnight(last + timedelta(days=1)),
    )


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC.

    Raises:
        InputError: It has no time zone.
    """
    if moment.tzinfo is None:
        raise InputError(f"the moment {moment.isoformat()} has no time zone: give it in UTC")
    return moment.astimezone(UTC)


def _literal(schema: TableSchema, operator: str, moment: datetime) -> str:
    if not pa.types.is_date(schema.arrow.field(schema.time_column).type):
        return _timestamp(moment)
    begun = moment if operator == ">=" else moment + timedelta(days=1, microseconds=-1)
    return f"DATE '{begun.date().isoformat()}'"


def _timestamp(moment: datetime) -> str:
    # TIMESTAMP '...' is in nanoseconds, which an overwrite refuses to compare (deltalake 1.6.6).
    text = moment.replace(tzinfo=None).isoformat(timespec="microseconds")
    return f"arrow_cast('{text}Z', 'Timestamp(Microsecond, Some(\"UTC\"))')"


def _texts(values: Iterable[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)
