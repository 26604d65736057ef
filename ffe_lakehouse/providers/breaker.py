"""A circuit breaker: who fails again and again is left alone for a while, then tried once.

It counts and refuses; what a failure means is decided by its kind, what to do about one in
``http``. Its own, because the ready-made ones (pybreaker, purgatory) count every failing thread:
one lost connection under five requests in flight would open them at once.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Literal

from ffe_lakehouse.providers.base import FailureKind, ProviderError

State = Literal["closed", "open", "half_open"]

DOWN: frozenset[FailureKind] = frozenset({"timeout", "unavailable"})
"""Kinds that say that the vendor is down. Any other answer, a refusal too, says that it is up."""


class Breaker:
    """Closed, it lets every attempt through, and opens after some failures in a row.

    Open, it lets none through. After a time it is half open: one attempt is let through, and its
    outcome closes the breaker or opens it again.

    Attempts that overlap fail once: five in flight that lose their connections together tell one
    thing, not five. Any thread may use it.
    """

    def __init__(
        self,
        vendor: str,
        failures: int = 5,
        seconds: float = 60.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A closed breaker.

        Args:
            vendor: As in messages.
            failures: So many in a row open it.
            seconds: How long it stays open.
            clock: Seconds, never going back.
        """
        self._vendor = vendor
        self._limit = failures
        self._seconds = seconds
        self._clock = clock
        self._lock = Lock()
        self._failures = 0
        self._failed_at: float | None = None
        self._opened_at: float | None = None
        self._trying = False

    @property
    def state(self) -> State:
        """``closed``, ``open`` or ``half_open``."""
        if self._opened_at is None:
            return "closed"
        return "open" if self._remaining() > 0 else "half_open"

    @property
    def failure_count(self) -> int:
        """Failures since the vendor last answered."""
        return self._failures

    def check(self) -> None:
        """Raise what ``attempt`` would raise now; changes nothing.

        Raises:
            ProviderError: ``unavailable``: the vendor is left alone.
        """
        with self._lock:
            self._refuse()

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """One attempt, whose outcome is counted: a ``ProviderError`` of ``DOWN`` is a failure.

        Raises:
            ProviderError: ``unavailable``: the vendor is left alone.
        """
        with self._lock:
            self._refuse()
            trial = self._trying = self._opened_at is not None
            begun = self._clock()
        try:
            yield
        except ProviderError as error:
            self._count(begun, trial, down=error.kind in DOWN)
            raise
        else:
            self._count(begun, trial, down=False)
        finally:
            if trial:
                self._trying = False

    def _remaining(self) -> float:
        return 0.0 if self._opened_at is None else self._opened_at + self._seconds - self._clock()

    def _refuse(self) -> None:
        remaining = self._remaining()
        if self._trying or remaining > 0:
            raise ProviderError(
                "unavailable",
                f"{self._vendor} failed {self._failures} times in a row and is left alone for now:"
                f" ask again in {max(remaining, 1):.0f} s, or name another provider",
                retry_after=max(remaining, 0.0),
            )

    def _count(self, begun: float, trial: bool, *, down: bool) -> None:
        with self._lock:
            if self._opened_at is not None and not trial:
                return  # it began before the breaker opened: the trial decides
            if not down:
                self._failures, self._failed_at, self._opened_at = 0, None, None
            elif self._failed_at is None or begun >= self._failed_at:
                self._failures += 1
                self._failed_at = self._clock()
                if trial or self._failures >= self._limit:
                    self._opened_at = self._failed_at


@cache
def shared_breaker(
    vendor: str,
    origin: str,  # noqa: ARG001 - a proxy may be down when the vendor is not
    failures: int,
    seconds: float,
) -> Breaker:
    """The breaker of this process for a vendor at ``origin``: whoever asks gets the same one."""
    return Breaker(vendor, failures, seconds)
