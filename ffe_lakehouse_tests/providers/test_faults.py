"""A vendor's bad day costs time, never data: each fault on each vendor, alone and mixed."""

import base64
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ffe_lakehouse.providers.base import Page, Provider, ProviderError
from ffe_lakehouse_tests.doubles.faults import (
    HTML_PAGE,
    BadNumber,
    Body,
    Fault,
    GzipBomb,
    HugeBody,
    Mixed,
    NoAnswer,
    OutsideWindow,
    Redirect,
    Repeated,
    Reset,
    Stall,
    Status,
    TooManyRequests,
    Truncated,
    Unordered,
    WrongSymbol,
)
from ffe_lakehouse_tests.doubles.harness import (
    CLASSES,
    PAIRS,
    ask,
    differences,
    good,
    impatient,
    make,
    quick,
    simulated_market,
    stopped_clock,
    told,
)
from ffe_lakehouse_tests.doubles.market import Bars, Market
from ffe_lakehouse_tests.doubles.server import VendorDouble
from ffe_lakehouse_tests.doubles.vendor import Response, Vendor

WINDOW = (datetime(2024, 3, 11, tzinfo=UTC), datetime(2024, 3, 14, tzinfo=UTC))
TRIES = 4
"""One, and three retries."""

HEALING = {
    "429": (TooManyRequests(), "rate_limited"),
    "429 retry after 0 s": (TooManyRequests("0"), "rate_limited"),
    "500": (Status(500), "unavailable"),
    "502": (Status(502), "unavailable"),
    "503": (Status(503), "unavailable"),
    "no answer": (NoAnswer(), "timeout"),
    "stall": (Stall(), "timeout"),
    "reset": (Reset(), "unavailable"),
}
BAD = {
    "truncated": Truncated(),
    "html": HTML_PAGE,
    "empty list": Body("[]"),
    "no body": Body(""),
    "null": Body("null"),
    "number": Body("42"),
    "not unicode": Body('{"a": "\udc80"}'.encode(errors="surrogateescape").decode("latin-1")),
    "deep": Body("[" * 100_000),
    "50 MB": HugeBody(),
    "gzip bomb": GzipBomb(),
    "wrong symbol": WrongSymbol(),
}
DISORDER = {
    "repeated": Repeated(),
    "unordered": Unordered(),
    "outside": OutsideWindow(),
    "next to the window": OutsideWindow(days=3),
    "all": Mixed((Repeated(), OutsideWindow(), Unordered())),
}


@dataclass
class Line:
    """One vendor, its provider, and the key that it is asked for."""

    double: VendorDouble
    provider: Provider
    key: tuple[str, str]

    def ask(self) -> list[Page]:
        """The pages of ``WINDOW``."""
        return ask(self.provider, self.key, *WINDOW)

    def good(self) -> pa.Table:
        """The bars of ``WINDOW`` that would be stored."""
        return good(self.ask(), self.key, *WINDOW)

    @property
    def truth(self) -> pa.Table:
        """The bars of ``WINDOW`` as this vendor tells them."""
        market: Market = self.double.vendors[self.provider.name].market
        return told(self.provider.name, self.key, market.table(self.key, *WINDOW))

    def is_healthy(self) -> bool:
        """Whether an undisturbed fetch gives the truth."""
        self.double.heal()
        return not differences(self.good(), self.truth)

    def failure(self) -> ProviderError:
        """The error that a fetch ends with."""
        with pytest.raises(ProviderError) as failure:
            self.ask()
        assert "\n" not in str(failure.value)
        assert self.provider.name in str(failure.value)
        return failure.value


@pytest.fixture(scope="module")
def listening() -> Iterator[VendorDouble]:
    with VendorDouble(simulated_market(), stopped_clock) as double:
        yield double


@pytest.fixture(params=CLASSES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def line(listening: VendorDouble, tmp_path: Path, name: str) -> Line:
    return connect(listening, tmp_path, name)


@pytest.fixture(params=["1h", "4h"])
def either(request: pytest.FixtureRequest, line: Line) -> Line:
    """A timeframe that the vendor has, and one that is rolled up if it lacks it."""
    line.key = (line.key[0], request.param)
    return line


def connect(double: VendorDouble, tmp_path: Path, name: str, **changed: Any) -> Line:
    double.reset()
    provider = impatient(make(name, quick(double, tmp_path, **changed)))
    return Line(double, provider, (PAIRS[name][-1], "1h"))


# --- alone


@pytest.fixture
def hurried(listening: VendorDouble, tmp_path: Path, name: str, fault: str) -> Line:
    """As ``line``; where a fault is waited for in vain, the wait is short."""
    patience = 0.3 if HEALING[fault][1] == "timeout" else 5.0
    return connect(listening, tmp_path, name, http_timeout_seconds=patience)


@pytest.mark.parametrize("fault", HEALING)
def test_a_failure_that_heals_is_asked_again_and_leaves_no_trace(hurried: Line, fault: str) -> None:
    line = hurried
    line.double.play(HEALING[fault][0])
    assert differences(line.good(), line.truth) == []
    assert len(line.double.requests) == 2


@pytest.mark.parametrize("fault", HEALING)
def test_a_failure_that_stays_is_one_error_after_four_tries(hurried: Line, fault: str) -> None:
    line, begun = hurried, time.monotonic()
    line.double.play(HEALING[fault][0], math.inf)
    assert line.failure().kind == HEALING[fault][1]
    assert len(line.double.requests) == TRIES
    assert time.monotonic() - begun < 5
    assert line.is_healthy()


def test_a_vendor_that_refuses_connections_is_asked_again(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    with line.double.down():
        assert line.failure().kind == "unavailable"
    with line.double.down() as up:
        monkeypatch.setattr(line.provider.source, "_sleep", lambda _: up())  # type: ignore[attr-defined]
        assert differences(line.good(), line.truth) == []
    assert len(line.double.requests) == 1


# Alpha Vantage's refusals have HTTP 200 and no such header.
@pytest.mark.parametrize("name", [name for name in CLASSES if name != "alpha_vantage"])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_vendor_that_asks_for_a_long_wait_is_given_up_and_the_wait_is_told(
    line: Line, form: str
) -> None:
    later = datetime.fromtimestamp(time.time() + 30, UTC)
    asks = "30" if form == "seconds" else format_datetime(later, usegmt=True)
    line.double.play(TooManyRequests(asks), math.inf)
    failure = line.failure()
    assert failure.kind == "rate_limited"
    assert failure.retry_after == pytest.approx(30, abs=2)
    assert len(line.double.requests) == 1


@pytest.mark.parametrize("fault", BAD)
def test_an_answer_that_cannot_be_believed_is_refused_whole(line: Line, fault: str) -> None:
    told_apart = (line.provider.name, fault) not in [
        ("coinbase", "wrong symbol"),  # its rows do not say whose they are
        ("coinbase", "empty list"),  # its answer for a window without a trade
    ]
    begun = time.monotonic()
    line.double.play(BAD[fault], math.inf)
    if told_apart:
        assert line.failure().kind == "bad_response"
    assert len(line.double.requests) <= TRIES
    assert time.monotonic() - begun < 5
    assert line.is_healthy()


def test_a_redirect_to_another_host_is_not_followed(line: Line) -> None:
    with VendorDouble(Market({})) as elsewhere:
        host = elsewhere.url.replace("127.0.0.1", "localhost")
        line.double.play(Redirect(f"{host}/{line.provider.name}/products"), math.inf)
        assert line.failure().kind == "bad_response"
        assert elsewhere.requests == []
    assert len(line.double.requests) == 1
    assert line.is_healthy()


# Oanda's pages are counted from a time: a bar before it makes the count unbelievable.
STRAYS_REFUSED = {("oanda", fault) for fault in ("outside", "next to the window", "all")}


@pytest.mark.parametrize("fault", DISORDER)
def test_disorder_is_put_in_order_and_what_nobody_asked_for_left_out(
    either: Line, fault: str
) -> None:
    either.double.play(DISORDER[fault], math.inf)
    try:
        assert differences(either.good(), either.truth) == []
    except ProviderError as error:
        assert error.kind == "bad_response"  # noqa: PT017
        assert (either.provider.name, fault) in STRAYS_REFUSED
    assert either.is_healthy()


LONG = {
    "coinbase": ("BTCUSD", datetime(2024, 3, 11, tzinfo=UTC), datetime(2024, 3, 14, tzinfo=UTC)),
    "oanda": ("BTCUSD", datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 8, tzinfo=UTC)),
    "alpha_vantage": ("AAPL", datetime(2024, 2, 26, tzinfo=UTC), datetime(2024, 3, 6, tzinfo=UTC)),
    "alpaca": ("BTCUSD", datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 14, tzinfo=UTC)),
    "polygon": ("BTCUSD", datetime(2024, 2, 6, tzinfo=UTC), datetime(2024, 3, 14, tzinfo=UTC)),
    "yahoo": ("BTCUSD", datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 11, tzinfo=UTC)),
}
"""Minutes of several pages."""


@pytest.mark.parametrize("later", [1, 2])
def test_a_bar_that_strays_into_another_page_never_replaces_the_right_one(
    line: Line, later: int
) -> None:
    pair, *window = LONG[line.provider.name]
    market: Market = line.double.vendors[line.provider.name].market
    truth = told(line.provider.name, (pair, "1m"), market.table((pair, "1m"), *window))
    pages = iter(range(10_000))
    line.double.play(OutsideWindow(days=1), math.inf, lambda _: next(pages) == later - 1)
    try:
        found = good(ask(line.provider, (pair, "1m"), *window), (pair, "1m"), *window)
    except ProviderError as error:
        assert error.kind == "bad_response"  # noqa: PT017
    else:
        assert differences(found, truth) == []


@dataclass(frozen=True)
class Endless(Fault):
    """There is always a next page, each under another name, and nothing on it."""

    count: Iterator[int]

    def bars(self, bars: Bars) -> Bars:
        """Nothing."""
        return bars.take(slice(0, 0))

    def response(self, response: Response, vendor: Vendor) -> Response:  # noqa: ARG002
        """A token of Alpaca's, a link of Polygon's."""
        number = next(self.count)
        token = base64.b64encode(f"BTC/USD|M|{1_710_000_000_000_000_000 + number}".encode())
        cursor = base64.urlsafe_b64encode(b'{"n": %d}' % number)
        link = f"/v2/aggs/ticker/X:BTCUSD/range/1/hour/{10**12}/{10**12}?cursor={cursor.decode()}"
        more = {"next_page_token": token.decode(), "next_url": link}
        return replace(response, body=orjson.dumps({**orjson.loads(response.body), **more}))


@pytest.mark.parametrize("name", ["alpaca", "polygon"])
def test_a_vendor_whose_pages_never_end_is_given_up(line: Line) -> None:
    asked = iter(range(10_000))
    line.double.play(Endless(count()), math.inf, lambda _: next(asked) < 50)
    assert line.failure().kind == "bad_response"
    assert len(line.double.requests) < 50


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "null", "1e400"])
def test_a_number_that_is_none_costs_its_bar_and_no_other(either: Line, token: str) -> None:
    either.double.play(BadNumber(token), math.inf)
    try:
        found = either.good()
    except ProviderError as error:
        assert error.kind == "bad_response"  # noqa: PT017 - both are right
    else:
        refused = refused_times(found, either.truth)
        assert len(refused) == 1
        assert differences(found, without(either.truth, refused)) == []
    assert either.is_healthy()


def refused_times(found: pa.Table, truth: pa.Table) -> set[datetime]:
    return {*truth["timestamp"].to_pylist()} - {*found["timestamp"].to_pylist()}


def without(truth: pa.Table, times: set[datetime]) -> pa.Table:
    kept = [at not in times for at in truth["timestamp"].to_pylist()]
    return truth.filter(pa.array(kept, pa.bool_()))


# --- mixed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


QUICK = [Status(503), TooManyRequests(), Reset(), Truncated(), HTML_PAGE, *DISORDER.values()]
ANY = st.sampled_from([*QUICK, *map(BadNumber, ("NaN", "null", "1e400")), WrongSymbol(), Fault()])


@given(
    st.sampled_from(sorted(CLASSES)), st.sampled_from(["5m", "1h", "4h"]), st.lists(ANY, max_size=8)
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_happens_no_wrong_bar_is_stored(
    listening: VendorDouble, folder: Path, name: str, code: str, faults: list[Fault]
) -> None:
    line = connect(listening, folder, name)
    line.key = (line.key[0], code)
    for fault in faults:
        line.double.play(fault)
    blind = name == "coinbase" and any(isinstance(fault, WrongSymbol) for fault in faults)
    try:
        found = line.good()
    except ProviderError:
        assert len(line.double.requests) <= TRIES * 3
    else:
        lost = refused_times(found, line.truth)
        assert len(lost) <= sum(isinstance(fault, BadNumber) for fault in faults)
        assert blind or differences(found, without(line.truth, lost)) == []
    assert line.is_healthy()
