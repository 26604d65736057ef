"""``FaultyStore``: stands before an S3 server on a real socket, and lets requests go wrong.

What it lets through it hands on as it came, so that signatures hold: the client is told the
address of this one, and signs for it.
"""

import http.client
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Asked:
    """A request: its method, its path with the query, and its headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def is_part(self) -> bool:
        """Whether it puts a piece of a large object."""
        return self.method == "PUT" and "partNumber=" in self.path

    @property
    def is_commit(self) -> bool:
        """Whether it puts a new version of a table."""
        return self.method == "PUT" and "_delta_log/" in self.path and self.path.endswith(".json")


@dataclass(frozen=True)
class Refusal:
    """The answer that the request gets from here; the server never sees it."""

    status: int
    code: str


SLOW_DOWN = Refusal(503, "SlowDown")
EXPIRED = Refusal(400, "ExpiredToken")
DENIED = Refusal(403, "AccessDenied")


class LostAnswer:
    """The server does what is asked; the connection ends before its answer."""


LOST = LostAnswer()
Rule = Callable[[Asked], Refusal | LostAnswer | None]


class FaultyStore:
    """A context manager; between ``with`` and its end the store is at ``endpoint``.

    Attributes:
        rule: What goes wrong with a request; nothing at first.
        asked: Every request, in order of arrival.
    """

    def __init__(self, upstream: str) -> None:
        """Stand before the server at ``upstream``, as ``http://127.0.0.1:9000``."""
        self.rule: Rule = lambda _: None
        self.asked: list[Asked] = []
        self._lock = threading.Lock()
        self._upstream = urlsplit(upstream).netloc
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def first(
        self, count: int, fault: Refusal | LostAnswer, which: Callable[[Asked], bool] | None = None
    ) -> None:
        """Let the first ``count`` requests go wrong, or of those that ``which`` picks."""
        left = count

        def rule(asked: Asked) -> Refusal | LostAnswer | None:
            nonlocal left
            if left and (which is None or which(asked)):
                left -= 1
                return fault
            return None

        self.rule = rule

    def __enter__(self) -> Self:
        """Listen."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _judged(self, asked: Asked) -> Refusal | LostAnswer | None:
        with self._lock:
            self.asked.append(asked)
            return self.rule(asked)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(size) if size else None
                if body is not None and len(body) < size:
                    self.close_connection = True  # The client is dead.
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                fault = store._judged(Asked(self.command, self.path, headers))
                if isinstance(fault, Refusal):
                    text = f"<Error><Code>{fault.code}</Code><Message>by the test</Message></Error>"
                    self._answer(fault.status, {"content-type": "application/xml"}, text.encode())
                    return
                upstream = http.client.HTTPConnection(store._upstream, timeout=60)
                try:
                    upstream.request(self.command, self.path, body, headers)
                    answer = upstream.getresponse()
                    content = answer.read()
                finally:
                    upstream.close()
                if fault is LOST:
                    self.close_connection = True
                    return
                told = {n.lower(): v for n, v in answer.getheaders() if n.lower() not in _HOP}
                if self.command == "HEAD":
                    told["content-length"] = answer.getheader("content-length") or "0"
                self._answer(answer.status, told, content)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any  # noqa: N815

            def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response_only(status)
                for name, value in {"content-length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                with suppress(ConnectionError):  # Whoever asked may be dead.
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler
