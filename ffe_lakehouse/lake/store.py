"""``TableStore``: the tables of the lakehouse by their schema, as the pipeline uses them.

Every write names its table and says what it replaces: rows are appended, appended if they change
something, merged by key, or put in the place of exactly the rows that a ``Where`` selects.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import TableNotFoundError

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake.commits import commit_properties, retried, transactions, turns_of
from ffe_lakehouse.lake.frames import as_arrow, in_order, refuse_append_only, sorted_by
from ffe_lakehouse.lake.merging import Difference, Merged, difference, merge_difference
from ffe_lakehouse.lake.object_store import explained
from ffe_lakehouse.lake.opened import OpenTables
from ffe_lakehouse.lake.tables import delta_schema, table_schema, unreadable, writer_properties
from ffe_lakehouse.lake.versions import Changes, compare, newest_versions, refuse_repeats
from ffe_lakehouse.lake.where import Where
from ffe_lakehouse.schemas import TableSchema


class TableStore(OpenTables):
    """Tables of one lake, by their schema; made as ``OpenTables``."""

    def append(
        self,
        schema: TableSchema,
        rows: pa.Table,
        commit: Mapping[str, str] | None = None,
        once: str | None = None,
    ) -> int | None:
        """Add rows as they are.

        Args:
            schema: The table.
            rows: Rows by ``schema``.
            commit: Written into the Delta log beside the commit.
            once: Application id of the write: a second write under the same id adds nothing.

        Returns:
            The version, or ``None`` if there was nothing to add. The table is there then, too.
        """

        def attempt() -> int | None:
            table = self._ensure(schema)
            written = once is not None and table.transaction_version(once) is not None
            if written or rows.num_rows == 0:
                return None
            turns = [once] if once else []
            self._write(table, schema, in_order(schema, rows), "append", commit, turns)
            return table.version()

        return retried(attempt, self.table_uri(schema.name))

    def append_if_changed(
        self,
        schema: TableSchema,
        rows: pa.Table,
        where: Where,
        commit: Mapping[str, str] | None = None,
    ) -> Changes:
        """Add the rows that are new, or whose values differ from the newest known version.

        Safe beside other writers of the same rows: what is compared and what is appended are one
        Delta transaction per pair (application id ``append:<pair>``), so a writer who was overtaken
        fails to commit, looks again, and appends only what is still new.

        Args:
            schema: The table, with the key and the values that are compared.
            rows: Rows by ``schema``, all of them inside ``where``.
            where: The pairs and the stretch of time that were asked for.
            commit: Written into the Delta log beside the commit.

        Raises:
            InputError: The rows do not fit ``schema``, or a key occurs twice among them.
        """
        rows = as_arrow(schema, rows)
        refuse_repeats(schema, rows)

        def attempt() -> Changes:
            table = self._ensure(schema)
            columns = [*schema.key, *schema.values, "_extracted_at", "partition_date"]
            known = self._scan(table, schema, where, columns)
            change, stamped = compare(schema, rows, known)
            changes = Changes(change, known["partition_date"].to_numpy())
            if not changes.written.any():
                return changes
            fresh = stamped.filter(pa.array(changes.written))
            turns = turns_of("append", fresh)
            self._write(table, schema, in_order(schema, fresh), "append", commit, turns)
            return replace(changes, version=table.version())

        return retried(attempt, self.table_uri(schema.name))

    def merge(
        self, schema: TableSchema, rows: pa.Table, commit: Mapping[str, str] | None = None
    ) -> int | None:
        """Update the rows whose key is there, insert the others.

        Rows are looked for on the days of ``rows``: not for tables whose rows change their day.

        Returns:
            The version, or ``None`` if there was nothing to merge. The table is there then, too.

        Raises:
            InputError: The table is append-only, the rows do not fit ``schema``, or a key occurs
                twice among them.
        """
        refuse_append_only(schema, "merge")
        rows = as_arrow(schema, rows)
        refuse_repeats(schema, rows)

        def attempt() -> int | None:
            table = self._ensure(schema)
            if rows.num_rows == 0:
                return None
            nothing = rows.slice(0, 0)
            all_of_it = Difference(rows, nothing, nothing, nothing, 0)
            self._merge(table, schema, all_of_it, commit, [])
            return table.version()

        return retried(attempt, self.table_uri(schema.name))

    def merge_if_changed(
        self,
        schema: TableSchema,
        rows: pa.Table,
        where: Where,
        commit: Mapping[str, str] | None = None,
    ) -> Merged:
        """Make the rows that ``where`` selects equal to ``rows``, and touch only what differs.

        Rows that are equal stay where they are: to write the same again commits nothing, and to
        write what is only new is an append, which rewrites no file. Safe beside other writers as
        ``append_if_changed`` is (application id ``merge:<pair>``).

        Args:
            schema: The table.
            rows: Rows by ``schema``, all of them inside ``where``.
            where: Pairs and time; what it selects and ``rows`` has not is deleted.
            commit: Written into the Delta log beside the commit.

        Raises:
            InputError: The table is append-only, the rows do not fit ``schema``, or a key occurs
                twice among them.
        """
        refuse_append_only(schema, "merge")
        rows = in_order(schema, rows)
        refuse_repeats(schema, rows)

        def attempt() -> Merged:
            table = self._ensure(schema)
            known = self._scan(table, schema, where, schema.arrow.names)
            found = difference(schema, rows, known)
            if not found.differs:
                return found.merged(None)
            touched = pa.concat_tables([found.new, found.changed, found.gone])
            turns = turns_of("merge", touched)
            if found.new.num_rows == touched.num_rows:
                self._write(table, schema, found.new, "append", commit, turns)
            else:
                self._merge(table, schema, found, commit, turns)
            return found.merged(table.version())

        return retried(attempt, self.table_uri(schema.name))

    def overwrite(
        self,
        schema: TableSchema,
        rows: pa.Table,
        where: Where,
        commit: Mapping[str, str] | None = None,
    ) -> int:
        """Put ``rows`` in the place of exactly the rows that ``where`` selects.

        Args:
            schema: The table.
            rows: Rows by ``schema``, all of them inside ``where``.
            where: Which pairs or days are replaced.
            commit: Written into the Delta log beside the commit.

        Raises:
            InputError: The table is append-only, or ``where`` names no pairs and no days, or
                less than all that is known of them.
            DeltaError: A row lies outside of ``where``; nothing is changed.
        """
        refuse_append_only(schema, "overwrite")
        predicate = replace(where, known_on=None).sql(schema)
        if predicate is None or where.known_on is not None:
            raise InputError(
                f"{schema.name}: an overwrite must say which pairs or days it replaces"
            )

        def attempt() -> int:
            table = self._ensure(schema)
            ordered = in_order(schema, rows)
            self._write(table, schema, ordered, "overwrite", commit, [], predicate)
            return table.version()

        return retried(attempt, self.table_uri(schema.name))

    def rewrite(
        self,
        schema: TableSchema,
        change: Callable[[pa.Table], pa.Table],
        commit: Mapping[str, str] | None = None,
    ) -> tuple[pa.Table, pa.Table]:
        """Put what ``change`` makes of all rows of a small table in their place.

        What is read and what is written are one Delta transaction (application id ``rewrite``): a
        writer who was overtaken looks again, so that no change is lost.

        Args:
            schema: The table.
            change: From all rows to all rows, by ``schema``; may be called several times.
            commit: Written into the Delta log beside the commit.

        Returns:
            All rows before and after, in the table's order; nothing is written if they are equal.

        Raises:
            InputError: The table is append-only.
        """
        refuse_append_only(schema, "rewrite")

        def attempt() -> tuple[pa.Table, pa.Table]:
            table = self._ensure(schema)
            before = in_order(schema, self._scan(table, schema, Where(), schema.arrow.names))
            after = in_order(schema, change(before))
            if not after.equals(before):
                self._write(table, schema, after, "overwrite", commit, ["rewrite"])
            return before, after

        return retried(attempt, self.table_uri(schema.name))

    def read(
        self,
        name: str,
        where: Where = Where(),
        columns: Sequence[str] | None = None,
        *,
        version: int | None = None,
        as_of: datetime | None = None,
        newest: bool = False,
    ) -> pa.Table:
        """Rows of a table, in its order.

        Args:
            name: ``bronze/raw_market_data_1h``.
            where: Pairs, time, and (``known_on``) the state of knowledge.
            columns: Which ones, in this order; all by default.
            version: Delta version to read.
            as_of: Read the newest Delta version that was committed at or before this moment (UTC).
            newest: Keep only the newest version of every fact. ``where.known_on`` implies it.
                Unlike ``version`` and ``as_of``, this looks at the rows, and so survives vacuum.

        Raises:
            InputError: Unknown table, column, version or moment, or both of the latter.
        """
        schema = table_schema(name)
        unknown = set(columns or ()) - set(schema.arrow.names)
        if unknown:
            raise InputError(
                f"{name} has no column {', '.join(sorted(unknown))}:"
                f" it has {', '.join(schema.arrow.names)}"
            )
        table = self.table(name)
        if version is not None or as_of is not None:
            table = self._travel(name, version, as_of)
        wanted = list(columns or schema.arrow.names)
        # Tables without versions have no such column.
        stamp = [name for name in ("_extracted_at",) if name in schema.arrow.names]
        helpers = [*schema.sort_by, *schema.key, *stamp]
        rows = self._scan(table, schema, where, list(dict.fromkeys([*wanted, *helpers])))
        if newest or where.known_on is not None:
            rows = newest_versions(rows, schema.key)
        return sorted_by(rows, list(dict.fromkeys((*schema.sort_by, *stamp)))).select(wanted)

    def history(self, name: str, limit: int | None = None) -> list[dict[str, object]]:
        """The commits of a table, newest first, as delta-rs tells them."""
        return [dict(entry) for entry in self.table(name).history(limit)]

    def _ensure(self, schema: TableSchema) -> DeltaTable:
        """The table, made if need be, with all of its columns.

        Raises:
            InputError: An older release has made it, without a column that may not be empty, or a
                newer one.
        """
        try:
            table = self._snapshot(schema.name)
        except TableNotFoundError:
            configuration = {"delta.appendOnly": "true"} if schema.append_only else {}
            columns = delta_schema(schema)
            return self._create(
                schema.name, columns, schema.partition_by, schema.description, configuration
            )
        there, wanted = {field.name for field in table.schema().fields}, set(schema.arrow.names)
        if there == wanted:
            return table
        if newer := sorted(there - wanted):
            raise InputError(
                f"{schema.name} was made by a newer release, with {', '.join(newer)}: use that one"
            )
        added = [field for field in delta_schema(schema).fields if field.name not in there]
        if strict := [field.name for field in added if not field.nullable]:
            raise InputError(
                f"{schema.name} was made by an older release, without {', '.join(strict)}: delete"
                f" it (`ffe delete {schema.name}`) and compute it again (`ffe backfill --force`)"
            )
        before = table.version()
        table.alter.add_columns(added)
        self._settle(table, before)
        return table

    def _scan(
        self, table: DeltaTable, schema: TableSchema, where: Where, columns: list[str]
    ) -> pa.Table:
        known = {field.name for field in table.schema().fields}
        # A table of an older release: what was added since is empty in it.
        lacking = [name for name in columns if name not in known]
        wanted = [name for name in columns if name in known]
        with explained(self.table_uri(schema.name)):
            reader = table.scan(columns=wanted, predicate=where.sql(schema))
            try:
                rows = pa.RecordBatchReader.from_stream(reader).read_all()
            except pa.ArrowInvalid as error:  # what a lost or damaged file looks like from here
                raise unreadable(schema.name, error) from error
        for name in lacking:
            rows = rows.append_column(name, pa.nulls(rows.num_rows, schema.arrow.field(name).type))
        return rows.select(columns).cast(pa.schema([schema.arrow.field(name) for name in columns]))

    def _write(
        self,
        table: DeltaTable,
        schema: TableSchema,
        rows: pa.Table,
        mode: Literal["append", "overwrite"],
        commit: Mapping[str, str] | None,
        writers: Iterable[str],
        predicate: str | None = None,
    ) -> None:
        before = table.version()
        write_deltalake(
            table,
            rows,
            # In the stub only an overwrite takes a predicate, even if it is None.
            mode=mode,  # type: ignore[arg-type]
            predicate=predicate,
            writer_properties=writer_properties(schema, self._compression),
            commit_properties=commit_properties(commit, transactions(table, writers)),
        )
        self._settle(table, before)

    def _merge(
        self,
        table: DeltaTable,
        schema: TableSchema,
        found: Difference,
        commit: Mapping[str, str] | None,
        turns: Iterable[str],
    ) -> None:
        before = table.version()
        merge_difference(table, schema, found, self._compression, commit, turns)
        self._settle(table, before)
