"""Times in any common spelling, read into ``timestamp[us, UTC]``.

Arrow timestamps and dates, ISO 8601 text and Unix numbers belong here. A reading is a matter of one
value: what cannot be read is null, and spoils nothing beside it. What a time means (the open or the
close of a bar) is the business of the provider.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.schemas import TIMESTAMP

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_TO_2100 = 4_102_444_800
_MICROS_PER = {"s": 1_000_000, "ms": 1_000, "us": 1}
_MICROS_PER_DAY = 86_400_000_000
_ISO = (
    r"^(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[T ](?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)"
    r"(?::(?P<second>[0-5]\d)(?:[.,](?P<nanos>\d{1,9}))?)?"
    r" ?(?:Z|UTC|(?P<sign>[+-])(?P<zone_hour>\d\d):?(?P<zone_minute>\d\d)?)?)?$"
)


def to_micros(moment: datetime) -> int:
    """Microseconds between the Unix epoch and an aware ``moment``."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The moment (UTC) that lies ``micros`` microseconds after the Unix epoch."""
    return _EPOCH + timedelta(microseconds=micros)


# What Python's datetime can hold, in microseconds.
_FIRST = to_micros(datetime.min.replace(tzinfo=UTC))
_LAST = to_micros(datetime.max.replace(tzinfo=UTC))


def read_times(column: pa.Array) -> pa.Array:
    """Read a column of times; a time without a zone is UTC.

    * Timestamps of any unit and zone, and dates (midnight UTC). A time finer than a microsecond is
      read only if nothing is lost.
    * Numbers are days written ``YYYYMMDD``, else Unix times in the coarsest unit (s, ms, us, ns) in
      which they lie before the year 2100: 1577836800 is in seconds, 1577836800000 in milliseconds.
      Only the first 47 days of 1970 can be mistaken so (and the last 47 of 1969).
    * Text is a number as above, or ISO 8601 with ``T`` or a space, with or without a zone.

    Args:
        column: One column, ``n`` values of any type. Text has no blanks around it.

    Returns:
        ``n`` values of ``timestamp[us, UTC]``. Null where a value is null, unreadable, or outside
        of the years 1 to 9999.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _scaled(column.cast(pa.int64()), kind.unit)
    if pa.types.is_date32(kind):
        return _from_micros(*_multiplied(column.cast(pa.int32()), _MICROS_PER_DAY))
    if pa.types.is_date64(kind):
        return _scaled(column.cast(pa.int64()), "ms")
    if pa.types.is_integer(kind) and kind != pa.uint64():
        values, given = _unpacked(column.cast(pa.int64()))
        micros, good = _from_unix(values)
        return _from_micros(micros, given & good)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind) or kind == pa.uint64():
        return _from_unix_floats(column.cast(pa.float64(), safe=False))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _from_text(column)
    return pa.nulls(len(column), TIMESTAMP)


def _unpacked(column: pa.Array) -> tuple[Integers, Flags]:
    """Values (0 where null) and which of them are given."""
    return column.fill_null(0).to_numpy().astype(np.int64, copy=False), _given(column)


def _given(column: pa.Array) -> Flags:
    given: Flags = column.is_valid().to_numpy(zero_copy_only=False)
    return given


def _from_micros(micros: Integers, good: Flags) -> pa.Array:
    good = good & (micros >= _FIRST) & (micros <= _LAST)
    return pa.array(micros, mask=None if good.all() else ~good).view(TIMESTAMP)


def _multiplied(column: pa.Array, factor: int) -> tuple[Integers, Flags]:
    values, given = _unpacked(column)
    fits = (values >= _FIRST // factor) & (values <= _LAST // factor)
    return np.where(fits, values, 0) * factor, given & fits


def _scaled(column: pa.Array, unit: str) -> pa.Array:
    if unit != "ns":
        return _from_micros(*_multiplied(column, _MICROS_PER[unit]))
    values, given = _unpacked(column)
    micros = values // 1000
    return _from_micros(micros, given & (micros * 1000 == values))


def _from_unix(values: Integers) -> tuple[Integers, Flags]:
    """Whole numbers as microseconds, and which of them are times."""
    s, ms, us, ns = (
        (values < _SECONDS_TO_2100 * scale) & (values > -_SECONDS_TO_2100 * scale)
        for scale in (1, 10**3, 10**6, 10**9)
    )
    micros = np.select([s, ms, us], [values * 1_000_000, values * 1000, values], values // 1000)
    good = us | (ns & (micros * 1000 == values))
    # 20200101 is no second of August 1970, which it would be as a Unix time.
    written = (values >= 1900_01_01) & (values <= 2099_12_31)
    if written.any():
        days, real = _calendar_days(np.where(written, values, 1970_01_01))
        micros = np.where(written & real, days * _MICROS_PER_DAY, micros)
    return micros, good


def _calendar_days(values: Integers) -> tuple[Integers, Flags]:
    """Numbers written ``YYYYMMDD`` as days since the epoch, and which of them exist."""
    year, month, day = values // 10_000, values // 100 % 100, values % 100
    months = (year - 1970) * 12 + month - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1
    same_month = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) == months
    return days, same_month & (month >= 1) & (month <= 12) & (day >= 1)


def _from_unix_floats(column: pa.Array) -> pa.Array:
    """Numbers with a fraction, rounded to the microsecond where the unit is coarser than one."""
    values = column.fill_null(np.nan).to_numpy()
    size = np.abs(values)
    given = size < _SECONDS_TO_2100 * 1e9  # false for NaN and infinity
    values = np.where(given, values, 0.0)
    whole = np.floor(values)
    fraction = values - whole
    micros, good = _from_unix(whole.astype(np.int64))
    scale = np.select([size < _SECONDS_TO_2100, size < _SECONDS_TO_2100 * 1e3], [1e6, 1e3], 0.0)
    micros = micros + np.rint(fraction * scale).astype(np.int64)
    return _from_micros(micros, given & good & ((fraction == 0) | (scale > 0)))


def _from_text(column: pa.Array) -> pa.Array:
    # A cast of Arrow's own would read all values or none.
    whole = pc.match_substring_regex(column, r"^[+-]?\d{1,18}$")
    decimal = pc.match_substring_regex(
        column, r"^[+-]?\d+(\.\d*)?(e[+-]?\d{1,3})?$", ignore_case=True
    )
    return pc.coalesce(
        read_times(pc.if_else(whole, column, None).cast(pa.int64())),
        read_times(pc.if_else(decimal, column, None).cast(pa.float64())),
        _from_iso(column),
    )


def _from_iso(column: pa.Array) -> pa.Array:
    parts = pc.extract_regex(column, pattern=_ISO)

    def number(name: str) -> Integers:
        digits = pc.struct_field(parts, name)
        if name == "nanos":
            digits = pc.utf8_rpad(digits, 9, "0")
        return _unpacked(pc.if_else(pc.equal(digits, ""), "0", digits).cast(pa.int64()))[0]

    day, real = _calendar_days(10_000 * number("year") + 100 * number("month") + number("day"))
    nanos = number("nanos")
    ahead = 3600 * number("zone_hour") + 60 * number("zone_minute")
    ahead = np.where(pc.equal(pc.struct_field(parts, "sign"), "-").fill_null(False), -ahead, ahead)
    second = 3600 * number("hour") + 60 * number("minute") + number("second") - ahead
    micros = day * _MICROS_PER_DAY + second * 1_000_000 + nanos // 1000
    return _from_micros(micros, _given(parts) & real & (nanos % 1000 == 0))
