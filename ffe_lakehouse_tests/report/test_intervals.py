"""The Wilson interval against SciPy's, and what it is chosen for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from ffe_lakehouse.report.intervals import CONFIDENCE, wilson


@st.composite
def counted(draw: st.DrawFn) -> tuple[int, int]:
    trials = draw(st.integers(1, 10_000))
    return draw(st.integers(0, trials)), trials


@given(counted())
def test_it_is_scipys(counts: tuple[int, int]) -> None:
    expected = binomtest(*counts).proportion_ci(CONFIDENCE, method="wilson")
    low, high = wilson(*counts)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(counted())
def test_it_holds_the_share_and_is_a_share(counts: tuple[int, int]) -> None:
    low, high = wilson(*counts)
    assert 0 <= low <= counts[0] / counts[1] <= high <= 1
    assert low < high


def test_without_trials_there_is_none() -> None:
    low, high = wilson([0, 1], [0, 2])
    assert np.isnan([low[0], high[0]]).all()
    assert not np.isnan([low[1], high[1]]).any()
