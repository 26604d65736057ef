"""News of vendors on real sockets, and answers that were kept as files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.news import (
    Mention,
    NewsProvider,
    NewsQuery,
    news_provider,
    parse_news,
)
from ffe_lakehouse.providers.news_alpha_vantage import AlphaVantageNews
from ffe_lakehouse.providers.news_polygon import PolygonNews
from ffe_lakehouse.providers.news_rows import LETTERS, news_letters, news_rows, sort_out
from ffe_lakehouse.schemas.records import RAW_NEWS_SENTIMENT, RECORD_REASONS
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse_tests.doubles.faults import HTML_PAGE, Body, Status, TooManyRequests, Truncated
from ffe_lakehouse_tests.doubles.harness import impatient, quick
from ffe_lakehouse_tests.doubles.news import (
    Story,
    alpha_vantage_record,
    news_double,
    polygon_record,
)
from ffe_lakehouse_tests.doubles.server import VendorDouble

START, END = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 3, tzinfo=UTC)
KNOWN = datetime(2024, 6, 1, tzinfo=UTC)
VENDORS = {"alpha_vantage": AlphaVantageNews, "polygon": PolygonNews}
BITCOIN = {"alpha_vantage": "CRYPTO:BTC", "polygon": "X:BTCUSD"}
PAIRS = [parse_symbol(name) for name in ("BTCUSD", "BTCEUR", "EURUSD", "AAPL", "BRK.B")]


@pytest.fixture(scope="module")
def double() -> Iterator[VendorDouble]:
    with news_double() as playing:
        yield playing


@pytest.fixture
def telling(double: VendorDouble, tmp_path: Path) -> Any:
    """A vendor's news, told by the double, of these stories."""
    double.reset()

    def tell(vendor: str, *stories: Story, limit: int = 1000) -> NewsProvider:
        double.vendors[vendor].stories = stories  # type: ignore[attr-defined]
        return impatient(VENDORS[vendor](quick(double, tmp_path), limit))  # type: ignore[arg-type, return-value]

    return tell


def story(number: int, minutes: float, *tickers: str, **more: Any) -> Story:
    """``minutes`` after ``START``."""
    return Story(f"s{number}", START + timedelta(minutes=minutes), dict.fromkeys(tickers, 1), more)


def told(provider: NewsProvider, pair: str = "BTCUSD") -> list[Mention]:
    """What a window says of a pair; the cover of its pages is checked."""
    covered, found = START, []
    for page in provider.fetch(NewsQuery(parse_symbol(pair), START, END)):
        assert page.covered_until >= covered
        for place, article in page.articles:
            assert START <= place < END
            found += article.mentions
        covered = page.covered_until
    assert covered == END
    return found


def ids(mentions: Sequence[Mention]) -> list[str]:
    return [str(mention.columns["title"]).removeprefix("Title of ") for mention in mentions]


def body_of(vendor: str, *records: Any) -> bytes:
    rows = "feed" if vendor == "alpha_vantage" else "results"
    return orjson.dumps({"items": str(len(records)), rows: list(records)})


def record_of(vendor: str, **more: Any) -> dict[str, Any]:
    write = alpha_vantage_record if vendor == "alpha_vantage" else polygon_record
    return write(Story("s1", START, {BITCOIN[vendor]: 1}, more))


# --- paging


@pytest.mark.parametrize("vendor", VENDORS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(minutes=[0, 1, 2.1, 2.5, 2.9, 4, 5.1, 5.2, 5.3], limit=4)
@given(
    minutes=st.lists(st.floats(-30, 2 * 24 * 60 + 30) | st.floats(0, 12), max_size=40),
    limit=st.integers(2, 40),
)
def test_at_the_seams_of_pages_no_article_is_lost_and_none_doubled(
    telling: Any, vendor: str, minutes: list[float], limit: int
) -> None:
    stories = [story(n, minute, BITCOIN[vendor]) for n, minute in enumerate(minutes)]
    inside = [each for each in stories if START <= each.at.replace(microsecond=0) < END]
    provider = telling(vendor, *stories, limit=limit)
    minute = timedelta(minutes=1)
    of = Counter(each.at.replace(second=0, microsecond=0) for each in stories)
    if vendor == "alpha_vantage" and any(of[m] + of[m - minute] >= limit for m in list(of)):
        return  # told apart below: what is cut within two minutes cannot be continued
    assert Counter(ids(told(provider))) == Counter(each.id for each in inside)


def test_more_articles_in_two_minutes_than_a_page_holds_are_an_error(
    telling: Any,
) -> None:
    stories = [story(n, 5 + n / 100, "CRYPTO:BTC") for n in range(8)]
    with pytest.raises(ProviderError, match="articles about CRYPTO:BTC in two minutes") as caught:
        told(telling("alpha_vantage", *stories, limit=4))
    assert caught.value.kind == "bad_response"


def test_a_vendor_that_does_not_hear_the_limit_is_paged_all_the_same(
    telling: Any, double: VendorDouble
) -> None:
    double.vendors["alpha_vantage"].longest = 50  # type: ignore[attr-defined]
    try:
        stories = [story(n, n, "CRYPTO:BTC") for n in range(120)]
        assert ids(told(telling("alpha_vantage", *stories))) == [f"s{n}" for n in range(120)]
    finally:
        double.vendors["alpha_vantage"].longest = 1000  # type: ignore[attr-defined]


def test_a_cut_answer_that_begins_with_the_newest_is_refused(
    telling: Any, double: VendorDouble
) -> None:
    newest = body_of(
        "alpha_vantage",
        *(alpha_vantage_record(story(n, 50 - n, "CRYPTO:BTC")) for n in range(50)),
    )
    double.play(Body(newest.decode()))
    with pytest.raises(ProviderError, match="newest articles, when asked for the earliest"):
        told(telling("alpha_vantage"))


def test_a_quiet_window_is_one_request(telling: Any, double: VendorDouble) -> None:
    assert told(telling("alpha_vantage")) == told(telling("polygon")) == []
    assert [request.vendor for request in double.requests] == ["alpha_vantage", "polygon"]
    asked = double.requests[0].params
    assert asked["tickers"] == "CRYPTO:BTC"
    assert (asked["time_from"], asked["time_to"]) == ("20240229T2359", "20240303T0000")
    assert (asked["sort"], asked["limit"]) == ("EARLIEST", "1000")


def test_polygon_follows_the_link_to_its_other_host(telling: Any, double: VendorDouble) -> None:
    double.vendors["polygon"].links_to = "https://api.massive.com"  # type: ignore[attr-defined]
    try:
        stories = [story(n, n // 3, "X:BTCUSD") for n in range(10)]
        assert ids(told(telling("polygon", *stories, limit=4))) == [f"s{n}" for n in range(10)]
    finally:
        double.vendors["polygon"].links_to = None  # type: ignore[attr-defined]


def test_polygon_leads_nowhere_is_an_error(telling: Any, double: VendorDouble) -> None:
    asked = f"ticker=X:BTCUSD&published_utc.gte={START:%Y-%m-%d}&published_utc.lt={END:%Y-%m-%d}"
    link = f"{double.url}/polygon/v2/reference/news?{asked}"
    record = polygon_record(story(1, 1, "X:BTCUSD"))
    double.play(Body(orjson.dumps({"results": [record], "next_url": link}).decode()), times=2)
    with pytest.raises(ProviderError, match="leads nowhere"):
        told(telling("polygon"))


def test_news_of_a_forex_pair_are_those_of_both_currencies(
    telling: Any, double: VendorDouble
) -> None:
    both = story(0, 1, "FOREX:USD", "FOREX:EUR")
    others = [story(n, n, "FOREX:EUR" if n % 3 else "FOREX:USD") for n in range(1, 20)]
    mentions = told(telling("alpha_vantage", both, *others, limit=5), "EURUSD")
    assert len(mentions) == 21
    assert sorted(m.columns["ticker"] for m in mentions if ids([m]) == ["s0"]) == [
        "FOREX:EUR",
        "FOREX:USD",
    ]
    assert {request.params["tickers"] for request in double.requests} == {"FOREX:EUR", "FOREX:USD"}


# --- refusals


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendor_that_asks_for_patience_is_asked_again(
    telling: Any, double: VendorDouble, vendor: str
) -> None:
    double.play(TooManyRequests())
    double.play(Status(503))
    assert ids(told(telling(vendor, story(1, 1, BITCOIN[vendor])))) == ["s1"]
    assert len(double.requests) == 3


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "fault",
    [HTML_PAGE, Truncated(), Body(""), Body("[]"), Body("null"), Body("{}"), Body('{"feed": 1}')],
)
def test_garbage_is_a_bad_response(
    telling: Any, double: VendorDouble, vendor: str, fault: Any
) -> None:
    double.play(fault)
    with pytest.raises(ProviderError) as caught:
        told(telling(vendor, story(1, 1, BITCOIN[vendor])))
    assert caught.value.kind == "bad_response"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('{"Note": "Our standard API call frequency is 5 calls per minute"}', "rate_limited"),
        ('{"Information": "Our standard API rate limit is 25 requests per day."}', "rate_limited"),
        ('{"Information": "This is a premium endpoint."}', "authentication"),
        ('{"Information": "Invalid inputs. Please refer to the API"}', "invalid_symbol"),
        ('{"Error Message": "the parameter apikey is invalid or missing."}', "authentication"),
        ('{"Information": "Something new."}', "bad_response"),
    ],
)
def test_alpha_vantage_refuses_with_status_200(
    telling: Any, double: VendorDouble, said: str, kind: str
) -> None:
    double.play(Body(said), times=9)
    with pytest.raises(ProviderError) as caught:
        told(telling("alpha_vantage"))
    assert caught.value.kind == kind


def test_the_words_of_a_refusal_in_a_headline_are_none(telling: Any) -> None:
    title = "demo: premium Note, not_authorized, exceeded the maximum requests"
    for vendor, ticker in BITCOIN.items():
        (mention,) = told(telling(vendor, story(1, 1, ticker, title=title)))
        assert mention.columns["title"] == title


def test_no_key_reaches_an_error(telling: Any, double: VendorDouble, tmp_path: Path) -> None:
    key = "canary+7f3a/9c51e2d84b06"
    wrong = quick(double, tmp_path, alpha_vantage_api_key=key, polygon_api_key=key)
    for vendor in VENDORS.values():
        with pytest.raises(ProviderError) as caught:
            told(vendor(wrong))
        assert caught.value.kind == "authentication"
        assert "7f3a" not in str(caught.value)


def test_the_vendor_is_the_one_named_or_the_first_with_a_key() -> None:
    def made(name: str | None = None, **keys: str) -> NewsProvider:
        return news_provider(name, Settings(_env_file=None, **keys))  # type: ignore[arg-type, call-arg]

    both = {"alpha_vantage_api_key": "k", "polygon_api_key": "k"}
    assert made(**both).name == "alpha_vantage"
    assert made("polygon", **both).name == "polygon"
    assert made(massive_api_key="k").name == "polygon"
    with pytest.raises(ProviderError, match="set FFE_ALPHA_VANTAGE_API_KEY"):
        made()
    with pytest.raises(ProviderError, match="polygon needs a key"):
        made("polygon", alpha_vantage_api_key="k")
    with pytest.raises(InputError, match="'yahoo' brings no news: use one of alpha_vantage"):
        made("yahoo")


# --- bodies


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


@pytest.mark.parametrize("limit", [1000, 4])
def test_an_article_without_a_time_stands_where_the_one_before_it_does(
    telling: Any, limit: int
) -> None:
    stories = [
        story(0, 0, "CRYPTO:BTC", time_published="first"),
        *(story(n, 200 * n, "CRYPTO:BTC") for n in range(1, 8)),
        story(8, 1601, "CRYPTO:BTC", time_published="last"),
    ]
    query = NewsQuery(PAIRS[0], START, END)
    pages = telling("alpha_vantage", *stories, limit=limit).fetch(query)
    placed = [(place, *article.mentions) for page in pages for place, article in page.articles]
    assert ids([mention for _, mention in placed]) == [f"s{n}" for n in range(9)]
    minutes = [(place - START) // timedelta(minutes=1) for place, _ in placed]
    assert minutes == [0, 200, 400, 600, 800, 1000, 1200, 1400, 1400]
