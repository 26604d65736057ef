"""Writers in processes of their own that can be killed: what they write, what must be there."""

import multiprocessing
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess

import pyarrow as pa

from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.schemas import TableSchema, raw_candles
from ffe_lakehouse.timeframes import TIMEFRAMES

SCHEMA = raw_candles(TIMEFRAMES["1h"])
OWN_TABLE = "own/closes"
KEYS = ["asset_pair", "timestamp"]
SHARED = "XRPUSD"
"""A pair that all writers write, the same rows each."""
OWN = ("ADAUSD", "BTCUSD", "ETHUSD", "SOLUSD")
HOURS = 24
BATCHES = 6
START = datetime(2025, 1, 1, tzinfo=UTC)


def candles(schema: TableSchema, pair: str, batch: int) -> pa.Table:
    """A day of bars, by ``schema``."""
    times = [START + timedelta(hours=batch * HOURS + hour) for hour in range(HOURS)]
    values = {
        "timestamp": times,
        "asset_pair": pair,
        "source_provider": "simulated",
        "_extracted_at": START,
        "_ingestion_id": "writer",
        "is_mock": True,
        "partition_date": times[0].date(),
        "partition_asset_pair": pair,
        "storage_period": f"{times[0]:%Y}",
        "trade_count": None,
    }
    columns = []
    for field in schema.arrow:
        value = values.get(field.name, 100.0 + batch)
        column = value if isinstance(value, list) else [value] * HOURS
        columns.append(pa.array(column, field.type))
    return pa.table(columns, schema=schema.arrow)


def write_all(address: str, options: Mapping[str, str], number: int) -> None:
    """Append a writer's own pair and the shared one, and merge the same closes into a table."""
    lake = DeltaLakeManager(address, dict(options))
    for batch in range(BATCHES):
        for pair in (OWN[number], SHARED):
            rows = candles(SCHEMA, pair, batch)
            end = START + timedelta(hours=(batch + 1) * HOURS)
            where = Where((pair,), end - timedelta(hours=HOURS), end)
            lake.append_if_changed(SCHEMA, rows, where)
            lake.merge_upsert(rows.select([*KEYS, "close"]), OWN_TABLE, KEYS)


def prepared(address: str, options: Mapping[str, str]) -> DeltaLakeManager:
    """The lake that the writers write to, with the table that they merge into."""
    lake = DeltaLakeManager(address, dict(options))
    none = candles(SCHEMA, SHARED, 0).select([*KEYS, "close"]).slice(0, 0)
    lake.create_or_update_table(none, OWN_TABLE, ["asset_pair"])
    return lake


def killed(
    address: str, options: Mapping[str, str], kills: int, seed: int, pause: tuple[float, float]
) -> None:
    """Run four writers, kill one of them ``kills`` times, and let all come to their end."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    # Forked from a process that has imported all, and has used nothing of it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ffe_lakehouse_tests.lake.writers"])

    def begin(number: int) -> BaseProcess:
        process = context.Process(target=write_all, args=(address, dict(options), number))
        process.start()
        return process

    running = [begin(number) for number in range(len(OWN))]
    hit = 0
    while hit < kills:
        time.sleep(chance.uniform(*pause))
        number = chance.randrange(len(OWN))
        if running[number].is_alive():
            running[number].kill()
        running[number].join()
        hit += running[number].exitcode == -signal.SIGKILL
        running[number] = begin(number)
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0] * len(running)


def facts(rows: pa.Table) -> Counter[tuple[str, datetime]]:
    """How often each pair and time is there."""
    pairs, times = rows["asset_pair"].to_pylist(), rows["timestamp"].to_pylist()
    return Counter(zip(pairs, times, strict=True))


def expected(pairs: Sequence[str] = (*OWN, SHARED)) -> Counter[tuple[str, datetime]]:
    """Each bar of all writers, once."""
    return Counter(_bars(pairs))


def _bars(pairs: Sequence[str]) -> Iterator[tuple[str, datetime]]:
    for pair in pairs:
        for hour in range(BATCHES * HOURS):
            yield pair, START + timedelta(hours=hour)
