"""Fusing vendors' bars, compared with an oracle that goes through them one by one."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, combinations, permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.schemas.silver import MARKET_DATA_UNIFIED
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.fusion import DEFAULT_PRIORITY, fuse
from ffe_lakehouse_tests.builders import KNOWN, START
from ffe_lakehouse_tests.transforms.vendor_bars import HOUR, Said, bronze, real_bars

ONE_HOUR = TIMEFRAMES["1h"]


def oracle(said: Sequence[Said], priority: Sequence[str]) -> list[dict[str, Any]]:
    """What has to come out, the slow and plain way; no two of ``said`` are one version."""
    bars: dict[tuple[str, int], dict[str, list[Said]]] = defaultdict(lambda: defaultdict(list))
    for each in said:
        bars[each.pair, each.slot][each.vendor].append(each)
    return [_fused(bars[key], priority) for key in sorted(bars)]


def _fused(of_vendor: dict[str, list[Said]], priority: Sequence[str]) -> dict[str, Any]:
    newest = [max(versions, key=lambda each: each.known) for versions in of_vendor.values()]

    def place(vendor: str) -> int:
        for name in (vendor, vendor.split(":")[0]):
            if name in priority:
                return list(priority).index(name)
        return len(priority)

    ranked = sorted(newest, key=lambda s: (s.is_mock, place(s.vendor), -s.known, s.vendor))
    winner, *others = ranked
    off = [
        abs(other.close / winner.close - 1) * 1e4
        for other in others
        if other.is_mock == winner.is_mock
    ]
    return {
        "asset_pair": winner.pair,
        "timestamp": START + winner.slot * HOUR,
        "source_provider": winner.vendor,
        "is_mock": winner.is_mock,
        "close": winner.close,
        "volume": winner.volume,
        "providers_seen": sorted(of_vendor),
        "max_deviation_bps": max(off, default=None),
        "revision": len(of_vendor[winner.vendor]) - 1,
        "known_at": KNOWN + winner.known * HOUR,
    }


COMPARED = tuple(_fused({"a": [Said("a")]}, ()))


def wrong(fused: pa.Table, said: Sequence[Said], priority: Sequence[str]) -> list[Any]:
    """The first rows that are not what the oracle says, beside what it says."""
    both = zip(fused.select(COMPARED).to_pylist(), oracle(said, priority), strict=True)
    return [(found, expected) for found, expected in both if found != expected][:3]


def versions(vendor: str, stamps: int) -> Iterator[list[Said]]:
    """Every way in which one vendor can have spoken of a bar, at one or two of these moments."""
    moments = [*combinations(range(stamps), 1), *combinations(range(stamps), 2)]
    for known, is_mock in product(moments, (False, True)):
        yield [Said(vendor, known=at, is_mock=is_mock) for at in known]


PRIORITY = ("coinbase", "ccxt", "oanda")
CASTS = [
    ("coinbase", "oanda"),
    ("zeta", "ccxt:kraken"),
    ("acme", "zeta"),
    ("oanda", "ccxt:kraken", "coinbase"),
    ("acme", "ccxt:kraken", "zeta"),
    ("ccxt:kraken", "ccxt:binance", "oanda"),
]

# Bars that a cast makes: of every vendor 12 (of three vendors: 6) ways to have spoken, and every
# order of the rows: 36 × 2! + 72 × 3! + 36 × 4!, and 64 × 3! + 96 × 4! + 48 × 5! + 8 × 6!.
COUNTS = {2: 1368, 3: 14208}


@pytest.mark.parametrize("cast", CASTS, ids="+".join)
def test_every_combination_of_vendors_and_versions_and_order_has_the_winner_it_must(
    cast: tuple[str, ...],
) -> None:
    stamps = 3 if len(cast) == 2 else 2
    said: list[Said] = []
    slot = 0
    for ways in product(*(versions(vendor, stamps) for vendor in cast)):
        # Closes that tell every version from every other one.
        bar = [each._replace(close=100.0 + n) for n, each in enumerate(chain(*ways))]
        for order in permutations(bar):
            said.extend(each._replace(slot=slot) for each in order)
            slot += 1
    assert wrong(fuse(bronze(said), ONE_HOUR, PRIORITY), said, PRIORITY) == []
    assert slot == COUNTS[len(cast)]


VENDORS = ("coinbase", "oanda", "ccxt:kraken", "ccxt:binance", "acme", "zeta")
SAID = st.lists(
    st.builds(
        Said,
        vendor=st.sampled_from(VENDORS),
        slot=st.integers(0, 3),
        known=st.integers(0, 3),
        close=st.floats(50, 150),
        is_mock=st.booleans(),
        pair=st.sampled_from(["BTCUSD", "ETHUSD"]),
        volume=st.one_of(st.none(), st.floats(0, 1e6)),
    ),
    max_size=30,
)
UNIQUE = SAID.map(
    lambda said: list({(s.pair, s.slot, s.vendor, s.known): s for s in said}.values())
)
PRIORITIES = st.lists(st.sampled_from([*VENDORS, "ccxt", "yahoo"]), unique=True)


@given(UNIQUE, PRIORITIES)
def test_any_rows_fuse_to_what_the_oracle_says(said: list[Said], priority: list[str]) -> None:
    fused = fuse(bronze(said), ONE_HOUR, priority)
    assert wrong(fused, said, priority) == []
    assert fused.schema == MARKET_DATA_UNIFIED.arrow
    MARKET_DATA_UNIFIED.pandera.validate(fused.to_pandas())


@given(SAID, st.randoms(use_true_random=False), PRIORITIES)
def test_the_order_of_the_rows_changes_nothing_even_if_versions_are_stored_twice(
    said: list[Said], random: Any, priority: list[str]
) -> None:
    rows = bronze(said)
    order = list(range(len(said)))
    random.shuffle(order)
    shuffled = rows.take(pa.array(order, pa.int64()))
    assert fuse(shuffled, ONE_HOUR, priority).equals(fuse(rows, ONE_HOUR, priority))


@given(UNIQUE, st.integers(0, 4))
def test_a_prefix_in_time_fuses_to_the_prefix_of_the_whole(said: list[Said], cut: int) -> None:
    rows, before = bronze(said), pc.field("timestamp") < START + cut * HOUR
    prefix = fuse(rows.filter(before), ONE_HOUR)
    assert prefix.equals(fuse(rows, ONE_HOUR).filter(before))


def test_a_version_that_is_stored_twice_is_no_revision() -> None:
    said = [Said("coinbase"), Said("coinbase"), Said("coinbase", known=1)]
    assert fuse(bronze(said), ONE_HOUR)["revision"].to_pylist() == [1]


def test_of_versions_that_were_known_at_once_the_same_one_counts_in_any_order() -> None:
    said = [Said("coinbase", close=close) for close in (101.0, 103.0, 102.0)]
    for order in permutations(said):
        fused = fuse(bronze([Said("oanda"), *order]), ONE_HOUR)
        assert fused.select(["close", "revision"]).to_pylist() == [{"close": 103.0, "revision": 0}]


def test_a_listed_vendor_goes_before_the_family_that_it_belongs_to() -> None:
    said = [Said("ccxt:kraken", known=1), Said("ccxt:binance"), Said("oanda", known=2)]
    rows = bronze(said)
    ranked = {
        ("ccxt:binance", "oanda", "ccxt"): "ccxt:binance",
        ("oanda", "ccxt:binance", "ccxt"): "oanda",
        ("ccxt", "oanda"): "ccxt:kraken",
        ("kraken", "binance", "oanda"): "oanda",
        (): "oanda",
    }
    for priority, winner in ranked.items():
        assert fuse(rows, ONE_HOUR, priority)["source_provider"].to_pylist() == [winner]


def test_the_default_is_the_documented_one() -> None:
    assert DEFAULT_PRIORITY == ("alpha_vantage", "coinbase", "oanda", "alpaca", "polygon", "yahoo")
    assert Settings.model_fields["provider_priority"].default == DEFAULT_PRIORITY
    said = [Said(vendor, slot=n) for n in range(6) for vendor in DEFAULT_PRIORITY[n:]]
    winners = fuse(bronze(said), ONE_HOUR)["source_provider"].to_pylist()
    assert winners == list(DEFAULT_PRIORITY)


def test_no_rows_fuse_to_no_rows() -> None:
    fused = fuse(raw_candles(ONE_HOUR).arrow.empty_table(), ONE_HOUR)
    assert fused.num_rows == 0
    assert fused.schema == MARKET_DATA_UNIFIED.arrow


def test_real_bars_of_one_vendor_stay_what_they_are_in_any_order(shared_data: Path) -> None:
    rows = real_bars(shared_data / "candles" / "coinbase", "BTCUSD", "1h")
    fused = fuse(rows, ONE_HOUR)
    same = [name for name in rows.schema.names if name in fused.schema.names]
    assert fused.select(same).equals(rows.select(same).combine_chunks())
    assert set(fused["timeframe"].unique().to_pylist()) == {"1h"}
    assert fused["providers_seen"].combine_chunks().flatten().unique().to_pylist() == ["coinbase"]
    assert pc.sum(fused["revision"]).as_py() == 0
    assert fused["max_deviation_bps"].null_count == rows.num_rows == 35_058
    shuffled = rows.take(np.random.default_rng(0).permutation(rows.num_rows))
    assert fuse(shuffled, ONE_HOUR).equals(fused)


def test_the_storage_period_is_the_timeframes_own(shared_data: Path) -> None:
    rows = real_bars(shared_data / "candles" / "coinbase", "BTCUSD", "1m")
    fused = fuse(rows, TIMEFRAMES["1m"])
    assert fused["storage_period"].unique().to_pylist()[0] == "2016-10"
    assert fused["timeframe"][0].as_py() == "1m"
