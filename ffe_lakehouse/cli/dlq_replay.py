"""``ffe dlq replay`` and ``ffe dlq discard``: dead letters are closed, as Dagster runs."""

import getpass
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Literal, cast

import dagster as dg
import pyarrow as pa
import typer
from rich.console import Console

from ffe_lakehouse.assets.closing_events import COUNTS, WHY_OPEN
from ffe_lakehouse.assets.closings import ClosingConfig, check_request
from ffe_lakehouse.automation.dlq_job import DLQ_REPLAY
from ffe_lakehouse.backfill import execute
from ffe_lakehouse.cli import options
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.dead_letters import open_letters, read_closings, read_letters
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.instance import open_instance
from ffe_lakehouse.lake import Where
from ffe_lakehouse.lake.configured import open_lake
from ffe_lakehouse.output import grid, json_text
from ffe_lakehouse.partitions import ONE_DAY, check_range, day_start, table_key
from ffe_lakehouse.planning import Box
from ffe_lakehouse.schemas import CLOSINGS
from ffe_lakehouse.settings import get_settings

Reasons = Annotated[
    str | None, typer.Option("--reason", help="Letters with one of these, with commas.")
]
Why = Annotated[str, typer.Option(help="In words; it stands beside each letter that is closed.")]
By = Annotated[str | None, typer.Option(help="Who closes them; you, if left out.")]
Mappings = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        help="COLUMN=FIELD, again and again: where the record has a column. `--map high=low"
        " --map low=high` swaps them; `--map volume=` leaves it empty.",
    ),
]


_HEADERS = {"written": "became bars", "there": "were there", "closed": "discarded"}
_SAID = {
    "written": "became bars",
    "there": "are closed because the lake has their bar already",
    "closed": "are discarded",
}


@dataclass
class Outcome:
    """What became of the letters of one pair.

    Attributes:
        asset_pair: Canonical pair.
        letters: That were taken.
        closed: Of these, were closed.
        written: Of these, became a bar.
        there: Of these, had their bar in the lake already.
        why_open: Reasons of the others.
        failed: Why the run failed; ``None`` if it did not.
    """

    asset_pair: str
    letters: int = 0
    closed: int = 0
    written: int = 0
    there: int = 0
    why_open: Counter[str] = field(default_factory=Counter)
    failed: str | None = None

    @property
    def still_open(self) -> int:
        """Letters that were not closed."""
        return self.letters - self.closed

    def add(self, metadata: dict[str, dg.MetadataValue]) -> None:
        """Count a day."""
        counts = [cast("int", metadata[name].value) for name in COUNTS]
        for name, count in zip(("letters", "closed", "written", "there"), counts, strict=True):
            setattr(self, name, getattr(self, name) + count)
        if WHY_OPEN in metadata:
            self.why_open.update(cast("dict[str, int]", metadata[WHY_OPEN].value))


def replay(
    why: Why,
    reasons: Reasons = None,
    assets: options.Assets = None,
    timeframes: options.Timeframes = None,
    start: options.Start = None,
    end: options.End = None,
    mapping: Mappings = None,
    by: By = None,
    as_json: options.AsJson = False,
) -> None:
    """Judge open letters anew: what passes today's rules becomes a bar.

    A letter whose bar the lake has by now is closed, too. What does not pass stays open.
    """
    chosen = reasons, timeframes, chosen_days(assets, start, end)
    _close("replay", *chosen, why, by, _fields(mapping or []), as_json)


def discard(
    why: Why,
    reasons: Reasons = None,
    assets: options.Assets = None,
    timeframes: options.Timeframes = None,
    start: options.Start = None,
    end: options.End = None,
    by: By = None,
    as_json: options.AsJson = False,
) -> None:
    """Close open letters without writing: they are no bars, and that is settled.

    They no longer keep their days from being loaded. The letters themselves stay in the lake.
    """
    if not any((reasons, assets, timeframes, start, end)):
        raise InputError(
            "say which letters are discarded: with --reason, --assets, --timeframes, --start, --end"
        )
    _close("discard", reasons, timeframes, chosen_days(assets, start, end), why, by, {}, as_json)


def chosen_days(assets: str | None, start: str | None, end: str | None) -> Where:
    """The pairs and days that a user names; all of them where nothing is said.

    Raises:
        InputError: No pairs, no days, or reversed ones.
    """
    first = options.day(start) if start else None
    last = options.day(end) if end else None
    if first and last and last < first:
        raise InputError(f"the end {last} is before the start {first}: swap them")
    return Where(
        pairs=tuple(symbol.name for symbol in options.symbols(assets)) if assets else None,
        start=day_start(first) if first else None,
        end=day_start(last + ONE_DAY) if last else None,
    )


def reason_codes(text: str | None) -> list[str]:
    """Reason codes from ``high_below_low,missing_close``; none for ``None``."""
    return [part.strip() for part in text.split(",")] if text else []


def _fields(texts: Collection[str]) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for text in texts:
        column, given, source = text.partition("=")
        if not given:
            raise InputError(f"--map {text!r}: write COLUMN=FIELD, such as high=low")
        if column in mapping:
            raise InputError(f"--map {column}={mapping[column]} and {text}: name one of them")
        mapping[column] = source
    return mapping


def _close(
    action: Literal["replay", "discard"],
    reasons: str | None,
    timeframes: str | None,
    where: Where,
    why: str,
    by: str | None,
    mapping: dict[str, str],
    as_json: bool,
) -> None:
    wanted = options.timeframes(timeframes)
    config = ClosingConfig(
        action=action,
        why=why,
        by=_user() if by is None else by,
        reasons=reason_codes(reasons),
        timeframes=[timeframe.code for timeframe in wanted],
        mapping=mapping,
    )
    check_request(config)
    lake = open_lake()
    letters = read_letters(lake, wanted, where, config.reasons)
    letters = open_letters(letters, read_closings(lake, where))
    outcomes: list[Outcome] = []
    console = options.console(stderr=as_json)
    if letters.num_rows:
        with open_instance(get_settings()) as instance:
            outcomes = [_run(instance, config, box) for box in _boxes(instance, letters, console)]
    if as_json:
        typer.echo(json_text(outcomes))
    else:
        _print(action, outcomes, console)
    raise typer.Exit(1 if any(outcome.failed for outcome in outcomes) else 0)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        raise InputError("nobody knows who you are here: say it with --by NAME") from None


def _boxes(instance: dg.DagsterInstance, letters: pa.Table, console: Console) -> Iterator[Box]:
    """One run a pair, from its first day with a letter to the last: few runs, however scattered."""
    days: dict[str, list[date]] = {}
    columns = (letters[name].to_pylist() for name in ("asset_pair", "partition_date"))
    for pair, day in zip(*columns, strict=True):
        days.setdefault(pair, []).append(day)
    known = options.known_pairs(instance, None)
    for pair in sorted(days):
        if pair not in known:
            console.print(
                f"{pair}: {len(days[pair]):,} letters are left, for it is not in the universe:"
                f" `ffe pairs add {pair}`"
            )
            continue
        first, last = min(days[pair]), max(days[pair])
        check_range(first, last, utc_now())
        yield Box((pair,), first, last, ())


def _run(instance: dg.DagsterInstance, config: ClosingConfig, box: Box) -> Outcome:
    # The asset graph takes half a second to build: only once there is something to do.
    from ffe_lakehouse.definitions import below_gold

    job = below_gold().resolve_job_def(DLQ_REPLAY)
    closings = table_key(CLOSINGS)
    outcome = Outcome(box.pairs[0])
    for event in execute(instance, job, box, assets=[closings], op_config=config.model_dump()):
        if event.is_step_materialization and event.asset_key == closings:
            outcome.add(dict(event.step_materialization_data.materialization.metadata))
        elif event.is_step_failure:
            outcome.failed = event.step_failure_data.error_display_string
        elif event.is_run_failure:
            outcome.failed = outcome.failed or event.message or "the run failed"
    return outcome


def _print(action: str, outcomes: Collection[Outcome], console: Console) -> None:
    done = [outcome for outcome in outcomes if outcome.failed is None]
    ways = ["written", "there"] if action == "replay" else ["closed"]
    rows = [
        (each.asset_pair, each.letters, *(getattr(each, way) for way in ways), each.still_open)
        for each in done
    ]
    if rows:
        names = ["letters", *(_HEADERS[way] for way in ways), "still open"]
        console.print(grid(("pair", *names), rows, numbers=names))
    total = [sum(counts) for counts in zip(*(row[1:] for row in rows), strict=True)] or [0, 0]
    said = [f"{count:,} {_SAID[way]}" for way, count in zip(ways, total[1:], strict=False)]
    console.print(f"{total[0]:,} open letters: {', '.join((*said, f'{total[-1]:,} stay open'))}")
    why_open = sum((outcome.why_open for outcome in done), Counter[str]())
    if why_open:
        reasons = ", ".join(f"{count:,} {code}" for code, count in why_open.most_common())
        console.print(f"These (a letter can have several reasons): {reasons}", soft_wrap=True)
    for outcome in outcomes:
        if outcome.failed is not None:
            console.print(f"{outcome.asset_pair} failed: {outcome.failed}", soft_wrap=True)
