"""Addresses of the lake and names of its tables: what may be given, and where it leads."""

import re
from datetime import UTC, date, datetime
from pathlib import Path

from ffe_lakehouse.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*")
# Of a Path, one slash is left of the two.
_STORE = re.compile(r"(s3a?|gs|az|abfss?|https?):")
_ADDRESS = re.compile(r"(s3a?|gs|az|abfss?)://[^/?#]+(/[^?#]*)?")


def lake_address(storage_path: str | Path) -> str:
    """The root as delta-rs takes it: ``s3a://``, which is Spark's spelling, is ``s3://``.

    Raises:
        InputError: It looks like an object store's address, but is none that could work.
    """
    address = str(storage_path).rstrip("/")
    if _STORE.match(address) and not _ADDRESS.fullmatch(address):
        raise InputError(
            f"no lake can be at {address!r}: give a folder, or, as text, s3://bucket/prefix,"
            " gs://bucket/prefix or az://container/prefix; AWS_ENDPOINT_URL names a server of"
            " your own"
        )
    return f"s3://{address.removeprefix('s3a://')}" if address.startswith("s3a://") else address


def checked_name(name: str) -> str:
    """A table's name, which never leads out of the lake.

    Raises:
        InputError: It has other characters than letters, digits, ``_``, ``-``, ``.``, and ``/``
            between its parts, or a part begins with a dot.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no name of a table: use letters, digits, _ - . and a / between parts"
        )
    return name


def moment(given: str | datetime | date) -> datetime:
    """A moment in UTC; without a time zone it is meant so, and a day is its midnight.

    Raises:
        InputError: It is none.
    """
    if isinstance(given, str):
        try:
            given = datetime.fromisoformat(given)
        except ValueError as error:
            raise InputError(
                f"{given!r} is no moment: write it like 2024-01-31T12:00:00 (UTC)"
            ) from error
    if not isinstance(given, datetime):
        given = datetime.combine(given, datetime.min.time())
    return (given if given.tzinfo else given.replace(tzinfo=UTC)).astimezone(UTC)
