"""Reading and counting dead letters, on real Delta tables."""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ffe_lakehouse.dead_letters import (
    Closing,
    against_their_day,
    close,
    having,
    read_closings,
    read_letters,
    statistics,
)
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.schemas import dead_letters
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.dead_letters.letters import FETCHED, at, letter
from ffe_lakehouse_tests.dead_letters.letters import letters as table


def letters(*several: dict[str, Any]) -> pa.Table:
    """One letter each of 2 January at 9, with these columns changed."""
    return table(
        *({**letter(at(2, 9)), "letter_id": f"{n:032}", **c} for n, c in enumerate(several))
    )


def test_a_letter_with_two_reasons_counts_in_both() -> None:
    counts = statistics(letters({"reasons": ["high_below_low", "open_out_of_range"]}, {}))
    assert counts.total == 2
    assert counts.by_reason == {"high_below_low": 2, "open_out_of_range": 1}
    assert counts.by_state == {"open": 2}


def test_letters_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    lake, some = DeltaLakeManager(tmp_path), letters({}, {}, {}, {})
    for action, n in (("replayed", 0), ("discarded", 1)):
        close(lake, some.slice(n, 1), Closing(action, "ada", "so", FETCHED, "run"))
    counts = statistics(some, read_closings(lake))
    assert counts.by_state == {"open": 2, "discarded": 1, "replayed": 1}
    assert statistics(some.slice(2), read_closings(lake)).by_state == {"open": 2}


def test_letters_beside_the_bars_do_not_speak_against_their_day() -> None:
    beside = [
        ["unclosed_bar"],
        ["outside_window"],
        ["bad_response"],
        ["unclosed_bar", "bad_response"],
    ]
    against = [["high_below_low"], ["unclosed_bar", "missing_close"]]
    some = letters(*({"reasons": reasons} for reasons in (*beside, *against)))
    assert against_their_day(some)["reasons"].to_pylist() == against


def test_letters_are_chosen_by_any_of_several_reasons() -> None:
    some = letters(
        {"reasons": ["missing_open", "missing_close"]}, {}, {"reasons": ["bad_timestamp"]}
    )
    assert having(some, ["missing_close", "bad_timestamp"]).num_rows == 2
    assert having(some, []).num_rows == 3


def test_the_most_frequent_comes_first_and_then_the_alphabet() -> None:
    counts = statistics(
        letters(*[{"asset_pair": pair} for pair in ("ETHUSD", "SOLUSD", "BTCUSD", "SOLUSD")])
    )
    assert list(counts.by_pair.items()) == [("SOLUSD", 2), ("BTCUSD", 1), ("ETHUSD", 1)]
    assert counts.by_provider == {"tests": 4}
    assert counts.by_timeframe == {"1h": 4}


def test_nothing_is_counted_as_nothing() -> None:
    counts = statistics(letters())
    assert (counts.total, counts.by_reason, counts.by_pair) == (0, {}, {})


def test_letters_are_read_from_all_timeframes_newest_first(tmp_path: Path) -> None:
    lake = DeltaLakeManager(tmp_path)
    assert read_letters(lake).num_rows == 0
    for n, code in enumerate(["1h", "1m", "1d"]):
        rejected_at = FETCHED + timedelta(hours=n)
        rows = letters({"timeframe": code, "_extracted_at": rejected_at}, {"_ingestion_id": "x"})
        lake.append(dead_letters(TIMEFRAMES[code]), rows)
    found = read_letters(lake)
    assert found["timeframe"].to_pylist()[:2] == ["1d", "1m"]
    assert found.num_rows == 6
    assert read_letters(lake, [TIMEFRAMES["1m"]]).num_rows == 2


def test_letters_are_chosen_by_pair_day_and_reason(tmp_path: Path) -> None:
    lake = DeltaLakeManager(tmp_path)
    on_the_3rd = {"partition_date": date(2024, 1, 3), "reasons": ["missing_close", "x"]}
    of_eth = {"asset_pair": "ETHUSD", "partition_asset_pair": "ETHUSD"}
    lake.append(dead_letters(TIMEFRAMES["1h"]), letters({}, on_the_3rd, of_eth))
    the_3rd = at(3)
    hours = [TIMEFRAMES["1h"]]
    assert read_letters(lake, hours, Where(("ETHUSD",))).num_rows == 1
    assert read_letters(lake, hours, Where(start=the_3rd)).num_rows == 1
    assert read_letters(lake, hours, Where(end=the_3rd)).num_rows == 2
    assert Counter(
        read_letters(lake, reasons=["missing_close"])["partition_date"].to_pylist()
    ) == Counter([date(2024, 1, 3)])


def test_an_unknown_reason_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"unknown reason 'high < low': use one of .*high_below_low"
    ):
        read_letters(DeltaLakeManager(tmp_path), reasons=["high < low"])
