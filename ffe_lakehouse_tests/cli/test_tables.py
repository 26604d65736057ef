"""``ffe read``, ``ffe tables`` and ``ffe history`` on real Delta tables."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from ffe_lakehouse import inventory
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.output import row_writer
from ffe_lakehouse.schemas import raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.cli.conftest import Fill, Run

TABLE = "raw_market_data_1h"
REVISED_ON = datetime(2024, 3, 1, tzinfo=UTC)

Texts = Callable[[str], list[str]]


@pytest.fixture
def revised(fill: Fill) -> None:
    fill("BTCUSD")
    fill("BTCUSD", now=REVISED_ON, generation=1, revisions=0.5)


def test_the_first_rows_are_shown_and_all_are_counted(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD")
    text = ffe("read", TABLE).text
    assert "2024-01-01 19:00:00" in text
    assert "2024-01-01 20:00:00" not in text
    assert "20 of 72 rows of bronze/raw_market_data_1h" in text


def test_a_limit_shows_more_or_fewer(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD")
    assert "3 of 72 rows" in ffe("read", TABLE, "--limit", 3).text
    assert ffe("read", TABLE, "--limit", 72).text.endswith(
        "\n72 rows of bronze/raw_market_data_1h\n"
    )
    assert ffe("read", TABLE, "--limit", 0).code == 2


def test_columns_that_do_not_fit_are_named_and_no_value_is_shortened(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD")
    text = ffe("read", TABLE).text
    header, *_ = text.splitlines()
    left_out = text.split("choose with --columns): ")[1].splitlines()[0].split(", ")
    assert {*header.split(), *left_out} == set(raw_candles(TIMEFRAMES["1h"]).arrow.names)
    assert "…" not in text


def test_columns_are_shown_in_the_order_in_which_they_were_asked_for(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD")
    text = ffe("read", TABLE, "--columns", "close, timestamp,close", "--limit", 1).text
    assert text.splitlines()[0].split() == ["close", "timestamp"]
    assert "--columns" not in text


def test_an_unknown_column_is_refused(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD")
    outcome = ffe("read", TABLE, "--columns", "close,prize")
    assert outcome.code == 2
    assert "no column prize" in outcome.text


def test_an_unknown_table_is_refused_with_the_known_ones(ffe: Run) -> None:
    outcome = ffe("read", "raw_market_data_9h")
    assert outcome.code == 2
    assert "unknown table 'raw_market_data_9h': use one of bronze/" in outcome.text


def test_a_table_that_was_never_written_is_refused_with_those_that_were(
    fill: Fill, ffe: Run
) -> None:
    fill("BTCUSD")
    outcome = ffe("read", "raw_market_data_1d")
    assert outcome.code == 2
    assert "bronze/raw_market_data_1h" in outcome.text


def test_a_name_of_two_layers_must_be_given_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    both = dict.fromkeys(["silver/prices", "gold/prices"], raw_candles(TIMEFRAMES["1h"]))
    monkeypatch.setattr(inventory, "all_tables", lambda: both)
    with pytest.raises(InputError, match="use one of silver/prices, gold/prices"):
        inventory.table_name("prices")


def test_dead_letters_are_named_in_full(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD", bad_rows=0.3)
    assert "of bronze/raw_market_data_1h" in ffe("read", TABLE).text
    assert "of dlq/raw_market_data_1h" in ffe("read", f"dlq/{TABLE}").text


def test_only_the_pairs_that_were_asked_for_are_read(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD")
    fill("ETHUSD")
    text = ffe("read", TABLE, "--assets", "eth-usd").text
    assert "72 rows" in text
    assert "BTCUSD" not in text
    assert ffe("read", TABLE, "--assets", "a b").code == 2


@pytest.mark.parametrize(
    ("start", "end", "rows"),
    [
        ("2024-01-02", "2024-01-02", 24),
        ("2024-01-02", "2024-01-02T00:00:00Z", None),
        ("2024-01-02", "2024-01-02T03:00", 3),
        ("2024-01-02T22:00+00:00", "2024-01-03", 26),
        ("2024-01-02T01:00+02:00", "2024-01-02T03:00+02:00", 2),
        ("2024-01-03", "2024-01-02", None),
        ("soon", "2024-01-02", None),
        ("2024-01-02", "later", None),
    ],
)
def test_an_end_day_is_included_and_an_end_moment_is_not(
    fill: Fill, ffe: Run, start: str, end: str, rows: int | None
) -> None:
    fill("BTCUSD")
    outcome = ffe("read", TABLE, "--start", start, "--end", end, "--limit", 100)
    assert outcome.code == (2 if rows is None else 0)
    assert rows is None or f"\n{rows} rows of" in outcome.text


def test_a_table_of_days_refuses_a_time_within_a_day(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD", bad_rows=0.3)
    assert ffe("read", f"dlq/{TABLE}", "--end", "2024-01-02").code == 0
    outcome = ffe("read", f"dlq/{TABLE}", "--end", "2024-01-02T10:00")
    assert outcome.code == 2
    assert "whole days" in outcome.text


def test_nothing_found_is_said_in_numbers(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD")
    outcome = ffe("read", TABLE, "--start", "2025-01-01")
    assert (outcome.code, outcome.text) == (0, "0 rows of bronze/raw_market_data_1h\n")


@pytest.mark.usefixtures("revised")
def test_older_versions_are_counted_and_known_on_now_leaves_the_newest(ffe: Run) -> None:
    everything = ffe("read", TABLE, "--limit", 500).text
    newest = ffe("read", TABLE, "--known-on", "now", "--limit", 500).text
    older = int(everything.split(" of these rows are older versions")[0].splitlines()[-1])
    assert older > 0
    assert f"\n{72 + older} rows of" in everything
    assert "\n72 rows of" in newest
    assert "older versions" not in newest


@pytest.mark.usefixtures("revised")
def test_older_versions_are_told_whatever_the_columns_are(ffe: Run) -> None:
    text = ffe("read", TABLE, "--columns", "close").text
    assert "older versions" in text
    assert text.split()[0] == "close"
    assert "timestamp" not in text


@pytest.mark.usefixtures("revised")
def test_known_on_an_earlier_moment_gives_the_values_of_then(
    ffe: Run, lake: DeltaLakeManager, home: Path
) -> None:
    ffe("read", TABLE, "--known-on", "2024-02-15", "--output", "then.parquet")
    then = pq.read_table(home / "then.parquet")
    assert then.equals(lake.read(f"bronze/{TABLE}", version=2))
    assert "\n0 rows" in "\n" + ffe("read", TABLE, "--known-on", "2024-01-15").text


@pytest.mark.usefixtures("revised")
def test_known_on_may_be_asked_of_an_older_version_of_the_table(ffe: Run, home: Path) -> None:
    ffe("read", TABLE, "--known-on", "now", "--version", 2, "--output", "a.csv")
    ffe("read", TABLE, "--version", 2, "--output", "b.csv")
    assert (home / "a.csv").read_text() == (home / "b.csv").read_text()


def test_as_of_reads_the_table_as_it_was_committed(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD")
    between = datetime.now(UTC).isoformat()
    fill("ETHUSD")
    assert "of 72 rows" in ffe("read", TABLE, "--as-of", between).text
    assert "of 144 rows" in ffe("read", TABLE, "--as-of", "2999-01-01").text
    outcome = ffe("read", TABLE, "--as-of", "2020-01-01")
    assert outcome.code == 2
    assert "did not exist" in outcome.text


def test_as_of_and_version_exclude_each_other(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD")
    outcome = ffe("read", TABLE, "--as-of", "2024-01-01", "--version", 0)
    assert outcome.code == 2
    assert "give one" in outcome.text


def test_a_version_that_is_not_there_is_refused(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD")
    assert "\n0 rows" in "\n" + ffe("read", TABLE, "--version", 0).text
    assert ffe("read", TABLE, "--version", 99).code == 2


def test_a_parquet_file_has_all_rows_with_their_types(
    fill: Fill, ffe: Run, lake: DeltaLakeManager, home: Path
) -> None:
    fill("EURUSD")
    outcome = ffe("read", TABLE, "--output", "f.parquet")
    rows = lake.read(f"bronze/{TABLE}")
    assert pq.read_table(home / "f.parquet").equals(rows)
    assert outcome.text == f"f.parquet: {len(rows)} of {len(rows)} rows of bronze/{TABLE}\n"


def test_a_csv_file_has_the_same_values_with_times_in_utc(
    fill: Fill, ffe: Run, lake: DeltaLakeManager, home: Path
) -> None:
    fill("EURUSD")
    ffe("read", TABLE, "--output", "f.csv")
    _, line, *_ = (home / "f.csv").read_text().splitlines()
    assert line.startswith('"2024-01-01T')
    assert "Z" in line.split(",")[0]
    read, rows = pa_csv.read_csv(home / "f.csv"), lake.read(f"bronze/{TABLE}")
    for name in ("timestamp", "open", "close", "partition_date", "is_mock", "asset_pair"):
        assert read[name].cast(rows[name].type).equals(rows[name]), name
    assert read["volume"].null_count == len(rows)


def test_a_csv_cell_holds_a_list_joined(fill: Fill, ffe: Run, home: Path) -> None:
    fill("BTCUSD", bad_rows=0.5)
    ffe("read", f"dlq/{TABLE}", "--output", "f.csv", "--columns", "reasons")
    assert '"high_below_low, open_out_of_range, close_out_of_range"' in (home / "f.csv").read_text()


def test_a_json_file_is_an_array_of_objects_with_times_in_utc(
    fill: Fill, ffe: Run, lake: DeltaLakeManager, home: Path
) -> None:
    fill("EURUSD")
    ffe("read", TABLE, "--output", "f.JSON", "--columns", "timestamp,volume,close,_extracted_at")
    read = json.loads((home / "f.JSON").read_text())
    rows = lake.read(f"bronze/{TABLE}", columns=["timestamp", "volume", "close"]).to_pylist()
    assert [row["close"] for row in read] == [row["close"] for row in rows]
    assert read[0] == {
        "timestamp": f"{rows[0]['timestamp']:%Y-%m-%dT%H:%M:%SZ}",
        "volume": None,
        "close": rows[0]["close"],
        "_extracted_at": "2024-02-01T00:00:00Z",
    }


def test_a_limit_holds_for_a_file_too(fill: Fill, ffe: Run, home: Path) -> None:
    fill("BTCUSD")
    text = ffe("read", TABLE, "--output", "f.json", "--limit", 3).text
    assert len(json.loads((home / "f.json").read_text())) == 3
    assert text == f"f.json: 3 of 72 rows of bronze/{TABLE}\n"


def test_no_rows_are_a_file_too(fill: Fill, ffe: Run, home: Path) -> None:
    fill("BTCUSD")
    for suffix in ("csv", "json", "parquet"):
        assert ffe("read", TABLE, "--version", 0, "--output", f"f.{suffix}").code == 0
    assert (home / "f.json").read_text() == "[]\n"
    assert (home / "f.csv").read_text().startswith('"timestamp"')
    assert pq.read_table(home / "f.parquet").num_rows == 0


@pytest.mark.parametrize("name", ["f.xlsx", "f", "missing/f.csv"])
def test_an_output_that_cannot_be_is_refused_before_anything_is_read(ffe: Run, name: str) -> None:
    outcome = ffe("read", TABLE, "--output", name)  # the table does not exist either
    assert outcome.code == 2
    assert f"cannot write {name}" in outcome.text


def test_a_folder_in_the_place_of_the_output_is_left_alone(
    fill: Fill, ffe: Run, home: Path
) -> None:
    fill("BTCUSD")
    (home / "f.csv").mkdir()
    assert ffe("read", TABLE, "--output", "f.csv").code == 2
    assert sorted(path.name for path in home.iterdir()) == ["data", "f.csv"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("old")
    with pytest.raises(pa.ArrowException):
        row_writer(path)(pa.table({"a": [{"b": 1}]}))  # CSV has no structs
    assert path.read_text() == "old"
    assert list(tmp_path.glob("*f.csv*")) == [path]


def test_a_time_keeps_its_microseconds_in_text(tmp_path: Path) -> None:
    times = [datetime(2024, 1, 1, 0, 0, 0, 5, UTC), None]
    row_writer(tmp_path / "f.json")(pa.table({"t": pa.array(times, pa.timestamp("us", "UTC"))}))
    assert json.loads((tmp_path / "f.json").read_text()) == [
        {"t": "2024-01-01T00:00:00.000005Z"},
        {"t": None},
    ]


def test_an_empty_lake_says_how_to_fill_it(ffe: Run) -> None:
    outcome = ffe("tables")
    assert outcome.code == 0
    assert "`ffe backfill`" in outcome.text
    assert json.loads(ffe("tables", "--json").text) == []


def test_tables_are_described_without_opening_a_data_file(
    fill: Fill, ffe: Run, lake: DeltaLakeManager
) -> None:
    fill("BTCUSD")
    fill("ETHUSD")
    files = list(Path(lake.table_uri(f"bronze/{TABLE}")).rglob("*.parquet"))
    size = sum(file.stat().st_size for file in files)
    for file in files:
        file.unlink()
    found = {table["table"]: table for table in json.loads(ffe("tables", "--json").text)}
    assert found[f"bronze/{TABLE}"] == {
        "table": f"bronze/{TABLE}",
        "rows": 144,
        "files": len(files),
        "bytes": size,
        "version": 4,
        "oldest": "2024-01-01T00:00:00Z",
        "newest": "2024-01-03T23:00:00Z",
        "uri": lake.table_uri(f"bronze/{TABLE}"),
    }
    assert found[f"dlq/{TABLE}"]["rows"] == 0
    assert found[f"dlq/{TABLE}"]["oldest"] is None


def test_the_list_of_tables_shows_each_with_its_reach(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD", bad_rows=0.3)
    lines = ffe("tables").text.splitlines()
    assert lines[1].startswith(f"bronze/{TABLE} 2024-01-01 00:00:00 2024-01-03 23:00:00 ")
    assert lines[2].split()[:3] == [f"dlq/{TABLE}", "2024-01-01", "2024-01-03"]
    assert lines[-1].startswith("2 tables, 72 rows, ")


def test_history_tells_the_newest_commits_first(fill: Fill, ffe: Run) -> None:
    fill("BTCUSD")
    fill("ETHUSD")
    lines = ffe("history", TABLE, "--limit", 2).text.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["4", "3"]
    assert lines[1].split()[3:] == ["WRITE", "48", "+1", "01234567", "ETHUSD|days"]


def test_history_as_json_has_all_commits_in_full(
    fill: Fill, ffe: Run, lake: DeltaLakeManager
) -> None:
    fill("BTCUSD")
    lake.table(f"bronze/{TABLE}").optimize.compact()
    optimized, *_, written, created = json.loads(ffe("history", TABLE, "--json").text)
    assert (optimized["operation"], optimized["files_added"]) == ("OPTIMIZE", 1)
    assert (optimized["files_removed"], optimized["rows"]) == (2, None)
    assert written.pop("timestamp").endswith("Z")
    assert written == {
        "version": 1,
        "operation": "WRITE",
        "rows": 48,
        "files_added": 1,
        "files_removed": 0,
        "run_id": "0123456789abcdef",
        "partitions": "BTCUSD|days",
    }
    assert (created["operation"], created["rows"], created["run_id"]) == (
        "CREATE TABLE",
        None,
        None,
    )


def test_history_of_a_table_that_was_never_written_is_refused(ffe: Run) -> None:
    outcome = ffe("history", TABLE)
    assert outcome.code == 2
    assert "none yet" in outcome.text


def test_a_table_without_pairs_or_versions_says_so(ffe: Run) -> None:
    table = "reference/index_membership"
    assert "is not of pairs: leave --assets out" in ffe("read", table, "--assets", "AAPL").text
    assert "use --as-of" in ffe("read", table, "--known-on", "now").text
