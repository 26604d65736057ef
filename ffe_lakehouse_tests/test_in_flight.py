"""Several generators at once: order, bounds, failures."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.in_flight import interleave


@given(st.lists(st.integers(0, 5), max_size=8), st.integers(1, 4))
def test_every_item_of_every_generator_comes_out_in_its_order(
    lengths: list[int], most: int
) -> None:
    found: dict[int, list[int]] = {key: [] for key in range(len(lengths))}
    for key, item in interleave(found, lambda key: iter(range(lengths[key])), most):
        found[key].append(item)
    assert found == {key: list(range(length)) for key, length in enumerate(lengths)}


@pytest.mark.parametrize("most", [1, 3])
def test_an_expected_error_ends_its_own_generator_alone(most: int) -> None:
    def start(key: int) -> Iterator[str]:
        yield "first"
        if key == 1:
            raise OSError("gone")
        yield "second"

    found = list(interleave(range(3), start, most, (OSError,)))
    assert [item for key, item in found if key == 0] == ["first", "second"]
    assert [str(item) for key, item in found if key == 1] == ["first", "gone"]
    assert [item for key, item in found if key == 2] == ["first", "second"]


@pytest.mark.parametrize("most", [1, 3])
def test_an_unexpected_error_is_raised(most: int) -> None:
    def start(key: int) -> Iterator[int]:
        if key == 2:
            raise ValueError("a bug")
        yield key

    with pytest.raises(ValueError, match="a bug"):
        list(interleave(range(5), start, most, (OSError,)))


def test_never_more_than_the_bound_run_at_once() -> None:
    running, seen, lock = 0, 0, threading.Lock()

    def start(_: int) -> Iterator[None]:
        nonlocal running, seen
        with lock:
            running += 1
            seen = max(seen, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        yield None

    assert len(list(interleave(range(20), start, 4))) == 20
    assert seen == 4


def test_a_consumer_that_stops_leaves_no_thread_behind() -> None:
    def start(key: int) -> Iterator[int]:
        while True:
            yield key

    found = interleave(range(5), start, 3)
    next(found)
    found.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("in-flight")]
