"""A bare HTTP client for the doubles, with the credentials that they accept."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pyarrow as pa

from ffe_lakehouse_tests.doubles.market import Market
from ffe_lakehouse_tests.doubles.server import VENDORS, VendorDouble

NOON = datetime(2021, 8, 31, 12, tzinfo=UTC)
AGENT = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}
KEYS = {name: value for vendor in VENDORS for name, value in vendor.keys.items()}
BEARER = {"Authorization": f"Bearer {KEYS['oanda_token']}"}
ALPACA = {
    "APCA-API-KEY-ID": KEYS["alpaca_api_key"],
    "APCA-API-SECRET-KEY": KEYS["alpaca_api_secret"],
}
POLYGON = {"Authorization": f"Bearer {KEYS['polygon_api_key']}"}


def get(url: str, headers: dict[str, str] | None = None, **params: object) -> tuple[int, bytes]:
    """Status and body, whatever the status."""
    query = f"?{urlencode(params)}" if params else ""
    try:
        with urlopen(Request(url + query, headers=headers or {}), timeout=5) as answer:  # noqa: S310
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


@contextmanager
def little_double() -> Iterator[VendorDouble]:
    """A double with one bar of each class, on free plans."""
    bar = pa.table({"timestamp": pa.array([NOON], pa.timestamp("us", "UTC")), "open": [1.0]})
    truth = Market({(pair, "1m"): bar for pair in ("BTCUSD", "EURUSD", "AAPL")})
    with VendorDouble(truth, lambda: NOON) as double:
        double.vendors["alpha_vantage"].premium = False  # type: ignore[attr-defined]
        yield double
