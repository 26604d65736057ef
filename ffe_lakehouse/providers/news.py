"""News of a pair: a query goes in, pages of articles come out, each with what it says of the pair.

The contract between a vendor's news and Bronze, and the forms that vendors share, are here; how one
is asked and what its fields mean, in ``news_alpha_vantage`` and ``news_polygon``. Which mentions
become rows and which dead letters is settled in ``news_rows``.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.parsing import decode, numbers, times, unexpected
from ffe_lakehouse.providers.timestamps import from_micros
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.symbols import Symbol

PairsOf = Mapping[str, Sequence[str]]
"""Canonical pairs by a vendor's ticker, in capitals: whose news an article is."""

_SHOWN = 60


@dataclass(frozen=True)
class Mention:
    """What one article says of one pair under one ticker: a row to be, or why it is none.

    Attributes:
        pair: Canonical pair; None if the article does not let its tickers be read.
        columns: Values by column of ``RAW_NEWS_SENTIMENT``, from ``timestamp`` to
            ``overall_sentiment_label``; some may be missing where there are ``reasons``.
        record: The whole article as JSON, keys sorted, every number with the digits it came with.
        reasons: Codes of ``RECORD_REASONS``; none for a row.
        detail: In words: which fields, which values.
    """

    pair: str | None
    columns: Mapping[str, Any]
    record: str
    reasons: tuple[str, ...] = ()
    detail: str | None = None


@dataclass(frozen=True)
class Article:
    """One record of a vendor's answer.

    Attributes:
        published: UTC; None if it cannot be read.
        mentions: One for each pair and ticker that is wanted; none, and it is *unrelated*.
    """

    published: datetime | None
    mentions: tuple[Mention, ...]


@dataclass(frozen=True)
class News:
    """A whole answer, as it stands in a file.

    Attributes:
        vendor: As in ``source_provider``.
        articles: In the vendor's order, unrelated ones included.
    """

    vendor: str
    articles: list[Article]

    @property
    def mentions(self) -> list[Mention]:
        """Of all articles: each ends as a row, as a duplicate or as a dead letter."""
        return [mention for article in self.articles for mention in article.mentions]

    @property
    def unrelated(self) -> int:
        """Articles that name no pair that is wanted."""
        return sum(not article.mentions for article in self.articles)


@dataclass(frozen=True)
class NewsQuery:
    """News of one symbol that were published in ``[start, end)`` (UTC)."""

    symbol: Symbol
    start: datetime
    end: datetime


Placed = tuple[datetime, Article]
"""An article and where it stands in time (UTC): at its own time or, if that cannot be read, at that
of the article before it."""


@dataclass(frozen=True)
class NewsPage:
    """One answer of a vendor, parsed.

    Attributes:
        articles: Of the query's window only.
        covered_until: All articles from before this moment (UTC) have now been delivered.
    """

    articles: list[Placed]
    covered_until: datetime


class NewsProvider(ABC):
    """A source of news.

    Attributes:
        name: As in ``source_provider`` and in the run config.
    """

    name: str

    @abstractmethod
    def fetch(self, query: NewsQuery) -> Iterator[NewsPage]:
        """Answer ``query`` page by page, oldest first; the last page covers ``query.end``.

        Raises:
            ProviderError: The vendor gave no usable answer. Pages already yielded stay valid.
        """


def news_provider(name: str | None, settings: Settings) -> NewsProvider:
    """The vendor of this name or, without one, the first whose key is set.

    Raises:
        InputError: There is no such vendor.
        ProviderError: ``configuration``: it has no key, or no vendor has.
    """
    from ffe_lakehouse.providers.news_alpha_vantage import AlphaVantageNews
    from ffe_lakehouse.providers.news_polygon import PolygonNews

    known: dict[str, type[AlphaVantageNews] | type[PolygonNews]] = {
        "alpha_vantage": AlphaVantageNews,
        "polygon": PolygonNews,
    }
    if name is not None:
        if name not in known:
            raise InputError(f"{name!r} brings no news: use one of {', '.join(known)}")
        return known[name](settings)
    if settings.alpha_vantage_api_key:
        return AlphaVantageNews(settings)
    if settings.polygon_api_key or settings.massive_api_key:
        return PolygonNews(settings)
    raise ProviderError(
        "configuration",
        "news need a vendor's key: set FFE_ALPHA_VANTAGE_API_KEY (get one at"
        " alphavantage.co/support) or FFE_POLYGON_API_KEY (massive.com), or land the vendor's"
        " answer as a file",
    )


def parse_news(body: bytes, symbols: Iterable[Symbol]) -> News:
    """What an answer that was kept as a file says of ``symbols``.

    Args:
        body: JSON of Alpha Vantage's ``NEWS_SENTIMENT`` or of Polygon's ``/v2/reference/news``;
            which one, it tells itself.
        symbols: The pairs whose news are wanted. A coin's news belong to every pair that it is the
            base of, a currency's to every forex pair that it is half of.

    Raises:
        InputError: It is neither.
    """
    from ffe_lakehouse.providers import news_alpha_vantage, news_polygon

    try:
        found = decode(body, "the file")
        for vendor in (news_alpha_vantage, news_polygon):
            if isinstance(found, dict) and vendor.is_answer(found):
                pairs_of = by_ticker((vendor.tickers(symbol), symbol) for symbol in symbols)
                return News(vendor.NAME, vendor.articles(body, pairs_of))
    except ProviderError as error:
        raise InputError(f"no news: {error}") from None
    raise InputError(
        "no news: an answer of Alpha Vantage's NEWS_SENTIMENT has a list 'feed', one of Polygon's"
        " /v2/reference/news has a list 'results'; this has neither"
    )


def by_ticker(spelled: Iterable[tuple[Sequence[str], Symbol]]) -> PairsOf:
    """The pairs of every ticker, from the tickers of every pair."""
    pairs_of: dict[str, list[str]] = {}
    for tickers, symbol in spelled:
        for ticker in tickers:
            pairs_of.setdefault(ticker, []).append(symbol.name)
    return pairs_of


def placed(
    articles: Iterable[Article], start: datetime, end: datetime, before: datetime
) -> list[Placed]:
    """The articles that stand in ``[start, end)``; those before the first time, at ``before``."""
    found, place = [], before
    for article in articles:
        place = article.published or place
        if start <= place < end:
            found.append((place, article))
    return found


@dataclass
class Fields:
    """Columns that are being read from a record, and what is wrong with them."""

    columns: dict[str, Any] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)

    def text(self, column: str, value: object, *, required: bool = False) -> None:
        """A text; blank or none at all is null."""
        text = value if isinstance(value, str) and value.strip() else None
        if text is None and required:
            self.faults.append(("missing_field", f"{column} is missing"))
        self.columns[column] = text

    def number(self, column: str, value: object) -> None:
        """A number, or the text of one; none at all is null."""
        read = numbers([value])[0].as_py()
        if read is not None and not math.isfinite(read):
            self.faults.append(("not_finite", f"{column} is {value!r:.{_SHOWN}}"))
            read = None
        self.columns[column] = read

    def moment(self, column: str, value: object, read: datetime | None) -> None:
        """A time, of which ``read`` was understood."""
        if read is None:
            code = "missing_field" if value in (None, "") else "bad_time"
            self.faults.append((code, f"{column} is {value!r:.{_SHOWN}}"))
        self.columns[column] = read

    def mention(self, pair: str | None, record: str, more: "Fields | None" = None) -> Mention:
        """The mention that these columns, and ``more``, are."""
        faults = self.faults + (more.faults if more else [])
        return Mention(
            pair,
            self.columns | (more.columns if more else {}),
            record,
            tuple(dict.fromkeys(code for code, _ in faults)),
            "; ".join(said for _, said in faults) or None,
        )


def unreadable(record: str, code: str, detail: str, published: datetime | None = None) -> Article:
    """An article of which nobody can tell whom it mentions."""
    columns = {"timestamp": published}
    return Article(published, (Mention(None, columns, record, (code,), detail),))


def moments(stamps: Sequence[object]) -> list[datetime | None]:
    """Times of any common spelling (UTC); None where one cannot be read."""
    read = times(stamps) if stamps else pa.nulls(0, pa.int64())
    micros = read.cast(pa.int64()).to_pylist()
    return [None if value is None else from_micros(value) for value in micros]


def records(body: bytes, rows: str, vendor: str) -> list[str]:
    """Every element of the list ``rows`` as JSON: keys sorted, numbers with their own digits.

    Raises:
        ProviderError: ``bad_response``: nested so deeply that it cannot be written again.
    """
    literal = orjson.Fragment
    try:
        decoded = json.loads(body, parse_float=literal, parse_int=literal, parse_constant=str)
        return [orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode() for row in decoded[rows]]
    except (RecursionError, orjson.JSONEncodeError):
        raise unexpected(vendor, "articles that are nested too deeply") from None


def together(streams: Sequence[Iterator[NewsPage]], query: NewsQuery) -> Iterator[NewsPage]:
    """Several answers to one query as one: the stream that is furthest behind goes on."""
    covered = [query.start for _ in streams]
    while min(covered) < query.end:
        behind = covered.index(min(covered))
        page = next(streams[behind])
        covered[behind] = page.covered_until
        yield replace(page, covered_until=min(covered))
