"""Candles of Polygon.io (Massive since October 2025): equities as traded, forex and crypto.

Times are Unix milliseconds; equity days are stamped with midnight in New York. Forex volume counts
quotes, so it is our trade count, and there is no volume. A page is counted in the minutes (or days)
that its bars are made of; the vendor's link leads on. An unknown ticker has no results.
"""

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

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
from ffe_lakehouse.providers.timestamps import to_micros
from ffe_lakehouse.providers.vendor import (
    Phrases,
    VendorProvider,
    bearer,
    refused,
    required,
    token_pages,
)
from ffe_lakehouse.settings import Settings

_PRICES = {"open": "o", "high": "h", "low": "l", "close": "c"}
_TRADED = {**_PRICES, "volume": "v", "trade_count": "n", "vwap": "vw"}
_QUOTED = {**_PRICES, "trade_count": "v"}
_REFUSALS: Phrases = (
    ("not_authorized", "authentication"),
    ("unknown api key", "authentication"),
    ("exceeded the maximum requests", "rate_limited"),
    ('"status":"error"', "bad_response"),
)


class PolygonProvider(VendorProvider):
    """Polygon.io, now Massive: equities, forex and crypto."""

    name = "polygon"

    def __init__(self, settings: Settings) -> None:
        """Nothing is asked before the first question.

        Raises:
            ProviderError: ``configuration``: there is no key.
        """
        key = required(
            self.name,
            settings.polygon_api_key or settings.massive_api_key,
            "FFE_POLYGON_API_KEY or FFE_MASSIVE_API_KEY",
            "massive.com",
        )
        self._base_url = settings.polygon_base_url.rstrip("/")
        self.source = HttpSource(
            self._base_url,
            vendor_policy(self.name, settings),
            headers={"Authorization": bearer(key)},
            refusal=refusal,
        )

    def pages(self, query: CandleQuery, how: Capability) -> Iterator[Page]:
        """Pages of bars made of up to 50,000 minutes or days."""
        ticker = spell(self.name, query.symbol)
        # Both ends are included.
        first, last = to_micros(query.start) // 1000, to_micros(query.end) // 1000 - 1
        path = f"/v2/aggs/ticker/{ticker}/range/{how.code}/{first}/{last}"
        sessions = query.symbol.asset_class == "equity" and how.code == "1/day"

        def ask(link: str | None) -> Answer:
            if link is None:
                params: dict[str, str] = {
                    "adjusted": "false",
                    "sort": "asc",
                    "limit": f"{how.page}",
                }
                response = self.source.get(path, params)
            else:
                # The link may name the vendor's other host, or the one behind a proxy.
                parts = urlsplit(link.removeprefix(self._base_url))
                response = self.source.get(parts.path, dict(parse_qsl(parts.query)))
            return parse(response.body, ticker, sessions=sessions)

        return token_pages(self.name, query, ask)


def parse(body: bytes, ticker: str, *, sessions: bool = False, raw: bool = True) -> Answer:
    """Candles of a body.

    Args:
        body: As it came.
        ticker: Whose bars were asked for, as Polygon spells it.
        sessions: The bars are days of New York, and are stamped with their date.
        raw: Equity prices were asked for as traded.

    Raises:
        ProviderError: ``bad_response``: it holds something else, or another ticker, or prices
            adjusted for splits where they should be raw.
    """
    found = decode(body, "polygon")
    if member(found, "ticker", str, "polygon") != ticker:
        raise unexpected("polygon", f"{found['ticker']} when asked for {ticker}")
    if raw and found.get("adjusted") and ":" not in ticker:
        raise unexpected("polygon", "prices adjusted for splits, when asked for prices as traded")
    rows = member({"results": [], **found}, "results", list, "polygon", nullable=True)
    opens = times(pick(rows, "t"))
    if sessions:
        opens = session_days(opens, "America/New_York")
    keys = _QUOTED if ticker.startswith("C:") else _TRADED
    measures = {measure: numbers(pick(rows, key)) for measure, key in keys.items()}
    record = Verbatim(body, lambda decoded: decoded["results"])
    return Answer(table(opens, **measures), record, found.get("next_url"))


def refusal(response: Response) -> ProviderError | None:
    """The failure that the vendor tells in words; None if there is none."""
    return refused("polygon", response, _REFUSALS)
