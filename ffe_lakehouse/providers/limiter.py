"""How often a vendor may be asked, agreed upon by all processes and threads of the machine.

A ``RateLimiter`` lets a request go or makes it wait; what the limits are is in ``limits``, what is
done with a refusal in ``http``. It is a sliding window over the times of the last requests, which
lie in one small file per vendor and plan. Whoever holds the file's lock is the head of the line: it
waits until a request may go, writes the time down, and lets the next one in.

pyrate-limiter 4.5 on SQLite with a file lock kept the rate as well (8 processes, 20/s for 5 s,
2026-11), but gave one process 79 of 108 requests and six of them one or two, because it polls for
its lock; it also runs a thread in every process. Here, no process got more than 23: the kernel's
``flock`` wakes those who wait. And it releases the lock of a process that is killed.
"""

import fcntl
import math
import os
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.base import ProviderError

PATIENCE = 120.0
"""Seconds. A longer wait is a quota that is spent, not a line that moves: it is refused."""

_WINDOWS = {1.0: "second", 60.0: "minute", 86_400.0: "day"}


@dataclass(frozen=True)
class Rate:
    """At most ``count`` requests in any window of ``seconds``."""

    count: int
    seconds: float

    @classmethod
    def of(cls, requests: float, seconds: float) -> "Rate":
        """``requests`` per ``seconds``; a fraction is rounded to the careful side.

        2.5 a second are 2 in one second; 0.5 a second are 1 in two seconds.

        Raises:
            InputError: ``requests`` is no positive number.
        """
        if not 0 < requests < math.inf:
            raise InputError(
                f"a rate of {requests} requests per {seconds:g} s: use a number above 0"
            )
        return cls(max(int(requests), 1), seconds / min(requests, 1.0))

    def __str__(self) -> str:
        """As in messages."""
        window = _WINDOWS.get(self.seconds, f"{self.seconds:g} s")
        return f"{self.count} request{'s' * (self.count > 1)} per {window}"

    @property
    def spacing(self) -> float:
        """Seconds that must lie between a request and the ``count``-th one after it.

        A little more than the window: the vendor counts at its own door, and requests do not
        travel equally fast.
        """
        return self.seconds + min(max(0.05, self.seconds / 100), 1.0)


class RateLimiter:
    """The door to one vendor. Any thread of any process of this user and machine may stand at it.

    Times are those of the wall clock, which all processes share and a restart keeps. If it is set
    back, requests of the future count as just made; if it is set forward, earlier ones as older.

    The file lock is held while waiting, so a process that is *stopped* (``SIGSTOP``) there keeps
    the others waiting. One that is killed does not, and its turn is not lost.
    """

    def __init__(
        self,
        vendor: str,
        rates: Sequence[Rate],
        folder: Path | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Nothing is read or written before the first request.

        Args:
            vendor: As in messages.
            rates: All of them hold. Without any, nothing is limited.
            folder: Where the file lies; default: a folder of the user's own among the system's
                temporary files.
            clock: Seconds since 1970.
            sleep: Waits for so many seconds.
        """
        self._vendor = vendor
        self._rates = tuple(rates)
        name = "_".join([vendor, *(f"{rate.count}per{rate.seconds:g}s" for rate in rates)])
        self._keep = max((rate.count for rate in rates), default=0)
        self._file = (folder or default_folder()) / f"{name}.times"
        self._clock = clock
        self._sleep = sleep

    def acquire(self) -> None:
        """Wait for the turn of one request. It must be sent at once.

        Raises:
            ProviderError: ``rate_limited``: the turn would come after more than ``PATIENCE``.
                ``configuration``: the file of the limits cannot be used.
        """
        if not self._rates:
            return
        with self._locked() as file:
            times = self._read(file)
            wait, rate = max(
                ((self._wait(rate, times), rate) for rate in self._rates), key=itemgetter(0)
            )
            if wait > PATIENCE:
                raise self._spent(wait, rate)
            turn = self._clock() + wait
            if wait > 0:
                self._sleep(wait)
            times.append(max(turn, self._clock()))
            # One write: a kill leaves the old times or the new ones.
            os.pwrite(file, times[-self._keep :].tobytes(), 0)

    def _wait(self, rate: Rate, times: Sequence[float]) -> float:
        if len(times) < rate.count:
            return 0.0
        return max(times[-rate.count] + rate.spacing - self._clock(), 0.0)

    def _read(self, file: int) -> "array[float]":
        content = os.pread(file, 8 * self._keep, 0)
        now = self._clock()
        stored = array("d", content[: len(content) // 8 * 8])
        return array("d", sorted(at if 0 <= at < now else now for at in stored))

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Opened anew each time: flock is per opening, so this also keeps threads apart.
            file = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ProviderError(
                "configuration",
                f"cannot keep the rate limits of {self._vendor} in {self._file}: {error.strerror};"
                " name a folder of yours with FFE_HTTP_STATE_DIR",
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)

    def _spent(self, wait: float, rate: Rate) -> ProviderError:
        again = datetime.fromtimestamp(self._clock() + wait, UTC)
        return ProviderError(
            "rate_limited",
            f"{self._vendor} allows {rate} and they are spent: ask again after"
            f" {again:%Y-%m-%d %H:%M} UTC, or name another provider",
            retry_after=wait,
        )


def default_folder() -> Path:
    """A folder of this user among the system's temporary files."""
    return Path(tempfile.gettempdir()) / f"ffe-lakehouse-{os.getuid()}"
