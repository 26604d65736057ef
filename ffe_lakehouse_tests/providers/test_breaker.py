"""The circuit breaker: when it opens, whom it lets through, what it counts."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.providers.base import FailureKind, ProviderError
from ffe_lakehouse.providers.breaker import Breaker, shared_breaker


@dataclass
class Clock:
    """A clock that stands still."""

    now: float = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@contextmanager
def failing(kind: FailureKind = "unavailable") -> Iterator[None]:
    with pytest.raises(ProviderError, match="boom") as caught:
        yield
    assert caught.value.kind == kind


def fail(breaker: Breaker, times: int = 1, kind: FailureKind = "unavailable") -> None:
    for _ in range(times):
        with failing(kind), breaker.attempt():
            raise ProviderError(kind, "boom")


def succeed(breaker: Breaker) -> None:
    with breaker.attempt():
        pass


def refused(breaker: Breaker) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        succeed(breaker)
    assert caught.value.kind == "unavailable"
    return caught.value


def opened(clock: Clock) -> Breaker:
    breaker = Breaker("acme", 5, 60.0, clock=clock)
    fail(breaker, 5)
    return breaker


def test_it_opens_half_opens_and_closes() -> None:
    clock = Clock()
    breaker = Breaker("acme", 5, 60.0, clock=clock)
    assert (breaker.state, breaker.failure_count) == ("closed", 0)
    fail(breaker, 4)
    assert (breaker.state, breaker.failure_count) == ("closed", 4)
    fail(breaker, kind="timeout")
    assert (breaker.state, breaker.failure_count) == ("open", 5)
    clock.now = 59.9
    assert breaker.state == "open"
    clock.now = 60.0
    assert breaker.state == "half_open"
    succeed(breaker)
    assert (breaker.state, breaker.failure_count) == ("closed", 0)


def test_open_it_refuses_in_one_line_that_says_when_to_ask_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 20.0
    refusal = refused(breaker)
    assert refusal.retry_after == 40.0
    assert str(refusal) == (
        "acme failed 5 times in a row and is left alone for now: ask again in 40 s, or name"
        " another provider"
    )
    with pytest.raises(ProviderError, match="left alone"):
        breaker.check()
    assert breaker.failure_count == 5


def test_a_failing_trial_opens_it_for_as_long_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 60.0
    fail(breaker)
    assert (breaker.state, breaker.failure_count) == ("open", 6)
    clock.now = 119.0
    refused(breaker)
    clock.now = 120.0
    assert breaker.state == "half_open"


def test_half_open_it_lets_one_attempt_through() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 60.0
    with breaker.attempt():
        refused(breaker)
    assert breaker.state == "closed"


@pytest.mark.parametrize(
    "kind", ["rate_limited", "authentication", "invalid_symbol", "no_data", "bad_response"]
)
def test_a_vendor_that_refuses_is_not_down(kind: FailureKind) -> None:
    clock = Clock()
    breaker = Breaker("acme", 5, 60.0, clock=clock)
    fail(breaker, 4)
    fail(breaker, kind=kind)
    assert breaker.failure_count == 0
    fail(breaker, 5)
    clock.now = 60.0
    fail(breaker, kind=kind)
    assert breaker.state == "closed"


def test_an_interrupted_trial_leaves_the_trial_to_the_next() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 60.0
    with pytest.raises(KeyboardInterrupt), breaker.attempt():
        raise KeyboardInterrupt
    assert breaker.state == "half_open"
    succeed(breaker)
    assert breaker.state == "closed"


def test_attempts_that_overlap_fail_once() -> None:
    breaker = Breaker("acme")
    together = Barrier(8)

    def attempt() -> None:
        with failing(), breaker.attempt():
            together.wait()
            raise ProviderError("unavailable", "boom")

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(attempt) for _ in range(8)]:
            done.result()
    assert (breaker.state, breaker.failure_count) == ("closed", 1)


def test_an_attempt_that_began_before_it_opened_does_not_close_it() -> None:
    breaker = Breaker("acme")
    with breaker.attempt():
        fail(breaker, 5)
    assert breaker.state == "open"


@given(st.lists(st.sampled_from(["down", "up", "minute"])), st.integers(1, 4))
def test_it_lets_through_what_a_model_of_one_line_lets_through(
    events: list[str], limit: int
) -> None:
    clock = Clock()
    breaker = Breaker("acme", limit, 60.0, clock=clock)
    failures, opened_at = 0, -1e9
    for event in events:
        if event == "minute":
            clock.now += 60
        elif failures >= limit and clock.now < opened_at + 60:
            refused(breaker)
        elif event == "up":
            succeed(breaker)
            failures = 0
        else:
            fail(breaker)
            failures, opened_at = failures + 1, clock.now
        assert breaker.failure_count == failures
        assert (breaker.state == "closed") == (failures < limit)


def test_a_process_has_one_breaker_for_a_vendor_at_an_origin() -> None:
    one = shared_breaker("acme", "http://one.test:80", 5, 60.0)
    assert shared_breaker("acme", "http://one.test:80", 5, 60.0) is one
    assert shared_breaker("acme", "http://two.test:80", 5, 60.0) is not one
