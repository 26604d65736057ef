"""``ffe gaps``: what is listed, and that ``--fill`` asks for the holes, twice at most."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ffe_lakehouse.cli import main
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.doubles.market import Market
from ffe_lakehouse_tests.doubles.server import VendorDouble

TABLE = "bronze/raw_market_data_1h"
FIRST, LAST = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 11, tzinfo=UTC)
DAYS = ("--timeframes", "1h", "--start", "2024-01-01", "--end", "2024-01-10")
HOLES = ["2024-01-03T05:00", "2024-01-03T06:00", "2024-01-08T23:00", "2024-01-09T00:00"]


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    errors: str

    @property
    def gaps(self) -> list[tuple[str, ...]]:
        """Its JSON: pair, timeframe, class, first bar, last and how many."""
        return [
            (
                *(gap["asset_pair"], gap["timeframe"], gap["class"]),
                *(gap[name].removesuffix(":00+00:00") for name in ("first", "last")),
                gap["bars"],
            )
            for gap in json.loads(self.out)
        ]


Ffe = Callable[..., Said]


def set_clock(home: Path, moment: str) -> None:
    (home / "now").write_text(moment)


@pytest.fixture
def ffe(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ffe:
    """The entry point in this process, at the moment that the file ``now`` holds."""
    set_clock(home, "2024-01-20T12:00:00Z")
    monkeypatch.setenv("FFE_CLOCK_FILE", str(home / "now"))

    def run(*arguments: object) -> Said:
        get_settings.cache_clear()
        monkeypatch.setattr(sys, "argv", ["ffe", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return Said(stop.value.code, said.out, said.err)

    return run


@pytest.fixture
def vendor(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VendorDouble]:
    """A Coinbase that has hours of Bitcoin, but not ``HOLES``."""
    with VendorDouble(market(*HOLES)) as double:
        limits = {"FFE_COINBASE_PLAN": "unlimited", "FFE_HTTP_STATE_DIR": str(home / "limits")}
        for name, value in (double.environment | limits).items():
            monkeypatch.setenv(name, value)
        yield double


def market(*without: str) -> Market:
    """Hours of Bitcoin, of which some are lacking."""
    key = "BTCUSD", "1h"
    table = Market.simulated([key], FIRST, LAST).tables[key]
    missing = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in without]
    gone = pc.is_in(table["timestamp"], pa.array(missing, table["timestamp"].type))
    return Market({key: table.filter(pc.invert(gone))})


def asked_days(vendor: VendorDouble) -> list[str]:
    """The days that the vendor was asked for since the last look, one a request."""
    asked = [
        f"{request.params['start'][:10]}..{request.params['end'][:10]}"
        for request in vendor.requests_to("coinbase")
    ]
    vendor.reset()
    return asked


def hole(first: str, last: str, bars: int, kind: str = "vendor_has_none") -> tuple[str | int, ...]:
    return "BTCUSD", "1h", kind, first, last, bars


def test_only_the_holes_are_asked_for_and_a_second_fill_asks_for_nothing(
    ffe: Ffe, vendor: VendorDouble, lake: DeltaLakeManager
) -> None:
    fill = ("gaps", "--fill", "--provider", "coinbase", *DAYS, "--json")
    assert ffe("backfill", "--assets", "BTCUSD", "--provider", "coinbase", *DAYS).code == 0
    assert ffe("gaps", *DAYS, "--json").gaps == [
        hole("2024-01-03T05:00", "2024-01-03T06:00", 2, "not_fetched"),
        hole("2024-01-08T23:00", "2024-01-09T00:00", 2, "not_fetched"),
    ]
    vendor.reset()
    vendor.vendors["coinbase"].market = market(*HOLES[1:3])
    filled = ffe(*fill)
    assert (filled.code, sorted(asked_days(vendor))) == (
        0, ["2024-01-03..2024-01-03", "2024-01-08..2024-01-09"]
    )  # fmt: skip
    left = [
        hole("2024-01-03T06:00", "2024-01-03T06:00", 1),
        hole("2024-01-08T23:00", "2024-01-08T23:00", 1),
    ]
    assert filled.gaps == left
    assert lake.read(TABLE).num_rows == 240 - 2
    again = ffe(*fill)
    assert (again.code, again.gaps, asked_days(vendor)) == (0, left, [])
    assert "Nothing to fetch." in again.errors


def test_days_that_were_never_loaded_are_one_hole_and_asked_for_twice_at_most(
    ffe: Ffe, vendor: VendorDouble, lake: DeltaLakeManager
) -> None:
    day = ("--timeframes", "1h", "--start", "2024-01-01", "--end", "2024-01-01")
    assert ffe("backfill", "--assets", "BTCUSD", "--provider", "coinbase", *day).code == 0
    vendor.reset()
    assert ffe("gaps", *DAYS, "--json").gaps == [
        hole("2024-01-02T00:00", "2024-01-10T23:00", 9 * 24, "not_fetched")
    ]
    filled = ffe("gaps", "--fill", "--provider", "coinbase", *DAYS, "--json")
    # 216 hours are one page; then the days with holes once more.
    assert asked_days(vendor) == [
        "2024-01-02..2024-01-10", "2024-01-03..2024-01-03", "2024-01-08..2024-01-09"
    ]  # fmt: skip
    assert filled.gaps == [
        hole("2024-01-03T05:00", "2024-01-03T06:00", 2),
        hole("2024-01-08T23:00", "2024-01-09T00:00", 2),
    ]
    assert lake.read(TABLE).num_rows == 240 - len(HOLES)
    ffe("gaps", "--fill", "--provider", "coinbase", *DAYS)
    assert asked_days(vendor) == []


def test_without_dates_the_list_begins_with_the_first_loaded_day_of_each_timeframe(
    ffe: Ffe, home: Path
) -> None:
    assert ffe("gaps", "--json").gaps == []
    for code, start in (("1d", "2024-01-15"), ("4h", "2024-01-19")):
        load = ("--assets", "EURUSD", "--timeframes", code, "--start", start, "--end", start)
        assert ffe("backfill", *load).code == 0
    assert (
        ffe("gaps", "--json").gaps
        == [
            ("EURUSD", "4h", "not_fetched", "2024-01-19T00:00", "2024-01-19T20:00", 6),
            ("EURUSD", "1d", "not_fetched", "2024-01-16T00:00", "2024-01-19T00:00", 4),
        ][1:]
    )
    set_clock(home, "2024-01-22T05:00:00Z")
    assert ffe("gaps", "--json").gaps == [
        ("EURUSD", "4h", "not_fetched", "2024-01-21T20:00", "2024-01-22T00:00", 2),
        ("EURUSD", "1d", "not_fetched", "2024-01-16T00:00", "2024-01-21T00:00", 5),
    ]
    said = ffe("gaps", "--assets", "EURUSD", "--class", "market_closed").out
    assert "EURUSD  4h         market_closed  2024-01-20T00:00Z  2024-01-21T16:00Z    11" in said
    assert "EURUSD  1d         market_closed  2024-01-20T00:00Z  2024-01-20T00:00Z     1" in said
    assert said.splitlines()[-1] == "12 bar(s) market_closed"


def test_a_pair_is_asked_of_its_own_provider(
    ffe: Ffe, vendor: VendorDouble, lake: DeltaLakeManager
) -> None:
    assert ffe("pairs", "add", "BTCUSD", "--provider", "coinbase").code == 0
    assert ffe("pairs", "add", "ETHUSD").code == 0
    day = ("--timeframes", "1h", "--start", "2024-01-02", "--end", "2024-01-02")
    assert ffe("gaps", "--fill", *day).code == 0
    rows = lake.read(TABLE, columns=["asset_pair", "source_provider"]).to_pylist()
    assert {(row["asset_pair"], row["source_provider"]) for row in rows} == {
        ("BTCUSD", "coinbase"),
        ("ETHUSD", "simulated"),
    }


def test_what_could_not_be_fetched_is_still_listed_and_the_exit_code_is_1(
    ffe: Ffe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_SIMULATED_FAULTS__FAILING_PAIRS", '["ETHUSD"]')
    day = ("--timeframes", "4h", "--start", "2024-01-02", "--end", "2024-01-02", "--json")
    ffe("pairs", "add", "BTCUSD", "ETHUSD")
    filled = ffe("gaps", "--fill", *day)
    left = [("ETHUSD", "4h", "not_fetched", "2024-01-02T00:00", "2024-01-02T20:00", 6)]
    assert (filled.code, filled.gaps) == (1, left)
    assert "Failed symbols:\n- ETHUSD 4h" in filled.errors
    monkeypatch.setenv("FFE_SIMULATED_FAULTS__FAILING_PAIRS", "[]")
    filled = ffe("gaps", "--fill", *day)
    assert (filled.code, filled.gaps) == (0, [])
    assert "1 partition(s) to load in 1 run(s), from simulated" in filled.errors


WRONG = {
    "class": (["--class", "not_fetched,lost"], ["'lost'", "market_closed, vendor_has_none"]),
    "provider without fill": (["--provider", "coinbase"], ["--provider coinbase", "--fill"]),
    "unknown provider": (["--fill", "--provider", "acme"], ["'acme'", "simulated"]),
    "an end without a start": (["--end", "2024-01-01"], ["--start"]),
    "unknown pair": (["--assets", "SOLUSD"], ["SOLUSD", "ffe pairs add SOLUSD"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_is_named(ffe: Ffe, case: str) -> None:
    arguments, words = WRONG[case]
    said = ffe("gaps", *arguments)
    assert (said.code, said.out, said.errors.count("\n")) == (2, "", 1)
    assert all(word in said.errors for word in words)
