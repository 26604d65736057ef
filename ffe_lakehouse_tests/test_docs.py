"""The examples of the documentation run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ffe_lakehouse.providers.base import CandleQuery, Provider, ProviderError
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES

DOCS = Path(__file__).resolve().parent.parent / "docs"
LINES = b"""{"opened": 1704067200, "open": 1, "high": 3, "low": 1, "close": "2", "volume": null}
{"opened": 1704070800, "open": 2, "high": 3, "low": 1, "close": "x", "volume": 5}
{"opened": 1704074400, "open": 2, "high": 3, "low": 1, "close": 2, "volume": 5}
"""


@pytest.fixture(scope="module")
def acme() -> type[Provider]:
    text = (DOCS / "providers.md").read_text()
    found = re.search(r"<!-- example -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found
    names: dict[str, Any] = {}
    exec(found[1], names)  # noqa: S102 - our own documentation
    made: type[Provider] = names["AcmeProvider"]
    return made


@contextmanager
def serving(body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{{pair}}"
        finally:
            server.shutdown()
            thread.join()


def asked(provider: Provider, until_hour: int = 2) -> list[Any]:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    query = CandleQuery(
        parse_symbol("BTCUSD"), TIMEFRAMES["1h"], start, start.replace(hour=until_hour)
    )
    return list(provider.fetch(query))


def test_the_vendor_of_the_documentation_answers(acme: type[Provider]) -> None:
    with serving(LINES) as url:
        (page,) = asked(acme(Settings(), url))  # type: ignore[call-arg]
    assert page.covered_until == datetime(2024, 1, 1, 2, tzinfo=UTC)
    assert page.candles["close"].to_pylist()[0] == 2.0
    assert page.candles["close"].to_pylist()[1] != page.candles["close"].to_pylist()[1]  # NaN
    assert page.candles["volume"].to_pylist() == [None, 5.0]
    assert page.record(1) == LINES.decode().splitlines()[1]


def test_the_vendor_of_the_documentation_says_when_it_cannot(acme: type[Provider]) -> None:
    with pytest.raises(ProviderError, match="acme"):
        asked(acme(Settings(), "http://127.0.0.1:1/{pair}"))  # type: ignore[call-arg]
