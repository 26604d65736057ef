"""One alert when an incident begins, one when it is over, none in between."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ffe_lakehouse.monitoring.incidents import (
    SUBJECTS,
    Changes,
    Details,
    Incident,
    Key,
    Told,
    changes,
    in_words,
)

NOON = datetime(2024, 1, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

keys = st.builds(
    Key, st.sampled_from(["Stale", "Late"]), st.sampled_from(["A", "B"]), st.sampled_from("xy")
)


def incident(
    key: Key, since: datetime = NOON, what: str = "it broke", to_do: str = "mend it"
) -> Incident:
    """Something that is wrong."""
    return Incident(key, since, lambda: Details(what, to_do))


def text_of(begun: Sequence[Incident] = (), over: dict[Key, datetime] | None = None) -> str:
    """The words for these."""
    return in_words(Changes(list(begun), over or {}, {}), "here", NOON + timedelta(minutes=90))


Look = tuple[frozenset[Key], frozenset[Key], bool]
looks = st.lists(st.tuples(st.frozensets(keys), st.frozensets(keys), st.booleans()), max_size=12)


@given(looks)
def test_every_incident_is_told_when_it_begins_and_when_it_is_over_and_at_no_other_time(
    given_looks: list[Look],
) -> None:
    told: Told = {}
    open_ones: set[Key] = set()
    for present, undecided, delivered in given_looks:
        found = changes(told, [incident(key) for key in present], undecided)
        begun = {each.key for each in found.begun}
        assert begun == present - open_ones
        assert set(found.over) == open_ones - present - undecided
        if delivered:
            # What waits for the next look: through a cursor, as JSON.
            told = TypeAdapter(Told).validate_json(TypeAdapter(Told).dump_json(found.told))
            open_ones = (open_ones | begun) - set(found.over)
        assert {
            Key(title, subject, part)
            for title, subjects in told.items()
            for subject, parts in subjects.items()
            for part in parts
        } == open_ones


@given(st.frozensets(keys, min_size=1))
def test_nothing_is_told_of_what_stays_as_it_is(present: frozenset[Key]) -> None:
    first = changes({}, [incident(key) for key in present])
    again = changes(first.told, [incident(key, NOON + MINUTE) for key in present])
    assert (again.begun, again.over) == ([], {})
    assert again.told == first.told
    assert in_words(again, "here", NOON) == ""


def test_it_is_over_since_it_began_not_since_it_was_seen_last() -> None:
    key = Key("Stale", "BTCUSD")
    told = changes({}, [incident(key)]).told
    told = changes(told, [incident(key, NOON + MINUTE)]).told
    assert changes(told, []).over == {key: NOON}


def test_an_alert_says_what_since_when_how_far_and_what_to_do() -> None:
    late = incident(Key("The pipeline is late"), what="due by 03:00", to_do="start it")
    assert text_of([late]) == (
        "Lakehouse here\n\n"
        "🔴 The pipeline is late (since 2024-01-10 12:00 UTC)\n"
        "• due by 03:00\n"
        "→ start it"
    )


def test_parts_of_which_the_same_is_said_are_told_in_one_line() -> None:
    parts = [
        incident(Key("Not loading", "BTCUSD", "1m"), NOON + MINUTE, "timeout"),
        incident(Key("Not loading", "BTCUSD", "5m"), NOON, "timeout"),
        incident(Key("Not loading", "BTCUSD", "1h"), NOON, "refused"),
    ]
    assert text_of(parts) == (
        "Lakehouse here\n\n"
        "🔴 Not loading: BTCUSD (since 2024-01-10 12:00 UTC)\n"
        "• 1m, 5m: timeout\n"
        "• 1h: refused\n"
        "→ mend it"
    )


def test_subjects_of_which_the_same_is_said_are_told_in_one_block_with_one_advice() -> None:
    pairs = [
        incident(Key("Stale", pair), what="no bar", to_do=f"`ffe backfill --assets {SUBJECTS}`")
        for pair in ["ETHUSD", "BTCUSD"]
    ]
    assert text_of(pairs) == (
        "Lakehouse here\n\n"
        "🔴 Stale: BTCUSD, ETHUSD (since 2024-01-10 12:00 UTC)\n"
        "• no bar\n"
        "→ `ffe backfill --assets BTCUSD,ETHUSD`"
    )


def test_what_is_over_says_how_long_it_lasted() -> None:
    over = {
        Key("Not loading", "BTCUSD", "1m"): NOON,
        Key("Not loading", "BTCUSD", "1h"): NOON + MINUTE,
        Key("The pipeline is late"): NOON - timedelta(days=2),
    }
    assert text_of(over=over) == (
        "Lakehouse here\n\n"
        "🟢 Over: Not loading: BTCUSD (1m, 1h; since 2024-01-10 12:00 UTC, 1 h 30 min)\n\n"
        "🟢 Over: The pipeline is late (since 2024-01-08 12:00 UTC, 2 d 1 h)"
    )


def test_what_does_not_fit_is_named_and_not_looked_up() -> None:
    looked_up = []

    def details(pair: str) -> Details:
        looked_up.append(pair)
        return Details(f"{pair} " * 40, "mend it")

    pairs = [f"C{number:02}USD" for number in range(100)]
    text = text_of([Incident(Key("Stale", p), NOON, lambda p=p: details(p)) for p in pairs])
    assert len(text) < 4000
    assert all(pair in text for pair in pairs)
    assert 5 < len(looked_up) < 15


@given(st.integers(0, 400), st.integers(0, 400))
def test_a_text_is_never_longer_than_a_chat_takes(begun: int, over: int) -> None:
    text = text_of(
        [incident(Key("Stale", f"PAIR{n}")) for n in range(begun)],
        {Key("Late", f"PAIR{n}"): NOON for n in range(over)},
    )
    assert len(text) < 4000
    assert bool(text) == bool(begun + over)


def test_what_was_told_is_small_json() -> None:
    present = [
        incident(Key("Not loading", f"C{pair:02}USD", code))
        for pair in range(50)
        for code in ["1m", "5m", "15m", "1h", "4h", "1d"]
    ]
    told = TypeAdapter(Told).dump_json(changes({}, present).told)
    assert len(told) < 12_000  # each look of a sensor keeps it
    assert json.loads(told)["Not loading"]["C00USD"]["1m"] == "2024-01-10T12:00:00Z"
