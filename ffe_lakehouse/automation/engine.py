"""The job ``simulated_engine``: what the made-up engine did on some days of some pairs, as one run.

What it does is made up in ``providers.simulated_engine``; from there on its records go the way of
the real engine's files (``records``). Nothing runs this by itself: made-up trades stand beside real
ones only where somebody asked for them.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime

import dagster as dg
import pyarrow as pa
from pydantic import Field

from ffe_lakehouse.assets.events import materialized
from ffe_lakehouse.assets.records import told_of
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.io_manager import DeltaIOManager, commit_info
from ffe_lakehouse.lake import Where
from ffe_lakehouse.lake.versions import Changes
from ffe_lakehouse.partitions import ASSET_PAIR, check_range
from ffe_lakehouse.providers.simulated_engine import SimulatedEngine
from ffe_lakehouse.records import LandedFile, Loader, simulated_file
from ffe_lakehouse.schemas import TableSchema
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.symbols import canonical_symbol

SIMULATED_ENGINE = "simulated_engine"
ENGINE_OP = "play_engine"


class EngineConfig(dg.Config):
    """Of which pairs and days."""

    pairs: list[str] = Field(description="Pairs of the universe: BTCUSD.")
    first: str = Field(description="First UTC day, YYYY-MM-DD.")
    last: str = Field(description="Last UTC day, included; the running one as far as it has come.")


@dg.op(name=ENGINE_OP, out=dg.Out(dg.Nothing))
def play_engine(
    context: dg.OpExecutionContext,
    config: EngineConfig,
    io_manager: dg.ResourceParam[DeltaIOManager],
) -> Iterator[dg.DagsterEvent]:
    """Make up records, store them, and report what was touched."""
    now = utc_now()
    days = date.fromisoformat(config.first), date.fromisoformat(config.last)
    check_range(*days, now)
    known = context.instance.get_dynamic_partitions(ASSET_PAIR)
    if unknown := [pair for pair in config.pairs if pair not in known]:
        raise InputError(
            f"unknown pair {', '.join(unknown)}: add it with `ffe pairs add {unknown[0]}`"
        )

    def write(schema: TableSchema, rows: pa.Table, where: Where) -> Changes:
        commit = commit_info(context.run.run_id, schema.name, where)
        return io_manager.lake.append_if_changed(schema, rows, where, commit)

    loader = Loader(
        lake=io_manager.lake,
        write=write,
        run_id=context.run.run_id,
        start=get_settings().start_date,
        now=now,
    )
    loaded, _ = loader.load(_left(config.pairs, days, now))
    yield from materialized(context, [event for each in loaded for event in told_of(each)])


@dg.job(
    name=SIMULATED_ENGINE,
    description="Make up decisions, trades and portfolio snapshots, flagged `is_mock`. The same day"
    " has the same ones every time. `ffe backfill --layers engine` runs this.",
)
def simulated_engine() -> None:
    """One op."""
    play_engine()


def _left(pairs: Sequence[str], days: tuple[date, date], now: datetime) -> list[LandedFile]:
    """The files that the engine would have left of these days."""
    files: list[LandedFile] = []
    for pair in dict.fromkeys(pairs):
        engine = SimulatedEngine(get_settings().simulated_seed, canonical_symbol(pair, "records"))
        records = engine.records(*days, now)
        files += [simulated_file(kind, pair, of_kind, now) for kind, of_kind in records.items()]
    return files
