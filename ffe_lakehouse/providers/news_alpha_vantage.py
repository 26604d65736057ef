"""News of Alpha Vantage: ``NEWS_SENTIMENT``, with a score of every ticker that an article names.

A request that names several tickers asks for articles about all of them at once, so each ticker is
a request of its own. Times are taken for UTC: the vendor writes no zone. There is no cursor: the
next page begins with the minute in which the last one was cut.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from ffe_lakehouse.providers import alpha_vantage
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
    together,
    unreadable,
)
from ffe_lakehouse.providers.parsing import decode, member, unexpected
from ffe_lakehouse.providers.vendor import required
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.symbols import Symbol

NAME, ROWS = "alpha_vantage", "feed"
LIMIT = 1000
"""Most articles of one answer."""
_USUAL_LIMIT = 50
_MINUTE = timedelta(minutes=1)
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)?")
_NOTHING = "no articles found"
_UNKNOWN = "invalid inputs"


class AlphaVantageNews(NewsProvider):
    """Alpha Vantage's news with their sentiment: equities, forex and crypto."""

    name = NAME

    def __init__(self, settings: Settings, limit: int = LIMIT) -> None:
        """Nothing is asked before the first question.

        Raises:
            ProviderError: ``configuration``: there is no key.
        """
        key = required(
            NAME,
            settings.alpha_vantage_api_key,
            "FFE_ALPHA_VANTAGE_API_KEY",
            "alphavantage.co/support",
        )
        self._limit = limit
        self.source = HttpSource(
            settings.alpha_vantage_base_url,
            vendor_policy(NAME, settings),
            params={"apikey": key},
            refusal=refusal,
        )

    def fetch(self, query: NewsQuery) -> Iterator[NewsPage]:
        """Pages of the articles about the pair's tickers, oldest first.

        Raises:
            ProviderError: ``bad_response``, too, if a page was cut and cannot be continued.
        """
        return together([self._about(each, query) for each in tickers(query.symbol)], query)

    def _about(self, ticker: str, query: NewsQuery) -> Iterator[NewsPage]:
        pairs_of = by_ticker([((ticker,), query.symbol)])
        begun, before = query.start, query.start
        while begun < query.end:
            # Nobody says whether the bounds are included: asked for a minute more, it is the same.
            since = begun - _MINUTE
            found = articles(self._body(ticker, since, query.end), pairs_of)
            until = query.end
            # As long as the vendor's usual answer: it may not have heard of our limit.
            if len(found) >= self._limit or len(found) == _USUAL_LIMIT:
                until = min(_cut(found), query.end)
                if until <= begun:
                    raise unexpected(NAME, f"{len(found)} articles about {ticker} in two minutes")
            yield NewsPage(placed(found, begun, until, before), until)
            begun, before = until, until - _MINUTE

    def _body(self, ticker: str, since: datetime, until: datetime) -> bytes:
        ask: dict[str, str | int] = {
            "function": "NEWS_SENTIMENT",
            "tickers": ticker,
            "time_from": f"{since:%Y%m%dT%H%M}",
            "time_to": f"{until + _MINUTE - timedelta(microseconds=1):%Y%m%dT%H%M}",
            "sort": "EARLIEST",
            "limit": self._limit,
        }
        return self.source.get("/query", ask).body


def _cut(found: list[Article]) -> datetime:
    """The minute of the last article: what else was published in it may have been cut off.

    Raises:
        ProviderError: ``bad_response``: the articles are not in order, so that anything may be.
    """
    published = [each.published for each in found if each.published is not None]
    if not published or published != sorted(published):
        raise unexpected(NAME, "the newest articles, when asked for the earliest")
    return published[-1].replace(second=0, microsecond=0)


def tickers(symbol: Symbol) -> tuple[str, ...]:
    """Whom news of ``symbol`` are about: ``CRYPTO:BTC``; ``FOREX:EUR``, ``FOREX:USD``; ``AAPL``."""
    match symbol.asset_class:
        case "crypto":
            return (f"CRYPTO:{symbol.base}",)
        case "forex":
            return (f"FOREX:{symbol.base}", f"FOREX:{symbol.quote}")
        case _:
            return (spell(NAME, symbol),)


def is_answer(found: dict[str, Any]) -> bool:
    """Whether it is an answer about news, be it an empty one."""
    return isinstance(found.get(ROWS), list) or _is_empty(found)


def _is_empty(found: dict[str, Any]) -> bool:
    return _NOTHING in str(found.get("Information", "")).lower()


def articles(body: bytes, pairs_of: PairsOf) -> list[Article]:
    """The articles of a body, in its order.

    Raises:
        ProviderError: ``bad_response``: it holds something else.
    """
    found = decode(body, NAME)
    if isinstance(found, dict) and _is_empty(found):
        return []
    rows = member(found, ROWS, list, NAME)
    stamps = [row.get("time_published") if isinstance(row, dict) else None for row in rows]
    published = moments([_spelled(stamp) for stamp in stamps])
    return [
        _article(*each, pairs_of)
        for each in zip(rows, stamps, published, records(body, ROWS, NAME), strict=True)
    ]


def _article(
    row: Any, stamp: object, published: datetime | None, record: str, pairs_of: PairsOf
) -> Article:
    if not isinstance(row, dict):
        return unreadable(record, "unreadable_file", "the article is no JSON object")
    said = row.get("ticker_sentiment")
    if not isinstance(said, list):
        return unreadable(record, "missing_field", "ticker_sentiment is no list", published)
    whole = Fields()
    whole.moment("timestamp", stamp, published)
    whole.text("article_id", row.get("url"), required=True)
    whole.text("title", row.get("title"), required=True)
    whole.text("url", row.get("url"))
    whole.text("publisher", row.get("source"))
    whole.text("summary", row.get("summary"))
    whole.columns["topics"] = _topics(row.get("topics"))
    whole.number("overall_sentiment_score", row.get("overall_sentiment_score"))
    whole.text("overall_sentiment_label", row.get("overall_sentiment_label"))
    mentions = []
    for each in said:
        named = str(each.get("ticker")) if isinstance(each, dict) else ""
        for pair in pairs_of.get(named.upper(), ()):
            part = Fields({"ticker": named})
            part.number("relevance_score", each.get("relevance_score"))
            part.number("sentiment_score", each.get("ticker_sentiment_score"))
            part.text("sentiment_label", each.get("ticker_sentiment_label"))
            mentions.append(whole.mention(pair, record, part))
    return Article(published, tuple(mentions))


def _spelled(stamp: object) -> object:
    """``20260517T110100`` as ISO 8601 has it; anything else as it is."""
    found = _COMPACT.fullmatch(stamp) if isinstance(stamp, str) else None
    if not found:
        return stamp
    year, month, day, hour, minute, second = found.groups("00")
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}"


def _topics(topics: object) -> list[str]:
    named = topics if isinstance(topics, list) else []
    return [str(each["topic"]) for each in named if isinstance(each, dict) and each.get("topic")]


def refusal(response: Response) -> ProviderError | None:
    """The failure that the vendor tells in words; None if it answers, or has no articles."""
    head = response.body[:4096].decode(errors="replace").lower()
    if f'"{ROWS}"' in head or _NOTHING in head:
        return None
    if _UNKNOWN in head:
        return ProviderError("invalid_symbol", f"{NAME}: it knows no such ticker, or no such time")
    return alpha_vantage.refusal(response)
