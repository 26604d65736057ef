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
)
from ffe_lakehouse.providers.news_alpha_vantage import AlphaVantageNews
from ffe_lakehouse.providers.news_polygon import PolygonNews
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
        double.vendors[vendor].stories = stories
        return impatient(VENDORS[vendor](quick(double, tmp_path), limit))

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
    double.vendors["alpha_vantage"].longest = 50
    try:
        stories = [story(n, n, "CRYPTO:BTC") for n in range(120)]
        assert ids(told(telling("alpha_vantage", *stories))) == [f"s{n}" for n in range(120)]
    finally:
        double.vendors["alpha_vantage"].longest = 1000


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
    double.vendors["polygon"].links_to = "https://api.massive.com"
    try:
        stories = [story(n, n // 3, "X:BTCUSD") for n in range(10)]
        assert ids(told(telling("polygon", *stories, limit=4))) == [f"s{n}" for n in range(10)]
    finally:
        double.vendors["polygon"].links_to = None


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
        return news_provider(name, Settings(_env_file=None, **keys))

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
