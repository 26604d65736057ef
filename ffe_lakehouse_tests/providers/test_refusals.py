"""Every refusal in the collection of recorded errors becomes the right class of failure."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from ffe_lakehouse.providers import alpaca, alpha_vantage, coinbase, oanda, polygon, yahoo
from ffe_lakehouse.providers.base import FailureKind, ProviderError
from ffe_lakehouse.providers.http import Refusal, Response
from ffe_lakehouse.providers.statuses import status_failure
from ffe_lakehouse.symbols import parse_symbol

# In the order of the file; None is an answer, and not a refusal.
KINDS: dict[str, list[FailureKind | None]] = {
    "alpha_vantage": [
        "rate_limited",
        "rate_limited",
        "rate_limited",
        "authentication",
        "authentication",
        "invalid_symbol",
        "authentication",
    ],
    "coinbase_exchange": ["bad_response", "bad_response", "invalid_symbol", "rate_limited", None],
    "coinbase_advanced": ["bad_response", "bad_response", "invalid_symbol", "bad_response"],
    "oanda_v20": [
        "bad_response",
        "bad_response",
        "invalid_symbol",
        "invalid_symbol",
        "authentication",
    ],
    "alpaca_data": ["authentication", "authentication", "authentication", "rate_limited", None],
    "polygon_massive": [
        "authentication",
        "authentication",
        "authentication",
        "rate_limited",
        "authentication",
        None,
    ],
    "yahoo": [
        "no_data",
        "no_data",
        "invalid_symbol",
        "no_data",
        "rate_limited",
        None,
        "bad_response",
    ],
}
HOOKS: dict[str, Refusal | None] = {
    "alpha_vantage": alpha_vantage.refusal,
    "coinbase_exchange": None,
    "coinbase_advanced": None,
    "oanda_v20": oanda.refusal,
    "alpaca_data": alpaca.refusal,
    "polygon_massive": polygon.refusal,
    "yahoo": yahoo.refusal,
}
RETRY_AFTER = [60.0, 86_400.0, 1.0, None, None, None, None]


def failure(vendor: str, response: Response) -> ProviderError | None:
    """What ``HttpSource`` makes of an answer."""
    hook = HOOKS[vendor]
    told = hook(response) if hook else None
    if told or 200 <= response.status < 300:
        return told
    return status_failure(vendor, response.url, response)


def response(entry: dict[str, Any]) -> Response:
    body = entry.get("body", entry.get("body_excerpt", entry.get("body_text", "")))
    content = body.encode() if isinstance(body, str) else orjson.dumps(body)
    return Response(entry["http"], {}, content, "https://vendor.example/candles")


@pytest.fixture
def errors(shared_data: Path) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((shared_data / "wire/errors/errors.json").read_bytes())
    del found["_legend"]
    return found


def test_the_collection_is_the_one_that_is_judged_here(errors: dict[str, Any]) -> None:
    assert {vendor: len(entries) for vendor, entries in errors.items()} == {
        vendor: len(kinds) for vendor, kinds in KINDS.items()
    }


@pytest.mark.parametrize("vendor", KINDS)
def test_a_recorded_refusal_has_its_class(errors: dict[str, Any], vendor: str) -> None:
    found = [failure(vendor, response(entry)) for entry in errors[vendor]]
    assert [refusal and refusal.kind for refusal in found] == KINDS[vendor]


def test_only_a_burst_is_worth_waiting_for(errors: dict[str, Any]) -> None:
    found = [failure("alpha_vantage", response(entry)) for entry in errors["alpha_vantage"]]
    assert [refusal and refusal.retry_after for refusal in found] == RETRY_AFTER


@pytest.mark.parametrize(
    "file", ["options/REALTIME_OPTIONS_e1db0de5", "time_series/REALTIME_BULK_QUOTES_505ed5cc"]
)
def test_made_up_rows_are_refused(shared_data: Path, file: str) -> None:
    body = (shared_data / f"wire/alpha_vantage_recorded/{file}.json").read_bytes()
    refusal = alpha_vantage.refusal(Response(200, {}, body, "https://vendor.example/query"))
    assert refusal is not None
    assert refusal.kind == "authentication"


def test_a_refusal_of_alpha_vantage_does_not_repeat_the_key() -> None:
    """Its sentence does: "We have detected your API key as ... and our standard ..."."""
    sentence = "We have detected your API key as CANARY and our standard API rate limit is 25"
    body = orjson.dumps({"Information": f"{sentence} requests per day."})
    refusal = alpha_vantage.refusal(Response(200, {}, body, ""))
    assert refusal is not None
    assert (refusal.kind, "CANARY" in str(refusal)) == ("rate_limited", False)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"Error Message": "the parameter apikey is invalid or missing."}, "authentication"),
        ({"Information": "Something new."}, "bad_response"),
        ({"Meta Data": {"1. Information": "Daily Prices (premium)"}, "Time Series": {}}, None),
    ],
)
def test_other_sentences_of_alpha_vantage(said: object, kind: str | None) -> None:
    refusal = alpha_vantage.refusal(Response(200, {}, orjson.dumps(said), ""))
    assert (refusal and refusal.kind) == kind


@pytest.mark.parametrize(
    "parse",
    [
        coinbase.parse_exchange,
        coinbase.parse_advanced,
        lambda body: oanda.parse(body, "EUR_USD", "M1"),
        lambda body: alpha_vantage.parse(body, parse_symbol("IBM")),
        lambda body: alpaca.parse(body, "AAPL"),
        lambda body: polygon.parse(body, "AAPL"),
        lambda body: yahoo.parse(body, "AAPL"),
    ],
    ids=["exchange", "advanced", "oanda", "alpha_vantage", "alpaca", "polygon", "yahoo"],
)
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"7", b'"text"', b"{}", b"[" * 100_000, b"<html>403</html>"),
        *(
            b'{"bars": {"AAPL": 7}}',
            b'{"chart": {"result": [7]}}',
            b"\xff\xfe",
            b'{"a": "\\ud800"}',
        ),
    ],
    ids=range(11),
)
def test_a_body_that_is_nothing_is_a_bad_response(
    parse: Callable[[bytes], object], body: bytes
) -> None:
    with pytest.raises(ProviderError) as caught:
        parse(body)
    assert caught.value.kind == "bad_response"
