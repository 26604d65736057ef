"""Without keys and network every vendor says in one line what it misses, and the way out."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ffe_lakehouse.providers.base import CandleQuery, ProviderError
from ffe_lakehouse.providers.registry import get_provider
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.doubles.harness import CLASSES, PAIRS, make
from ffe_lakehouse_tests.doubles.server import VENDORS

KEYS = {vendor.name: tuple(vendor.keys) for vendor in VENDORS}
NEEDS = {
    "oanda": "FFE_OANDA_TOKEN",
    "alpha_vantage": "FFE_ALPHA_VANTAGE_API_KEY",
    "alpaca": "FFE_ALPACA_API_KEY",
    "polygon": "FFE_POLYGON_API_KEY",
}
QUICK = {"retry_waits": (0.001,), "http_timeout_seconds": 2.0}


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A port of this machine at which nobody listens, and which nobody else gets."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def settings(**given: object) -> Settings:
    """Settings of nobody: neither the environment nor ``.env`` is asked for a key."""
    none = dict.fromkeys([key for keys in KEYS.values() for key in keys] + ["massive_api_key"])
    return Settings(_env_file=None, **{**none, **QUICK, **given})  # type: ignore[call-arg, arg-type]


def test_every_vendor_that_needs_a_key_is_known() -> None:
    assert {name for name, keys in KEYS.items() if keys} == set(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
@pytest.mark.parametrize("key", [None, "", "  "])
def test_a_vendor_without_its_key_names_the_setting(name: str, key: str | None) -> None:
    with pytest.raises(ProviderError) as failure:
        get_provider(name, settings(**dict.fromkeys(KEYS[name], key)))
    assert failure.value.kind == "configuration"
    assert str(failure.value).startswith(name)
    assert NEEDS[name] in str(failure.value)
    assert "\n" not in str(failure.value)


def test_half_a_key_of_alpaca_is_none() -> None:
    with pytest.raises(ProviderError, match="FFE_ALPACA_API_SECRET"):
        get_provider("alpaca", settings(alpaca_api_key="half"))


def test_polygon_takes_its_key_under_its_new_name() -> None:
    assert get_provider("polygon", settings(massive_api_key="a key")).name == "polygon"


@pytest.mark.parametrize("name", CLASSES)
def test_without_a_network_a_vendor_says_whom_it_cannot_reach(
    name: str, nowhere: str, tmp_path: Path
) -> None:
    given = dict.fromkeys(KEYS[name], "some-key-of-nobody") | {f"{name}_base_url": nowhere}
    provider = make(
        name, settings(http_state_dir=tmp_path, **{f"{name}_plan": "unlimited"}, **given)
    )
    start, end = datetime(2024, 3, 11, tzinfo=UTC), datetime(2024, 3, 12, tzinfo=UTC)
    query = CandleQuery(parse_symbol(PAIRS[name][0]), TIMEFRAMES["1h"], start, end)
    with pytest.raises(ProviderError) as failure:
        list(provider.fetch(query))
    assert failure.value.kind == "unavailable"
    assert str(failure.value).startswith(name)
    assert nowhere in str(failure.value)
    assert "network" in str(failure.value)
    assert "\n" not in str(failure.value)
