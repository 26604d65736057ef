"""Recorded and made-up answers of vendors, played without a socket, and what became of them."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa

from ffe_lakehouse.providers.base import CandleQuery, Page
from ffe_lakehouse.providers.http import Response
from ffe_lakehouse.providers.vendor import VendorProvider
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import parse_timeframe

Row = tuple[str | None, *tuple[float | None, ...]]


def utc(text: str) -> datetime:
    """``2024-01-02`` or ``2024-01-02T03:04`` in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def candles(table: pa.Table, *measures: str) -> list[Row]:
    """Rows with the open time as ISO 8601; by default open, high, low, close and volume."""
    names = measures or ("open", "high", "low", "close", "volume")
    times = [
        None if t is None else f"{t:%Y-%m-%dT%H:%M:%S}" for t in table["timestamp"].to_pylist()
    ]
    return list(zip(times, *(table[name].to_pylist() for name in names), strict=True))


def query(symbol: str, timeframe: str, start: str, end: str) -> CandleQuery:
    return CandleQuery(parse_symbol(symbol), parse_timeframe(timeframe), utc(start), utc(end))


def make_settings(**values: object) -> Settings:
    keys = {
        "oanda_token": "a token",
        "alpha_vantage_api_key": "a key",
        "alpaca_api_key": "a key",
        "alpaca_api_secret": "a secret",
        "polygon_api_key": "a key",
    }
    return Settings(_env_file=None, **{**keys, **values})  # type: ignore[arg-type]


class Script:
    """Stands for ``HttpSource``: answers by a function, and remembers what it was asked."""

    def __init__(self, answer: Callable[[str, Mapping[str, Any]], Any]) -> None:
        """Nothing was asked yet."""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._answer = answer

    def get(self, path: str, params: Mapping[str, str | int] = {}) -> Response:
        """The answer to this request."""
        self.asked.append((path, dict(params)))
        found = self._answer(path, params)
        body = found if isinstance(found, bytes) else orjson.dumps(found)
        return Response(200, {}, body, "https://vendor.example" + path)


def fetch(
    provider: VendorProvider,
    asked: CandleQuery,
    answer: Callable[[str, Mapping[str, Any]], Any],
) -> tuple[list[Page], Script]:
    """The pages that ``provider`` makes of what ``answer`` says, and what it asked for."""
    script = Script(answer)
    provider.source = script  # type: ignore[assignment]
    return list(provider.fetch(asked)), script
