"""A backfill that is killed, again and again, ends where one ends that nobody disturbed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.partitions import table_key
from ffe_lakehouse.schemas import dead_letters, raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES

FFE = Path(sys.executable).with_name("ffe")
BRONZE = [raw_candles(timeframe) for timeframe in TIMEFRAMES.values()]
LETTERS = [dead_letters(timeframe) for timeframe in TIMEFRAMES.values()]
ITS_RUN = {"_extracted_at", "_ingestion_id", "run_id"}
"""Columns that say when, and by which run, a row was written."""


@dataclass(frozen=True)
class Installation:
    """A home, and the one backfill that is run in it.

    Attributes:
        folder: The home.
        command: What ``ffe`` is told.
        batch_days: Days that a kill can lose.
    """

    folder: Path
    command: Sequence[str]
    batch_days: int

    def begin(self) -> "subprocess.Popen[str]":
        """Start the backfill; returns when it begins to load."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("FFE_")}
        env |= {"FFE_HOME": str(self.folder), "FFE_BATCH_DAYS": str(self.batch_days)}
        # Dead letters must come through, too; a day has more of them than the usual limit allows.
        env |= {"FFE_SIMULATED_FAULTS__BAD_ROWS": "0.02", "FFE_MAX_REJECT_RATIO": "1"}
        env.pop("DAGSTER_HOME", None)
        process = subprocess.Popen(  # noqa: S603 - our own script
            [FFE, "backfill", *self.command],
            env=env,
            cwd=self.folder.parent,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert "partition(s) to load" in process.stdout.readline()
        return process

    def finish(self) -> float:
        """Run the backfill to its end; seconds from its first partition on."""
        process = self.begin()
        begun = time.monotonic()
        process.communicate()
        assert process.returncode == 0
        return time.monotonic() - begun

    def kill_after(self, seconds: float) -> bool:
        """Run the backfill and kill it; whether it was still there."""
        process = self.begin()
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return process.returncode == -signal.SIGKILL

    def tables(self) -> dict[str, pa.Table]:
        """Every table without the columns that differ from run to run."""
        lake = DeltaLakeManager(self.folder / "lake")
        found = {}
        for schema in (*BRONZE, *LETTERS):
            names = [name for name in schema.arrow.names if name not in ITS_RUN]
            rows = lake.read(schema.name, columns=names)
            found[schema.name] = rows.sort_by([(name, "ascending") for name in schema.key])
        return found

    def materializations(self, monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
        """How often each partition of Bronze was reported."""
        monkeypatch.setenv("DAGSTER_HOME", str(self.folder / "dagster"))
        counts: Counter[tuple[str, str]] = Counter()
        with dg.DagsterInstance.get() as instance:
            for schema in BRONZE:
                records = instance.fetch_materializations(table_key(schema), limit=10_000).records
                counts.update((schema.name, str(record.partition_key)) for record in records)
        return counts


def disturbed(
    home: Installation, seconds: float, kills: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Kill the backfill at random moments of its work, then let it end; how many kills hit it."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    moments = sorted(chance.uniform(0, 0.9 * seconds) for _ in range(kills))
    finished: set[tuple[str, str]] = set()
    hit = 0
    for before, moment in pairwise([0.0, *moments]):
        hit += home.kill_after(moment - before)
        known = home.materializations(monkeypatch)
        assert finished <= set(known)
        finished = set(known)
    home.finish()
    counts = home.materializations(monkeypatch)
    # What was reported was never fetched again; what was not reported was, and is reported now.
    assert set(counts.values()) == {1}
    assert finished <= set(counts)
    return hit


def check(
    tmp_path: Path,
    command: Sequence[str],
    batch_days: int,
    kills: int,
    wanted: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compare backfills that are killed with an undisturbed one.

    How long a backfill takes depends on what else the machine does, so some kills come too late:
    there is another home, of so many ``kills``, until ``wanted`` of them hit.
    """
    tmp_path.mkdir(exist_ok=True)
    whole = Installation(tmp_path / "whole", command, batch_days)
    seconds = whole.finish()
    expected, partitions = whole.tables(), set(whole.materializations(monkeypatch))
    assert all(expected[schema.name].num_rows for schema in (*BRONZE, LETTERS[0]))
    hit = number = 0
    while hit < wanted:
        assert number < 5 * wanted, "a backfill that is over before anybody can kill it"
        home = Installation(tmp_path / f"killed-{number}", command, batch_days)
        hit += disturbed(home, seconds, kills, number, monkeypatch)
        for name, rows in home.tables().items():
            assert rows.equals(expected[name]), name
        assert set(home.materializations(monkeypatch)) == partitions
        number += 1


def test_a_backfill_that_is_killed_four_times_ends_as_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = ("--start", "2024-01-01", "--end", "2024-01-30")
    command = ("--assets", "BTCUSD,EURUSD", *days)
    check(tmp_path, command, 3, kills=4, wanted=4, monkeypatch=monkeypatch)


@pytest.mark.slow
def test_a_backfill_that_is_killed_at_twenty_moments_ends_as_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = ("--start", "2024-01-01", "--end", "2024-03-30")
    command = ("--assets", "BTCUSD,ETHUSD,EURUSD", *days)
    check(tmp_path, command, 30, kills=5, wanted=10, monkeypatch=monkeypatch)
    check(tmp_path / "small", command, 7, kills=5, wanted=10, monkeypatch=monkeypatch)
