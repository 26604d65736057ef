"""What a day of bars is worth. What is wrong with its rows is tested with the checks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.transforms.quality import quality_score


@st.composite
def shares(draw: st.DrawFn) -> tuple[int, int]:
    """A number of things, and how many of them are bad."""
    whole = draw(st.integers(0, 1440))
    return whole, draw(st.integers(0, whole))


def score(bars: tuple[int, int], records: tuple[int, int]) -> float:
    return quality_score(expected=bars[0], missing=bars[1], judged=records[0], rejected=records[1])


def test_the_score_is_the_share_that_is_there_times_the_share_that_is_sound() -> None:
    assert score((24, 6), (20, 2)) == pytest.approx(0.75 * 0.9)


def test_of_a_day_on_which_nothing_is_expected_and_nothing_came_all_is_well() -> None:
    assert score((0, 0), (0, 0)) == 1


@given(shares(), shares())
def test_a_score_lies_between_0_and_1_and_is_1_only_without_a_fault(
    bars: tuple[int, int], records: tuple[int, int]
) -> None:
    found = score(bars, records)
    assert 0 <= found <= 1
    assert (found == 1) is (bars[1] == records[1] == 0)


@given(shares(), shares())
def test_one_fault_more_never_makes_a_day_better(
    bars: tuple[int, int], records: tuple[int, int]
) -> None:
    for worse in (
        score((bars[0], min(bars[1] + 1, bars[0])), records),
        score(bars, (records[0], min(records[1] + 1, records[0]))),
    ):
        assert worse <= score(bars, records)
