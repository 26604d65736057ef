"""Symbol lists from arguments and files."""

from pathlib import Path

import pytest

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.symbol_lists import (
    read_symbols,
    symbols_from_csv,
    symbols_from_list,
    symbols_from_text_file,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "symbols.csv"


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


def test_the_ending_of_a_file_or_a_column_tells_how_it_is_read(path: Path) -> None:
    path.write_text("ticker,symbol\nMSFT,AAPL\n")
    assert names(read_symbols(path)) == ["AAPL"]
    assert names(read_symbols(path, "ticker")) == ["MSFT"]
    text = path.rename(path.with_suffix(".lst"))
    assert names(read_symbols(text, "symbol")) == ["AAPL"]
    text.write_text("MSFT\n")
    assert names(read_symbols(text)) == ["MSFT"]
