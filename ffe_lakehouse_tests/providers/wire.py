"""A vendor on a real socket that plays what a test wrote down, and a clock that does not wait."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ffe_lakehouse.providers.base import FailureKind, ProviderError
from ffe_lakehouse.providers.breaker import Breaker
from ffe_lakehouse.providers.http import HttpSource, VendorPolicy

CANARY = "canary/7f3a+9c"
SPELLED = "canary%2F7f3a%2B9c"
POLICY = VendorPolicy("acme", retry_jitter=0.0, timeout=5.0)
MB = 1 << 20

Act = Callable[[socket.socket], object]


def answer(
    status: int = 200, body: bytes = b"[]", length: int | None = None, **headers: str
) -> Act:
    """An answer in one piece; ``retry_after=`` is the header ``retry-after``."""
    lines = [f"HTTP/1.1 {status} Said"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {len(body) if length is None else length}", "", ""]
    return lambda peer: peer.sendall("\r\n".join(lines).encode() + body)


def then_reset(act: Act) -> Act:
    def acted(peer: socket.socket) -> None:
        act(peer)
        time.sleep(0.05)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()

    return acted


def drip(piece: bytes) -> Act:
    def acted(peer: socket.socket) -> None:
        while True:
            peer.sendall(piece)
            time.sleep(0.05)

    return acted


def in_turn(*acts: Act) -> Act:
    def acted(peer: socket.socket) -> None:
        for act in acts:
            act(peer)

    return acted


@dataclass
class Vendor:
    """A server that answers the n-th request by the n-th act, and any later one by the last.

    Attributes:
        url: Where it is.
        requests: First lines and headers, as they came.
        connections: How many were made.
        sent: Bytes of ``flood`` that it could send.
    """

    acts: tuple[Act, ...]
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    requests: list[str] = field(default_factory=list)
    connections: int = 0
    sent: int = 0

    def __post_init__(self) -> None:
        """It takes connections from now on."""
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    @property
    def targets(self) -> list[str]:
        """What was asked for, in order."""
        return [request.split(" ")[1] for request in self.requests]

    def flood(self, head: bytes, piece: bytes) -> Act:
        """Say ``head``, and ``piece`` again and again."""

        def acted(peer: socket.socket) -> None:
            peer.sendall(head)
            while True:
                self.sent += peer.send(piece)

        return acted

    def serve(self) -> None:
        """Take connections, until the listener is closed."""
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._speak, args=(peer,), daemon=True).start()

    def _speak(self, peer: socket.socket) -> None:
        with peer:
            try:
                while request := self._read(peer):
                    self.requests.append(request)
                    self.acts[min(len(self.requests), len(self.acts)) - 1](peer)
            except OSError:
                return

    @staticmethod
    def _read(peer: socket.socket) -> str:
        received = b""
        while b"\r\n\r\n" not in received:
            if not (piece := peer.recv(65_536)):
                return ""
            received += piece
        return received.decode()


@contextmanager
def vendor(*acts: Act) -> Iterator[Vendor]:
    playing = Vendor(acts)
    threading.Thread(target=playing.serve, daemon=True).start()
    try:
        yield playing
    finally:
        playing.listener.shutdown(socket.SHUT_RDWR)
        playing.listener.close()


@dataclass
class Time:
    """A clock that only sleeping moves, and what was slept."""

    now: float = 1_700_000_000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        """Seconds since 1970."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Move it."""
        self.slept.append(seconds)
        self.now += seconds


def source(url: str, clock: Time, policy: VendorPolicy = POLICY, **how: Any) -> HttpSource:
    how = {"breaker": Breaker("acme", clock=clock), "sleep": clock.sleep, "clock": clock, **how}
    return HttpSource(url, policy, **how)


def fails(
    asked: HttpSource, kind: FailureKind, path: str = "/candles", **how: Any
) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        asked.get(path, **how)
    assert caught.value.kind == kind, caught.value
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("acme ")
    return caught.value


def fails_at(acts: tuple[Act, ...], kind: FailureKind, **how: Any) -> tuple[str, Time, Vendor]:
    clock = Time()
    with vendor(*acts) as playing:
        failure = fails(source(playing.url, clock, replace(POLICY, **how)), kind)
    return str(failure), clock, playing
