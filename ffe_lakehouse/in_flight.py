"""Several generators at once: each runs in a thread, what they yield comes out as it comes.

For work that waits (a vendor's answer), bounded in number, and with failures that stay with the one
that failed. It knows nothing of candles.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Full, Queue
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class _Ended(Generic[K]):
    """A source has nothing more to say; with its error, if it failed."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def interleave(
    keys: Iterable[K],
    start: Callable[[K], Iterator[T]],
    most: int,
    expected: tuple[type[Exception], ...] = (),
) -> Iterator[tuple[K, T | Exception]]:
    """Run ``start(key)`` for every key, at most ``most`` at once.

    Args:
        keys: Each names one generator.
        start: Makes the generator of a key. With ``most`` above 1 it is consumed in a thread.
        most: How many are consumed at once.
        expected: Errors that end one generator only: they are yielded with its key. Any other
            error is raised here, after the generators that run have been told to stop.

    Yields:
        A key and what its generator yielded, in the generator's order; or its error, last.
    """
    ordered = list(keys)
    if most == 1 or len(ordered) < 2:
        for key in ordered:
            try:
                for item in start(key):
                    yield key, item
            except expected as error:
                yield key, error
        return
    yield from _threaded(ordered, start, most, expected)


def _threaded(
    keys: list[K],
    start: Callable[[K], Iterator[T]],
    most: int,
    expected: tuple[type[Exception], ...],
) -> Iterator[tuple[K, T | Exception]]:
    # Bounded, so that generators wait for a consumer that is slower than they are.
    results: Queue[tuple[K, T | _Ended[K]]] = Queue(maxsize=most)
    stop = threading.Event()

    def put(key: K, item: "T | _Ended[K]") -> None:
        while not stop.is_set():
            try:
                results.put((key, item), timeout=0.1)
            except Full:
                continue
            return

    def consume(key: K) -> None:
        error: BaseException | None = None
        try:
            for item in () if stop.is_set() else start(key):
                put(key, item)
                if stop.is_set():
                    return
        except BaseException as raised:  # noqa: BLE001 - handed to the consumer, who raises it
            error = raised
        put(key, _Ended(error))

    with ThreadPoolExecutor(most, thread_name_prefix="in-flight") as pool:
        for key in keys:
            pool.submit(consume, key)
        try:
            running = len(keys)
            while running:
                key, item = results.get()
                if not isinstance(item, _Ended):
                    yield key, item
                    continue
                running -= 1
                if isinstance(item.error, expected):
                    yield key, item.error
                elif item.error is not None:
                    raise item.error
        finally:
            stop.set()
