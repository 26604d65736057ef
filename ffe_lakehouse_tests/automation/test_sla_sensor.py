"""Someone is told when a live pair is stale, or the daily pipeline late; the check says it, too."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial

import dagster as dg
import pytest

from ffe_lakehouse.automation.due import ATTEMPT_TAG
from ffe_lakehouse.automation.freshness import FRESH, freshness_checks
from ffe_lakehouse.automation.jobs import DAILY
from ffe_lakehouse.backfill import execute
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.automation.conftest import FRIDAY, Open
from ffe_lakehouse_tests.automation.on_call import DAY, MINUTE, OnCall, Opened, job
from ffe_lakehouse_tests.monitoring.webhook import serving

Down = Callable[..., None]
HOUR = timedelta(hours=1)


@pytest.fixture
def on_call(installation: Open) -> Iterator[Opened]:
    """Opens an installation with a webhook."""
    with serving() as webhook:
        yield partial(OnCall.opened, installation, webhook)


def blocks(texts: list[str], title: str) -> list[str]:
    """What is told of one title."""
    return [block for text in texts for block in text.split("\n\n") if f" {title}" in block]


stale = partial(blocks, title="Stale")
late = partial(blocks, title="The daily pipeline is late")


def test_a_pair_that_nobody_loads_is_stale_after_the_time_that_is_allowed(
    on_call: Opened,
) -> None:
    someone = on_call()
    someone.lakehouse.add("BTCUSD", "ETHUSD")
    someone.load()
    assert someone.look() == []
    assert someone.after(5 * MINUTE) == []  # 10:05:20, and the bar of 10:00 closed at 10:01
    (alert,) = someone.after(MINUTE)
    assert "🔴 Stale: BTCUSD, ETHUSD (since 2024-03-08 10:06 UTC)" in alert
    assert "• 1m (last bar 2024-03-08 09:59 UTC): not asked for since" in alert
    assert "`incremental_load_sensor`" in alert
    assert someone.after(4 * MINUTE) == []
    someone.load()
    (over,) = someone.look()
    assert "🟢 Over: Stale: BTCUSD, ETHUSD (since 2024-03-08 10:06 UTC, 4 min)" in over


def test_a_vendor_that_has_no_newer_bars_is_named_as_the_cause(
    on_call: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    someone = on_call()
    someone.lakehouse.add("BTCUSD")
    someone.load()
    someone.look()
    monkeypatch.setenv("FFE_SIMULATED_FAULTS", json.dumps({"gaps": 1}))
    get_settings.cache_clear()
    someone.lakehouse.move(6 * MINUTE)
    someone.lakehouse.tick()
    (alert,) = someone.look()
    # The day was loaded anew as a whole: of it, nothing is known any more.
    assert "1m (last bar 2024-03-07 23:59 UTC)" in alert
    assert "the vendor, asked for newer bars, has none" in alert
    assert "not asked for" not in alert


def begin_again(someone: OnCall, pair: str) -> None:
    """Begin a second try to load everything of today, which does not end."""
    tables = [make(each) for make in (dead_letters, raw_candles) for each in TIMEFRAMES.values()]
    instance, today = someone.lakehouse.instance, FRIDAY.date()
    execute(
        instance,
        someone.lakehouse.definitions.resolve_job_def("ingestion"),
        Box((pair,), today - DAY, today, tuple(TIMEFRAMES.values())),
        assets=map(table_key, tables),
    )
    instance.add_run_tags(instance.get_runs(limit=1)[0].run_id, {ATTEMPT_TAG: "2"})


def test_a_pair_that_is_stale_because_it_does_not_load_is_told_once(
    on_call: Opened, down: Down
) -> None:
    someone = on_call()
    someone.lakehouse.add("ETHUSD")
    down("ETHUSD")
    someone.load()
    (alert,) = someone.look()
    assert "Not loading" in alert
    assert someone.after(6 * MINUTE) == []
    begin_again(someone, "ETHUSD")
    assert someone.after(MINUTE) == []
    assert not any(result.passed for result in someone.reported)


def test_a_new_pair_and_a_machine_that_slept_get_the_time_to_load(
    on_call: Opened,
) -> None:
    someone = on_call()
    someone.lakehouse.add("BTCUSD")
    assert someone.look() == []
    assert someone.after(4 * MINUTE) == []
    someone.load()
    assert someone.after(MINUTE) == []
    assert stale(someone.after(2 * DAY)) == []
    assert stale(someone.after(4 * MINUTE)) == []
    assert len(stale(someone.after(MINUTE))) == 1


def test_a_weekend_of_forex_is_neither_red_nor_an_end_until_what_was_missing_is_there(
    on_call: Opened,
) -> None:
    friday_evening = FRIDAY.replace(hour=21, minute=40)
    someone = on_call(now=friday_evening)
    someone.lakehouse.add("EURUSD", "BTCUSD")
    someone.load()
    someone.look()
    assert len(stale(someone.after(6 * MINUTE))) == 1
    someone.lakehouse.instance.delete_dynamic_partition("asset_pair", "BTCUSD")
    assert stale(someone.after(5 * MINUTE)) == [
        "🟢 Over: Stale: BTCUSD (since 2024-03-08 21:46 UTC, 5 min)"
    ]
    someone.after(6 * MINUTE)  # 21:57
    assert stale(someone.after(6 * MINUTE)) == []  # New York closes at 22:00 UTC
    assert all(result.passed for result in someone.reported[-6:])
    assert stale(someone.after(DAY)) == []
    assert "Stale (1)" in someone.page["sla_sensor"]
    someone.load()
    assert stale(someone.after(6 * MINUTE)) == [
        "🟢 Over: Stale: EURUSD (since 2024-03-08 21:46 UTC, 1 d 0 h)"
    ]


def test_pairs_of_the_files_provider_are_not_live(on_call: Opened) -> None:
    someone = on_call()
    someone.lakehouse.add("BTCUSD", provider="files")
    assert someone.look() + someone.after(6 * MINUTE) == []
    assert {str(each.description) for each in someone.reported} == {
        "0 of 0 live pairs in open markets are stale."
    }


def test_the_check_is_reported_when_it_changes_and_else_every_ten_minutes(
    on_call: Opened,
) -> None:
    someone = on_call()
    someone.lakehouse.add("BTCUSD")
    someone.load()
    someone.look()
    assert [each.passed for each in someone.reported] == [True] * 6
    someone.after(6 * MINUTE)
    (result,) = someone.reported[6:]
    assert result.asset_check_key == dg.AssetCheckKey(
        dg.AssetKey(["bronze", "raw_market_data_1m"]), FRESH
    )
    assert not result.passed
    assert result.description == "1 of 1 live pairs in open markets are stale."
    sample = str(result.metadata["sample"].value)
    assert sample == "- BTCUSD: no bar of 2024-03-08 10:00 UTC or later: it was not asked for"
    someone.after(3 * MINUTE)
    assert len(someone.reported) == 7
    someone.after(MINUTE)  # ten minutes after the others, and four after this one
    assert len(someone.reported) == 12
    someone.after(6 * MINUTE)
    assert len(someone.reported) == 13


def test_the_check_that_somebody_runs_says_what_the_sensor_says(
    on_call: Opened,
) -> None:
    someone = on_call()
    someone.lakehouse.add("BTCUSD", "EURUSD")
    someone.load()
    someone.lakehouse.move(6 * MINUTE)
    someone.look()
    instance = someone.lakehouse.instance
    assets = [dg.AssetSpec(each.asset_key) for each in someone.reported[:6]]
    job = dg.Definitions(assets=assets, asset_checks=freshness_checks()).resolve_job_def(
        "__ASSET_JOB"
    )
    by_hand = job.execute_in_process(instance=instance).get_asset_check_evaluations()
    newest = {each.asset_key: each for each in someone.reported}
    assert len(by_hand) == 6
    for each in by_hand:
        told = newest[each.asset_key]
        assert (each.passed, each.description) == (told.passed, told.description)
        assert each.metadata == told.metadata


DEADLINE = FRIDAY.replace(hour=3, minute=0, second=0)


def daily_run(
    someone: OnCall, requested_at: datetime, why: str | None = None
) -> dg.ExecuteInProcessResult:
    """A run of the daily pipeline."""
    return job(DAILY, why).execute_in_process(
        instance=someone.lakehouse.instance,
        tags={"ffe/requested_at": requested_at.isoformat()},
        raise_on_error=False,
    )


def test_the_daily_pipeline_is_late_once_its_time_is_over_until_it_has_succeeded(
    on_call: Opened,
) -> None:
    someone = on_call(now=DEADLINE - DAY - 3 * HOUR)
    someone.lakehouse.add("BTCUSD")
    someone.look()
    someone.lakehouse.move(DEADLINE - DAY)
    (begun,) = late(someone.look())
    assert begun == (
        "🔴 The daily pipeline is late (since 2024-03-07 03:00 UTC)\n"
        "• due by 2024-03-07 03:00 UTC, and it has not been started\n"
        "→ Is the Dagster daemon running, and the schedule switched on? Then launch the job"
        " daily_market_data_pipeline in the Dagster UI."
    )
    someone.lakehouse.move(DEADLINE)  # the next day's is late, too: the same incident
    assert late(someone.look()) == []
    daily_run(someone, DEADLINE - DAY)  # yesterday's, at last
    assert late(someone.look()) == []
    daily_run(someone, DEADLINE)
    (over,) = late(someone.look())
    assert over == "🟢 Over: The daily pipeline is late (since 2024-03-07 03:00 UTC, 1 d 0 h)"


def test_a_daily_pipeline_that_is_done_in_time_is_not_late(on_call: Opened) -> None:
    someone = on_call(now=DEADLINE - DAY)
    someone.lakehouse.add("BTCUSD")
    someone.look()
    someone.lakehouse.move(DEADLINE - timedelta(microseconds=1))
    assert late(someone.look()) == []
    daily_run(someone, DEADLINE - 2 * HOUR)
    someone.lakehouse.move(DEADLINE)
    assert late(someone.look()) == []


def test_of_a_daily_pipeline_that_failed_or_hangs_it_is_told_so(
    on_call: Opened,
) -> None:
    someone = on_call(now=DEADLINE - DAY)
    someone.lakehouse.add("BTCUSD")
    someone.look()
    daily_run(someone, DEADLINE - 2 * HOUR, "disk is full")
    someone.lakehouse.move(DEADLINE)
    (failed,) = late(someone.look())
    assert "none of its 1 runs has succeeded" in failed
    someone.cursors["sla_sensor"] = json.dumps({"began": (DEADLINE - DAY).isoformat()})
    daily_run(someone, DEADLINE - 2 * HOUR)
    tags = {"ffe/requested_at": DEADLINE.isoformat()}
    someone.lakehouse.instance.create_run_for_job(job(DAILY), tags=tags)
    (hangs,) = late(someone.look())
    assert "1 of its 3 runs have not ended" in hangs


def test_nothing_is_expected_of_the_days_before_the_first_pair(
    on_call: Opened,
) -> None:
    someone = on_call(now=DEADLINE - 119 * MINUTE)
    someone.look()
    someone.lakehouse.add("BTCUSD")
    someone.look()
    someone.lakehouse.move(DEADLINE)
    assert late(someone.look()) == []
    someone.lakehouse.move(DEADLINE + DAY)
    assert len(late(someone.look())) == 1
