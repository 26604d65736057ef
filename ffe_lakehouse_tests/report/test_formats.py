"""How values are written."""

import numpy as np
import pandas as pd
import pytest

from ffe_lakehouse.report import formats


@pytest.mark.parametrize(
    ("written", "value", "text"),
    [
        (formats.money, 1234567.891, "1,234,567.89"),
        (formats.money, -1234.5, "\u22121,234.50"),
        (formats.money, -0.001, "0.00"),
        (formats.percent, 0.1234, "12.3%"),
        (formats.percent, -1.5, "\u2212150.0%"),
        (formats.count, 12345, "12,345"),
        (formats.count, np.float64(7), "7"),
        (formats.confidence, 65.04, "65.0 %"),
        (formats.share_range, (0.41, 0.6349), "41.0 \u2013 63.5 %"),
        (formats.day, pd.Timestamp("2024-01-31"), "2024-01-31"),
        (formats.moment, pd.Timestamp("2024-01-31 09:05", tz="UTC"), "2024-01-31 09:05 UTC"),
        (formats.text, "BTCUSD", "BTCUSD"),
    ],
)
def test_a_value_is_written(written: formats.Format, value: object, text: str) -> None:
    assert written(value) == text


@pytest.mark.parametrize(
    "written",
    [formats.money, formats.percent, formats.count, formats.day, formats.moment, formats.text],
)
@pytest.mark.parametrize("nothing", [None, np.nan, pd.NaT])
def test_what_does_not_exist_is_a_dash(written: formats.Format, nothing: object) -> None:
    assert written(nothing) == "\u2014"


def test_of_many_names_the_first_are_listed() -> None:
    assert formats.listed(["a", "b"]) == "a, b"
    assert formats.listed(list("abcd"), most=2) == "a, b and 2 more"
