"""What can go wrong with an answer, one class a fault; switched on with ``VendorDouble.play``.

A fault can act in three places: on the bars before a format is known (``bars``, ``symbol``), on the
finished response (``response``), and on the wire (``send``).
"""

# ruff: noqa: ARG002 - a fault looks at what it needs

import gzip
import re
import select
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

import numpy as np

from ffe_lakehouse_tests.doubles.market import Bars, joined
from ffe_lakehouse_tests.doubles.vendor import Response, Vendor

_POISON = 987_654_321.0
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Fault:
    """Nothing goes wrong. What a fault does not override is played as it should be."""

    def bars(self, bars: Bars) -> Bars:
        """The bars that are told, in the order in which they are told."""
        return bars

    def symbol(self, name: str) -> str:
        """The name that the answer bears."""
        return name

    def response(self, response: Response, vendor: Vendor) -> Response:
        """What is sent instead of the good response."""
        return response

    def send(
        self, to: BaseHTTPRequestHandler, response: Response, stopping: threading.Event
    ) -> None:
        """Put it on the wire."""
        to.wfile.write(_head(response, len(response.body)) + response.body)


# --- bars


@dataclass(frozen=True)
class Mixed(Fault):
    """Several faults of the bars and of the response at once."""

    faults: tuple[Fault, ...] = ()

    def bars(self, bars: Bars) -> Bars:
        """One after the other."""
        for fault in self.faults:
            bars = fault.bars(bars)
        return bars

    def symbol(self, name: str) -> str:
        """One after the other."""
        for fault in self.faults:
            name = fault.symbol(name)
        return name

    def response(self, response: Response, vendor: Vendor) -> Response:
        """One after the other."""
        for fault in self.faults:
            response = fault.response(response, vendor)
        return response


@dataclass(frozen=True)
class Repeated(Fault):
    """Every third bar comes twice."""

    def bars(self, bars: Bars) -> Bars:
        """Right behind itself."""
        rows = np.arange(len(bars))
        return bars.take(np.sort(np.concatenate([rows, rows[::3]])))


@dataclass(frozen=True)
class Unordered(Fault):
    """The bars of an answer come in no order."""

    def bars(self, bars: Bars) -> Bars:
        """The same disorder every time."""
        return bars.take(np.random.default_rng(3).permutation(len(bars)))


@dataclass(frozen=True)
class OutsideWindow(Fault):
    """Beside the bars that were asked for come others, long before and long after them."""

    days: int = 400

    def bars(self, bars: Bars) -> Bars:
        """One bar of other times at either end."""
        if not len(bars):
            return bars
        far = self.days * 86_400_000_000
        ends = bars.take(np.array([0])), bars.take(np.array([len(bars) - 1]))
        sign = 1 if bars.times[0] <= bars.times[-1] else -1
        return joined(ends[0].moved(-sign * far), bars, ends[1].moved(sign * far))


@dataclass(frozen=True)
class WrongSymbol(Fault):
    """The answer is about another symbol, and says so."""

    def symbol(self, name: str) -> str:
        """Another name in the same spelling."""
        return "XRP" + name if name[:3].isalpha() and len(name) < 5 else name[:-3] + "XXX"


@dataclass(frozen=True)
class BadNumber(Fault):
    """One close of the answer is no number: ``NaN``, ``Infinity``, ``null`` or ``1e400``."""

    token: str = "NaN"  # noqa: S105 - no password

    def bars(self, bars: Bars) -> Bars:
        """Mark the close of one bar: where the windows of the tests are in any format."""
        if not len(bars):
            return bars
        close = bars.measures["close"].copy()
        close[min(50, len(bars) // 2)] = _POISON
        return replace(bars, measures={**bars.measures, "close": close})

    def response(self, response: Response, vendor: Vendor) -> Response:
        """Write the token where the mark stands, as text where the vendor writes text."""

        def written(found: re.Match[bytes]) -> bytes:
            quoted = found[0].startswith(b'"') and not self.token.startswith(("null", '"'))
            return f'"{self.token}"'.encode() if quoted else self.token.encode()

        marked = rb'"?9876543(?:21|28)(?:\.0+)?"?'  # ...28 is what single precision makes of it
        return replace(response, body=re.sub(marked, written, response.body))


# --- responses


@dataclass(frozen=True)
class Status(Fault):
    """An HTTP error with a body that is none of the vendor's."""

    code: int = 503

    def response(self, response: Response, vendor: Vendor) -> Response:
        """As a gateway writes it."""
        reason = f"{self.code} {HTTPStatus(self.code).phrase}"
        body = f"<html><head><title>{reason}</title></head><body>{reason}</body></html>"
        return Response(self.code, body.encode(), {"Content-Type": "text/html"})


@dataclass(frozen=True)
class TooManyRequests(Fault):
    """The vendor's own 429 (Alpha Vantage: its refusal with HTTP 200)."""

    retry_after: str | None = None

    def response(self, response: Response, vendor: Vendor) -> Response:
        """With ``Retry-After`` if there is one."""
        refusal = vendor.too_many_requests()
        more = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        return replace(refusal, headers={**refusal.headers, **more})


@dataclass(frozen=True)
class Body(Fault):
    """Another body with status 200: an HTML page, an empty list."""

    text: str = "[]"
    content_type: str = "application/json"

    def response(self, response: Response, vendor: Vendor) -> Response:
        """In place of the good one."""
        return Response(200, self.text.encode(), {"Content-Type": self.content_type})


HTML_PAGE = Body("<!DOCTYPE html><html><body>We will be right back.</body></html>", "text/html")


@dataclass(frozen=True)
class Truncated(Fault):
    """The first half of the JSON, and a length that agrees with it."""

    def response(self, response: Response, vendor: Vendor) -> Response:
        """Cut in the middle."""
        return replace(response, body=response.body[: len(response.body) // 2])


@dataclass(frozen=True)
class Redirect(Fault):
    """Off to another place."""

    location: str = "http://localhost/"

    def response(self, response: Response, vendor: Vendor) -> Response:
        """``302 Found``."""
        return Response(302, b"", {"Location": self.location})


@dataclass(frozen=True)
class GzipBomb(Fault):
    """A small compressed body that would be 200 MB."""

    def response(self, response: Response, vendor: Vendor) -> Response:
        """The good body with blanks behind it."""
        headers: Mapping[str, str] = {**response.headers, "Content-Encoding": "gzip"}
        return replace(response, body=gzip.compress(response.body) + _blanks(), headers=headers)


@lru_cache(maxsize=1)
def _blanks() -> bytes:
    """200 MB of blanks as one more gzip member."""
    return gzip.compress(b" " * (200 * _MEGABYTE), compresslevel=1)


# --- the wire


@dataclass(frozen=True)
class HugeBody(Fault):
    """50 MB, of which the first bytes are the good body; without a length (chunked)."""

    size: int = 50 * _MEGABYTE

    def send(
        self, to: BaseHTTPRequestHandler, response: Response, stopping: threading.Event
    ) -> None:
        """Blanks behind the good body, a megabyte at a time."""
        to.wfile.write(_head(response, None))
        blanks = b"%x\r\n%b\r\n" % (_MEGABYTE, b" " * _MEGABYTE)
        to.wfile.write(b"%x\r\n%b\r\n" % (len(response.body), response.body))
        for _ in range(self.size // _MEGABYTE):
            to.wfile.write(blanks)
        to.wfile.write(b"0\r\n\r\n")


@dataclass(frozen=True)
class NoAnswer(Fault):
    """Nothing comes, ever."""

    def send(
        self, to: BaseHTTPRequestHandler, response: Response, stopping: threading.Event
    ) -> None:
        """Wait until the client hangs up."""
        while not stopping.is_set() and not select.select([to.connection], [], [], 0.02)[0]:
            continue
        to.close_connection = True


@dataclass(frozen=True)
class Stall(Fault):
    """A byte now and then, so that no single read times out."""

    pause: float = 0.05

    def send(
        self, to: BaseHTTPRequestHandler, response: Response, stopping: threading.Event
    ) -> None:
        """Until the client hangs up, or the body is through."""
        to.close_connection = True
        to.wfile.write(_head(response, len(response.body)))
        for byte in response.body:
            if stopping.wait(self.pause):
                return
            to.wfile.write(bytes([byte]))


@dataclass(frozen=True)
class Reset(Fault):
    """The connection is torn down in the middle of the body."""

    def send(
        self, to: BaseHTTPRequestHandler, response: Response, stopping: threading.Event
    ) -> None:
        """Half of it, then a TCP reset."""
        to.close_connection = True
        half = response.body[: len(response.body) // 2]
        to.wfile.write(_head(response, len(response.body)) + half)
        to.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        to.connection.close()


def _head(response: Response, length: int | None) -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
        framing,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
