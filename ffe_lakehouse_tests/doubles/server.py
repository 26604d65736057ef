"""``VendorDouble``: six vendors behind one real socket, each below a path prefix of its name.

Sockets, threads, the record of what was asked, latency and faults belong here. What a vendor
answers stands in its own module, and what can go wrong in ``faults``.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from ffe_lakehouse.settings import Settings
from ffe_lakehouse_tests.doubles.alpaca import AlpacaDouble
from ffe_lakehouse_tests.doubles.alpha_vantage import AlphaVantageDouble
from ffe_lakehouse_tests.doubles.coinbase import CoinbaseDouble
from ffe_lakehouse_tests.doubles.faults import Fault
from ffe_lakehouse_tests.doubles.market import Market
from ffe_lakehouse_tests.doubles.oanda import OandaDouble
from ffe_lakehouse_tests.doubles.polygon import PolygonDouble
from ffe_lakehouse_tests.doubles.vendor import (
    Clock,
    Refused,
    Request,
    Response,
    Vendor,
    json_response,
)
from ffe_lakehouse_tests.doubles.yahoo import YahooDouble

VENDORS: tuple[type[Vendor], ...] = (
    CoinbaseDouble,
    OandaDouble,
    AlphaVantageDouble,
    AlpacaDouble,
    PolygonDouble,
    YahooDouble,
)
VENDOR_NAMES = tuple(vendor.name for vendor in VENDORS)

When = Callable[[Request], bool]


def _now() -> datetime:
    return datetime.now(UTC)


class VendorDouble:
    """All six vendors over one ``Market``; a context manager.

    Attributes:
        vendors: The doubles by name, to change a plan or a limit.
        requests: Every request since the last ``reset``, in order of arrival.
        latency: Seconds that every answer takes.
        remember: Whether to keep good answers and give the same bytes again: for benchmarks, in
            which the double must not be what is measured.
        peak: Most requests that were ever under way at once since the last ``reset``.
    """

    def __init__(self, market: Market, clock: Clock = _now) -> None:
        """Nothing listens before the context is entered."""
        self.vendors: dict[str, Vendor] = {vendor.name: vendor(market, clock) for vendor in VENDORS}
        self.requests: list[Request] = []
        self.latency = 0.0
        self.remember = False
        self.peak = 0
        self._under_way = 0
        self._faults: deque[tuple[Fault, float, When]] = deque()
        self._remembered: dict[object, Response] = {}
        self._bugs: list[BaseException] = []
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._port = 0

    def __enter__(self) -> Self:
        """Listen on a free port."""
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up; raise what broke in the double itself, if nothing else was raised."""
        self._stop()
        if self._bugs and error is None:
            raise self._bugs[0]

    @property
    def url(self) -> str:
        """Where it listens; a vendor is at ``{url}/{name}``."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """Every vendor's base URL and keys as ``FFE_*`` variables."""
        variables = {}
        for name, vendor in self.vendors.items():
            variables[f"FFE_{name}_BASE_URL".upper()] = f"{self.url}/{name}"
            variables |= {f"FFE_{key}".upper(): value for key, value in vendor.keys.items()}
        return variables

    def settings(self, **changed: Any) -> Settings:
        """Settings that lead to the double, with the keys that it accepts; no ``.env`` is read."""
        mine = {
            name.removeprefix("FFE_").lower(): value for name, value in self.environment.items()
        }
        return Settings(_env_file=None, **mine | changed)  # type: ignore[call-arg]

    def requests_to(self, vendor: str) -> list[Request]:
        """What one vendor was asked."""
        return [request for request in self.requests if request.vendor == vendor]

    def play(self, fault: Fault, times: float = 1, when: When = lambda _: True) -> None:
        """Let something go wrong.

        Args:
            fault: What. Of several that apply to a request the one switched on first is played.
            times: With how many requests; ``math.inf`` until ``heal``.
            when: With which requests.
        """
        self._faults.append((fault, times, when))

    def heal(self) -> None:
        """Switch all faults off."""
        with self._lock:
            self._faults.clear()

    def reset(self) -> None:
        """Forget requests, faults and latency."""
        self.heal()
        with self._lock:
            self.requests.clear()
            self.latency, self.peak = 0.0, 0

    @contextmanager
    def down(self) -> Iterator[Callable[[], None]]:
        """Refuse connections; yields a function that brings the double up earlier.

        The port stays taken by a socket that does not listen, so that nobody else gets it.
        """
        self._stop()
        keeper = socket.socket()
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", self._port))

        def up() -> None:
            if self._server is None:
                self._start()

        try:
            yield up
        finally:
            up()
            keeper.close()

    def respond(self, request: Request, fault: Fault) -> Response:
        """The answer to a request, fault included; what breaks here is a bug of the double."""
        vendor = self.vendors.get(request.vendor)
        if vendor is None:
            return json_response({"error": "no such vendor"}, 404)
        asked = (request.vendor, request.path, frozenset(request.params.items()))
        if asked in self._remembered and type(fault) is Fault:
            return self._remembered[asked]
        try:
            response = fault.response(vendor.answer(request, fault), vendor)
        except Refused as refused:
            return refused.response
        except Exception as bug:
            self._bugs.append(bug)
            raise
        if self.remember and type(fault) is Fault:
            self._remembered[asked] = response
        return response

    def _start(self) -> None:
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_port

    def _stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def arrived(self, request: Request) -> Fault:
        """Record a request, and say what goes wrong with it."""
        with self._lock:
            self.requests.append(request)
            self._under_way += 1
            self.peak = max(self.peak, self._under_way)
            for number, (fault, times, when) in enumerate(self._faults):
                if when(request):
                    if times <= 1:
                        del self._faults[number]
                    else:
                        self._faults[number] = (fault, times - 1, when)
                    return fault
        return Fault()

    def answered(self) -> None:
        """One request less is under way."""
        with self._lock:
            self._under_way -= 1


class _Server(ThreadingHTTPServer):
    """Listens as long as it lives; every thread of it has ended when ``stop`` returns."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], double: VendorDouble) -> None:
        super().__init__(address, _Handler)
        self.double = double
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), name="double")
        self._thread.start()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is none of our errors; a bug is kept by ``VendorDouble``."""

    def stop(self) -> None:
        """Close the door, hang up on everybody, wait for every thread."""
        self.stopping.set()
        self.shutdown()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:  # the client was faster
                    continue
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One connection, kept alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        double = self.server.double
        request = self._request()
        fault = double.arrived(request)
        try:
            if double.latency:
                self.server.stopping.wait(double.latency)
            fault.send(self, double.respond(request, fault), self.server.stopping)
        finally:
            double.answered()

    def _request(self) -> Request:
        split = urlsplit(self.path)
        vendor, _, path = split.path.removeprefix("/").partition("/")
        return Request(
            vendor=vendor,
            path="/" + unquote(path),
            params=dict(parse_qsl(split.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            base_url=f"http://{self.headers.get('Host', '')}/{vendor}",
            at=time.monotonic(),
        )

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing is written to stderr."""
