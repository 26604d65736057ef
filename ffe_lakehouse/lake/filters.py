"""Filters that a person writes, ``close > 100 and asset_pair in ('BTCUSD', 'ETHUSD')``: parsed.

sqlglot reads them, only comparisons of columns with values pass, and every value is written anew by
the type of its column: nothing of the text itself ends up in a query.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import pyarrow as pa
from sqlglot import errors as sql_errors
from sqlglot import exp, parse_one

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.lake.engine import Dialect

_COMPARISONS: Mapping[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
}
_TIMES = (exp.DType.DATE, exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ)
_QUOTES: Mapping[Dialect, str] = {"datafusion": '"', "spark": "`"}


@dataclass(frozen=True)
class Filters:
    """Conditions that all have to hold, over the columns of one table: a ``Predicate``.

    Attributes:
        conditions: The parsed filters.
        schema: Columns of the table.
    """

    conditions: tuple[exp.Expr, ...]
    schema: pa.Schema

    def sql(self, dialect: Dialect) -> str:
        """The predicate for delta-rs (``datafusion``) or for Spark."""
        writer = _Writer(self.schema, dialect)
        return " AND ".join(f"({writer.condition(each)})" for each in self.conditions)


def parse(filters: Sequence[str] | str, schema: pa.Schema) -> Filters | None:
    """Read filters.

    Args:
        filters: Each a condition in SQL: ``=``, ``<>``, ``<``, ``<=``, ``>``, ``>=``, ``IN``,
            ``BETWEEN``, ``LIKE``, ``IS NULL``, ``AND``, ``OR``, ``NOT``. A text is quoted, with
            either quotation mark; a moment is written in ISO 8601, and UTC if it says nothing else.
        schema: Columns of the table.

    Returns:
        ``None`` if there are no filters.

    Raises:
        InputError: It is no such condition, names an unknown column, or a value that its column
            cannot have.
    """
    texts = [filters] if isinstance(filters, str) else list(filters)
    found = Filters(tuple(map(_parsed, texts)), schema)
    for text, condition in zip(texts, found.conditions, strict=True):
        try:
            _Writer(schema, "datafusion").condition(condition)
        except InputError as error:
            raise InputError(f"filter {text!r}: {error}") from error
    return found if texts else None


def _parsed(text: str) -> exp.Expr:
    try:
        # In Spark's SQL both quotation marks make a text, as they do in the examples people copy.
        return parse_one(text, read="spark", into=exp.Condition)
    except sql_errors.SqlglotError as error:
        raise InputError(
            f"filter {text!r} cannot be read: write a condition such as close > 100"
        ) from error


@dataclass(frozen=True)
class _Writer:
    """Writes a condition for one engine."""

    schema: pa.Schema
    dialect: Dialect

    def condition(self, node: exp.Expr) -> str:
        """A condition, of which each part is one that is known here."""
        match node:
            case exp.Paren():
                return f"({self.condition(node.this)})"
            case exp.And() | exp.Or():
                word = "AND" if isinstance(node, exp.And) else "OR"
                return f"({self.condition(node.left)} {word} {self.condition(node.right)})"
            case exp.Not():
                return f"(NOT {self.condition(node.this)})"
            case exp.Column() if pa.types.is_boolean(self._type(node)):
                return self._column(node)
            case exp.Is() if isinstance(node.expression, exp.Null):
                return f"{self._column(node.this)} IS NULL"
            case exp.In() if node.expressions and not node.args.get("query"):
                values = ", ".join(self._value(each, node.this) for each in node.expressions)
                return f"{self._column(node.this)} IN ({values})"
            case exp.Between():
                low, high = (self._value(node.args[end], node.this) for end in ("low", "high"))
                return f"{self._column(node.this)} BETWEEN {low} AND {high}"
            case exp.Like() if pa.types.is_string(self._type(node.this)):
                return f"{self._column(node.this)} LIKE {self._value(node.expression, node.this)}"
            case exp.Binary() if type(node) in _COMPARISONS:
                return self._comparison(node)
        raise InputError(f"{node.sql()} is no comparison of a column with a value")

    def _comparison(self, node: exp.Binary) -> str:
        sides = (node.left, node.right)
        columns = [side for side in sides if isinstance(side, exp.Column)]
        if not columns:
            raise InputError(f"{node.sql()} compares no column")
        left, right = (
            self._column(side) if isinstance(side, exp.Column) else self._value(side, columns[0])
            for side in sides
        )
        return f"{left} {_COMPARISONS[type(node)]} {right}"

    def _column(self, node: exp.Expr) -> str:
        self._type(node)
        mark = _QUOTES[self.dialect]
        return f"{mark}{node.name}{mark}"

    def _type(self, node: exp.Expr) -> pa.DataType:
        if not isinstance(node, exp.Column) or node.table:
            raise InputError(f"{node.sql()} is no column")
        if node.name not in self.schema.names:
            raise InputError(
                f"there is no column {node.name}: there are {', '.join(self.schema.names)}"
            )
        return self.schema.field(node.name).type

    def _value(self, node: exp.Expr, column: exp.Expr) -> str:
        found = self._type(column)
        for is_type, write in _WRITERS:
            if is_type(found):
                try:
                    return write(_text(node), self.dialect)
                except ValueError as error:
                    raise InputError(
                        f"{node.sql()} is no value of {column.name}, which is {found}"
                    ) from error
        raise InputError(f"{column.name} is {found}: it cannot be compared with a value")


def _text(node: exp.Expr) -> str:
    """What a value says, whatever its type is meant to be.

    Raises:
        ValueError: It is none.
    """
    match node:
        case exp.Literal():
            return str(node.this)
        case exp.Neg():
            return f"-{_text(node.this)}"
        case exp.Boolean():
            return str(node.this)
        case exp.Cast() if node.to.this in _TIMES:
            return _text(node.this)  # DATE '2024-01-01': the column knows what it is.
    raise ValueError(node.sql())


def _string(text: str, dialect: Dialect) -> str:
    if dialect == "spark":  # where a backslash begins an escape
        text = text.replace("\\", "\\\\")
    return "'" + text.replace("'", "\\'" if dialect == "spark" else "''") + "'"


def _timestamp(text: str, dialect: Dialect) -> str:
    moment = datetime.fromisoformat(text)
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    iso = moment.replace(tzinfo=None).isoformat(timespec="microseconds")
    if dialect == "spark":
        return f"TIMESTAMP '{iso}Z'"
    # TIMESTAMP '...' is in nanoseconds, which an overwrite refuses to compare (deltalake 1.6.6).
    return f"arrow_cast('{iso}Z', 'Timestamp(Microsecond, Some(\"UTC\"))')"


def _date(text: str, _dialect: Dialect) -> str:
    return f"DATE '{date.fromisoformat(text).isoformat()}'"


def _number(text: str, _dialect: Dialect) -> str:
    return repr(float(text))


def _whole(text: str, _dialect: Dialect) -> str:
    return str(int(text))


def _boolean(text: str, _dialect: Dialect) -> str:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.upper()


_WRITERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[str, Dialect], str]], ...] = (
    (pa.types.is_string, _string),
    (pa.types.is_large_string, _string),
    (pa.types.is_timestamp, _timestamp),
    (pa.types.is_date, _date),
    (pa.types.is_boolean, _boolean),
    (pa.types.is_integer, _whole),
    (pa.types.is_floating, _number),
)
