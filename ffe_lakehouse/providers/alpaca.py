"""Candles of Alpaca's market data: equities as traded, from a feed, and crypto.

Equity days are stamped with midnight in New York. A page holds so many bars over all symbols, so
one symbol is asked for at a time, and the vendor's token leads on until it is null. An unknown
symbol is answered like a window without trades: with nothing.
"""

from collections.abc import Iterator
from datetime import timedelta

from ffe_lakehouse.providers.base import CandleQuery, Page, ProviderError
from ffe_lakehouse.providers.capabilities import Capability, spell
from ffe_lakehouse.providers.http import HttpSource, Response
from ffe_lakehouse.providers.limits import vendor_policy
from ffe_lakehouse.providers.parsing import (
    Answer,
    Verbatim,
    decode,
    member,
    numbers,
    pick,
    session_days,
    table,
    times,
    unexpected,
)
from ffe_lakehouse.providers.vendor import (
    Phrases,
    VendorProvider,
    iso,
    refused,
    required,
    token_pages,
)
from ffe_lakehouse.settings import AlpacaFeed, Settings

_MEASURES = {
    "open": "o",
    "high": "h",
    "low": "l",
    "close": "c",
    "volume": "v",
    "trade_count": "n",
    "vwap": "vw",
}
_PATHS = {"equity": "/v2/stocks/bars", "crypto": "/v1beta3/crypto/us/bars"}
_REFUSALS: Phrases = (
    ("subscription", "authentication"),
    ("invalid symbol", "invalid_symbol"),
)


class AlpacaProvider(VendorProvider):
    """Alpaca: equities, from the feed of ``FFE_ALPACA_FEED`` or of the account, and crypto."""

    name = "alpaca"

    def __init__(self, settings: Settings, feed: AlpacaFeed | None = None) -> None:
        """Nothing is asked before the first question.

        Args:
            settings: Keys, base URL, plan.
            feed: Goes before the setting; without either the account's own feed answers.

        Raises:
            ProviderError: ``configuration``: a key is missing.
        """
        where = "alpaca.markets"
        key = required(self.name, settings.alpaca_api_key, "FFE_ALPACA_API_KEY", where)
        secret = required(self.name, settings.alpaca_api_secret, "FFE_ALPACA_API_SECRET", where)
        self._feed = feed or settings.alpaca_feed
        self.source = HttpSource(
            settings.alpaca_base_url,
            vendor_policy(self.name, settings),
            headers={"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret},
            refusal=refusal,
        )

    def pages(self, query: CandleQuery, how: Capability) -> Iterator[Page]:
        """Pages of up to 10,000 bars."""
        ticker = spell(self.name, query.symbol)
        equity = query.symbol.asset_class == "equity"
        params: dict[str, str | int] = {
            "symbols": ticker,
            "timeframe": how.code,
            "limit": how.page,
            "sort": "asc",
            # The end is included.
            "start": iso(query.start),
            "end": iso(query.end - timedelta(seconds=1)),
        }
        if equity:
            params |= {"adjustment": "raw"} | ({"feed": self._feed} if self._feed else {})
        path = _PATHS[query.symbol.asset_class]

        def ask(token: str | None) -> Answer:
            more = {"page_token": token} if token else {}
            body = self.source.get(path, params | more).body
            return parse(body, ticker, sessions=equity and how.code == "1Day")

        return token_pages(self.name, query, ask)


def parse(body: bytes, ticker: str, *, sessions: bool = False) -> Answer:
    """Candles of a body.

    Args:
        body: As it came.
        ticker: Whose bars were asked for, as Alpaca spells it.
        sessions: The bars are days of New York, and are stamped with their date.

    Raises:
        ProviderError: ``bad_response``: it holds something else, or another symbol.
    """
    found = decode(body, "alpaca")
    bars = member(found, "bars", dict, "alpaca", nullable=True)
    if not bars.keys() <= {ticker}:
        raise unexpected("alpaca", f"{', '.join(bars)} when asked for {ticker}")
    rows = member(bars, ticker, list, "alpaca") if bars else []
    opens = times(pick(rows, "t"))
    if sessions:
        opens = session_days(opens, "America/New_York")
    measures = {measure: numbers(pick(rows, key)) for measure, key in _MEASURES.items()}
    record = Verbatim(body, lambda decoded: decoded["bars"][ticker])
    return Answer(table(opens, **measures), record, found.get("next_page_token"))


def refusal(response: Response) -> ProviderError | None:
    """The failure that the vendor tells in words; None if there is none."""
    return refused("alpaca", response, _REFUSALS)
