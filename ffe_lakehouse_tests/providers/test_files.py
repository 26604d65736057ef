"""The files provider: every row once, whatever the windows; every failure with its way out."""

import gzip
import json
import os
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.providers import files
from ffe_lakehouse.providers.base import RAW_CANDLES, CandleQuery, Page, ProviderError
from ffe_lakehouse.providers.files import PAGE_ROWS, FilesProvider
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES

START, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)
HEADER = "timestamp,open,high,low,close,volume\n"
ROW = "2020-01-01,1,2,0.5,1.5,10\n"


def query(pair: str, timeframe: str, start: datetime = START, end: datetime = END) -> CandleQuery:
    return CandleQuery(parse_symbol(pair), TIMEFRAMES[timeframe], start, end)


def fetch(folder: Path, start: datetime = START, end: datetime = END) -> Page:
    """The only page of BTCUSD 1d."""
    (page,) = FilesProvider(folder).fetch(query("BTCUSD", "1d", start, end))
    assert page.candles.schema == RAW_CANDLES
    assert page.covered_until == end
    return page


def refusal(folder: Path, kind: str) -> str:
    with pytest.raises(ProviderError) as caught:
        fetch(folder)
    assert caught.value.kind == kind
    return str(caught.value)


def write_csv(folder: Path, text: str, name: str = "BTCUSD_1d.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def write_parquet(path: Path, times: pa.Array, **others: pa.Array) -> None:
    ones = pa.array(np.ones(len(times)))
    prices = dict.fromkeys(("open", "high", "low", "close"), ones)
    pq.write_table(pa.table({"timestamp": times} | prices | others), path)


# Real sets


@pytest.mark.parametrize(
    ("folder", "pair", "timeframe", "rows"),
    [
        ("coinbase", "BTCUSD", "1h", 35_058),
        ("oanda", "EURUSD", "15m", 99_619),
        ("equities", "AAPL", "1d", 314),
    ],
)
def test_any_windows_of_a_real_set_deliver_every_row_once(
    shared_data: Path, folder: str, pair: str, timeframe: str, rows: int
) -> None:
    raw = pq.read_table(shared_data / "candles" / folder / f"{pair}_{timeframe}.parquet")
    time = pc.cast(raw["time" if "time" in raw.column_names else "timestamp"], RAW_CANDLES[0].type)
    inside = pc.and_(pc.greater_equal(time, pa.scalar(START)), pc.less(time, pa.scalar(END)))
    columns = ["open", "high", "low", "close", "volume"]
    expected = pa.table(
        {"timestamp": time, **{name: raw[name].cast(pa.float64()) for name in columns}}
    ).filter(inside)
    assert len(expected) == rows
    provider = FilesProvider(shared_data / "candles" / folder)

    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.integers(0, int((END - START).total_seconds())), max_size=8))
    def check(cuts: list[int]) -> None:
        moments = [START, *(START + timedelta(seconds=cut) for cut in sorted(cuts)), END]
        pages = [
            page
            for start, end in pairwise(moments)
            for page in provider.fetch(query(pair, timeframe, start, end))
        ]
        delivered = pa.concat_tables(page.candles for page in pages)
        assert delivered.select(expected.column_names).equals(expected)
        assert delivered["vwap"].null_count == delivered["trade_count"].null_count == rows

    check()


# Windows and pages

DAYS = [f"2020-01-{day:02}" for day in range(1, 8)]


@given(
    st.lists(st.sampled_from([*DAYS, "", "?"])).filter(lambda times: set(times) & set(DAYS)),
    st.lists(st.sampled_from([START + timedelta(days=day) for day in range(1, 7)])),
)
@settings(deadline=None)
def test_windows_deliver_unsorted_duplicate_and_unreadable_rows_once(
    times: list[str], cuts: list[datetime]
) -> None:
    with TemporaryDirectory() as name:
        lines = [f"{time},{number},2,0.5,1.5,10\n" for number, time in enumerate(times)]
        write_csv(Path(name), HEADER + "".join(lines))
        delivered: list[int] = []
        for start, end in pairwise([START, *sorted(cuts), START + timedelta(days=7)]):
            page = fetch(Path(name), start, end)
            numbers = [int(number) for number in page.candles["open"].to_pylist()]
            assert numbers == sorted(numbers)  # the order of the file
            assert all(
                time is None or start <= time < end
                for time in page.candles["timestamp"].to_pylist()
            )
            delivered += numbers
    assert sorted(delivered) == list(range(len(times)))


def test_a_row_without_a_readable_time_comes_with_the_row_above(tmp_path: Path) -> None:
    times = ["first", "2020-01-02", "second", "2020-01-01", "third"]
    write_csv(tmp_path, HEADER + "".join(f"{time},1,2,1,1,1\n" for time in times))
    page = fetch(tmp_path, START, START + timedelta(days=1))
    assert [json.loads(page.record(i))["timestamp"] for i in range(2)] == times[3:]
    page = fetch(tmp_path, START + timedelta(days=1))
    assert [json.loads(page.record(i))["timestamp"] for i in range(3)] == times[:3]


def test_a_window_without_rows_is_a_page_without_rows(tmp_path: Path) -> None:
    write_csv(tmp_path, HEADER + ROW)
    assert fetch(tmp_path, START + timedelta(days=1)).candles.num_rows == 0


def minutes(count: int) -> pa.Array:
    micros = int(START.timestamp()) * 1_000_000 + np.arange(count) * 60_000_000
    return pa.array(micros).cast(pa.timestamp("us", "UTC"))


@pytest.mark.parametrize("ascending", [True, False])
def test_a_long_window_comes_in_pages_cut_at_midnight(tmp_path: Path, ascending: bool) -> None:
    times = minutes(2 * PAGE_ROWS + 2_000)
    start, end = START + timedelta(hours=5), START + timedelta(days=300, hours=1)
    write_parquet(tmp_path / "BTCUSD_1m.parquet", times if ascending else times[::-1])
    pages = list(FilesProvider(tmp_path).fetch(query("BTCUSD", "1m", start, end)))
    assert len(pages) == 3
    assert all(0 < page.candles.num_rows <= PAGE_ROWS for page in pages)
    edges = [start, *(page.covered_until for page in pages)]
    assert edges == sorted(edges)
    assert edges[-1] == end
    assert all(edge == edge.replace(hour=0, minute=0) for edge in edges[1:-1])
    for page, (low, high) in zip(pages, pairwise(edges), strict=True):
        assert low <= pc.min(page.candles["timestamp"]).as_py()
        assert pc.max(page.candles["timestamp"]).as_py() < high
    assert sum(page.candles.num_rows for page in pages) == len(times) - 5 * 60


def test_a_day_with_too_many_rows_stays_in_one_page(tmp_path: Path) -> None:
    tomorrow = pa.array([START + timedelta(days=1)], RAW_CANDLES.field("timestamp").type)
    times = pa.concat_arrays([*[minutes(1)] * (PAGE_ROWS + 1), tomorrow])
    write_parquet(tmp_path / "BTCUSD_1m.parquet", times)
    provider = FilesProvider(tmp_path)
    for end, counts in [(END, [PAGE_ROWS + 1, 1]), (START + timedelta(hours=1), [PAGE_ROWS + 1])]:
        pages = list(provider.fetch(query("BTCUSD", "1m", START, end)))
        assert [page.candles.num_rows for page in pages] == counts
        assert pages[-1].covered_until == end


# Columns and cells


def test_columns_are_found_by_name_in_any_order_and_case(tmp_path: Path) -> None:
    write_csv(
        tmp_path,
        "Close,note,VWAP,Low,high, Open ,Trade_Count,DATE\n1.5,x,1.2,0.5,2,1,7,2020-01-01\n",
    )
    (row,) = fetch(tmp_path).candles.to_pylist()
    assert list(row.values()) == [START, 1.0, 2.0, 0.5, 1.5, None, 7.0, 1.2]


def test_the_column_timestamp_wins_over_time_and_date(tmp_path: Path) -> None:
    write_csv(tmp_path, "time,date,timestamp,open,high,low,close\n0,0,2020-01-01,1,1,1,1\n")
    assert fetch(tmp_path).candles["timestamp"].to_pylist() == [START]


def test_an_empty_cell_is_null_and_an_unreadable_number_is_nan(tmp_path: Path) -> None:
    write_csv(tmp_path, HEADER + " 2020-01-01 ,abc,1e400, ,,0x10\n")
    (row,) = fetch(tmp_path).candles.to_pylist()
    assert (row["timestamp"], row["high"], row["low"], row["close"]) == (START, np.inf, None, None)
    assert np.isnan([row["open"], row["volume"]]).all()


@pytest.mark.parametrize(
    "kind", [pa.string_view(), pa.binary(), pa.dictionary(pa.int8(), pa.string())]
)
def test_text_of_any_arrow_type_is_read(tmp_path: Path, kind: pa.DataType) -> None:
    times, volume = pa.array(["2020-01-01"]).cast(kind), pa.array(["7"]).cast(kind)
    write_parquet(tmp_path / "BTCUSD_1d.parquet", times, volume=volume)
    (row,) = fetch(tmp_path).candles.to_pylist()
    assert (row["timestamp"], row["volume"]) == (START, 7.0)


def test_bytes_that_are_no_text_spoil_only_their_own_cell(tmp_path: Path) -> None:
    body = (HEADER + "\xff,1,1,1,1,1\n2020-01-01,\xff,1,1,1,1\n").encode("latin-1")
    (tmp_path / "BTCUSD_1d.csv").write_bytes(body)
    page = fetch(tmp_path)
    assert page.candles["timestamp"].to_pylist() == [None, START]
    assert np.isnan(page.candles["open"].to_pylist()[1])
    assert json.loads(page.record(1))["open"] == r"\xff"


def test_the_prices_of_a_parquet_file_are_not_copied(tmp_path: Path) -> None:
    write_parquet(tmp_path / "BTCUSD_1m.parquet", minutes(10))
    file = files._read(tmp_path / "BTCUSD_1m.parquet")
    ours, theirs = file.candles["close"].chunk(0), file.records["close"].chunk(0)
    assert ours.buffers()[1].address == theirs.buffers()[1].address


# Records


def test_a_record_is_the_row_verbatim(tmp_path: Path) -> None:
    write_csv(tmp_path, "TIME,open,High,low,close,note,note\n2020-01-01,1.50,,abc,1e400,ü,b\n")
    assert json.loads(fetch(tmp_path).record(0)) == {
        "TIME": "2020-01-01",
        "open": "1.50",
        "High": "",
        "low": "abc",
        "close": "1e400",
        "note": "ü",
        "note#6": "b",
    }


def test_a_record_holds_what_json_cannot(tmp_path: Path) -> None:
    nanos = pa.array([1_577_836_800_000_000_001])
    values: dict[str, tuple[pa.Array, object]] = {
        "nan": (pa.array([np.nan]), "NaN"),
        "infinite": (pa.array([-np.inf]), "-Infinity"),
        "nanos": (nanos.cast(pa.timestamp("ns", "UTC")), "2020-01-01T00:00:00.000000001+00:00"),
        "zoned": (
            pa.array([START]).cast(pa.timestamp("us", "+02:00")),
            "2020-01-01T02:00:00+02:00",
        ),
        "beyond": (pa.array([2**62]).cast(pa.timestamp("us")), 2**62),
        "day": (pa.array([date(2020, 1, 1)]), "2020-01-01"),
        "bytes": (pa.array([b"a\xff"]), r"a\xff"),
        "list": (pa.array([[1.0, np.nan]]), [1.0, "NaN"]),
        "struct": (pa.array([{"a": date(2020, 1, 1)}]), {"a": "2020-01-01"}),
        "span": (pa.array([timedelta(hours=1)]), "1:00:00"),
        "nothing": (pa.array([None], pa.string()), None),
        "flag": (pa.array([True]), True),
    }
    columns = {name: column for name, (column, _) in values.items()}
    write_parquet(tmp_path / "BTCUSD_1d.parquet", pa.array([START]), **columns)
    record = json.loads(fetch(tmp_path).record(0))
    assert {name: record[name] for name in values} == {
        name: expected for name, (_, expected) in values.items()
    }
    assert record["timestamp"] == "2020-01-01T00:00:00+00:00"


# Which file


@pytest.mark.parametrize(
    ("name", "pair", "timeframe"),
    [
        ("BTC-USD_1h.csv", "BTCUSD", "1h"),
        ("btc_usd_60min.csv", "BTCUSD", "1h"),
        ("EUR_USD_M15.csv", "EURUSD", "15m"),
        ("BRK.B_1d.csv", "BRK.B", "1d"),
        ("AAPL_daily.CSV", "AAPL", "1d"),
    ],
)
def test_a_file_name_may_be_spelled_in_any_way(
    tmp_path: Path, name: str, pair: str, timeframe: str
) -> None:
    path = write_csv(tmp_path, HEADER + ROW, name)
    provider = FilesProvider(tmp_path)
    assert provider.available() == [(parse_symbol(pair), TIMEFRAMES[timeframe], path)]
    (page,) = provider.fetch(query(pair, timeframe))
    assert page.candles.num_rows == 1


def test_parquet_is_read_before_csv_and_csv_before_its_compressed_form(tmp_path: Path) -> None:
    (tmp_path / "BTCUSD_1d.csv.gz").write_bytes(gzip.compress((HEADER + 3 * ROW).encode()))
    assert fetch(tmp_path).candles.num_rows == 3
    write_csv(tmp_path, HEADER + 2 * ROW)
    assert fetch(tmp_path).candles.num_rows == 2
    write_parquet(tmp_path / "BTCUSD_1d.parquet", pa.array([START]))
    assert fetch(tmp_path).candles.num_rows == 1
    assert len(FilesProvider(tmp_path).available()) == 1


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ["README.csv", "AAPL_factors.csv", "_1d.csv", "BTCUSD_1d.csv.tmp", "BTCUSD_1d"]:
        write_csv(tmp_path, "", name)
    (tmp_path / "BTCUSD_1d.parquet").mkdir()
    assert FilesProvider(tmp_path).available() == []


def test_a_file_is_read_once_and_again_when_it_changed(tmp_path: Path) -> None:
    path = write_csv(tmp_path, HEADER + ROW)
    before = files._read_version.cache_info()
    assert [fetch(tmp_path).candles.num_rows for _ in range(3)] == [1, 1, 1]
    after = files._read_version.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 2)

    path.write_text(HEADER + ROW.replace("1.5", "1.7"), encoding="utf-8")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert fetch(tmp_path).candles["close"].to_pylist() == [1.7]


# Failures


def test_no_file_of_the_pair_names_what_there_is(tmp_path: Path) -> None:
    assert "it has no candle file" in refusal(tmp_path, "invalid_symbol")
    for pair in ["A", "B", "C", "D", "E", "F", "BTCUSD"]:
        write_csv(tmp_path, HEADER, f"{pair}_1h.csv")
    listing = "it has A_1h.csv, B_1h.csv, BTCUSD_1h.csv, C_1h.csv, D_1h.csv and 2 more"
    message = f"no file of BTCUSD 1d in {tmp_path}: {listing}"
    assert refusal(tmp_path, "invalid_symbol") == message


@pytest.mark.parametrize(
    "names", [("BTCUSD_1d.csv", "btc-usd_1d.parquet"), ("BTCUSD_1d.csv", "BTCUSD_d.csv")]
)
def test_two_spellings_of_one_pair_are_refused(tmp_path: Path, names: Sequence[str]) -> None:
    for name in (*names, "AAPL_1d.csv"):
        write_csv(tmp_path, HEADER, name)
    message = refusal(tmp_path, "configuration")
    assert all(name in message for name in names)
    assert list(FilesProvider(tmp_path).fetch(query("AAPL", "1d")))  # the others are not affected


def test_a_missing_folder_names_the_setting(tmp_path: Path) -> None:
    for folder in [tmp_path / "missing", write_csv(tmp_path, "")]:
        message = refusal(folder, "configuration")
        assert str(folder) in message
        assert "--source DIR or FFE_FILES_DIR" in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("BTCUSD_1d.csv", b""),
        ("BTCUSD_1d.csv", (HEADER + "2020-01-01,1,2\n").encode()),
        ("BTCUSD_1d.csv", b"\xff" + HEADER.encode()),
        ("BTCUSD_1d.csv.gz", HEADER.encode()),
        ("BTCUSD_1d.csv.gz", gzip.compress((HEADER + ROW).encode(), mtime=0)[:-9]),
        ("BTCUSD_1d.parquet", b""),
        ("BTCUSD_1d.parquet", b"timestamp,open,high,low,close"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path, "configuration").startswith(f"cannot read {tmp_path / name}: ")


def test_a_file_with_only_a_header_has_no_rows(tmp_path: Path) -> None:
    write_csv(tmp_path, HEADER)
    assert fetch(tmp_path).candles.num_rows == 0
    write_parquet(tmp_path / "BTCUSD_1d.parquet", pa.array([], pa.timestamp("us")))
    assert fetch(tmp_path).candles.num_rows == 0


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("date,open,high,low,last", "has no column close: its columns are date, open, high, low,"),
        ("open,high,low,close", "has no column timestamp or time or date: its columns are open,"),
        ("date,time,open,high,low,close", "'time' and 'date' could both be the timestamp"),
        ("date,open,high,low,close,Close", "'close' and 'Close' could both be the close"),
    ],
)
def test_a_missing_or_ambiguous_column_is_named(tmp_path: Path, header: str, message: str) -> None:
    path = write_csv(tmp_path, header + "\n")
    refused = refusal(tmp_path, "configuration")
    assert str(path) in refused
    assert message in refused


def test_a_file_whose_times_all_cannot_be_read_names_the_column_and_a_value(tmp_path: Path) -> None:
    path = write_csv(tmp_path, HEADER + "31/12/2020,1,1,1,1,1\n")
    sample = "no time of column 'timestamp' can be read; the first is '31/12/2020'"
    assert refusal(tmp_path, "configuration") == f"{path}: {sample}"
