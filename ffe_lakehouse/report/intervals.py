"""How sure a share is that was counted."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
SOURCE = (
    "Wilson score interval, 95 %: E. B. Wilson, Probable inference, the law of succession, and"
    " statistical inference, Journal of the American Statistical Association 22 (1927), 209-212"
)
_Z = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution: half of 5 % on either side."""


def wilson(successes: ArrayLike, trials: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    """The interval that the true share lies in, 95 times of 100.

    Unlike the share plus or minus its standard error, it stays within 0 and 1 and has a width even
    if all trials, or none, were successes.

    Args:
        successes: Counts, of any shape.
        trials: Counts of the same shape, not below the successes.

    Returns:
        Lower and upper bound, of that shape; NaN where there were no trials.
    """
    count = np.asarray(trials, dtype=float)
    count = np.where(count > 0, count, np.nan)
    share = np.asarray(successes, dtype=float) / count
    spread = 1 + _Z**2 / count
    centre = (share + _Z**2 / (2 * count)) / spread
    half = _Z / spread * np.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    # Rounding may leave the bound of a share of 0 or 1 a hair outside of it.
    return np.minimum(centre - half, share).clip(0, 1), np.maximum(centre + half, share).clip(0, 1)
