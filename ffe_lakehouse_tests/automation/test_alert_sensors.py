"""Someone is told: once when loading or a job begins to fail, and once when that is over."""

from collections.abc import Callable, Iterator
from functools import partial

import dagster as dg
import pytest

from ffe_lakehouse.backfill import execute
from ffe_lakehouse.partitions import daily_by_pair, partition_key, table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse_tests.automation.conftest import FRIDAY, Open
from ffe_lakehouse_tests.automation.on_call import DAY, MINUTE, OnCall, Opened, job
from ffe_lakehouse_tests.monitoring.webhook import serving

Down = Callable[..., None]


@pytest.fixture
def on_call(installation: Open) -> Iterator[Opened]:
    """Opens an installation with a webhook."""
    with serving() as webhook:
        yield partial(OnCall.opened, installation, webhook)


def test_nothing_is_told_of_an_empty_installation(on_call: Opened) -> None:
    someone = on_call(now=FRIDAY.replace(hour=0))
    assert someone.look() == []
    assert someone.after(DAY) == []
    assert someone.after(6 * MINUTE) == []
    assert someone.page == {
        "run_failure_sensor": "Open incidents: none.",
        "sla_sensor": "Open incidents: none.",
    }


def test_a_pair_that_fails_again_and_again_is_told_once_and_once_when_it_is_over(
    on_call: Opened, down: Down
) -> None:
    someone = on_call()
    someone.lakehouse.add("ETHUSD")
    down("ETHUSD")
    told = []
    for _ in range(17):  # the second try after 5 minutes, the third 10 minutes later
        someone.lakehouse.tick()
        told += someone.look()
        someone.lakehouse.move(MINUTE)
    tries = [run.tags["ffe/attempt"] for run in someone.lakehouse.runs]
    assert tries == ["1", "1", "2", "2", "3", "3"]
    (alert,) = told
    assert "🔴 Not loading: ETHUSD (since 2024-03-08 10:00 UTC)" in alert
    assert someone.page["run_failure_sensor"] == "Open incidents: Not loading (1)."
    down()
    someone.lakehouse.move(20 * MINUTE)
    someone.load()
    (over,) = someone.look()
    assert "🟢 Over: Not loading: ETHUSD (1m, 5m, 15m, 1h, 4h, 1d; since 2024-03-08 10:00" in over
    assert someone.look() == []


def test_an_alert_says_which_days_how_often_why_and_what_to_do(on_call: Opened, down: Down) -> None:
    someone = on_call(max_attempts=10)
    someone.lakehouse.add("ETHUSD")
    down("ETHUSD")
    someone.load()
    (alert,) = someone.look()
    run = someone.lakehouse.instance.get_runs(limit=1)[0].run_id[:8]
    assert alert.startswith(f"Lakehouse {someone.lakehouse.folder}")
    assert "• 1m, 5m, 15m, 1h, 4h: 2024-03-07..2024-03-08 failed, tried once" in alert
    assert "• 1d: 2024-03-07 failed, tried once" in alert
    assert run in alert
    assert "timeout: ETHUSD: no answer (simulated)" in alert
    assert "tried again by itself, 10 times in all" in alert
    assert alert.count("`ffe backfill --assets ETHUSD --start 2024-03-07`") == 1


def test_after_the_last_try_it_says_that_it_is_left_alone(on_call: Opened, down: Down) -> None:
    someone = on_call(max_attempts=1)
    someone.lakehouse.add("ETHUSD")
    down("ETHUSD")
    someone.load()
    (alert,) = someone.look()
    assert "It is not tried again by itself" in alert


def test_pairs_of_which_too_much_is_rejected_are_told_with_the_reason(
    on_call: Opened,
) -> None:
    someone = on_call(simulated_faults={"bad_rows": 0.5})
    someone.lakehouse.add("BTCUSD")
    someone.load()
    (alert,) = someone.look()
    assert "records rejected" in alert
    assert "dlq/raw_market_data_1m" in alert


def test_a_run_that_is_on_it_is_no_end(on_call: Opened, down: Down) -> None:
    someone = on_call()
    someone.lakehouse.add("BTCUSD")
    table = table_key(raw_candles(TIMEFRAMES["1h"]))
    looks: list[list[str]] = []
    is_fine = False

    @dg.asset(key=table, partitions_def=daily_by_pair())
    def hourly() -> None:
        looks.append(someone.look())
        if not is_fine:
            raise dg.Failure("no answer")

    def run() -> None:
        key = partition_key("BTCUSD", FRIDAY.date())
        instance = someone.lakehouse.instance
        dg.materialize([hourly], partition_key=key, instance=instance, raise_on_error=False)

    run()
    (begun,) = someone.look()
    assert "• 1h: 2024-03-08 failed, tried once" in begun
    assert "no answer" in begun
    run()
    is_fine = True
    run()
    (over,) = someone.look()
    assert "🟢 Over: Not loading: BTCUSD (1h;" in over
    assert looks == [[], [], []]


def test_a_pair_that_is_removed_is_over(on_call: Opened, down: Down) -> None:
    someone = on_call()
    someone.lakehouse.add("ETHUSD")
    down("ETHUSD")
    someone.load()
    someone.look()
    someone.lakehouse.instance.delete_dynamic_partition("asset_pair", "ETHUSD")
    (over,) = someone.look()
    assert "🟢 Over: Not loading: ETHUSD" in over


@pytest.mark.parametrize("status", [500, 404])
def test_a_telling_that_failed_is_made_up_for_and_says_so_without_the_address(
    on_call: Opened, down: Down, capfd: pytest.CaptureFixture[str], status: int
) -> None:
    someone = on_call()
    someone.lakehouse.add("ETHUSD")
    down("ETHUSD")
    someone.load()
    someone.webhook.status = status
    first, second = someone.look(), someone.look()
    assert first == second != []
    assert someone.page["run_failure_sensor"] == "Open incidents: none."
    someone.webhook.status = 200
    assert someone.look() == first
    assert someone.look() == []
    log = capfd.readouterr().err
    assert "Not told; it is tried again at the next look: the alert webhook answered" in log
    assert "SECRET" not in log


def test_an_address_that_is_none_does_not_end_the_looks(
    on_call: Opened, down: Down, capfd: pytest.CaptureFixture[str]
) -> None:
    someone = on_call(alert_webhook_url="hooks.example.com/SECRET")
    someone.lakehouse.add("ETHUSD")
    down("ETHUSD")
    someone.load()
    someone.look()
    log = capfd.readouterr().err
    assert "FFE_ALERT_WEBHOOK_URL is no address" in log
    assert "SECRET" not in log


def test_without_a_webhook_the_log_is_told_once(
    on_call: Opened, down: Down, capfd: pytest.CaptureFixture[str]
) -> None:
    someone = on_call(alert_webhook_url="")
    someone.lakehouse.add("ETHUSD")
    down("ETHUSD")
    someone.load()
    someone.look()
    someone.look()
    assert capfd.readouterr().err.count("🔴 Not loading: ETHUSD") == 1
    assert someone.webhook.texts == []


def test_a_job_whose_newest_run_failed_is_told_until_one_succeeds(
    on_call: Opened,
) -> None:
    someone = on_call()
    someone.jobs = (job("maintenance", "disk is full"), job("reports"))
    instance = someone.lakehouse.instance
    for each in someone.jobs:
        each.execute_in_process(instance=instance, raise_on_error=False)
    (alert,) = someone.look()
    assert "🔴 Job failed: maintenance" in alert
    assert "maintenance_step: RuntimeError: disk is full" in alert
    assert "reports" not in alert
    someone.jobs[0].execute_in_process(instance=instance, raise_on_error=False)
    assert someone.look() == []
    job("maintenance").execute_in_process(instance=instance)
    (over,) = someone.look()
    assert "🟢 Over: Job failed: maintenance" in over


def test_a_load_that_failed_is_told_by_its_pairs_and_not_by_its_job(
    on_call: Opened, down: Down
) -> None:
    someone = on_call()
    someone.jobs = (someone.lakehouse.definitions.resolve_job_def("ingestion"),)
    someone.lakehouse.add("ETHUSD")
    down("ETHUSD")
    someone.load()
    (alert,) = someone.look()
    assert "Not loading: ETHUSD" in alert
    assert "Job failed" not in alert


def test_a_load_that_died_is_told_by_its_pairs_too(on_call: Opened) -> None:
    someone = on_call()
    someone.jobs = (someone.lakehouse.definitions.resolve_job_def("ingestion"),)
    someone.lakehouse.add("BTCUSD")
    bronze = table_key(raw_candles(TIMEFRAMES["1h"]))
    letters = table_key(dead_letters(TIMEFRAMES["1h"]))
    box = Box(("BTCUSD",), FRIDAY.date(), FRIDAY.date(), (TIMEFRAMES["1h"],))
    instance = someone.lakehouse.instance
    execute(instance, someone.jobs[0], box, assets=[letters, bronze])  # and it is never begun
    instance.report_run_failed(instance.get_runs()[0], "the process of this run is gone")
    (alert,) = someone.look()
    assert "🔴 Not loading: BTCUSD" in alert
    assert "the process of this run is gone" in alert
    assert "Job failed" not in alert
