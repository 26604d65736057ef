"""The pairs of a Dagster instance, and how each is kept loaded."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from ffe_lakehouse.assets.reference import UNIVERSE
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.partitions import ASSET_PAIR
from ffe_lakehouse.settings import Settings
from ffe_lakehouse.universe import Enrolment, enrol, enrolments, members, remove_pairs

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
MARCH, MAY = date(2024, 3, 1), date(2024, 5, 1)
BY_DEFAULT = Enrolment(None, None)
SETTINGS = Settings(_env_file=None)  # type: ignore[call-arg]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(ASSET_PAIR, ["EURUSD", "BTCUSD", "AAPL"])
        yield instance


def add(instance: dg.DagsterInstance, *pairs: str, **how: object) -> list[str]:
    given = {"start": None, "provider": None} | how
    return enrol(instance, pairs, clock=lambda: NOW, **given)  # type: ignore[arg-type]


def events(instance: dg.DagsterInstance) -> list[dg.AssetMaterialization]:
    """What Dagster was told, oldest first."""
    records = instance.fetch_materializations(UNIVERSE, limit=100, ascending=True).records
    return [record.asset_materialization for record in records if record.asset_materialization]


# --- how a pair is kept loaded


def test_a_pair_that_somebody_added_in_the_ui_is_kept_loaded_by_default(
    instance: dg.DagsterInstance,
) -> None:
    assert enrolments(instance) == dict.fromkeys(["AAPL", "BTCUSD", "EURUSD"], BY_DEFAULT)


def test_a_pair_is_kept_loaded_as_it_was_enrolled(instance: dg.DagsterInstance) -> None:
    assert add(instance, "BTCUSD", "ETHUSD", "ETHUSD", start=MARCH, provider="ccxt:kraken") == [
        "ETHUSD"
    ]
    assert enrolments(instance) == {
        "AAPL": BY_DEFAULT,
        "BTCUSD": Enrolment("ccxt:kraken", MARCH),
        "ETHUSD": Enrolment("ccxt:kraken", MARCH),
        "EURUSD": BY_DEFAULT,
    }


def test_enrolling_again_with_the_same_values_tells_dagster_nothing(
    instance: dg.DagsterInstance,
) -> None:
    add(instance, "ETHUSD", start=MARCH, provider="coinbase")
    for how in (
        {"start": MARCH, "provider": "coinbase"},
        {"start": MAY},
        {"provider": "coinbase"},
        {},
    ):
        assert add(instance, "ETHUSD", **how) == []
    assert len(events(instance)) == 1
    assert enrolments(instance)["ETHUSD"] == Enrolment("coinbase", MARCH)


def test_another_provider_and_an_earlier_start_are_remembered_each_by_itself(
    instance: dg.DagsterInstance,
) -> None:
    add(instance, "ETHUSD", start=MAY, provider="coinbase")
    add(instance, "ETHUSD", start=MARCH)
    assert enrolments(instance)["ETHUSD"] == Enrolment("coinbase", MARCH)
    add(instance, "ETHUSD", provider="oanda")
    assert enrolments(instance)["ETHUSD"] == Enrolment("oanda", MARCH)
    assert len(events(instance)) == 3


def test_what_dagster_was_told_can_be_read_in_its_ui(instance: dg.DagsterInstance) -> None:
    add(instance, "ETHUSD")
    add(instance, "MSFT", start=MARCH, provider="alpaca")
    shown = [
        {name: value.value for name, value in event.metadata.items()} for event in events(instance)
    ]
    assert shown == [
        {
            "asset_class": "crypto",
            "calendar": "24/7",
            "provider": "FFE_DEFAULT_PROVIDER",
            "start": "the look-back alone",
        },
        {
            "asset_class": "equity",
            "calendar": "XNYS",
            "provider": "alpaca",
            "start": "2024-03-01",
        },
    ]
    assert [event.partition for event in events(instance)] == ["ETHUSD", "MSFT"]


def test_a_removed_pair_is_not_enrolled_and_begins_anew_when_it_is_added_again(
    instance: dg.DagsterInstance,
) -> None:
    add(instance, "ETHUSD", start=MARCH, provider="coinbase")
    remove_pairs(instance, ["ETHUSD"])
    assert "ETHUSD" not in enrolments(instance)
    assert add(instance, "ETHUSD") == ["ETHUSD"]
    assert enrolments(instance)["ETHUSD"] == BY_DEFAULT


@pytest.mark.parametrize(
    ("start", "why"),
    [(date(2024, 6, 2), "in the future"), (date(2014, 12, 31), "before the first")],
)
def test_a_start_that_cannot_be_loaded_adds_nothing(
    instance: dg.DagsterInstance, start: date, why: str
) -> None:
    with pytest.raises(InputError, match=why):
        add(instance, "ETHUSD", start=start)
    assert "ETHUSD" not in enrolments(instance)
    assert events(instance) == []


def test_a_materialization_that_somebody_reported_by_hand_is_no_enrolment(
    instance: dg.DagsterInstance,
) -> None:
    for tags in ({}, {"dagster/data_version": "rubbish:"}):
        by_hand = dg.AssetMaterialization(UNIVERSE, partition="AAPL", tags=tags)
        instance.report_runless_asset_event(by_hand)
        assert enrolments(instance)["AAPL"] == BY_DEFAULT


# --- listing and removing


def test_members_have_class_calendar_and_age(instance: dg.DagsterInstance) -> None:
    found = members(instance, SETTINGS)
    assert [(m.pair, m.asset_class, m.calendar) for m in found] == [
        ("AAPL", "equity", "XNYS"),
        ("BTCUSD", "crypto", "24/7"),
        ("EURUSD", "forex", "24/5"),
    ]
    ages = {datetime.now(UTC) - m.since for m in found if m.since}
    assert all(timedelta(seconds=-1) < age < timedelta(minutes=5) for age in ages)
    assert ages


def test_of_a_list_those_are_told_apart_that_nobody_loads(instance: dg.DagsterInstance) -> None:
    add(instance, "MSFT", start=MAY, provider="alpaca")
    found = members(instance, SETTINGS, ["MSFT", "GONE", "AAPL"])
    assert [(m.pair, m.calendar, m.provider, m.start, m.in_universe) for m in found] == [
        ("MSFT", "XNYS", "alpaca", MAY, True),
        ("GONE", "XNYS", None, None, False),
        ("AAPL", "XNYS", None, None, True),
    ]


def test_a_partition_that_is_no_pair_is_listed_and_can_be_removed(
    instance: dg.DagsterInstance,
) -> None:
    instance.add_dynamic_partitions(ASSET_PAIR, ["no pair"])
    listed = {member.pair: member.asset_class for member in members(instance, SETTINGS)}
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
