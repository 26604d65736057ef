"""Dead letters: which records were refused, why, how often, and as JSON files for other tools.

Reading only. How a record gets here is decided in ``transforms.validation``; what it looks like as
a row stands in ``schemas.dead_letters``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.output import whole_file
from ffe_lakehouse.schemas import REASONS, dead_letters
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe

_BATCH = ("_ingestion_id", "_extracted_at", "asset_pair", "timeframe", "source_provider")


@dataclass(frozen=True)
class Statistics:
    """How many letters there are, and how many of each kind; the most frequent come first.

    A letter with two reasons counts in both, so these add up to more than the total.
    """

    total: int
    by_reason: dict[str, int]
    by_pair: dict[str, int]
    by_timeframe: dict[str, int]
    by_provider: dict[str, int]


def read_letters(
    lake: DeltaLakeManager,
    timeframes: Sequence[Timeframe] = tuple(TIMEFRAMES.values()),
    where: Where | None = None,
    reason: str | None = None,
) -> pa.Table:
    """Letters of all these timeframes, the most recently rejected first.

    Args:
        lake: Where the dead-letter tables are.
        timeframes: Whose; a table that does not exist yet has no letters.
        where: Pairs and whole UTC days; every letter if left out.
        reason: Only letters that have this reason, alone or among others.

    Returns:
        Rows by ``schemas.dead_letters``.

    Raises:
        InputError: ``reason`` is no reason code.
    """
    if reason is not None and reason not in REASONS:
        raise InputError(f"unknown reason {reason!r}: use one of {', '.join(REASONS)}")
    names = [dead_letters(timeframe).name for timeframe in timeframes]
    letters = pa.concat_tables(
        [dead_letters(TIMEFRAMES["1d"]).arrow.empty_table()]
        + [lake.read_table(name, where or Where()) for name in names if lake.table_exists(name)]
    )
    if reason is not None:
        having = [reason in reasons for reasons in letters["reasons"].to_pylist()]
        letters = letters.filter(pa.array(having, pa.bool_()))
    return letters.sort_by(
        [("_extracted_at", "descending"), ("timestamp", "descending"), ("letter_id", "ascending")]
    )


def statistics(letters: pa.Table) -> Statistics:
    """Count letters, which are rows by ``schemas.dead_letters``."""
    return Statistics(
        total=letters.num_rows,
        by_reason=_histogram(pc.list_flatten(letters["reasons"])),
        by_pair=_histogram(letters["asset_pair"]),
        by_timeframe=_histogram(letters["timeframe"]),
        by_provider=_histogram(letters["source_provider"]),
    )


def _histogram(values: pa.ChunkedArray) -> dict[str, int]:
    counts = [(entry["values"], entry["counts"]) for entry in pc.value_counts(values).to_pylist()]
    return dict(sorted(counts, key=lambda item: (-item[1], item[0])))


def export(letters: pa.Table, folder: Path) -> list[Path]:
    """Write letters as JSON files into ``folder``, one for every batch (``_ingestion_id``).

    A file holds ``{timestamp, error, context, records}``, and every record is the vendor's with a
    ``reason`` behind it. It is named by its batch, so a second export writes the same files again;
    other files in the folder are left alone.

    Args:
        letters: Rows by ``schemas.dead_letters``.
        folder: Made if it does not exist.

    Returns:
        The files, oldest batch first.

    Raises:
        InputError: The folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror}") from error
    paths = []
    for batch in _batches(letters):
        first = batch.slice(0, 1).to_pylist()[0]
        rejected_at, ingestion_id = first["_extracted_at"], first["_ingestion_id"]
        paths.append(folder / f"dlq_{rejected_at:%Y-%m-%dT%H-%M-%S}_{ingestion_id[:8]}.json")
        with whole_file(paths[-1]) as part:
            part.write_bytes(_document(batch))
    return paths


def _batches(letters: pa.Table) -> Iterator[pa.Table]:
    """The letters of each ``_ingestion_id``, oldest first, always in the same order."""
    order = [(name, "ascending") for name in ("_extracted_at", *_BATCH, "timestamp", "letter_id")]
    letters = letters.sort_by(order)
    ids = pc.run_end_encode(letters["_ingestion_id"].combine_chunks())
    begin = 0
    for end in ids.run_ends.to_pylist():
        yield letters.slice(begin, end - begin)
        begin = end


def _document(batch: pa.Table) -> bytes:
    first = batch.slice(0, 1).to_pylist()[0]
    records = zip(batch["record"].to_pylist(), batch["reasons"].to_pylist(), strict=True)
    body = {
        "timestamp": first["_extracted_at"],
        "error": "schema_validation_failed",
        "context": {
            "asset_pair": first["asset_pair"],
            "timeframe": first["timeframe"],
            "provider": first["source_provider"],
        },
        "records": [orjson.Fragment(_with_reason(*record)) for record in records],
    }
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z) + b"\n"


def _with_reason(record: str, reasons: Sequence[str]) -> str:
    """A vendor's record, letter for letter, as a JSON object that says why it was refused.

    The reason is put behind the record's own fields. A record that has no room for it, because it
    has a field ``reason`` itself or is no JSON object, is the field ``record`` of a new object; one
    that is no JSON at all is there as a text. The record is never parsed and written again, which
    would turn a price of 42000.10 into another text, and lose a repeated field.
    """
    reason = orjson.dumps(", ".join(reasons)).decode()
    try:
        parsed = orjson.loads(record)
    except orjson.JSONDecodeError:
        return f'{{"record":{orjson.dumps(record).decode()},"reason":{reason}}}'
    if not isinstance(parsed, dict) or "reason" in parsed:
        return f'{{"record":{record},"reason":{reason}}}'
    comma = "," if parsed else ""
    return f'{record.rstrip().removesuffix("}")}{comma}"reason":{reason}}}'
