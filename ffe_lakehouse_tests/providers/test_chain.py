"""Several vendors as one: who answers, from where on, and what is said when nobody does."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.base import (
    RAW_CANDLES,
    CandleQuery,
    Page,
    Provider,
    ProviderError,
)
from ffe_lakehouse.providers.chain import ChainProvider
from ffe_lakehouse.providers.registry import get_provider
from ffe_lakehouse.settings import Settings
from ffe_lakehouse_tests.providers.answers import make_settings, query, utc

DAY = query("BTCUSD", "1h", "2024-01-02", "2024-01-05")


class Vendor(Provider):
    """Covers the window in two pages, or fails after so many of them."""

    def __init__(
        self, name: str, pages: int = 2, failure: Exception | None = None, source: str | None = None
    ) -> None:
        """Nothing was asked yet."""
        self.name = name
        self._pages = pages
        self._failure = failure
        self._source = source
        self.asked: list[tuple[datetime, datetime]] = []

    def fetch(self, query: CandleQuery) -> Iterator[Page]:
        """Up to two pages, then perhaps the failure."""
        self.asked.append((query.start, query.end))
        middle = query.start + (query.end - query.start) / 2
        for until in [middle, query.end][: self._pages]:
            yield Page(RAW_CANDLES.empty_table(), str, until, self._source)
        if self._failure:
            raise self._failure


def chain(*vendors: Vendor | Exception, **settings: object) -> ChainProvider:
    """A chain of ``vendors`` for crypto; an exception is one that cannot be made."""
    named = {getattr(vendor, "name", f"broken{i}"): vendor for i, vendor in enumerate(vendors)}

    def make(name: str, settings: Settings) -> Provider:
        vendor = named[name]
        if isinstance(vendor, Exception):
            raise vendor
        return vendor

    order = {"provider_chain": {"crypto": list(named)}, **settings}
    return ChainProvider(make_settings(**order), make, clock=lambda: utc("2024-03-01"))


def test_the_first_vendor_answers_and_is_named() -> None:
    first, second = Vendor("first"), Vendor("second")
    pages = list(chain(first, second).fetch(DAY))
    assert [page.source for page in pages] == ["first", "first"]
    assert pages[-1].covered_until == DAY.end
    assert second.asked == []


def test_the_next_vendor_goes_on_where_the_last_page_ended() -> None:
    first = Vendor("first", 1, ProviderError("timeout", "first: no answer"))
    second = Vendor("second")
    pages = list(chain(first, second).fetch(DAY))
    assert [page.source for page in pages] == ["first", "second", "second"]
    assert second.asked == [(pages[0].covered_until, DAY.end)]


def test_an_answer_without_bars_is_an_answer() -> None:
    first, second = Vendor("first"), Vendor("second")
    pages = list(chain(first, second).fetch(DAY))
    assert sum(page.candles.num_rows for page in pages) == 0
    assert second.asked == []


def test_what_each_vendor_said_is_in_the_error() -> None:
    vendors = chain(
        ProviderError("configuration", "broken0 needs a key: set FFE_BROKEN_KEY"),
        InputError("unknown provider 'broken1'"),
        Vendor("third", 1, ProviderError("rate_limited", "the day is spent")),
        Vendor("fourth", 0),
    )
    with pytest.raises(ProviderError) as caught:
        list(vendors.fetch(DAY))
    assert caught.value.kind == "rate_limited"
    assert str(caught.value) == (
        "no vendor of the chain has 1h of BTCUSD from 2024-01-03 12:00 UTC on:"
        " broken0: broken0 needs a key: set FFE_BROKEN_KEY;"
        " broken1: unknown provider 'broken1';"
        " third: the day is spent;"
        " fourth: ended its answer at 2024-01-03 12:00 UTC"
    )


def test_another_exception_is_a_bug_and_passes() -> None:
    with pytest.raises(ZeroDivisionError):
        list(chain(Vendor("first", 0, ZeroDivisionError()), Vendor("second")).fetch(DAY))


def test_a_vendor_that_lacks_the_pair_or_the_history_is_not_made() -> None:
    with pytest.raises(ProviderError) as caught:
        list(
            ChainProvider(
                make_settings(provider_chain={"equity": ["coinbase", "yahoo"]}),
                make=lambda name, _: pytest.fail(f"{name} was made"),
                clock=lambda: utc("2024-06-01"),
            ).fetch(query("AAPL", "1h", "2024-01-02", "2024-01-03"))
        )
    assert caught.value.kind == "no_data"
    assert "coinbase: has no 1h of AAPL; yahoo: has 1h of AAPL only from 2024-04-03 on" in str(
        caught.value
    )


def test_made_up_candles_are_no_substitute() -> None:
    settings = make_settings(provider_chain={"crypto": ["simulated"]})
    with pytest.raises(ProviderError, match="simulated: its candles are made up"):
        list(ChainProvider(settings).fetch(DAY))


def test_a_class_without_a_chain_names_the_setting() -> None:
    with pytest.raises(ProviderError, match="FFE_PROVIDER_CHAIN names no vendor for forex"):
        list(chain(Vendor("first")).fetch(query("EURUSD", "1h", "2024-01-02", "2024-01-03")))


def test_a_chain_that_names_itself_is_refused() -> None:
    with pytest.raises(InputError, match="names 'chain' itself"):
        ChainProvider(make_settings(provider_chain={"crypto": ["coinbase", "chain"]}))


def test_a_vendor_that_answers_for_another_keeps_that_name() -> None:
    (page, _) = chain(Vendor("first", source="inner")).fetch(DAY)
    assert page.source == "inner"


def test_a_vendor_is_made_once() -> None:
    made = []

    def make(name: str, settings: Settings) -> Provider:
        made.append(name)
        return Vendor(name)

    provider = ChainProvider(make_settings(provider_chain={"crypto": ["acme"]}), make)
    assert [len(list(provider.fetch(DAY))) for _ in range(3)] == [2, 2, 2]
    assert made == ["acme"]


def test_the_default_chains_and_what_their_vendors_miss() -> None:
    provider = get_provider("chain", Settings(_env_file=None))  # type: ignore[call-arg]
    with pytest.raises(ProviderError) as caught:
        list(provider.fetch(query("EURUSD", "1h", "2024-01-02", "2024-01-03")))
    assert caught.value.kind == "configuration"
    assert "FFE_OANDA_TOKEN" in str(caught.value)
    assert "FFE_ALPHA_VANTAGE_API_KEY" in str(caught.value)
