"""Candles of Coinbase, which needs no key: the Exchange's, or Advanced Trade's public ones.

Exchange bars are ``[start, LOW, HIGH, OPEN, close, volume]`` with Unix seconds; Advanced Trade's
are objects of text. Both come newest first, do not say whose they are, and leave out the minutes
without a trade. There is no cursor: windows are asked for, oldest first.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from operator import itemgetter

from ffe_lakehouse.providers.base import CandleQuery, Page
from ffe_lakehouse.providers.capabilities import Capability, spell
from ffe_lakehouse.providers.http import HttpSource
from ffe_lakehouse.providers.limits import vendor_policy
from ffe_lakehouse.providers.parsing import (
    Answer,
    Verbatim,
    decode,
    member,
    numbers,
    pick,
    table,
    times,
    unexpected,
)
from ffe_lakehouse.providers.timestamps import to_micros
from ffe_lakehouse.providers.vendor import VendorProvider, iso, windows
from ffe_lakehouse.settings import Settings

_HOSTS = {
    "exchange": "https://api.exchange.coinbase.com",
    "advanced": "https://api.coinbase.com",
}
_ADVANCED_CODES = {
    "60": "ONE_MINUTE",
    "300": "FIVE_MINUTE",
    "900": "FIFTEEN_MINUTE",
    "3600": "ONE_HOUR",
    "86400": "ONE_DAY",
}
_ADVANCED_PAGE = 349  # "less than 350"
_EXCHANGE_COLUMNS = {"low": 1, "high": 2, "open": 3, "close": 4, "volume": 5}
_ADVANCED_COLUMNS = {name: name for name in _EXCHANGE_COLUMNS}


class CoinbaseProvider(VendorProvider):
    """Coinbase, spot pairs such as BTC-USD."""

    name = "coinbase"

    def __init__(self, settings: Settings) -> None:
        """Nothing is asked before the first question."""
        self._api = settings.coinbase_api
        self.source = HttpSource(
            settings.coinbase_base_url or _HOSTS[self._api], vendor_policy(self.name, settings)
        )

    def pages(self, query: CandleQuery, how: Capability) -> Iterator[Page]:
        """One page a window of 300 bars at the Exchange, of 349 at Advanced Trade."""
        size = how.page if self._api == "exchange" else _ADVANCED_PAGE
        for start, end in windows(query.start, query.end, size * query.timeframe.duration):
            yield self._ask(query, how, start, end).page(start, end)

    def _ask(self, query: CandleQuery, how: Capability, start: datetime, end: datetime) -> Answer:
        product = spell(self.name, query.symbol)
        if self._api == "exchange":
            # Both ends are included, and more than 300 bars are refused.
            last = end - query.timeframe.duration
            params = {"granularity": how.code, "start": iso(start), "end": iso(last)}
            return parse_exchange(self.source.get(f"/products/{product}/candles", params).body)
        # Whether the end is included is not documented: a second before a bar it does not matter.
        params = {
            "granularity": _ADVANCED_CODES[how.code],
            "start": str(to_micros(start) // 1_000_000),
            "end": str(to_micros(end - timedelta(seconds=1)) // 1_000_000),
        }
        path = f"/api/v3/brokerage/market/products/{product}/candles"
        return parse_advanced(self.source.get(path, params).body)


def parse_exchange(body: bytes) -> Answer:
    """Candles of an Exchange body: a list of lists.

    Raises:
        ProviderError: ``bad_response``: it is something else.
    """
    rows = decode(body, "coinbase")
    if not isinstance(rows, list):
        raise unexpected("coinbase", f"a JSON {type(rows).__name__} in place of a list")
    columns = {name: numbers(pick(rows, at)) for name, at in _EXCHANGE_COLUMNS.items()}
    return Answer(table(times(pick(rows, 0)), **columns), Verbatim(body, lambda found: found))


def parse_advanced(body: bytes) -> Answer:
    """Candles of an Advanced Trade body: objects of text.

    Raises:
        ProviderError: ``bad_response``: it is something else.
    """
    rows = member(decode(body, "coinbase"), "candles", list, "coinbase")
    columns = {name: numbers(pick(rows, key)) for name, key in _ADVANCED_COLUMNS.items()}
    record = Verbatim(body, itemgetter("candles"))
    return Answer(table(times(pick(rows, "start")), **columns), record)
