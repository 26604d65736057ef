"""News on the doubles: Alpha Vantage's ``NEWS_SENTIMENT`` and Polygon's ``/v2/reference/news``.

What both vendors know is a list of ``Story``; each writes it in its own format. A vendor that is
asked for anything else answers as its candle double does.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from ffe_lakehouse_tests.doubles.alpha_vantage import NO_KEY, AlphaVantageDouble
from ffe_lakehouse_tests.doubles.market import Market
from ffe_lakehouse_tests.doubles.polygon import PolygonDouble
from ffe_lakehouse_tests.doubles.server import VendorDouble
from ffe_lakehouse_tests.doubles.vendor import (
    Edits,
    Refused,
    Request,
    Response,
    json_response,
    parse_moment,
)

NO_ARTICLES = {
    "Information": "No articles found. Please adjust the time range or refer to the API"
    " documentation https://www.alphavantage.co/documentation#newsapi and try again."
}
INVALID_INPUTS = {
    "Information": "Invalid inputs. Please refer to the API documentation"
    " https://www.alphavantage.co/documentation#newsapi and try again."
}
_WORDS = {-1: "negative", 0: "neutral", 1: "positive"}


@dataclass(frozen=True)
class Story:
    """One article.

    Attributes:
        id: Unique, unless a test wants otherwise.
        at: When it was published (UTC).
        about: Score by pair's ticker, in the vendor's spelling.
        more: Fields of the vendor's record that are other than usual; None leaves one out.
    """

    id: str
    at: datetime
    about: Mapping[str, float]
    more: Mapping[str, Any] = field(default_factory=dict)


def _edited(record: dict[str, Any], story: Story) -> dict[str, Any]:
    changed = {**record, **story.more}
    return {name: value for name, value in changed.items() if value is not None}


class AlphaVantageNewsDouble(AlphaVantageDouble):
    """``NEWS_SENTIMENT``: minutes as bounds, both included, and a limit."""

    stories: Sequence[Story] = ()
    longest = 1000
    """Most articles of one answer, whatever is asked for."""

    def answer(self, request: Request, edits: Edits) -> Response:
        """One page of articles; the vendor has no second one."""
        params = request.params
        if params.get("function") != "NEWS_SENTIMENT":
            return super().answer(request, edits)
        if params.get("apikey") != self.keys["alpha_vantage_api_key"]:
            raise Refused(200, NO_KEY)
        ticker = params["tickers"]
        if ticker.endswith("NOPE"):
            raise Refused(200, INVALID_INPUTS)
        since, until = (_minute(params[name]) for name in ("time_from", "time_to"))
        found = [
            story
            for story in self.stories
            if ticker in story.about and since <= story.at.replace(second=0, microsecond=0) <= until
        ]
        if not found:
            return json_response(NO_ARTICLES)
        found.sort(key=lambda story: story.at, reverse=params.get("sort") != "EARLIEST")
        found = found[: min(int(params.get("limit", "50")), self.longest)]
        return json_response(
            {
                "items": str(len(found)),
                "sentiment_score_definition": "x <= -0.35: Bearish",
                "relevance_score_definition": "0 < x <= 1",
                "feed": [alpha_vantage_record(story) for story in found],
            }
        )


def alpha_vantage_record(story: Story) -> dict[str, Any]:
    """A story as Alpha Vantage writes it: scores of tickers are texts."""
    record = {
        "title": f"Title of {story.id}",
        "url": f"https://news.example/{story.id}",
        "time_published": f"{story.at:%Y%m%dT%H%M%S}",
        "authors": ["A. Author"],
        "summary": "What happened.",
        "source": "Example",
        "topics": [{"topic": "blockchain", "relevance_score": "0.5"}],
        "overall_sentiment_score": 0.1,
        "overall_sentiment_label": "Neutral",
        "ticker_sentiment": [
            {
                "ticker": ticker,
                "relevance_score": "0.250000",
                "ticker_sentiment_score": f"{score:.6f}",
                "ticker_sentiment_label": "Somewhat-Bullish",
            }
            for ticker, score in story.about.items()
        ],
    }
    return _edited(record, story)


class PolygonNewsDouble(PolygonDouble):
    """``/v2/reference/news`` with ``next_url``."""

    stories: Sequence[Story] = ()

    def answer(self, request: Request, edits: Edits) -> Response:
        """One page of articles, oldest first if asked for."""
        if request.path != "/v2/reference/news":
            return super().answer(request, edits)
        self._check_key(request)
        params = dict(request.params)
        if "cursor" in params:
            params = orjson.loads(base64.urlsafe_b64decode(params["cursor"]))
        since, until = (parse_moment(params[f"published_utc.{name}"]) for name in ("gte", "lt"))
        found = [
            story
            for story in self.stories
            if params["ticker"] in story.about and since <= story.at < until
        ]
        found.sort(key=lambda story: story.at, reverse=params.get("order") != "asc")
        begin, limit = int(params.get("begin", "0")), int(params.get("limit", "10"))
        page = found[begin : begin + limit]
        body: dict[str, Any] = {
            "results": [polygon_record(story) for story in page],
            "status": "OK",
            "request_id": "f5248459196e12f27520afd41cee5126",
            "count": len(page),
        }
        if begin + limit < len(found):
            state = {**params, "begin": str(begin + limit)}
            sealed = base64.urlsafe_b64encode(orjson.dumps(state)).decode()
            link = self.links_to or request.base_url
            body["next_url"] = f"{link}/v2/reference/news?cursor={sealed}"
        return json_response(body)


def polygon_record(story: Story) -> dict[str, Any]:
    """A story as Polygon writes it: a word for every ticker whose score is whole."""
    record = {
        "id": story.id,
        "publisher": {"name": "Example", "homepage_url": "https://news.example/"},
        "title": f"Title of {story.id}",
        "author": "A. Author",
        "published_utc": f"{story.at:%Y-%m-%dT%H:%M:%SZ}",
        "article_url": f"https://news.example/{story.id}",
        "tickers": list(story.about),
        "description": "What happened.",
        "keywords": ["blockchain"],
        "insights": [
            {"ticker": ticker, "sentiment": _WORDS[int(score)], "sentiment_reasoning": "Because."}
            for ticker, score in story.about.items()
            if score in _WORDS
        ],
    }
    return _edited(record, story)


@contextmanager
def news_double(*stories: Story) -> Iterator[VendorDouble]:
    """A double whose Alpha Vantage and Polygon know these stories, and no candles."""
    market = Market({})
    with VendorDouble(market) as double:
        for vendor in (AlphaVantageNewsDouble, PolygonNewsDouble):
            playing = vendor(market, double.vendors[vendor.name].clock)
            playing.stories = stories
            double.vendors[vendor.name] = playing
        yield double


def _minute(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M").replace(tzinfo=UTC)
