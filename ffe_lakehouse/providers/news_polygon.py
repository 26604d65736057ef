"""News of Polygon.io (Massive since October 2025): articles with a word of sentiment by ticker.

Every asset class has one ticker (``AAPL``, ``X:BTCUSD``, ``C:EURUSD``). The sentiment stands in
``insights``, which older articles have not. The vendor's link leads from page to page.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ffe_lakehouse.providers import polygon
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.capabilities import spell
from ffe_lakehouse.providers.http import HttpSource, Response
from ffe_lakehouse.providers.limits import vendor_policy
from ffe_lakehouse.providers.news import (
    Article,
    Fields,
    NewsPage,
    NewsProvider,
    NewsQuery,
    PairsOf,
    by_ticker,
    moments,
    placed,
    records,
    unreadable,
)
from ffe_lakehouse.providers.parsing import decode, member, unexpected
from ffe_lakehouse.providers.vendor import bearer, iso, required
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.symbols import Symbol

NAME, ROWS = "polygon", "results"
LIMIT = 1000
"""Most articles of one answer."""
SCORES = {"positive": 1.0, "neutral": 0.0, "negative": -1.0}
"""The vendor's words as scores; another word has none."""
_PATH = "/v2/reference/news"


class PolygonNews(NewsProvider):
    """News of Polygon.io, now Massive: equities, forex and crypto."""

    name = NAME

    def __init__(self, settings: Settings, limit: int = LIMIT) -> None:
        """Nothing is asked before the first question.

        Raises:
            ProviderError: ``configuration``: there is no key.
        """
        key = required(
            NAME,
            settings.polygon_api_key or settings.massive_api_key,
            "FFE_POLYGON_API_KEY or FFE_MASSIVE_API_KEY",
            "massive.com",
        )
        self._limit = limit
        self._base_url = settings.polygon_base_url.rstrip("/")
        self.source = HttpSource(
            self._base_url,
            vendor_policy(NAME, settings),
            headers={"Authorization": bearer(key)},
            refusal=refusal,
        )

    def fetch(self, query: NewsQuery) -> Iterator[NewsPage]:
        """Pages of the articles about the pair's ticker, oldest first.

        Raises:
            ProviderError: ``bad_response``, too, if a page leads nowhere, or has an article from
                before the end of the one before it.
        """
        pairs_of = by_ticker([(tickers(query.symbol), query.symbol)])
        covered, seen = query.start, set()
        link: str | None = None
        held: NewsPage | None = None
        while True:
            body = self._body(query, link)
            page = placed(articles(body, pairs_of), query.start, query.end, covered)
            first = min((place for place, _ in page), default=covered)
            # A page goes out when the next one has shown that it ended where it seemed to.
            if first < covered:
                raise unexpected(NAME, f"{first} on a page that should begin at {covered}")
            if held is not None:
                yield held
            link = decode(body, NAME).get("next_url")
            if not link:
                yield NewsPage(page, query.end)
                return
            if not isinstance(link, str) or link in seen or not page:
                raise unexpected(NAME, "a next page that is none, or that leads nowhere")
            seen.add(link)
            # More of the last moment may follow.
            covered = max(place for place, _ in page)
            held = NewsPage(page, covered)

    def _body(self, query: NewsQuery, link: str | None) -> bytes:
        if link is not None:
            # The link may name the vendor's other host, or the one behind a proxy.
            parts = urlsplit(link.removeprefix(self._base_url))
            return self.source.get(parts.path, dict(parse_qsl(parts.query))).body
        ask: dict[str, str | int] = {
            "ticker": tickers(query.symbol)[0],
            "published_utc.gte": iso(query.start),
            "published_utc.lt": iso(query.end),
            "sort": "published_utc",
            "order": "asc",
            "limit": self._limit,
        }
        return self.source.get(_PATH, ask).body


def tickers(symbol: Symbol) -> tuple[str, ...]:
    """Whom news of ``symbol`` are about: ``X:BTCUSD``, ``C:EURUSD``, ``AAPL``."""
    return (spell(NAME, symbol),)


def is_answer(found: dict[str, Any]) -> bool:
    """Whether it is an answer about news, be it an empty one."""
    return isinstance(found.get(ROWS), list) or found.get("status") == "OK"


def articles(body: bytes, pairs_of: PairsOf) -> list[Article]:
    """The articles of a body, in its order.

    Raises:
        ProviderError: ``bad_response``: it holds something else.
    """
    found = decode(body, NAME)
    if isinstance(found, dict) and ROWS not in found and found.get("status") == "OK":
        return []
    rows = member(found, ROWS, list, NAME, nullable=True)
    stamps = [row.get("published_utc") if isinstance(row, dict) else None for row in rows]
    verbatim = records(body, ROWS, NAME) if rows else []
    return [
        _article(*each, pairs_of)
        for each in zip(rows, stamps, moments(stamps), verbatim, strict=True)
    ]


def _article(
    row: Any, stamp: object, published: datetime | None, record: str, pairs_of: PairsOf
) -> Article:
    if not isinstance(row, dict):
        return unreadable(record, "unreadable_file", "the article is no JSON object")
    named, insights = row.get("tickers"), row.get("insights") or []
    if not isinstance(named, list) or not isinstance(insights, list):
        return unreadable(record, "missing_field", "tickers or insights is no list", published)
    publisher = row.get("publisher")
    whole = Fields()
    whole.moment("timestamp", stamp, published)
    whole.text("article_id", row.get("id") or row.get("article_url"), required=True)
    whole.text("title", row.get("title"), required=True)
    whole.text("url", row.get("article_url"))
    whole.text("publisher", publisher.get("name") if isinstance(publisher, dict) else publisher)
    whole.text("summary", row.get("description"))
    keywords = row.get("keywords")
    whole.columns["topics"] = list(map(str, keywords)) if isinstance(keywords, list) else []
    said = {str(each.get("ticker")): each for each in insights if isinstance(each, dict)}
    mentions = []
    for ticker in dict.fromkeys([*map(str, named), *said]):
        for pair in pairs_of.get(ticker.upper(), ()):
            part = Fields({"ticker": ticker})
            word = said.get(ticker, {}).get("sentiment")
            part.text("sentiment_label", word)
            part.columns["sentiment_score"] = SCORES.get(str(word).lower())
            mentions.append(whole.mention(pair, record, part))
    return Article(published, tuple(mentions))


def refusal(response: Response) -> ProviderError | None:
    """The failure that the vendor tells in words; None if it answers."""
    is_answer = response.status == 200 and f'"{ROWS}"'.encode() in response.body[:4096]
    return None if is_answer else polygon.refusal(response)
