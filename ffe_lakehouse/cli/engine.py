"""``ffe backfill --layers engine``: what the simulated engine did, as a Dagster run right here."""

from collections.abc import Sequence
from datetime import date

import dagster as dg
from rich.console import Console

from ffe_lakehouse.automation.engine import ENGINE_OP
from ffe_lakehouse.cli.recording import run_records, show
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.simulated import SimulatedProvider
from ffe_lakehouse.universe import enrolments

_SIMULATED = SimulatedProvider.name


def require_engine(provider: str) -> None:
    """Refuse a provider that plays no engine.

    Raises:
        InputError: It plays none.
    """
    if provider != _SIMULATED:
        raise InputError(
            f"the provider {provider!r} plays no engine: only {_SIMULATED!r} does, in its own"
            " market. The records of a real engine come in files: `ffe land FOLDER`"
        )


def play(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    pairs: Sequence[str],
    days: tuple[date, date],
    console: Console,
) -> bool:
    """Load what the simulated engine decided and traded on these days; whether that went well.

    Args:
        instance: Where the run is recorded.
        job: The job ``simulated_engine``.
        pairs: Canonical pairs of the universe.
        days: First and last day.
        console: Where it is shown.
    """
    told = enrolments(instance)
    for pair in pairs:
        vendor = told[pair].provider if pair in told else None
        if vendor not in (None, _SIMULATED):
            console.print(f"{pair}: its bars come from {vendor}, the engine's prices do not")
    first, last = days
    config = {"pairs": list(pairs), "first": first.isoformat(), "last": last.isoformat()}
    tables, failure = run_records(instance, job, ENGINE_OP, config)
    show(tables, failure, console)
    return failure is None
