"""One HTTP request over a kept-alive connection, within a bound of time and a bound of bytes.

Sockets, proxies and compression belong here; what an answer means, and what is asked again, in
``http``.

It stands on httpcore, the engine of httpx, and not on httpx itself, for three reasons (httpx
0.28): a read timeout begins anew with every byte, so a server that drips is never given up; its
decoder inflates 64 kB of zeros to 64 MB in one call, before anybody can count; and it logs the URL
of every request, with the key of a vendor that wants it there.
"""

import ssl
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from threading import local
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore

from ffe_lakehouse.providers.base import ProviderError

_CONNECT_SECONDS = 10.0
_IDLE_SECONDS = 5.0  # a connection unused for longer is closed: servers close theirs as well
_PIECE = 1 << 20
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Answer:
    """What came back, whatever its status.

    Attributes:
        status: HTTP status.
        headers: Names in lower case; values of a repeated name joined by commas.
        body: Unpacked.
    """

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)


class Transport:
    """Connections to one origin. Any thread may use it; the connections close with it."""

    def __init__(self, vendor: str, origin: str, *, timeout: float, max_body: int) -> None:
        """Nothing is connected before the first request.

        Args:
            vendor: As in messages.
            origin: Scheme, host and port, as in ``https://api.exchange.coinbase.com``.
            timeout: Seconds from the call to the last byte.
            max_body: Bytes of an unpacked body.
        """
        self._vendor = vendor
        self._origin = origin
        self._timeout = timeout
        self._max_body = max_body
        self._sockets = _Sockets()
        self._pool = httpcore.ConnectionPool(
            proxy=_proxy(origin),
            max_connections=None,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=self._sockets,
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def send(self, request: httpcore.Request) -> Answer:
        """Send ``request``, read the whole answer.

        Raises:
            ProviderError: ``timeout``; ``unavailable``: no connection, or one that broke;
                ``bad_response``: too large, or not packed as asked for.
        """
        self._sockets.end_after(self._timeout)
        try:
            return self._exchange(request)
        except ProviderError:
            raise
        except httpcore.ConnectTimeout:
            failure = self._down("timeout", "did not take the connection in time")
        except httpcore.TimeoutException:
            failure = self._down("timeout", f"did not answer within {self._timeout:g} s")
        except (httpcore.ConnectError, httpcore.ProxyError) as error:
            failure = self._down("unavailable", f"cannot be reached: {_told(error)}")
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            failure = self._down("unavailable", f"broke off its answer: {_told(error)}")
        except zlib.error:
            failure = self._bad("sent a body that is not gzip, as it says")
        # Out here, the exception has no context that could tell a header or a URL.
        raise failure

    def _exchange(self, request: httpcore.Request) -> Answer:
        response = self._pool.handle_request(request)
        try:
            headers: dict[str, str] = {}
            for name, value in response.headers:
                key, text = name.decode("latin-1").lower(), value.decode("latin-1")
                headers[key] = f"{headers[key]}, {text}" if key in headers else text
            return Answer(response.status, headers, self._body(response, headers))
        finally:
            response.close()

    def _body(self, response: httpcore.Response, headers: dict[str, str]) -> bytes:
        chunks: Iterable[bytes] = response.iter_stream()
        packing = headers.get("content-encoding", "identity").lower()
        if packing in {"gzip", "x-gzip"}:
            chunks = _inflated(chunks)
        elif packing != "identity":
            raise self._bad(f"sent a body packed as {packing!r}, and was asked for gzip")
        parts: list[bytes] = []
        size = 0
        for part in chunks:
            size += len(part)
            if size > self._max_body:
                raise self._bad(
                    f"sent more than {self._max_body:,} bytes in one answer; ask for less, or"
                    " raise FFE_HTTP_MAX_BODY_MB"
                )
            parts.append(part)
        return b"".join(parts)

    def _down(self, kind: Any, what: str) -> ProviderError:
        return ProviderError(
            kind, f"{self._vendor} {what}; check the network and {self._origin}, or ask again later"
        )

    def _bad(self, what: str) -> ProviderError:
        return ProviderError("bad_response", f"{self._vendor} {what}")


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__


def _inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content of a gzip stream of one or several members, in small pieces.

    Raises:
        httpcore.ReadError: The stream ends too early.
        zlib.error: It is no such stream.
    """
    member: Any = None
    for chunk in chunks:
        packed = chunk
        while packed:
            member = member or zlib.decompressobj(zlib.MAX_WBITS | 16)
            yield member.decompress(packed, _PIECE)
            packed = member.unused_data if member.eof else member.unconsumed_tail
            if member.eof:
                member = None
    if member is not None:
        yield member.flush()
        if not member.eof:
            raise httpcore.ReadError("the packed body ends too early")


def _proxy(origin: str) -> httpcore.Proxy | None:
    """The proxy of the environment (``HTTPS_PROXY``, ``NO_PROXY``), or of the system."""
    url = urlsplit(origin)
    address = getproxies().get(url.scheme)
    host = url.hostname or ""
    if not address or host in _LOOPBACK or proxy_bypass(host):
        return None
    proxy = urlsplit(address)
    user = (unquote(proxy.username), unquote(proxy.password or "")) if proxy.username else None
    return httpcore.Proxy(proxy._replace(netloc=proxy.netloc.rpartition("@")[2]).geturl(), user)


class _Sockets(httpcore.NetworkBackend):
    """TCP connections whose every operation ends when the request of its thread must end."""

    def __init__(self) -> None:
        self._tcp = httpcore.SyncBackend()
        self._thread = local()

    def end_after(self, seconds: float) -> None:
        self._thread.end = time.monotonic() + seconds

    def remaining(self) -> float:
        seconds: float = self._thread.end - time.monotonic()
        if seconds <= 0:
            raise httpcore.ReadTimeout
        return seconds

    def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> "_Stream":
        timeout = min(self.remaining(), _CONNECT_SECONDS)
        return _Stream(self._tcp.connect_tcp(host, port, timeout), self)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, sockets: _Sockets) -> None:
        self._stream = stream
        self._sockets = sockets

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - httpcore's
        return self._stream.read(max_bytes, self._sockets.remaining())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - httpcore's
        self._stream.write(buffer, self._sockets.remaining())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - httpcore's
    ) -> "_Stream":
        remaining = self._sockets.remaining()
        return _Stream(
            self._stream.start_tls(ssl_context, server_hostname, remaining), self._sockets
        )

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
