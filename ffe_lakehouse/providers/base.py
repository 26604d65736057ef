"""The contract between a vendor and Bronze: a query goes in, pages of raw candles come out.

A provider asks, pages and parses. It does not judge: what it could read goes out with the vendor's
own record beside it, and ``transforms.validation`` decides. What it must get right is meaning:
``timestamp`` is the open time of the bar in UTC, whatever the vendor stamps.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import pyarrow as pa

from ffe_lakehouse.schemas import MEASURES, TIMESTAMP
from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse.timeframes import Timeframe

FailureKind = Literal[
    "rate_limited",
    "no_data",
    "invalid_symbol",
    "timeout",
    "unavailable",
    "authentication",
    "bad_response",
    "configuration",
]

RAW_CANDLES = pa.schema([("timestamp", TIMESTAMP), *((name, pa.float64()) for name in MEASURES)])
"""Columns of ``Page.candles``. Null means that the vendor sent nothing; a number that cannot be
read is NaN, a time that cannot be read is null."""


class ProviderError(Exception):
    """A vendor gave no usable answer.

    Attributes:
        kind: What went wrong, in one word that code can act on.
        retry_after: Seconds after which the vendor may be asked again, if that is known.
    """

    def __init__(
        self, kind: FailureKind, message: str, *, retry_after: float | None = None
    ) -> None:
        """``message`` is for people, ``kind`` for code."""
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


@dataclass(frozen=True)
class CandleQuery:
    """Candles of one symbol and timeframe that open in ``[start, end)`` (UTC).

    ``end`` is never later than the open time of the running bar, so every bar asked for has closed.
    """

    symbol: Symbol
    timeframe: Timeframe
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Page:
    """One answer of a vendor, parsed.

    Attributes:
        candles: Rows by ``RAW_CANDLES``, in the vendor's order.
        record: The vendor's own record of row ``i``, verbatim, as a JSON text. Asked only for
            rows that are rejected.
        covered_until: Everything before this moment (UTC) has now been delivered.
        source: The vendor that answered, where the provider asked several; None is the provider.
    """

    candles: pa.Table
    record: Callable[[int], str]
    covered_until: datetime
    source: str | None = None


class Provider(ABC):
    """A source of candles.

    Attributes:
        name: As in ``source_provider`` and on the command line.
        is_mock: True if the candles are made up.
        waits: True if it mostly waits for answers, so that several windows at once are faster.
    """

    name: str
    is_mock: bool = False
    waits: bool = False

    @abstractmethod
    def fetch(self, query: CandleQuery) -> Iterator[Page]:
        """Answer ``query`` page by page, oldest page first.

        The last page covers ``query.end``. No candles is an answer too: a page without rows.

        Raises:
            ProviderError: The vendor gave no usable answer. Pages already yielded stay valid.
        """


def to_numbers(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Any vendor's column as float64: null stays null, what is no number becomes NaN."""
    try:
        return values.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([_number(value) for value in values.to_pylist()], pa.float64())


def _number(value: object) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        # Whatever a vendor sent is tried; what cannot be a number at all is a TypeError.
        return float(value) if "_" not in str(value) else float("nan")  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
