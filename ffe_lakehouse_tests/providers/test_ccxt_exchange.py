"""The real ccxt against the Coinbase double, which also tells products here."""

import json
import math
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.base import Page, ProviderError
from ffe_lakehouse.providers.ccxt_exchange import CcxtProvider
from ffe_lakehouse.providers.registry import describe_provider, get_provider
from ffe_lakehouse.settings import Settings
from ffe_lakehouse_tests.doubles.coinbase import CoinbaseDouble
from ffe_lakehouse_tests.doubles.faults import (
    HTML_PAGE,
    Body,
    Fault,
    NoAnswer,
    OutsideWindow,
    Repeated,
    Reset,
    Status,
    TooManyRequests,
    Truncated,
    Unordered,
)
from ffe_lakehouse_tests.doubles.harness import (
    NOW,
    START,
    ask,
    closed,
    days,
    differences,
    quick,
    rows,
    stopped_clock,
    told,
)
from ffe_lakehouse_tests.doubles.market import Key, Market
from ffe_lakehouse_tests.doubles.server import VendorDouble
from ffe_lakehouse_tests.doubles.vendor import Edits, Request, Response, json_response

pytest.importorskip("ccxt")

HOURS: Key = ("BTCUSD", "1h")
NAME = "coinbaseexchange"


class _Exchange(CoinbaseDouble):
    """With the product list that ccxt reads first, and perhaps with its latest bars only."""

    latest_only = False

    def answer(self, request: Request, edits: Edits) -> Response:
        if request.path == "/currencies":
            return json_response([{"id": name, "details": {}} for name in ("BTC", "USD")])
        if request.path == "/products":
            product = {"id": "BTC-USD", "base_currency": "BTC", "quote_currency": "USD"}
            return json_response([product | {"status": "online"}])
        if self.latest_only:
            params = dict(request.params)
            length = timedelta(seconds=300 * int(params["granularity"]))
            params |= {"start": (NOW - length).isoformat(), "end": NOW.isoformat()}
            request = Request(**{**vars(request), "params": params})
        return super().answer(request, edits)


@pytest.fixture(scope="module")
def market() -> Market:
    return Market.simulated([("BTCUSD", code) for code in ("1m", "1h", "4h", "1d")], START, NOW)


@pytest.fixture
def double(market: Market) -> Iterator[VendorDouble]:
    with VendorDouble(market, stopped_clock) as double:
        double.vendors["coinbase"] = _Exchange(market, stopped_clock)
        yield double


@pytest.fixture
def provider(double: VendorDouble, tmp_path: Path) -> CcxtProvider:
    return make(double, tmp_path)


def make(double: VendorDouble, state: Path, **changed: Any) -> CcxtProvider:
    config = {"urls": {"api": {"public": f"{double.url}/coinbase"}}, "rateLimit": 1}
    settings = quick(double, state, **changed)
    return CcxtProvider(NAME, settings, config=config, clock=stopped_clock)


def candle_requests(double: VendorDouble) -> list[Request]:
    return [request for request in double.requests if request.path.endswith("/candles")]


def failure(provider: CcxtProvider, key: Key = HOURS, start: datetime = START) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        ask(provider, key, start, start + days(1))
    assert str(caught.value).startswith(f"ccxt:{NAME}")
    return caught.value


def bars_are_right(pages: list[Page], market: Market, key: Key, end: datetime) -> bool:
    expected = told("coinbase", key, market.table(key, START, end))
    assert expected.num_rows > 0
    return differences(rows(pages), expected) == []


def test_the_bars_are_those_of_the_exchange_page_after_page(
    double: VendorDouble, provider: CcxtProvider, market: Market
) -> None:
    pages = ask(provider, HOURS, START, closed("1h"))
    assert bars_are_right(pages, market, HOURS, closed("1h"))
    assert len(pages) == len(candle_requests(double)) == 4  # 39 days of hours in 300s
    ask(provider, ("BTCUSD", "1m"), START, START + days(1))
    assert [request.path for request in double.requests].count("/products") == 1


def test_a_timeframe_that_the_exchange_lacks_is_rolled_up(
    double: VendorDouble, provider: CcxtProvider, market: Market
) -> None:
    key = ("BTCUSD", "4h")
    assert bars_are_right(ask(provider, key, START, closed("4h")), market, key, closed("4h"))
    assert {request.params["granularity"] for request in candle_requests(double)} == {"3600"}


def test_the_record_of_a_row_is_the_row_of_ccxt(provider: CcxtProvider) -> None:
    page = ask(provider, HOURS, START, START + days(1))[0]
    bar = page.candles.slice(3, 1).to_pylist()[0]
    measures = [bar[name] for name in ("open", "high", "low", "close", "volume")]
    assert json.loads(page.record(3)) == [bar["timestamp"].timestamp() * 1000, *measures]


def test_a_time_without_trades_is_passed_by_pages(
    double: VendorDouble, provider: CcxtProvider, market: Market
) -> None:
    before = START - days(30)  # 720 hours in which the pair did not exist
    pages = ask(provider, HOURS, before, START + days(1))
    assert bars_are_right(pages, market, HOURS, START + days(1))
    assert [page.candles.num_rows > 0 for page in pages] == [False, False, True]


@pytest.mark.parametrize("fault", [Unordered(), OutsideWindow()])
def test_disorder_and_strangers_do_not_hide_a_bar(
    double: VendorDouble, provider: CcxtProvider, market: Market, fault: Fault
) -> None:
    double.play(fault, math.inf, lambda request: request.path.endswith("/candles"))
    pages = ask(provider, HOURS, START, START + days(30))
    assert bars_are_right(pages, market, HOURS, START + days(30))


def test_a_bar_that_comes_twice_goes_out_twice(
    double: VendorDouble, provider: CcxtProvider, market: Market
) -> None:
    double.play(Repeated(), math.inf, lambda request: request.path.endswith("/candles"))
    found = rows(ask(provider, HOURS, START, START + days(1)))
    assert found.num_rows > market.table(HOURS, START, START + days(1)).num_rows


def test_an_exchange_that_tells_only_its_latest_bars_has_no_data_before(
    double: VendorDouble, provider: CcxtProvider
) -> None:
    double.vendors["coinbase"].latest_only = True  # type: ignore[attr-defined]
    error = failure(provider)
    assert error.kind == "no_data"
    assert "latest 300 bars of 1h, which begin at 2024-03-03 04:00 UTC" in str(error)
    assert len(rows(ask(provider, HOURS, closed("1h") - days(2), closed("1h")))) == 48


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("BTCUSDT", "has no BTC/USDT: it has BTC/USD"),
        ("XRPUSD", "has no XRP/USD"),
        ("AAPL", "which is equity"),
    ],
)
def test_an_unknown_symbol_is_named(provider: CcxtProvider, pair: str, message: str) -> None:
    error = failure(provider, (pair, "1h"))
    assert error.kind == "invalid_symbol"
    assert message in str(error)


@pytest.mark.parametrize(
    ("fault", "kind", "tries"),
    [
        (TooManyRequests(), "rate_limited", 4),
        (Status(418), "rate_limited", 4),
        (Status(401), "authentication", 1),
        (Status(503), "unavailable", 4),
        (Reset(), "unavailable", 4),
        (NoAnswer(), "timeout", 4),
        (Status(422), "bad_response", 1),
        (HTML_PAGE, "bad_response", 1),
        (Truncated(), "bad_response", 1),
        (Body('{"message": "no"}'), "bad_response", 1),
    ],
)
def test_what_goes_wrong_has_a_kind_and_is_tried_again_if_it_can_heal(
    double: VendorDouble, tmp_path: Path, fault: Fault, kind: str, tries: int
) -> None:
    provider = make(double, tmp_path, http_timeout_seconds=0.3)
    double.play(fault, math.inf, lambda request: request.path.endswith("/candles"))
    assert failure(provider).kind == kind
    assert len(candle_requests(double)) == tries


def test_what_heals_is_forgotten(
    double: VendorDouble, provider: CcxtProvider, market: Market
) -> None:
    double.play(Status(503), 3)
    pages = ask(provider, HOURS, START, START + days(1))
    assert bars_are_right(pages, market, HOURS, START + days(1))


@pytest.mark.parametrize(
    ("name", "kind"), [("BadSymbol", "invalid_symbol"), ("PermissionDenied", "authentication")]
)
def test_errors_that_no_status_of_coinbase_means(
    provider: CcxtProvider, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    def refuse(*_: object) -> None:
        raise getattr(sys.modules["ccxt"], name)("so it is")

    monkeypatch.setattr(provider._exchange, "fetch_ohlcv", refuse)
    error = failure(provider)
    assert (error.kind, str(error)) == (kind, f"ccxt:{NAME}: {name}: so it is")


def test_the_registry_makes_any_exchange_by_its_name() -> None:
    provider = get_provider("ccxt:kraken", Settings(_env_file=None))
    assert isinstance(provider, CcxtProvider)
    assert (provider.name, provider.waits, provider.is_mock) == ("ccxt:kraken", True, False)
    assert provider._exchange.enableRateLimit
    assert "ffe-lakehouse[ccxt]" in describe_provider("ccxt:kraken")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ccxt:krakn", "no exchange 'krakn': use one like ccxt:kraken"),
        ("ccxt:Kraken", "no exchange 'Kraken': use one like ccxt:kraken"),
        ("ccxt:", "no exchange ''"),
        ("ccxt:Exchange", "no exchange 'Exchange'"),
        ("ccxt:zaif", "ccxt has no candles of it"),
    ],
)
def test_an_exchange_that_there_is_not(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        get_provider(name, Settings(_env_file=None))


def test_without_the_library_the_install_line_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ccxt", None)
    with pytest.raises(InputError, match=r"needs ccxt: pip install 'ffe-lakehouse\[ccxt\]'"):
        get_provider("ccxt:kraken", Settings(_env_file=None))
