"""How values are written for people. Nulls are an em dash, whatever they would have been."""

from collections.abc import Callable
from typing import Any

import pandas as pd

NOTHING = "—"
MINUS = "\u2212"
"""As wide as a digit, unlike a hyphen."""

Format = Callable[[Any], str]


def _number(pattern: str) -> Format:
    def written(value: Any) -> str:
        if pd.isna(value):
            return NOTHING
        text = pattern.format(value)
        # What rounds to zero has no sign.
        if text.startswith("-"):
            text = (MINUS if any(each in text for each in "123456789") else "") + text[1:]
        return text

    return written


count = _number("{:,.0f}")
money = _number("{:,.2f}")
number = _number("{:,.2f}")
percent = _number("{:,.1%}")
fine_percent = _number("{:,.3%}")
fine = _number("{:,.3f}")
confidence = _number("{:,.1f} %")
"""What is a number from 0 to 100 already."""


def share_range(bounds: tuple[float, float]) -> str:
    """Two shares: ``41.0 to 63.5 %``, with a dash."""
    low, high = bounds
    return NOTHING if pd.isna(low) else f"{low * 100:.1f} \u2013 {high * 100:.1f} %"


def text(value: Any) -> str:
    """A text as it is."""
    return NOTHING if pd.isna(value) else str(value)


def day(value: Any) -> str:
    """``2024-01-31``."""
    return NOTHING if pd.isna(value) else f"{value:%Y-%m-%d}"


def moment(value: Any) -> str:
    """``2024-01-31 10:00 UTC``."""
    return NOTHING if pd.isna(value) else f"{value:%Y-%m-%d %H:%M} UTC"


def listed(names: list[str], most: int = 12) -> str:
    """Names with commas; of many the first, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
