"""Dead letters as JSON files, for other tools.

How a letter looks outside of the lake belongs here; which letters are wanted does not.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.output import whole_file

_BATCH = ("_ingestion_id", "_extracted_at", "asset_pair", "timeframe", "source_provider")


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
