"""Symbol lists from files, and the pairs of a Dagster instance."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.partitions import ASSET_PAIR
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.universe import (
    members,
    remove_pairs,
    symbols_from_csv,
    symbols_from_list,
    symbols_from_text_file,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "symbols.csv"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(ASSET_PAIR, ["EURUSD", "BTCUSD", "AAPL"])
        yield instance


def names(symbols: object) -> list[str]:
    return [str(symbol) for symbol in symbols]  # type: ignore[attr-defined]


def test_a_list_is_taken_in_order_each_symbol_once() -> None:
    assert names(symbols_from_list(["btc-usd", "AAPL", "BTC_USD", "BRK-B"])) == [
        "BTCUSD",
        "AAPL",
        "BRK.B",
    ]


def test_a_csv_column_is_read_with_everything_around_it(path: Path) -> None:
    path.write_text(
        '\ufeffName, Symbol ,Weight\r\n"Apple, Inc.",AAPL,7\r\n\r\n'
        "Berkshire,BRK.B\r\nMSFT,msft,6\r\n",
        encoding="utf-8",
    )
    assert names(symbols_from_csv(path)) == ["AAPL", "BRK.B", "MSFT"]


def test_another_column_can_be_named(path: Path) -> None:
    path.write_text("symbol,ticker\nnot one,AAPL\n")
    assert names(symbols_from_csv(path, "Ticker")) == ["AAPL"]


def test_a_text_file_has_one_symbol_a_line_and_comments(path: Path) -> None:
    path.write_text("# crypto\nBTCUSD\n\n  eth-usd  # ether\nAAPL\n")
    assert names(symbols_from_text_file(path)) == ["BTCUSD", "ETHUSD", "AAPL"]


def test_a_missing_column_names_those_there_are(path: Path) -> None:
    path.write_text("name,ticker\nApple,AAPL\n")
    with pytest.raises(InputError, match="has no column 'symbol': its columns are name, ticker"):
        symbols_from_csv(path)


def test_a_column_that_comes_twice_is_refused(path: Path) -> None:
    path.write_text("symbol,Symbol\nAAPL,MSFT\n")
    with pytest.raises(InputError, match="several columns 'symbol'"):
        symbols_from_csv(path)


@pytest.mark.parametrize("read", [symbols_from_csv, symbols_from_text_file])
def test_a_file_that_is_not_there_is_named(path: Path, read: object) -> None:
    with pytest.raises(InputError, match=r"symbols\.csv: No such file"):
        read(path)  # type: ignore[operator]
    with pytest.raises(InputError, match="cannot read the symbol list"):
        read(path.parent)  # type: ignore[operator]


@pytest.mark.parametrize("read", [symbols_from_csv, symbols_from_text_file])
def test_a_file_that_is_no_text_is_refused(path: Path, read: object) -> None:
    path.write_bytes(b"symbol\n\xff\xfe\x00AAPL")
    with pytest.raises(InputError, match="cannot read the symbol list"):
        read(path)  # type: ignore[operator]


def test_a_quote_that_never_ends_is_refused(path: Path) -> None:
    path.write_text('symbol\n"AAPL\nMSFT\n')
    with pytest.raises(InputError, match="cannot read the symbol list"):
        symbols_from_csv(path)


def test_an_empty_file_has_no_column_and_no_symbol(path: Path) -> None:
    path.write_text("")
    with pytest.raises(InputError, match="its columns are none"):
        symbols_from_csv(path)
    with pytest.raises(InputError, match="has no symbol"):
        symbols_from_text_file(path)
    path.write_text("symbol\n")
    with pytest.raises(InputError, match="has no symbol"):
        symbols_from_csv(path)


def test_bad_symbols_are_named_with_their_lines(path: Path) -> None:
    path.write_text("name,symbol\nApple,AAPL\nNobody,\n\nGoogle,GOO GLE\nShort\n")
    with pytest.raises(InputError) as caught:
        symbols_from_csv(path)
    assert "nothing was taken, since 3 of 4 symbols" in str(caught.value)
    assert str(caught.value).endswith("line 3 '', line 5 'GOO GLE', line 6 ''")


def test_lines_of_a_text_file_are_counted_with_its_comments(path: Path) -> None:
    path.write_text("# list\n\nBTCUSD\n../x\n")
    with pytest.raises(InputError, match=r"line 4 '\.\./x'"):
        symbols_from_text_file(path)


def test_at_most_twenty_bad_symbols_are_named() -> None:
    with pytest.raises(InputError) as caught:
        symbols_from_list([f"no {n}" for n in range(25)])
    assert "25 of 25" in str(caught.value)
    assert "'no 19' and 5 more" in str(caught.value)
    assert "'no 20'" not in str(caught.value)


def test_members_have_class_calendar_and_age(instance: dg.DagsterInstance) -> None:
    found = members(instance, Settings(_env_file=None))  # type: ignore[call-arg]
    assert [(m.pair, m.asset_class, m.calendar) for m in found] == [
        ("AAPL", "equity", "XNYS"),
        ("BTCUSD", "crypto", "24/7"),
        ("EURUSD", "forex", "24/5"),
    ]
    ages = {datetime.now(UTC) - m.since for m in found if m.since}
    assert all(timedelta(seconds=-1) < age < timedelta(minutes=5) for age in ages)
    assert ages


def test_a_partition_that_is_no_pair_is_listed_and_can_be_removed(
    instance: dg.DagsterInstance,
) -> None:
    instance.add_dynamic_partitions(ASSET_PAIR, ["no pair"])
    listed = {m.pair: m.asset_class for m in members(instance, Settings(_env_file=None))}  # type: ignore[call-arg]
    assert listed["no pair"] is None
    assert remove_pairs(instance, ["no pair"]) == ["no pair"]


def test_a_pair_is_removed_in_any_spelling(instance: dg.DagsterInstance) -> None:
    assert remove_pairs(instance, ["btc/usd", "BTCUSD"]) == ["BTCUSD"]
    assert set(instance.get_dynamic_partitions(ASSET_PAIR)) == {"AAPL", "EURUSD"}


def test_one_unknown_pair_removes_none(instance: dg.DagsterInstance) -> None:
    with pytest.raises(InputError, match="XRPUSD is not in the universe: there are AAPL, BTCUSD"):
        remove_pairs(instance, ["BTCUSD", "XRPUSD"])
    assert len(instance.get_dynamic_partitions(ASSET_PAIR)) == 3


def test_of_a_large_universe_twenty_pairs_are_named(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions(ASSET_PAIR, [f"A{n}USD" for n in range(20)])
    with pytest.raises(InputError, match=r"and 3 more$"):
        remove_pairs(instance, ["XRPUSD"])
