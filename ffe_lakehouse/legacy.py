"""Files of the old engine: dead letters become letters of the lake, watermarks are compared.

Its candles come in like anybody's, through the provider ``files``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.partitions import day_start
from ffe_lakehouse.schemas import LEGACY_REASON, REASONS, TIMESTAMP, dead_letters
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import parse_timeframe
from ffe_lakehouse.transforms.rows import Provenance, letter_table

_CODES = {
    "high < low": "high_below_low",
    "close not in range": "close_out_of_range",
    "negative price": "non_positive_price",
}
_RUN = "import-legacy"


@dataclass(frozen=True)
class LetterFile:
    """What became of a ``dlq_*.json``.

    Attributes:
        path: The file.
        new: Letters that the lake had not.
        known: Letters that it had.
        fault: Why nothing of it was taken; empty if it was.
    """

    path: Path
    new: int = 0
    known: int = 0
    fault: str = ""


@dataclass(frozen=True)
class Claim:
    """A line of ``watermarks.json``: how far the old engine had loaded a pair (UTC)."""

    pair: str
    timeframe: str
    until: datetime


def import_letters(lake: DeltaLakeManager, folder: Path) -> list[LetterFile]:
    """Store the dead letters of every ``dlq_*.json`` below ``folder``.

    A record keeps its fields and values, without the engine's ``reason`` where that is a code of
    ours or has one; any other reason stays in the record, and its code is ``legacy_reason``. The
    letter belongs to the day of its record's time, or, if that cannot be read, to the day of the
    file. To import a file again adds nothing.
    """
    return [_import(lake, path) for path in sorted(folder.rglob("dlq_*.json"))]


def read_claims(path: Path) -> list[Claim]:
    """The lines of a ``watermarks.json``.

    Raises:
        InputError: It cannot be read, or a line is none.
    """
    try:
        lines: Mapping[str, str] = orjson.loads(path.read_bytes())
        claims = []
        for key, until in lines.items():
            pair, _, code = key.rpartition("_")
            symbol, timeframe = parse_symbol(pair), parse_timeframe(code)
            claims.append(Claim(symbol.name, timeframe.code, _utc(until)))
    except (OSError, ValueError, AttributeError, InputError) as error:
        raise InputError(f"{path} is no watermarks.json of the old engine: {error}") from error
    return claims


def _import(lake: DeltaLakeManager, path: Path) -> LetterFile:
    try:
        document = orjson.loads(path.read_bytes())
        about, records = document["context"], document["records"]
        pair, timeframe = parse_symbol(about["asset_pair"]), parse_timeframe(about["timeframe"])
        refused_at, vendor = _utc(document["timestamp"]), str(about["provider"])
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        kind = "" if isinstance(error, (InputError, OSError)) else f"{type(error).__name__}: "
        return LetterFile(path, fault=f"{kind}{error}")
    if not all(isinstance(record, dict) for record in records):
        return LetterFile(path, fault="a record is no JSON object")
    if not records:
        return LetterFile(path)
    times = [_time(record) for record in records]
    days = np.array([(time or refused_at).date() for time in times], dtype="datetime64[D]")
    first, last = days.min().item(), days.max().item()
    where = Where((pair.name,), day_start(first), day_start(last + timedelta(days=1)))
    texts, reasons = zip(*map(_taken_apart, records), strict=True)
    rows = letter_table(
        pa.array(times, TIMESTAMP),
        list(texts),
        reasons,
        days,
        pa.array([vendor] * len(records)),
        where,
        _RUN,
        Provenance(False, pair.name, timeframe, refused_at),
    )
    changes = lake.append_if_changed(dead_letters(timeframe), rows, where)
    new = int(changes.written.sum())
    return LetterFile(path, new, len(records) - new)


def _taken_apart(record: Mapping[str, Any]) -> tuple[str, Sequence[str]]:
    """The vendor's record, and the codes of its reasons."""
    said = [part.strip() for part in str(record.get("reason", "")).split(",")]
    codes = [_CODES.get(text, text) for text in said]
    if set(codes) <= REASONS.keys():
        bare = {name: value for name, value in record.items() if name != "reason"}
        return orjson.dumps(bare).decode(), tuple(dict.fromkeys(codes))
    return orjson.dumps(record).decode(), (LEGACY_REASON,)


def _time(record: Mapping[str, Any]) -> datetime | None:
    """The time of a record, if it has one that can be read; without a zone it is UTC."""
    for text in _said(record, ("date", "timestamp", "time")):
        try:
            return _utc(text)
        except ValueError:
            continue
    return None


def _said(record: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    return (str(record[name]) for name in names if name in record)


def _utc(text: str) -> datetime:
    """``2025-12-14T10:30:00``, also as in the names of the engine's files: ``…T10-30-00``."""
    day, separator, time = text.strip().replace(" ", "T").partition("T")
    clock = time[:8].replace("-", ":") + time[8:]
    moment = datetime.fromisoformat(f"{day}{separator}{clock}")
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
