"""The rate limiter: no window holds too many requests, whoever asks, whatever happens to them."""

import multiprocessing
import os
import signal
import stat
import time
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.limiter import PATIENCE, Rate, RateLimiter, default_folder

SPAWN = multiprocessing.get_context("spawn")
DAY = 86_400.0


@dataclass
class Clock:
    """A clock that only sleeping moves."""

    now: float = 1e9

    def __call__(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Move it."""
        self.now += seconds


def limiter(folder: Path, clock: Clock, *rates: Rate) -> RateLimiter:
    return RateLimiter("acme", rates, folder, clock=clock, sleep=clock.sleep)


def most_in_a_window(times: Sequence[float], seconds: float) -> int:
    """Of all windows of this length, open at their end, the most requests in one."""
    ordered = sorted(times)
    return max(bisect_left(ordered, at + seconds) - i for i, at in enumerate(ordered))


def ask_for(seconds: float, folder: Path, rate: Rate) -> list[float]:
    door = RateLimiter("acme", [rate], folder)
    end = time.time() + seconds
    times = []
    while time.time() < end:
        door.acquire()
        times.append(time.time())
    return times


def ask_together(all_are_here: Barrier, answers: "Queue[list[float]]", *how: Any) -> None:
    all_are_here.wait(60)
    answers.put(ask_for(*how))


def stand_at_the_head_of_the_line(folder: Path, rate: Rate) -> None:
    door = RateLimiter("acme", [rate], folder)
    for _ in count():
        door.acquire()


def test_eight_processes_together_never_exceed_the_rate(tmp_path: Path) -> None:
    rate, seconds = Rate(20, 1.0), 3.0
    answers: Queue[list[float]] = SPAWN.Queue()
    how = (SPAWN.Barrier(8), answers, seconds, tmp_path, rate)
    processes = [SPAWN.Process(target=ask_together, args=how) for _ in range(8)]
    for process in processes:
        process.start()
    times = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(10)
    together = [at for of_one in times for at in of_one]
    assert most_in_a_window(together, rate.seconds) <= rate.count
    assert len(together) >= rate.count * seconds * 0.9  # and they do not dawdle
    assert min(map(len, times)) >= 1  # nobody is left out


def test_threads_of_a_process_share_the_rate(tmp_path: Path) -> None:
    rate = Rate(20, 0.5)
    with ThreadPoolExecutor(8) as threads:
        doors = [threads.submit(ask_for, 1.2, tmp_path, rate) for _ in range(8)]
        times = [at for door in doors for at in door.result()]
    assert most_in_a_window(times, rate.seconds) <= rate.count


def test_a_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    rate = Rate(1, 2.0)
    holder = SPAWN.Process(target=stand_at_the_head_of_the_line, args=(tmp_path, rate))
    holder.start()
    file = tmp_path / "acme_1per2s.times"
    while not (file.exists() and file.stat().st_size):
        time.sleep(0.01)
    time.sleep(0.2)  # it has had its first turn, holds the lock and waits for the second
    assert holder.pid
    os.kill(holder.pid, signal.SIGKILL)
    holder.join(10)
    (first,) = array("d", file.read_bytes())
    RateLimiter("acme", [rate], tmp_path).acquire()
    assert rate.seconds <= time.time() - first < rate.seconds + 10


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0, 100), max_size=60),
    st.lists(
        st.builds(Rate, st.integers(1, 5), st.floats(0.5, 100)),
        min_size=1,
        max_size=3,
        unique_by=lambda rate: rate.seconds,
    ),
)
def test_no_window_of_any_rate_ever_holds_more(gaps: list[float], rates: list[Rate]) -> None:
    clock = Clock()
    times = []
    with TemporaryDirectory() as folder:
        for gap in gaps:
            clock.now += gap
            # A new one each time: all that it knows lies in the file.
            limiter(Path(folder), clock, *rates).acquire()
            times.append(clock.now)
    for rate in rates:
        assert not times or most_in_a_window(times, rate.seconds) <= rate.count


def test_requests_within_the_limit_do_not_wait(tmp_path: Path) -> None:
    clock = Clock()
    door = limiter(tmp_path, clock, Rate(5, 60.0))
    for _ in range(5):
        door.acquire()
    assert clock.now == 1e9
    door.acquire()
    assert clock.now == pytest.approx(1e9 + 60.6)


def test_a_spent_quota_is_told_and_not_waited_for(tmp_path: Path) -> None:
    clock = Clock()
    door = limiter(tmp_path, clock, Rate(1, 1.0), Rate(25, DAY))
    for _ in range(25):
        door.acquire()
    clock.now += 3600
    with pytest.raises(ProviderError) as caught:
        door.acquire()
    assert caught.value.kind == "rate_limited"
    assert caught.value.retry_after == pytest.approx(DAY - 3600, abs=30)
    assert str(caught.value) == (
        "acme allows 25 requests per day and they are spent: ask again after"
        " 2001-09-10 01:46 UTC, or name another provider"
    )
    clock.now += (caught.value.retry_after or 0) - PATIENCE + 1
    door.acquire()


def test_without_a_rate_nothing_is_limited_or_written(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(100):
        limiter(tmp_path / "none", clock).acquire()
    assert clock.now == 1e9
    assert not (tmp_path / "none").exists()


def test_vendors_and_plans_do_not_share_a_rate(tmp_path: Path) -> None:
    clock = Clock()
    limiter(tmp_path, clock, Rate(1, 60.0)).acquire()
    limiter(tmp_path, clock, Rate(2, 60.0)).acquire()
    RateLimiter("other", [Rate(1, 60.0)], tmp_path, clock=clock, sleep=clock.sleep).acquire()
    assert clock.now == 1e9


def test_a_clock_that_is_set_back_delays_by_one_window_at_most(tmp_path: Path) -> None:
    clock = Clock()
    door = limiter(tmp_path, clock, Rate(2, 60.0))
    door.acquire()
    door.acquire()
    clock.now -= 7200
    door.acquire()
    assert clock.now == pytest.approx(1e9 - 7200 + 60.6)


@pytest.mark.parametrize(
    "content", [b"\0", b"x" * 17, array("d", [float("nan"), float("inf"), -1.0]).tobytes()]
)
def test_a_damaged_file_delays_by_one_window_at_most(content: bytes, tmp_path: Path) -> None:
    clock = Clock()
    door = limiter(tmp_path, clock, Rate(2, 60.0))
    (tmp_path / "acme_2per60s.times").write_bytes(content)
    for _ in range(4):
        door.acquire()
    assert clock.now <= 1e9 + 2 * 60.6


def test_the_file_is_of_its_user_alone(tmp_path: Path) -> None:
    limiter(tmp_path / "mine", Clock(), Rate(1, 1.0)).acquire()
    (file,) = (tmp_path / "mine").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert str(os.getuid()) in default_folder().name


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ProviderError, match=r"file.*FFE_HTTP_STATE_DIR") as caught:
        limiter(tmp_path / "file", Clock(), Rate(1, 1.0)).acquire()
    assert caught.value.kind == "configuration"


@given(st.floats(0.001, 1e4), st.sampled_from([1.0, 60.0, DAY]))
def test_a_fraction_is_rounded_to_the_careful_side(requests: float, seconds: float) -> None:
    rate = Rate.of(requests, seconds)
    assert rate.count / rate.seconds <= requests / seconds * (1 + 1e-9)
    assert rate.count / rate.seconds > requests / seconds / 2


@pytest.mark.parametrize("requests", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(requests: float) -> None:
    with pytest.raises(InputError, match="use a number above 0"):
        Rate.of(requests, 1.0)
