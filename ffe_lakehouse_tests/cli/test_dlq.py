"""``ffe dlq`` on the dead letters of a real ingestion."""

import json
from collections import Counter
from pathlib import Path

import pytest

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse_tests.cli.conftest import Fill, Run


@pytest.fixture
def refused(fill: Fill) -> None:
    fill("BTCUSD", "1h", bad_rows=0.5)
    fill("ETHUSD", "15m", bad_rows=0.2)


@pytest.mark.usefixtures("refused")
def test_stats_count_what_the_tables_hold(ffe: Run, lake: DeltaLakeManager) -> None:
    hours = lake.read("dlq/raw_market_data_1h")
    quarters = lake.read("dlq/raw_market_data_15m")
    lists = hours["reasons"].to_pylist() + quarters["reasons"].to_pylist()
    counts = json.loads(ffe("dlq", "stats", "--json").text)
    assert counts["total"] == len(hours) + len(quarters)
    assert counts["by_reason"] == Counter(code for codes in lists for code in codes)
    assert counts["by_pair"] == {"BTCUSD": len(hours), "ETHUSD": len(quarters)}
    assert counts["by_timeframe"] == {"1h": len(hours), "15m": len(quarters)}
    assert counts["by_provider"] == {"simulated": counts["total"]}
    assert counts["by_state"] == {"open": counts["total"]}


@pytest.mark.usefixtures("refused")
def test_stats_are_shown_as_histograms_the_most_frequent_first(ffe: Run) -> None:
    text = ffe("dlq", "stats").text
    counts = json.loads(ffe("dlq", "stats", "--json").text)
    assert text.startswith(f"{counts['total']} dead letters, {counts['total']} open\n")
    places = [text.index(f"\n{reason} ") for reason in counts["by_reason"]]
    assert places == sorted(places)
    numbers = list(counts["by_reason"].values())
    assert numbers == sorted(numbers, reverse=True)
    assert "#" * 30 in text


def test_no_dead_letters_are_none(ffe: Run, home: Path) -> None:
    assert ffe("dlq", "stats").text == "0 dead letters, 0 open\n"
    assert ffe("dlq", "show").text == "0 of 0 open letters\n"
    assert json.loads(ffe("dlq", "stats", "--json").text)["by_reason"] == {}
    assert ffe("dlq", "export", "--output", home / "out").code == 0


@pytest.mark.usefixtures("refused")
def test_show_tells_why_and_gives_the_record_in_one_piece(ffe: Run) -> None:
    header, record, *_, last = ffe("dlq", "show", "--assets", "BTCUSD").text.splitlines()
    day, hour, pair, timeframe, provider, *reasons = header.split()
    assert (day, pair, timeframe, provider) == ("2024-01-03", "BTCUSD", "1h", "simulated")
    assert json.loads(record)["timestamp"] == f"{day}T{hour}Z"
    assert reasons
    assert "of" in last


@pytest.mark.usefixtures("refused")
def test_show_is_limited_and_filtered(ffe: Run) -> None:
    def found(*options: object) -> list[dict[str, object]]:
        letters: list[dict[str, object]] = json.loads(ffe("dlq", "show", "--json", *options).text)
        return letters

    assert len(found("--limit", 3)) == 3
    assert len(found()) == 20
    everything = found("--limit", 500)
    hours = found("--limit", 500, "--timeframes", "1h,4h")
    assert 0 < len(hours) < len(everything)
    assert {letter["asset_pair"] for letter in hours} == {"BTCUSD"}
    assert found("--assets", "SOLUSD") == []
    second = found("--limit", 500, "--start", "2024-01-02", "--end", "2024-01-02")
    assert {letter["partition_date"] for letter in second} == {"2024-01-02"}
    crossed = found("--limit", 500, "--reason", "high_below_low")
    assert crossed == [lt for lt in everything if "high_below_low" in str(lt["reasons"])]
    either = found("--limit", 500, "--reason", "high_below_low, missing_close")
    assert len(either) == len(crossed) + len(found("--limit", 500, "--reason", "missing_close"))


@pytest.mark.usefixtures("refused")
def test_the_export_can_be_counted_by_reason(ffe: Run, home: Path) -> None:
    outcome = ffe("dlq", "export", "--output", "out")
    counts = json.loads(ffe("dlq", "stats", "--json").text)
    files = [json.loads(path.read_text()) for path in (home / "out").glob("*.json")]
    reasons = [record["reason"] for file in files for record in file["records"]]
    assert len(reasons) == counts["total"]
    assert Counter(code for text in reasons for code in text.split(", ")) == counts["by_reason"]
    assert outcome.text == f"{counts['total']} open letters in {len(files)} files in out\n"


@pytest.mark.usefixtures("refused")
def test_the_export_is_filtered_too(ffe: Run, home: Path) -> None:
    ffe("dlq", "export", "--output", "out", "--timeframes", "15m", "--reason", "missing_close")
    files = [json.loads(path.read_text()) for path in (home / "out").iterdir()]
    assert {file["context"]["timeframe"] for file in files} == {"15m"}
    assert {record["reason"] for file in files for record in file["records"]} == {"missing_close"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--reason", "nonsense"], "unknown reason 'nonsense': use one of bad_timestamp, "),
        (["--assets", "a b"], "unknown pair 'a b'"),
        (["--timeframes", "2h"], "unknown timeframe '2h'"),
        (["--start", "soon"], "'soon' is no day"),
        (["--start", "2024-01-02", "--end", "2024-01-01"], "swap them"),
    ],
)
def test_a_wrong_filter_is_refused(ffe: Run, options: list[str], says: str) -> None:
    outcome = ffe("dlq", "show", *options)
    assert outcome.code == 2
    assert says in outcome.text


def test_an_export_says_where_to(ffe: Run) -> None:
    assert ffe("dlq", "export").code == 2
