"""Where keys go, and where they never appear; which links are followed; who takes a turn."""

import logging
import time
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.http import HttpSource
from ffe_lakehouse.providers.urls import origin, with_params, without_params
from ffe_lakehouse_tests.providers.wire import (
    CANARY,
    POLICY,
    SPELLED,
    Act,
    Time,
    answer,
    fails,
    fails_at,
    source,
    then_reset,
    vendor,
)


def test_every_try_and_every_redirect_takes_a_turn(tmp_path: Path) -> None:
    clock = Time()
    policy = replace(POLICY, per_minute=1, retry_waits=(5.0,), state_dir=tmp_path)
    with vendor(answer(307, location="/b"), answer(503), answer()) as playing:
        source(playing.url, clock, policy).get("/a")
    assert playing.targets == ["/a", "/b", "/a"]
    assert clock.slept == pytest.approx([60.6, 5, 55.6])


def test_an_open_breaker_costs_neither_a_request_nor_a_turn(tmp_path: Path) -> None:
    clock = Time()
    policy = replace(POLICY, per_day=6, state_dir=tmp_path)
    with vendor(answer(500)) as playing:
        asked = source(playing.url, clock, policy)
        fails(asked, "unavailable")
        assert (asked.breaker.state, asked.breaker.failure_count) == ("closed", 4)
        told = str(fails(asked, "unavailable"))
        assert "HTTP 500" in told  # the fifth failure opened it: no use in waiting
        assert clock.slept == [5, 10, 20]
        assert asked.breaker.state == "open"
        assert "left alone" in str(fails(asked, "unavailable"))
        assert len(playing.requests) == 5
        clock.now += 60
        playing.acts = (answer(),)
        assert asked.get("/candles").status == 200
        assert asked.breaker.state == "closed"
        assert fails(asked, "rate_limited").retry_after


def test_sources_of_one_vendor_and_origin_share_a_breaker() -> None:
    with vendor(answer()) as one, vendor(answer()) as two:
        first = HttpSource(one.url, POLICY)
        assert HttpSource(f"{one.url}/v1", POLICY).breaker is first.breaker
        assert HttpSource(two.url, POLICY).breaker is not first.breaker


# Links and redirects


def test_a_redirect_on_the_same_host_is_followed_with_the_keys() -> None:
    with vendor(answer(302, location="/b?apiKey=stale&cursor=x%3D%3D"), answer()) as playing:
        asked = source(playing.url, Time(), params={"apiKey": SecretStr(CANARY)})
        response = asked.get("/a")
    assert playing.targets == [f"/a?apiKey={SPELLED}", f"/b?cursor=x%3D%3D&apiKey={SPELLED}"]
    assert response.url == f"{playing.url}/b?cursor=x%3D%3D"


def test_redirects_are_followed_three_times() -> None:
    _, _, playing = fails_at((answer(301, location="/again"),), "bad_response")
    assert len(playing.requests) == 4


@pytest.mark.parametrize(
    "form", ["{other}/b", "//{other_host}/b", "https://{own_host}/b", "http://[::1/b"]
)
def test_a_redirect_to_another_place_gets_no_request(form: str) -> None:
    with vendor(answer()) as other, vendor() as playing:
        names = {"other": other.url, "other_host": other.url[7:], "own_host": playing.url[7:]}
        playing.acts = (answer(307, location=f"{form.format(**names)}?apiKey={SPELLED}"),)
        asked = source(playing.url, Time(), params={"apiKey": SecretStr(CANARY)})
        told = str(fails(asked, "bad_response"))
    assert other.requests == []
    assert "redirects to " in told
    assert "apiKey" not in told


def test_a_link_of_the_vendor_is_followed_with_the_keys() -> None:
    with vendor(answer()) as playing:
        asked = source(
            playing.url, Time(), params={"apiKey": SecretStr(CANARY), "adjusted": "true"}
        )
        asked.get("/a")
        asked.get("", url=f"{playing.url}/next?cursor=bGltaXQ%3D&apiKey=other")
    assert playing.targets == [
        f"/a?adjusted=true&apiKey={SPELLED}",
        f"/next?cursor=bGltaXQ%3D&apiKey={SPELLED}",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/next",
        "http://localhost/next",
        "ftp://127.0.0.1/next",
        "/next",
        "http://127.0.0.1:port/",
        "http://[::1/",
    ],
)
def test_a_link_to_another_place_is_not_followed(url: str) -> None:
    with vendor(answer()) as playing:
        fails(source(playing.url, Time()), "bad_response", "", url=url)
    assert playing.requests == []


# Secrets


def everything_about(failure: BaseException) -> str:
    told = []
    link: BaseException | None = failure
    while link is not None:
        told += [repr(link), str(link), repr(vars(link))]
        link = link.__cause__ or link.__context__
    frames = traceback.TracebackException.from_exception(failure, capture_locals=True)
    # The server plays in this process, too, and its frames know what came.
    inside = [frame for frame in frames.stack if "ffe_lakehouse/providers" in frame.filename]
    return "\n".join([*told, *(repr(frame.locals) for frame in inside)])


ECHO = f"We have detected your API key as {CANARY} or {SPELLED}".encode()


@pytest.mark.parametrize(
    "acts",
    [
        (answer(200, ECHO),),
        (answer(401, ECHO),),
        (answer(429, ECHO, x_key=CANARY),),
        (answer(302, ECHO, location=f"/b?apikey={SPELLED}"), answer(503, ECHO)),
        (answer(302, ECHO, location=f"http://other.test/{SPELLED}?apikey={SPELLED}"),),
        (then_reset(answer(200, ECHO, 1000)),),
        (lambda peer: peer.sendall(b"HTTP/1.1 canary/7f3a+9c\r\n\r\n"),),
        (answer(200, ECHO, content_encoding="gzip"),),
        (lambda _: time.sleep(1),),
    ],
    ids=["200", "401", "429", "redirect", "elsewhere", "reset", "no-http", "no-gzip", "stall"],
)
def test_a_key_occurs_nowhere(acts: tuple[Act, ...], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with vendor(*acts) as playing:
        asked = source(
            playing.url,
            Time(),
            replace(POLICY, timeout=0.3),
            params={"apikey": SecretStr(CANARY)},
            headers={"Authorization": SecretStr(f"Bearer {CANARY}")},
        )
        try:
            response = asked.get("/candles")
            told = repr(response) + repr(vars(response))
        except ProviderError as failure:
            told = everything_about(failure)
    assert SPELLED in playing.targets[0]  # it was sent,
    assert f"authorization: Bearer {CANARY}" in playing.requests[0]
    told += caplog.text + repr(asked) + repr(vars(asked))
    assert CANARY not in told  # and is told nowhere
    assert SPELLED not in told
    assert "httpcore" in caplog.text


@pytest.mark.parametrize("key", [f"{CANARY}\n", f" {CANARY}", f"{CANARY}\r\nHost: x", f"{CANARY}é"])
def test_a_key_that_no_header_can_carry_is_refused_at_once(key: str) -> None:
    with pytest.raises(
        ProviderError, match=r"header x-key of acme .* copy the key again"
    ) as caught:
        HttpSource("http://127.0.0.1:1", POLICY, headers={"X-Key": SecretStr(key)})
    assert caught.value.kind == "configuration"
    assert CANARY not in everything_about(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "api.acme.test",
        "ftp://acme.test",
        "http://",
        "http://acme.test/?key=1",
        f"http://me:{CANARY}@acme.test",
    ],
)
def test_a_base_url_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ProviderError, match="acme cannot be asked at") as caught:
        HttpSource(url, POLICY)
    assert caught.value.kind == "configuration"
    assert CANARY not in str(caught.value)


names = st.text(min_size=1)


@given(st.dictionaries(names, st.text()), st.dictionaries(names, st.text(), min_size=1))
def test_parameters_that_are_put_on_can_be_taken_off(
    shown: dict[str, str], hidden: dict[str, str]
) -> None:
    shown = {name: value for name, value in shown.items() if name not in hidden}
    url = with_params("http://acme.test/a", shown)
    assert without_params(with_params(url, hidden), hidden) == url
    assert origin(with_params(url, hidden)) == "http://acme.test:80"
