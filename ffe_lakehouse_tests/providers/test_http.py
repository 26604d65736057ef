"""The policy around a request: retries, refusals, and what a vendor asks for."""

import gzip
import socket
import threading
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from ffe_lakehouse.providers.base import FailureKind, ProviderError
from ffe_lakehouse.providers.http import Response
from ffe_lakehouse_tests.providers.wire import (
    Time,
    answer,
    fails,
    fails_at,
    in_turn,
    source,
    vendor,
)


def test_an_answer_comes_with_its_headers_and_what_was_asked() -> None:
    act = answer(200, b'{"a": 1}', X_Two="one", x_two="two")
    with vendor(act) as playing:
        asked = source(f"{playing.url}/api/", Time(), headers={"User-Agent": "me"})
        response = asked.get("/v1/X:BTC USD?", {"from": 5, "to": "a b&c"})
    assert (response.status, response.body) == (200, b'{"a": 1}')
    assert response.headers["x-two"] == "one, two"
    assert response.url == f"{playing.url}/api/v1/X:BTC%20USD%3F?from=5&to=a+b%26c"
    assert playing.targets == ["/api/v1/X:BTC%20USD%3F?from=5&to=a+b%26c"]
    assert "user-agent: me\r\n" in playing.requests[0]
    assert playing.requests[0].lower().count("user-agent") == 1
    assert f"host: {playing.url[7:]}\r\n" in playing.requests[0]


def test_requests_go_through_one_connection() -> None:
    with vendor(answer()) as playing:
        asked = source(playing.url, Time())
        for _ in range(5):
            asked.get("/candles")
    assert (len(playing.requests), playing.connections) == (5, 1)


def test_threads_ask_at_once() -> None:
    together = threading.Barrier(8)
    with vendor(in_turn(lambda _: together.wait(5), answer())) as playing:
        asked = source(playing.url, Time())
        threads = [threading.Thread(target=asked.get, args=("/candles",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert (len(playing.requests), together.broken) == (8, False)


@pytest.mark.parametrize("members", [1, 3])
def test_a_packed_body_is_unpacked(members: int) -> None:
    content = bytes(range(256)) * 9000
    packed = b"".join(gzip.compress(content) for _ in range(members))
    with vendor(answer(200, packed, content_encoding="gzip")) as playing:
        assert source(playing.url, Time()).get("/candles").body == content * members


# The schedule


def test_the_retry_clock_shows_5_10_20() -> None:
    told, clock, playing = fails_at((answer(503),), "unavailable")
    assert clock.slept == [5, 10, 20]
    assert len(playing.requests) == 4
    assert told == (
        f"acme is down; ask again later (HTTP 503 of {playing.url}/candles: []) (tried 4 times)"
    )


def test_jitter_only_lengthens_a_wait() -> None:
    for _ in range(5):
        _, clock, _ = fails_at((answer(502),), "unavailable", retry_jitter=0.1)
        for slept, scheduled in zip(clock.slept, (5, 10, 20), strict=True):
            assert scheduled <= slept <= 1.1 * scheduled


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_can_heal_is_tried_again(status: int) -> None:
    clock = Time()
    with vendor(answer(status), answer(status), answer(200, b"[1]")) as playing:
        asked = source(playing.url, clock)
        assert asked.get("/candles").body == b"[1]"
    assert clock.slept == [5, 10]
    assert asked.breaker.failure_count == 0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "bad_response"),
        (401, "authentication"),
        (403, "authentication"),
        (404, "invalid_symbol"),
        (422, "bad_response"),
        (501, "bad_response"),
        (304, "bad_response"),
    ],
)
def test_what_cannot_heal_is_asked_once(status: int, kind: FailureKind) -> None:
    told, clock, playing = fails_at((answer(status, b"<b>\n no </b>"),), kind)
    assert (clock.slept, len(playing.requests)) == ([], 1)
    assert f"(HTTP {status} of " in told


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize(
    ("asked", "slept"), [(30, [30, 30, 30]), (7, [7, 10, 20]), (0, [5, 10, 20])]
)
def test_the_longer_of_retry_after_and_the_schedule_is_waited(
    form: str, asked: int, slept: list[int]
) -> None:
    clock = Time()

    def act(peer: socket.socket) -> None:
        told = formatdate(clock.now + asked, usegmt=True) if form == "date" else str(asked)
        answer(429, retry_after=told)(peer)

    with vendor(act) as playing:
        failure = fails(source(playing.url, clock), "rate_limited")
    assert clock.slept == slept
    assert failure.retry_after == asked


def test_a_retry_after_beyond_the_bound_is_told_and_not_waited() -> None:
    told, clock, playing = fails_at((answer(429, retry_after="121"),), "rate_limited")
    assert (clock.slept, len(playing.requests)) == ([], 1)
    assert "it asks to wait 121 s" in told


@pytest.mark.parametrize("told", ["soon", "-5", "1e3", "٣", ""])
def test_a_retry_after_that_is_none_leaves_the_schedule(told: str) -> None:
    failed = answer(503, retry_after=told.encode().decode("latin-1"))
    assert fails_at((failed,), "unavailable")[1].slept == [5, 10, 20]


# The vendor's hook


def refuse(kind: FailureKind, **how: Any) -> Callable[[Response], ProviderError | None]:
    return lambda response: (
        ProviderError(kind, f"acme says\n no: {response.body.decode()}", **how)
        if b"no" in response.body
        else None
    )


@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize("kind", ["authentication", "invalid_symbol", "no_data", "configuration"])
def test_a_refusal_of_the_hook_is_final_whatever_the_status(status: int, kind: FailureKind) -> None:
    clock = Time()
    with vendor(answer(status, b"no")) as playing:
        failure = fails(source(playing.url, clock, refusal=refuse(kind)), kind)
    assert (str(failure), clock.slept) == ("acme says no: no", [])


def test_a_burst_refused_within_200_is_tried_again() -> None:
    clock = Time()
    with vendor(answer(200, b"no"), answer()) as playing:
        asked = source(playing.url, clock, refusal=refuse("rate_limited"))
        assert asked.get("/candles").body == b"[]"
    assert clock.slept == [5]


def test_a_spent_quota_is_not_tried_again() -> None:
    clock = Time()
    with vendor(answer(200, b"no")) as playing:
        refusal = refuse("rate_limited", retry_after=40_000.0)
        failure = fails(source(playing.url, clock, refusal=refusal), "rate_limited")
    assert (failure.retry_after, clock.slept) == (40_000.0, [])


def test_retry_after_counts_under_a_refusal_of_the_hook() -> None:
    clock = Time()
    with vendor(answer(429, b"no", retry_after="33"), answer()) as playing:
        source(playing.url, clock, refusal=refuse("rate_limited")).get("/candles")
    assert clock.slept == [33]
