"""Records as rows: those that obey their contract as Bronze, the others as dead letters.

Pure: no I/O, no Dagster, no clock.
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from ffe_lakehouse.records.contracts import Row
from ffe_lakehouse.records.fields import Faults, Fields
from ffe_lakehouse.records.files import Said
from ffe_lakehouse.schemas.records import RECORD_REASONS, record_letters
from ffe_lakehouse.schemas.table import TableSchema

_SKEW = timedelta(days=1)
"""So far ahead an engine's clock, or its zone that it does not say, may be."""
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Judged:
    """One record after its contract.

    Attributes:
        said: The record.
        row: Its columns, as far as they can be read.
        faults: Why it is refused; empty if it is not.
        source_provider: Who left it.
        which: Tells records of one text apart that are not the same.
    """

    said: Said
    row: Row
    faults: Faults
    source_provider: str
    which: str = ""

    @property
    def reasons(self) -> list[str]:
        """Reason codes in the order of ``RECORD_REASONS``."""
        return [code for code in RECORD_REASONS if code in self.faults.codes]


def read_record(said: Said) -> Judged:
    """Hold one record against the contract of its kind."""
    contract, faults = said.file.contract, Faults()
    for code, detail in said.faults:
        faults.add(code, detail)
    row = {} if said.values is None else contract.read(Fields(said.values, faults))
    if contract.is_mock:
        row["is_mock"] = True
    return Judged(said, row, faults, contract.source_provider)


def hold_to_rules(
    judged: Sequence[Judged], schema: TableSchema, start: date, now: datetime
) -> None:
    """Hold records of one table against its rules and against the clock; faults are added.

    Args:
        judged: The records.
        schema: The table.
        start: First day of the lake (UTC).
        now: The present moment (UTC).
    """
    for each in judged:
        if (entry := each.row.get("entry_time")) is not None and entry.date() < _EPOCH:
            each.faults.add("bad_time", f"entry_time: {entry.isoformat()} is before 1970")
        if (moment := each.row.get("timestamp")) is not None:
            if moment > now + _SKEW:
                detail = f"{moment.isoformat()} is more than a day after {now.isoformat()}"
                each.faults.add("in_the_future", detail)
            if moment.date() < start:
                detail = (
                    f"{moment.isoformat()} is before FFE_START_DATE={start}:"
                    f" set it to {moment.date()} or earlier, and land the file again"
                )
                each.faults.add("before_start_date", detail)
    frame = {
        field.name: _vector([each.row.get(field.name) for each in judged], field.type)
        for field in schema.arrow
        if field.type == pa.float64() or pa.types.is_timestamp(field.type)
    }
    for rule in schema.rules:
        for number in np.flatnonzero(rule.broken(frame)).tolist():
            judged[number].faults.add(rule.code, f"not so: {rule.description}")


def _vector(values: list[Any], kind: pa.DataType) -> np.ndarray:
    vector: np.ndarray = pa.array(values, kind).to_numpy(zero_copy_only=False)
    return vector


def bronze_rows(judged: Sequence[Judged], schema: TableSchema, now: datetime) -> pa.Table:
    """Records without faults as rows of their table, in their order."""
    columns: dict[str, list[Any]] = {
        name: [each.row.get(name) for each in judged] for name in schema.arrow.names
    }
    days = [each.row["timestamp"].date() for each in judged]
    columns |= {
        "record": [each.said.text for each in judged],
        "source_provider": [each.source_provider for each in judged],
        **_provenance(days, now),
    }
    if "partition_asset_pair" in columns:
        columns["partition_asset_pair"] = columns["asset_pair"]
    return _table(schema, columns)


def letter_rows(
    refused: Sequence[Judged], schema: TableSchema, now: datetime, run_id: str
) -> pa.Table:
    """Records with faults as dead letters of their table: equal records are one letter.

    A letter is of the day that its record tells of; where that is none, of the day it was refused.
    """
    letters = {_letter_id(schema, each): each for each in reversed(refused)}
    kept = list(letters.values())
    times = [each.row.get("timestamp") for each in kept]
    days = [
        now.date()
        if moment is None or not _EPOCH <= moment.date() <= (now + _SKEW).date()
        else moment.date()
        for moment in times
    ]
    return _table(
        record_letters(schema),
        {
            "letter_id": list(letters),
            "timestamp": times,
            "asset_pair": [each.row.get("asset_pair") for each in kept],
            "reasons": [each.reasons for each in kept],
            "detail": ["; ".join(each.faults.details) for each in kept],
            "record": [each.said.text for each in kept],
            "source": [each.said.place for each in kept],
            "run_id": [run_id] * len(kept),
            "source_provider": [each.source_provider for each in kept],
            "is_mock": [bool(each.row.get("is_mock")) for each in kept],
            **_provenance(days, now),
        },
    )


def _letter_id(schema: TableSchema, judged: Judged) -> str:
    what = f"{schema.name}|{judged.which}|{judged.said.text}"
    return hashlib.sha256(what.encode()).hexdigest()[:32]


def _provenance(days: list[date], now: datetime) -> dict[str, list[Any]]:
    return {
        "_extracted_at": [now] * len(days),
        "_ingestion_id": [str(uuid.uuid4())] * len(days),
        "partition_date": days,
        "storage_period": [f"{day.year:04}" for day in days],
    }


def _table(schema: TableSchema, columns: Mapping[str, list[Any]]) -> pa.Table:
    arrays = [pa.array(columns[field.name], field.type) for field in schema.arrow]
    return pa.table(arrays, schema=schema.arrow)
