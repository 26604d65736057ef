"""What an answer about news says: rows, letters, and what is counted beside."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.news import (
    parse_news,
)
from ffe_lakehouse.providers.news_rows import LETTERS, news_letters, news_rows, sort_out
from ffe_lakehouse.schemas.records import RAW_NEWS_SENTIMENT, RECORD_REASONS
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse_tests.doubles.news import (
    Story,
    alpha_vantage_record,
    polygon_record,
)
from ffe_lakehouse_tests.providers.test_news import (
    BITCOIN,
    KNOWN,
    PAIRS,
    START,
    VENDORS,
    body_of,
)


def record_of(vendor: str, **more: Any) -> dict[str, Any]:
    write = alpha_vantage_record if vendor == "alpha_vantage" else polygon_record
    return write(Story("s1", START, {BITCOIN[vendor]: 1}, more))


def test_every_mention_of_the_recorded_answer_becomes_a_row(shared_data: Path) -> None:
    folder = shared_data / "wire" / "alpha_vantage_recorded" / "intelligence"
    body = (folder / "NEWS_SENTIMENT_37784e1e.json").read_bytes()
    feed = orjson.loads(body)["feed"]
    wanted = {"AAPL": "AAPL", "NVDA": "NVDA", "BRK-B": "BRK.B"}
    news = parse_news(body, [parse_symbol(name) for name in (*wanted.values(), "BTCUSD")])
    sorting = sort_out(news.mentions, news.vendor)
    assert (sorting.duplicate, sorting.rejected, news.unrelated) == ([], {}, 0)
    rows = news_rows(news.mentions, news.vendor, KNOWN).to_pylist()
    expected = [
        (article["url"], wanted[said["ticker"]], float(said["ticker_sentiment_score"]))
        for article in feed
        for said in article["ticker_sentiment"]
        if said["ticker"] in wanted
    ]
    found = [(row["article_id"], row["asset_pair"], row["sentiment_score"]) for row in rows]
    assert found == expected
    assert len(found) == 50 + 17 + 1
    assert min(row["timestamp"] for row in rows) == datetime(2026, 5, 15, 15, 40, 35, tzinfo=UTC)
    assert orjson.loads(rows[0]["record"]) == feed[0]
    assert '"ticker_sentiment_score":"0.061509"' in rows[0]["record"]


def test_the_recorded_answer_with_other_times_says_the_same_of_crypto_and_forex(
    shared_data: Path,
) -> None:
    name = "wlswo_news_data_2025-02-26_time_reformatted.json"
    body = (shared_data / "wire" / "alpha_vantage" / name).read_bytes()
    feed = orjson.loads(body)["feed"]
    news = parse_news(body, PAIRS)
    named = Counter(said["ticker"] for article in feed for said in article["ticker_sentiment"])
    found = Counter((m.pair, m.columns["ticker"]) for m in news.mentions)
    assert len(news.articles) == len(feed) == 69
    assert found["BTCUSD", "CRYPTO:BTC"] == found["BTCEUR", "CRYPTO:BTC"] == named["CRYPTO:BTC"] > 0
    assert found["EURUSD", "FOREX:USD"] == named["FOREX:USD"] > 0
    assert news.unrelated == sum(not article.mentions for article in news.articles) > 0
    assert not [mention for mention in news.mentions if mention.reasons]


def test_the_recorded_answer_of_polygon_has_no_sentiment(shared_data: Path) -> None:
    folder = shared_data / "wire" / "polygon" / "mocks" / "v2" / "reference"
    news = parse_news((folder / "news&ticker=NFLX.json").read_bytes(), [parse_symbol("NFLX")])
    (row,) = news_rows(news.mentions, news.vendor, KNOWN).to_pylist()
    assert (row["source_provider"], row["asset_pair"], row["publisher"]) == (
        "polygon",
        "NFLX",
        "MarketWatch",
    )
    assert row["timestamp"] == datetime(2022, 4, 28, 17, 8, tzinfo=UTC)
    assert (row["sentiment_score"], row["sentiment_label"], row["topics"]) == (None, None, [])


def test_words_of_sentiment_are_scores_and_stay_as_labels() -> None:
    words = {"positive": 1.0, "Neutral": 0.0, "negative": -1.0, "mixed": None}
    for word, score in words.items():
        insights = [{"ticker": "X:BTCUSD", "sentiment": word}]
        news = parse_news(body_of("polygon", record_of("polygon", insights=insights)), PAIRS)
        (columns,) = [mention.columns for mention in news.mentions]
        assert (columns["sentiment_label"], columns["sentiment_score"]) == (word, score)


def test_scores_are_read_as_texts_and_as_numbers() -> None:
    for score in (0.25, "0.25", "2.5e-1"):
        said = [{"ticker": "CRYPTO:BTC", "relevance_score": 1, "ticker_sentiment_score": score}]
        record = record_of("alpha_vantage", ticker_sentiment=said)
        mentions = parse_news(body_of("alpha_vantage", record), PAIRS[:1]).mentions
        assert [(m.columns["sentiment_score"], m.reasons) for m in mentions] == [(0.25, ())]


NOT_A_NUMBER = [{"ticker": "CRYPTO:BTC", "ticker_sentiment_score": "very", "relevance_score": "1"}]


@pytest.mark.parametrize(
    ("vendor", "more", "reasons", "detail"),
    [
        ("alpha_vantage", {"time_published": "20241399T000000"}, ["bad_time"], "20241399"),
        ("alpha_vantage", {"time_published": None}, ["missing_field"], "timestamp"),
        ("alpha_vantage", {"title": " "}, ["missing_field"], "title"),
        ("alpha_vantage", {"url": None}, ["missing_field"], "article_id"),
        ("alpha_vantage", {"overall_sentiment_score": "nan"}, ["not_finite"], "overall"),
        ("alpha_vantage", {"overall_sentiment_score": [1]}, ["not_finite"], "overall"),
        ("alpha_vantage", {"ticker_sentiment": NOT_A_NUMBER}, ["not_finite"], "'very'"),
        ("alpha_vantage", {"ticker_sentiment": "CRYPTO:BTC"}, ["missing_field"], "no list"),
        (
            "alpha_vantage",
            {"time_published": "soon", "title": None, "ticker_sentiment": NOT_A_NUMBER},
            ["missing_field", "bad_time", "not_finite"],
            "title is missing",
        ),
        ("polygon", {"published_utc": "yesterday"}, ["bad_time"], "yesterday"),
        ("polygon", {"title": None}, ["missing_field"], "title"),
        ("polygon", {"id": None, "article_url": None}, ["missing_field"], "article_id"),
        ("polygon", {"tickers": None}, ["missing_field"], "no list"),
        ("polygon", {"tickers": {"a": 1}}, ["missing_field"], "no list"),
    ],
)
def test_a_bad_article_is_a_letter_with_its_reasons_and_nothing_is_lost(
    vendor: str, more: dict[str, Any], reasons: list[str], detail: str
) -> None:
    record = record_of(vendor, **more)
    body = body_of(vendor, record_of(vendor), record)
    news = parse_news(body, PAIRS[:1])
    sorting = sort_out(news.mentions, vendor)
    assert (sorting.good, sorting.duplicate, list(sorting.rejected)) == ([0], [], [1])
    letters = news_letters(
        list(sorting.rejected.values()), [START.date()], vendor, "a test", "run", KNOWN
    )
    assert letters.schema == LETTERS.arrow
    (letter,) = letters.to_pylist()
    assert letter["reasons"] == reasons
    assert set(reasons) <= RECORD_REASONS.keys()
    assert detail in letter["detail"]
    assert orjson.loads(letter["record"]) == record


def test_an_article_that_is_no_object_is_a_letter() -> None:
    for vendor in VENDORS:
        news = parse_news(body_of(vendor, 7, "text", None, [1]), PAIRS)
        assert [mention.reasons for mention in news.mentions] == [("unreadable_file",)] * 4
        assert [mention.record for mention in news.mentions] == ["7", '"text"', "null", "[1]"]


def test_repetitions_are_told_from_articles_that_contradict_each_other() -> None:
    one, other = record_of("alpha_vantage"), record_of("alpha_vantage", title="Another")
    again = record_of("alpha_vantage", url="https://news.example/again")
    news = parse_news(body_of("alpha_vantage", one, other, again, again, 7, 7), PAIRS[:1])
    sorting = sort_out(news.mentions, news.vendor)
    assert (sorting.good, sorting.duplicate) == ([2], [3, 5])
    assert {n: each.reasons for n, each in sorting.rejected.items()} == {
        0: ("conflicting_version",),
        1: ("conflicting_version",),
        4: ("unreadable_file",),
    }


def test_an_article_about_nothing_we_hold_is_unrelated() -> None:
    said = [{"ticker": "CRYPTO:DOGE"}, "CRYPTO:BTC", {"no": "ticker"}]
    for named in (said, []):
        record = record_of("alpha_vantage", ticker_sentiment=named, title=None)
        news = parse_news(body_of("alpha_vantage", record), PAIRS)
        assert (news.mentions, news.unrelated) == ([], 1)


@pytest.mark.parametrize(
    "body", [b"", b"no json", b"[]", b"{}", b'{"feed": {}}', b'{"Information": "premium"}']
)
def test_a_file_that_is_no_answer_is_refused_with_what_one_looks_like(body: bytes) -> None:
    with pytest.raises(InputError, match="no news: "):
        parse_news(body, PAIRS)


def test_a_body_nested_too_deeply_is_refused() -> None:
    deep = orjson.dumps(record_of("alpha_vantage"))[:-1] + b',"x":' + b"[" * 400 + b"]" * 400 + b"}"
    with pytest.raises(InputError, match="nested too deeply"):
        parse_news(b'{"feed": [' + deep + b"]}", PAIRS)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["ticker", "sentiment", "topic", "name", "x"]), inner)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("vendor", VENDORS)
@given(data=st.data())
def test_whatever_stands_in_the_fields_every_article_is_accounted_for(
    vendor: str, data: st.DataObject
) -> None:
    fields = list(record_of(vendor))
    records = [
        record_of(vendor) | data.draw(st.dictionaries(st.sampled_from(fields), values, max_size=4))
        for _ in range(data.draw(st.integers(0, 3)))
    ]
    news = parse_news(body_of(vendor, *records), PAIRS)
    assert len(news.articles) == len(records)
    sorting = sort_out(news.mentions, vendor)
    numbers = [*sorting.good, *sorting.duplicate, *sorting.rejected]
    assert sorted(numbers) == list(range(len(news.mentions)))
    rows = news_rows([news.mentions[n] for n in sorting.good], vendor, KNOWN)
    assert rows.schema == RAW_NEWS_SENTIMENT.arrow
    rejected = list(sorting.rejected.values())
    letters = news_letters(rejected, [START.date()] * len(rejected), vendor, "test", "run", KNOWN)
    assert len(letters["letter_id"].unique()) == len(rejected)
