"""Files of records: which there are, what is a record in them, and what is none."""

from pathlib import Path

import pytest

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.records import files_below, named_files
from ffe_lakehouse_tests.records.desk import Desk, canonical, counts, decision


def names(folder: Path) -> list[str]:
    return [file.name for file in files_below(folder)]


def test_files_are_found_at_any_depth_and_half_written_ones_are_left_alone(desk: Desk) -> None:
    for name in (
        *("decisions/b.json", "decisions/2025/12/a.json", "outcomes/o.json"),
        *("decisions/.hidden.json", "decisions/c.json.part", "decisions/d.tmp"),
        *("candles/BTCUSD_1h.csv", "a.json"),
    ):
        desk.put(name, decision())
    assert names(desk.landing) == [
        *("decisions/2025/12/a.json", "decisions/b.json", "outcomes/o.json"),
    ]


def test_without_a_folder_there_are_no_files(tmp_path: Path) -> None:
    assert files_below(tmp_path / "nowhere") == []


def test_named_files_that_are_gone_are_told_beside_the_others(desk: Desk) -> None:
    desk.put("decisions/a.json", decision())
    found, absent = named_files(desk.landing, ["decisions/a.json", "decisions/b.json"])
    assert [file.name for file in found] == ["decisions/a.json"]
    assert "No such file" in absent["decisions/b.json"]


@pytest.mark.parametrize("name", ["candles/a.json", "a.json", "decisions/../../etc/passwd"])
def test_a_name_outside_of_the_folders_is_refused(desk: Desk, name: str) -> None:
    with pytest.raises(InputError, match="lies in decisions/"):
        named_files(desk.landing, [name])


def test_a_file_is_one_object_a_list_of_them_or_lines(desk: Desk) -> None:
    desk.put("decisions/one.json", decision(id="1"))
    desk.put("decisions/list.json", [decision(id="2"), decision(id="3")])
    lines = [canonical(decision(id=str(n))) for n in (4, 5)]
    desk.put("decisions/lines.jsonl", f"\n{lines[0]}\r\n   \n{lines[1]}\n\n".encode())
    desk.put("decisions/none.json", [])
    desk.put("decisions/empty.jsonl", b"")
    loaded = desk.load()["raw_ai_decisions"]
    assert counts(loaded) == (5, 0, 0, 0)
    rows = desk.rows("bronze/raw_ai_decisions")
    assert sorted(row["decision_id"] for row in rows) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""], ids=["bom", "plain"])
@pytest.mark.parametrize("name", ["decisions/a.json", "decisions/a.jsonl"])
def test_a_byte_order_mark_is_no_fault(desk: Desk, mark: bytes, name: str) -> None:
    desk.put(name, mark + canonical(decision()).encode())
    assert counts(desk.load()["raw_ai_decisions"]) == (1, 0, 0, 0)


DEEP = b'{"a":' * 300 + b"1" + b"}" * 300
UNREADABLE = {
    "half": (b'{"id": "1", "asset_', "Unterminated string"),
    "nothing": (b"", "Expecting value"),
    "number": (b"5", "no JSON object"),
    "null": (b"null", "no JSON object"),
    "twice": (b'{"id": "1", "a": 1, "id": "2"}', "'id' twice"),
    "deep": (DEEP, "Recursion limit"),
    "deeper": (b"[" * 100_000, "recursion"),
    "surrogate": (b'{"id": "\\ud800"}', "surrogates"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_object_is_kept_verbatim(desk: Desk, case: str) -> None:
    data, why = UNREADABLE[case]
    desk.put("decisions/a.json", data)
    loaded = desk.load()["raw_ai_decisions"]
    assert counts(loaded) == (0, 0, 0, 1)
    (letter,) = desk.rows("dlq/raw_ai_decisions")
    assert letter["reasons"] == ["unreadable_file"]
    assert why in letter["detail"]
    assert letter["record"] == data.decode()
    assert letter["source"] == "decisions/a.json"
    assert letter["partition_date"] == desk.now.date()


def test_bytes_that_are_no_unicode_are_told_as_such(desk: Desk) -> None:
    desk.put("decisions/a.json", b'{"id": "caf\xe9"}')
    desk.load()
    (letter,) = desk.rows("dlq/raw_ai_decisions")
    assert letter["record"] == '{"id": "caf\\xe9"}'


def test_a_bad_line_or_element_leaves_the_others_alone(desk: Desk) -> None:
    good = canonical(decision()).encode()
    desk.put("decisions/lines.jsonl", good + b'\n{"id": \n' + b"[1]\n")
    desk.put("decisions/list.json", b"[" + good + b", 7, {}]")
    loaded = desk.load()["raw_ai_decisions"]
    assert counts(loaded) == (1, 0, 1, 4)
    letters = {row["source"]: row["record"] for row in desk.rows("dlq/raw_ai_decisions")}
    assert letters == {
        "decisions/lines.jsonl:2": '{"id": ',
        "decisions/lines.jsonl:3": "[1]",
        "decisions/list.json[1]": "7",
        "decisions/list.json[2]": "{}",
    }


def test_a_file_of_another_ending_is_a_letter_that_says_so(desk: Desk) -> None:
    desk.put("decisions/a.yaml", b"id: 1\n")
    desk.load()
    (letter,) = desk.rows("dlq/raw_ai_decisions")
    assert letter["record"] == "id: 1\n"
    assert "neither .json nor .jsonl" in letter["detail"]


def test_a_number_that_json_has_not_is_found_wherever_it_stands(desk: Desk) -> None:
    text = canonical(decision())[:-1] + ',"rsi":NaN,"deep":[{"a":-Infinity}]}'
    desk.put("decisions/a.json", text.encode())
    desk.load()
    (letter,) = desk.rows("dlq/raw_ai_decisions")
    assert letter["reasons"] == ["not_finite"]
    assert letter["detail"] == "deep[0].a is -inf; rsi is nan"
    assert "NaN" in letter["record"]
    assert "-Infinity" in letter["record"]


def test_a_file_that_cannot_be_read_leaves_the_others_alone(desk: Desk) -> None:
    gone = desk.put("decisions/a.json", decision())
    desk.put("decisions/b.json", decision(id="2"))
    files = files_below(desk.landing)
    gone.unlink()
    loaded, unread = desk.loader().load(files)
    assert list(unread) == ["decisions/a.json"]
    assert loaded[0].files == ["decisions/b.json"]
    assert loaded[0].fetched == 1
