"""Whether a vendor's coarse bars are the roll-up of its finer ones.

A pure function over bars of one pair and vendor. Which tables are compared, and which days hold all
that the vendor has, is decided in ``rollup_checks``.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ffe_lakehouse.providers.base import RAW_CANDLES
from ffe_lakehouse.schemas import PRICES
from ffe_lakehouse.timeframes import Timeframe
from ffe_lakehouse.transforms.rollup import roll_up

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

PRICE_TOLERANCE = 1e-7
"""Of a price, relative. Above what float32 rounds off (6e-8), which is how Yahoo keeps prices, and
below a cent of 60,000. Oanda's and Coinbase's are equal to the last bit."""
VOLUME_TOLERANCE = 1e-6
"""Of a volume, relative. A sum in another order differs by 2e-16."""


@dataclass(frozen=True)
class Proof:
    """What became of each coarse bar, in the order in which they were handed in.

    Attributes:
        judged: It was compared, shape (n,).
        unequal: It was, and differs, shape (n,).
        rolled: What its finer bars make of it, by ``RAW_CANDLES``; a row of nulls if it has none.
    """

    judged: Mask
    unequal: Mask
    rolled: pa.Table


def rollup_proof(
    coarse: pa.Table,
    finer: pa.Table,
    timeframe: Timeframe,
    finer_timeframe: Timeframe,
    whole_days: NDArray[np.datetime64],
    price_tolerance: float = PRICE_TOLERANCE,
    volume_tolerance: float = VOLUME_TOLERANCE,
) -> Proof:
    """Compare coarse bars with the roll-up of finer ones.

    A bar is judged if every finer bar of it is there; on a whole day also if some are not, or none:
    what a vendor does not have is no trade, and a roll-up of what it has is still right. On other
    days a hole may be ours, and before the first finer bar lies what the vendor no longer keeps.

    Prices have to be equal within the tolerance, and volumes where both are known.

    Args:
        coarse: Bars of one pair and vendor, of ``timeframe``, the newest version of each, in any
            order; at least the columns of ``RAW_CANDLES``.
        finer: Its bars of ``finer_timeframe``, likewise; better from earlier on.
        timeframe: The coarser one.
        finer_timeframe: The finer one.
        whole_days: UTC days (datetime64[D]) of which ``finer`` has all that the vendor has.
        price_tolerance: Largest relative difference of a price.
        volume_tolerance: Largest relative difference of a volume.

    Raises:
        ValueError: A finer bar occurs twice.
    """
    step = timeframe.step.astype(np.int64)
    rolled = roll_up(finer.select(RAW_CANDLES.names), timeframe)
    slots, parts = np.unique(_micros(finer) // step, return_counts=True)
    wanted = _micros(coarse) // step
    place = np.searchsorted(slots, wanted)
    has_parts = np.isin(wanted, slots)
    has_all = np.zeros(len(wanted), dtype=bool)
    has_all[has_parts] = parts[place[has_parts]] == timeframe.duration // finer_timeframe.duration
    days = coarse["timestamp"].to_numpy().astype("datetime64[D]")
    began = _micros(coarse) >= _micros(finer).min(initial=np.iinfo(np.int64).max)
    judged = has_all | (began & np.isin(days, whole_days))
    rolled = rolled.take(pa.array(place, mask=~has_parts))
    unequal = np.zeros(len(wanted), dtype=bool)
    for name in PRICES:
        # Written so that NaN, which stands for no finer bar, is not equal.
        unequal |= ~(_off(coarse, rolled, name) <= price_tolerance)
    unequal |= _off(coarse, rolled, "volume") > volume_tolerance
    return Proof(judged, judged & unequal, rolled)


def _off(coarse: pa.Table, rolled: pa.Table, name: str) -> Floats:
    """Difference of a measure as a share of the larger one; NaN where either is not known."""
    ours, theirs = coarse[name].to_numpy(), rolled[name].to_numpy()
    larger = np.maximum(np.abs(ours), np.abs(theirs))
    off: Floats = np.abs(ours - theirs) / np.where(larger == 0, 1.0, larger)
    return off


def _micros(bars: pa.Table) -> NDArray[np.int64]:
    micros: NDArray[np.int64] = bars["timestamp"].cast(pa.int64()).to_numpy()
    return micros
