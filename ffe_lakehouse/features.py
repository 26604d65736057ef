"""Sets of features that other distributions bring, by name.

A set is an entry point of the group ``ffe_lakehouse.features``: its name is the set's name, its
value a function from enriched bars to the same with more columns. Each becomes a table
``silver/features_{name}``. One that cannot be used is listed all the same, with the reason: its
asset fails when it is materialized, and nothing else does. What a function may do is in
``transforms.features``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

import pyarrow as pa

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.schemas import TableSchema, register
from ffe_lakehouse.timeframes import Timeframe
from ffe_lakehouse.transforms.features import (
    FeatureFunction,
    feature_rows,
    feature_table,
    is_name,
    probe,
)

GROUP = "ffe_lakehouse.features"
"""The entry point group of sets of features."""


@dataclass(frozen=True)
class FeatureSet:
    """One function and its table.

    Attributes:
        name: As in the table's name.
        table: Without features, if the function cannot be used; its description says why.
        function: None, if it cannot be used.
        failure: Why it cannot be used, and the way out; empty if it can.
    """

    name: str
    table: TableSchema
    function: FeatureFunction | None = None
    failure: str = ""

    def rows(
        self, enriched: pa.Table, timeframe: Timeframe, start: datetime, end: datetime
    ) -> pa.Table:
        """The features of the bars in ``[start, end)``, as ``feature_rows`` makes them.

        Raises:
            InputError: The set cannot be used, or fails on these bars; names the set.
        """
        function = self.usable()
        try:
            return feature_rows(function, enriched, self.table, timeframe, start, end)
        except InputError as error:
            raise InputError(f"features {self.name!r}: {error}") from error

    def usable(self) -> FeatureFunction:
        """The function.

        Raises:
            InputError: It cannot be used.
        """
        if self.function is None:
            raise InputError(self.failure)
        return self.function


def feature_sets() -> list[FeatureSet]:
    """Every set that is installed, sorted by name; each is loaded and probed once a process.

    Their tables are known to the lake from then on.
    """
    by_name: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        by_name.setdefault(_table_part(entry.name), []).append(entry)
    return [_feature_set(name, tuple(found)) for name, found in sorted(by_name.items())]


@lru_cache
def _feature_set(name: str, found: Sequence[EntryPoint]) -> FeatureSet:
    try:
        function = _function(found)
        features = probe(function)
    except InputError as error:
        failure = f"features {found[0].name!r} of {_origins(found)} cannot be used: {error}"
        return FeatureSet(name, feature_table(name, {}, failure), None, failure)
    table = feature_table(name, features)
    register(table)
    return FeatureSet(name, table, function)


def _function(found: Sequence[EntryPoint]) -> FeatureFunction:
    entry = found[0]
    if len(found) > 1:
        raise InputError("the name is taken twice: uninstall all but one, or rename an entry point")
    if not is_name(entry.name):
        raise InputError(
            "rename the entry point: small letters, digits and _, a letter first, such as momentum"
        )
    try:
        function = entry.load()
    except Exception as error:  # Whatever a stranger's module raises: this set fails alone.
        raise InputError(
            f"{entry.value!r} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not callable(function):
        raise InputError(f"{entry.value!r} is no function")
    loaded: FeatureFunction = function
    return loaded


def _origins(found: Sequence[EntryPoint]) -> str:
    return " and ".join(
        sorted(each.dist.name if each.dist else "an unnamed distribution" for each in found)
    )


def _table_part(name: str) -> str:
    """An entry point's name as a table can bear it: itself, if it is a good one."""
    return name if is_name(name) else "x_" + re.sub(r"[^a-z0-9]+", "_", name.lower())[:50]
