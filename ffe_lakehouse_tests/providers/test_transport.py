"""One request on a real socket: what breaks on the way, and how much is read."""

import gzip
import socket
import time
import tracemalloc
from dataclasses import replace

import pytest

from ffe_lakehouse_tests.providers.wire import (
    MB,
    POLICY,
    Act,
    Time,
    answer,
    drip,
    fails,
    fails_at,
    in_turn,
    source,
    then_reset,
    vendor,
)


def test_a_refused_connection_is_tried_again() -> None:
    clock = Time()
    with vendor() as gone:
        pass
    failure = fails(source(gone.url, clock), "unavailable")
    assert clock.slept == [5, 10, 20]
    assert "cannot be reached: [Errno 111] Connection refused" in str(failure)


@pytest.mark.parametrize(
    "act",
    [
        lambda _: time.sleep(2),
        drip(b"H"),
        in_turn(lambda peer: peer.sendall(b"HTTP/1.1 200 OK\r\n"), drip(b"a: b\r\n")),
        in_turn(answer(200, b"[", 1000), drip(b" ")),
        in_turn(answer(200, b"[", 1000), lambda _: time.sleep(2)),
    ],
    ids=["stall", "drip-status", "drip-headers", "drip-body", "stall-body"],
)
def test_an_answer_that_does_not_end_is_given_up_in_time(act: Act) -> None:
    begun = time.monotonic()
    told, clock, playing = fails_at((act,), "timeout", timeout=0.4, retry_waits=(5.0,))
    assert 0.8 <= time.monotonic() - begun < 10
    assert (clock.slept, len(playing.requests)) == ([5], 2)
    assert "did not answer within 0.4 s" in told


@pytest.mark.parametrize(
    "act",
    [
        then_reset(answer(200, b"[1, 2", 1000)),
        in_turn(answer(200, b"[1, 2", 1000), lambda peer: peer.shutdown(socket.SHUT_RDWR)),
        answer(200, gzip.compress(b"[1, 2]" * 99)[:-9], content_encoding="gzip"),
        then_reset(lambda _: None),
        lambda peer: peer.sendall(b"SSH-2.0-OpenSSH\r\n\r\n"),
    ],
    ids=["reset", "closed", "packed", "no-answer", "not-http"],
)
def test_an_answer_cut_short_is_never_used_and_asked_again(act: Act) -> None:
    clock = Time()
    with vendor(act, act, answer(200, b"[1]")) as playing:
        assert source(playing.url, clock).get("/candles").body == b"[1]"
    assert clock.slept == [5, 10]
    told, _, _ = fails_at((act,), "unavailable", retry_waits=())
    assert "acme broke off its answer: " in told


def test_50_mb_are_not_read_to_their_end() -> None:
    with vendor() as playing:
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 52428800\r\n\r\n"
        playing.acts = (playing.flood(head, b" " * 65_536),)
        tracemalloc.start()
        failure = fails(source(playing.url, Time(), replace(POLICY, max_body=MB)), "bad_response")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert "more than 1,048,576 bytes in one answer" in str(failure)
    assert len(playing.requests) == 1
    assert playing.sent < 12 * MB  # what lies in the buffers of both sockets
    assert peak < 4 * MB


def test_a_gzip_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * (200 * MB), 9)
    with vendor(answer(200, bomb, content_encoding="gzip")) as playing:
        asked = source(playing.url, Time(), replace(POLICY, max_body=4 * MB))
        tracemalloc.start()
        fails(asked, "bad_response")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 12 * MB


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (answer(200, b"[]", content_encoding="gzip"), "not gzip, as it says"),
        (answer(200, b"[]", content_encoding="br"), "packed as 'br', and was asked for gzip"),
    ],
)
def test_a_body_that_is_packed_wrongly_is_refused(act: Act, told: str) -> None:
    assert told in fails_at((act,), "bad_response")[0]


def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with vendor(answer(200, b"[7]")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:secret@"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert source("http://vendor.test", Time()).get("/candles").body == b"[7]"
        with vendor(answer(200, b"[8]")) as local:
            assert source(local.url, Time()).get("/candles").body == b"[8]"
    assert proxy.targets == ["http://vendor.test/candles"]
    assert "Proxy-Authorization: Basic bWU6c2VjcmV0" in proxy.requests[0]
