"""Tables as Delta knows them: which there are, what their columns are, which version is of when."""

from datetime import UTC, datetime
from typing import Any

from deltalake import Field
from deltalake import Schema as DeltaSchema

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.schemas import TableSchema, all_tables


def table_schema(name: str) -> TableSchema:
    """The schema of table ``name``.

    Raises:
        InputError: There is no such table.
    """
    tables = all_tables()
    if name not in tables:
        raise InputError(f"unknown table {name!r}: use one of {', '.join(tables)}")
    return tables[name]


def delta_schema(schema: TableSchema) -> DeltaSchema:
    """The columns of ``schema`` with their descriptions."""
    fields = DeltaSchema.from_arrow(schema.arrow).fields
    return DeltaSchema(
        [
            Field(f.name, f.type, nullable=f.nullable, metadata={"comment": column.description})
            for f, column in zip(fields, schema.columns, strict=True)
        ]
    )


def version_at(name: str, history: list[dict[str, Any]], moment: datetime) -> int:
    """The newest version that was committed at or before ``moment`` (UTC).

    Raises:
        InputError: The table is younger.
    """
    # load_as_version(moment) goes by the time of the log's files, which a copied lake has anew.
    commits = {
        int(entry["version"]): datetime.fromtimestamp(int(entry["timestamp"]) / 1000, UTC)
        for entry in history
    }
    before = [version for version, committed in commits.items() if committed <= moment]
    if not before:
        first = min(commits.values())
        raise InputError(f"{name} did not exist at {moment}: its first commit is of {first}")
    return max(before)
