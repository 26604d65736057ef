"""``ffe backfill`` as a process of its own, with ``gaps``, ``check`` and ``read`` behind it."""

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ffe_lakehouse.cli import main
from ffe_lakehouse.cli.progress import Progress, duration
from ffe_lakehouse.lake import DeltaLakeManager

FFE = Path(sys.executable).with_name("ffe")
YEARS = ("--start", "2020-01-01", "--end", "2023-12-31")
DAYS = ("--timeframes", "1h", "--start", "2024-01-01", "--end", "2024-01-02")


@dataclass(frozen=True)
class Said:
    """What a process left behind."""

    code: int
    out: str
    errors: str

    @property
    def json(self) -> Any:
        """Its output, parsed."""
        return json.loads(self.out)


Shell = Callable[..., Said]


@pytest.fixture
def shell(home: Path) -> Shell:
    """Run ``ffe`` in the installation of this test."""

    def run(*arguments: object) -> Said:
        done = subprocess.run(  # noqa: S603 - our own script
            [FFE, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=home
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return run


def versions(lake: DeltaLakeManager, *names: str) -> list[int]:
    return [lake.table(name).version() for name in names]


def rows_of(said: Said) -> Mapping[str, int]:
    """The counts of the only pair and timeframe of a backfill."""
    (tally,) = said.json
    counts: Mapping[str, int] = tally["rows"]
    return counts


def test_four_years_of_real_hours_are_loaded_once(
    shell: Shell, lake: DeltaLakeManager, shared_data: Path
) -> None:
    source = ("--provider", "files", "--source", shared_data / "candles" / "coinbase")
    command = ("backfill", *source, "--assets", "BTCUSD", "--timeframes", "1h", *YEARS)
    tables = ("bronze/raw_market_data_1h", "dlq/raw_market_data_1h")

    first = shell(*command)
    assert first.code == 0
    assert "Progress: 1461/1461 (100.0%)" in first.out
    assert "Successful: 1461 | Failed: 0 | Remaining: 0" in first.out
    assert "Ingestion Summary: Successful: 1/1 Failed: 0/1; 35,058 rows written in" in first.out
    assert lake.read(tables[0]).num_rows == 35_058
    assert lake.read(tables[1]).num_rows == 0
    committed = versions(lake, *tables)

    listed = shell("gaps", "--timeframes", "1h", *YEARS, "--json").json
    gaps = [(gap["first"], gap["last"], gap["bars"]) for gap in listed]
    assert gaps == [
        ("2020-01-30T17:00:00+00:00", "2020-01-30T17:00:00+00:00", 1),
        ("2020-09-04T23:00:00+00:00", "2020-09-04T23:00:00+00:00", 1),
        ("2020-10-20T20:00:00+00:00", "2020-10-20T20:00:00+00:00", 1),
        ("2023-03-04T18:00:00+00:00", "2023-03-04T20:00:00+00:00", 3),
    ]

    again = shell(*command, "--json")
    assert again.code == 0
    assert set(rows_of(again).values()) == {0}
    assert again.json[0]["status"] == "skipped"
    assert again.json[0]["days"] == {"due": 0, "loaded": 0, "skipped": 1461}
    assert versions(lake, *tables) == committed

    forced = shell(*command, "--force", "--json")
    assert forced.code == 0
    assert rows_of(forced) == {
        "fetched": 35_058, "written": 0, "unchanged": 35_058, "duplicate": 0, "rejected": 0
    }  # fmt: skip
    assert versions(lake, *tables) == committed


def test_four_years_of_real_quarter_hours_of_a_market_that_closes(
    shell: Shell, lake: DeltaLakeManager, shared_data: Path
) -> None:
    source = ("--source", shared_data / "candles" / "oanda")
    command = ("backfill", *source, "--assets", "EURUSD", "--timeframes", "15m", *YEARS)
    assert rows_of(shell(*command, "--json"))["written"] == 99_619
    rows = lake.read("bronze/raw_market_data_15m", columns=["timestamp"])
    assert rows.num_rows == 99_619

    (mark,) = shell("watermarks", "--timeframes", "15m", "--details", "--json").json
    assert mark["complete_until"] == "2023-12-31"
    assert mark["watermark"] == "2023-12-29T21:45:00+00:00"
    # 208 Saturdays, and the Sundays and holidays on which not even the evening is traded.
    # One day more is empty, and should not be: it may be looked for once more.
    assert mark["no_data_days"] == 214
    assert {window["state"] for window in mark["open"]} == {"missing"}
    assert mark["open"][0]["start"] == "2024-01-01"

    gaps = shell("gaps", "--timeframes", "15m", *YEARS, "--json").json
    assert sum(gap["bars"] for gap in gaps) == 29
    # The weekend of every change of the clocks of New York: no closed hour is taken for a gap.
    changes = ["2020-03-08", "2020-11-01", "2021-03-14", "2021-11-07", "2022-03-13", "2022-11-06"]
    changes += ["2023-03-12", "2023-11-05"]
    for change in map(datetime.fromisoformat, changes):
        near = {str((change + timedelta(n)).date()) for n in range(-2, 2)}
        assert not [gap for gap in gaps if gap["first"][:10] in near]


def test_a_day_with_an_outage_is_a_warning_and_no_failure(shell: Shell, shared_data: Path) -> None:
    days = ("--timeframes", "1m", "--start", "2018-04-04", "--end", "2018-04-06")
    source = ("--source", shared_data / "candles" / "coinbase")
    loaded = shell("backfill", *source, "--assets", "BTCUSD", *days, "--json")
    assert loaded.code == 0
    assert rows_of(loaded)["written"] == 1007 + 2 * 1440
    assert loaded.json[0]["quality_score"] == pytest.approx((1007 / 1440 + 2) / 3)
    checked = shell("check", "--assets", "BTCUSD", *days, "--json")
    assert checked.code == 0
    warnings = [found for found in checked.json if not found["passed"]]
    assert {(found["check"], found["severity"], found["count"]) for found in warnings} == {
        ("completeness", "WARN", 1440 - 1007),
        ("quality_score", "WARN", 1),
    }
    assert {found["partition"] for found in warnings} == {"BTCUSD|2018-04-04"}


def write_candles(folder: Path, close: float) -> None:
    """Two days of hours, of which one has this close."""
    folder.mkdir(exist_ok=True)
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(48)]
    lines = [f"{at:%Y-%m-%dT%H:%M}Z,100,110,90,{close if at.hour == 7 else 101},5" for at in times]
    text = "\n".join(["timestamp,open,high,low,close,volume", *lines[:30], *lines[30:]])
    (folder / "BTCUSD_1h.csv").write_text(text.replace(f",{close},", ",101,", 1))


def test_a_revised_bar_is_one_row_more_and_both_answers_can_be_had(
    shell: Shell, home: Path, lake: DeltaLakeManager
) -> None:
    table = "bronze/raw_market_data_1h"
    load = ("backfill", "--assets", "BTCUSD", *DAYS, "--source", home / "vendor")
    write_candles(home / "vendor", 102.5)
    assert shell(*load).code == 0
    assert lake.read(table).num_rows == 48
    before = datetime.now(UTC)
    time.sleep(0.01)
    write_candles(home / "vendor", 104.5)
    assert rows_of(shell(*load, "--force", "--json"))["written"] == 1
    assert lake.read(table).num_rows == 49

    def closes(*options: object) -> list[float]:
        file = home / "rows.json"
        columns = ("--columns", "timestamp,close", "--output", file)
        assert shell("read", table, *columns, *options).code == 0
        revised = [row for row in json.loads(file.read_text()) if "02T07" in row["timestamp"]]
        return [row["close"] for row in revised]

    assert closes("--known-on", before.isoformat()) == [102.5]
    assert closes("--known-on", "now") == [104.5]
    assert sorted(closes()) == [102.5, 104.5]


def test_a_simulated_day_does_not_keep_the_bars_of_a_named_vendor_out(
    shell: Shell, home: Path, lake: DeltaLakeManager
) -> None:
    load = ("backfill", "--assets", "BTCUSD", *DAYS, "--json")
    write_candles(home / "vendor", 102.5)
    assert rows_of(shell(*load))["written"] == 48
    assert rows_of(shell(*load, "--source", home / "vendor"))["written"] == 48
    assert shell(*load).json[0]["status"] == "skipped"  # whoever named nobody has bars already
    rows = lake.read("bronze/raw_market_data_1h")
    assert set(
        zip(rows["source_provider"].to_pylist(), rows["is_mock"].to_pylist(), strict=True)
    ) == {
        ("simulated", True),
        ("files", False),
    }


def test_a_pair_that_fails_in_the_middle_is_named_and_the_others_are_loaded(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_SIMULATED_FAULTS__FAILING_PAIRS", '["ETHUSD"]')
    days = ("--timeframes", "1h,1d", "--start", "2024-01-01", "--end", "2024-04-09")  # 100 days
    command = ("backfill", "--assets", "BTCUSD,ETHUSD,EURUSD", *days)
    said = shell(*command)
    assert said.code == 1
    assert "Progress: 600/600 (100.0%)" in said.out
    assert "Successful: 580 | Failed: 20 | Remaining: 0" in said.out
    lines = said.out.splitlines()
    summary = next(n for n, line in enumerate(lines) if line.startswith("Ingestion Summary:"))
    assert lines[summary].startswith("Ingestion Summary: Successful: 2/3 Failed: 1/3; ")
    reason = "2024-01-01 to 2024-04-09: timeout: ETHUSD: no answer (simulated)"
    assert lines[summary + 1 :] == [
        "Failed symbols:", f"- ETHUSD 1h: {reason}", f"- ETHUSD 1d: {reason}"
    ]  # fmt: skip

    again = shell(*command, "--json")
    assert again.code == 1
    # Asked for ten days, the simulated vendor fails at its only page.
    by_pair = {(t["asset_pair"], t["timeframe"]): t for t in again.json}
    assert by_pair["BTCUSD", "1h"]["status"] == by_pair["EURUSD", "1d"]["status"] == "skipped"
    assert by_pair["ETHUSD", "1h"]["status"] == "error"
    assert by_pair["ETHUSD", "1h"]["days"] == {"due": 10, "loaded": 0, "skipped": 90}
    monkeypatch.setenv("FFE_SIMULATED_FAULTS__FAILING_PAIRS", "[]")
    healed = shell(*command, "--json")
    assert healed.code == 0
    assert sum(tally["days"]["due"] for tally in healed.json) == 20


def test_a_day_that_is_refused_is_told_apart_from_one_that_failed(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_SIMULATED_FAULTS__BAD_ROWS", "0.5")
    said = shell("backfill", "--assets", "BTCUSD", *DAYS, "--json")
    assert said.code == 1
    (tally,) = said.json
    assert tally["status"] == "validation_failed"
    assert tally["failed_records"] == tally["rows"]["rejected"] > 0
    assert all("records rejected" in reason for reason in tally["reasons"])


WRONG: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "unknown pair": (["--assets", "BTCUSD,FOO;BAR", *DAYS], ["unknown pair 'FOO;BAR'"]),
    "empty pair": (["--assets", "", *DAYS], ["unknown pair ''"]),
    "a pipe": (["--assets", "BTC|USD", *DAYS], ["unknown pair 'BTC|USD'"]),
    "a path": (["--assets", "../x", *DAYS], ["unknown pair '../x'"]),
    "a long pair": (["--assets", "A" * 300, *DAYS], [f"unknown pair '{'A' * 40}…'"]),
    "timeframe": (["--assets", "BTCUSD", *DAYS, "--timeframes", "2h"], ["'2h'", "1m, 5m, 15m"]),
    "provider": (["--assets", "BTCUSD", *DAYS, "--provider", "acme"], ["'acme'", "simulated"]),
    "files without a folder": (["--assets", "BTCUSD", *DAYS, "--provider", "files"], ["--source"]),
    "no such folder": (["--assets", "BTCUSD", *DAYS, "--source", "no/where"], ["no/where"]),
    "reversed dates": (
        ["--assets", "BTCUSD", "--start", "2024-01-02", "--end", "2024-01-01"],
        ["2024-01-02", "2024-01-01", "swap"],
    ),
    "a future range": (
        ["--assets", "BTCUSD", "--start", "2190-01-01", "--end", "2190-01-02"],
        ["2190-01-01", "future"],
    ),
    "before the first day": (
        ["--assets", "BTCUSD", "--start", "2001-01-01", "--end", "2001-01-02"],
        ["2001-01-01", "FFE_START_DATE"],
    ),
    "no day": (["--assets", "BTCUSD", "--start", "yesterday"], ["'yesterday'", "YYYY-MM-DD"]),
    "no days": (["--assets", "BTCUSD", "--days", "0"], ["--days 0"]),
    "no range": (["--assets", "BTCUSD"], ["--days 7", "--start"]),
    "two ranges": (["--assets", "BTCUSD", "--days", "7", "--start", "2024-01-01"], ["either"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_is_named_and_nothing_is_written(
    home: Path, case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, words = WRONG[case]
    # The entry point in this process: a process each would take half a minute.
    monkeypatch.setattr(sys, "argv", ["ffe", "backfill", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert said.out == ""
    assert said.err.startswith("ffe: ")
    assert said.err.count("\n") == 1
    assert all(word in said.err for word in words)
    assert not (home / "data").exists()


def test_a_wrong_input_is_exit_code_2_of_the_process(shell: Shell, home: Path) -> None:
    said = shell("backfill", "--assets", "BTC|USD", *DAYS)
    assert (said.code, said.out) == (2, "")
    assert said.errors.startswith("ffe: unknown pair 'BTC|USD': write a pair such as BTCUSD")
    assert not (home / "data").exists()


def test_a_file_that_cannot_be_used_fails_its_pair_and_no_row_is_written(
    shell: Shell, home: Path
) -> None:
    (home / "vendor").mkdir()
    (home / "vendor" / "BTCUSD_1h.parquet").write_text("this is no parquet")
    (home / "vendor" / "ETHUSD_1h.csv").write_text("time,open,high,low\n2024-01-01,1,1,1\n")
    said = shell("backfill", "--assets", "BTCUSD,ETHUSD,SOLUSD", *DAYS, "--source", "vendor")
    assert said.code == 1
    unreadable, no_close, no_file = said.out.partition("Failed symbols:\n")[2].splitlines()
    assert "BTCUSD 1h: 2024-01-01 to 2024-01-02: configuration: cannot read" in unreadable
    assert "BTCUSD_1h.parquet" in unreadable
    assert "ETHUSD_1h.csv has no column close: its columns are time, open, high, low" in no_close
    assert "SOLUSD 1h: 2024-01-01 to 2024-01-02: invalid_symbol: no file of SOLUSD 1h" in no_file
    assert not (home / "data" / "lake").exists()


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """The present second."""
        return self.now


def test_progress_tells_counts_and_the_time_that_is_left() -> None:
    clock, shown = Clock(), io.StringIO()
    with Progress(500, Console(file=shown, width=80), clock) as progress:
        assert progress.text().endswith("Elapsed: 0m 00s | Est. remaining: 0m 00s")
        clock.now = 330.0
        progress.update(successful=120, failed=5)
        assert shown.getvalue().splitlines() == [
            "Progress: 125/500 (25.0%)",
            "Successful: 120 | Failed: 5 | Remaining: 375",
            "Elapsed: 5m 30s | Est. remaining: 16m 30s",
        ]


def test_without_a_terminal_progress_is_shown_every_ten_seconds_and_at_the_end() -> None:
    clock, shown = Clock(), io.StringIO()
    with Progress(100, Console(file=shown, width=80), clock) as progress:
        for second in range(100):
            clock.now = second
            progress.update(successful=1)
    shares = [line for line in shown.getvalue().splitlines() if line.startswith("Progress")]
    assert shares == [
        *(f"Progress: {n}/100 ({n}.0%)" for n in range(11, 100, 10)),
        "Progress: 100/100 (100.0%)",
    ]


def test_progress_of_nothing_is_complete() -> None:
    text = Progress(0, Console(file=io.StringIO()), Clock()).text()
    assert text.startswith("Progress: 0/0 (100.0%)")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0m 00s"), (59.6, "1m 00s"), (330, "5m 30s"), (7261, "121m 01s")]
)
def test_a_duration_is_minutes_and_seconds(seconds: float, text: str) -> None:
    assert duration(seconds) == text
