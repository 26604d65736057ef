"""The fields of one record: read by name, and what is wrong with them gathered instead of raised.

What a value may look like belongs here (numbers as text, times without a zone); which fields a kind
of record has stands in ``contracts``.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.symbols import parse_symbol

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_SHOWN = 60


@dataclass
class Faults:
    """Why a record is refused: reason codes, and in words which field of it with which value."""

    codes: set[str] = field(default_factory=set)
    details: list[str] = field(default_factory=list)

    def add(self, code: str, detail: str) -> None:
        """One more thing that is wrong."""
        self.codes.add(code)
        if detail not in self.details:
            self.details.append(detail)


class Fields:
    """The fields of one JSON object, or of one inside of it.

    Every method returns ``None`` where there is no value (the field is missing or null) or none
    that can be read; the latter, and a required one that is missing, is a fault.

    Args:
        values: The object.
        faults: Where faults are gathered.
        place: Stands before the names of the fields: ``positions[0].``.
    """

    def __init__(self, values: Mapping[str, Any], faults: Faults, place: str = "") -> None:
        """Nothing is read yet."""
        self._values, self.faults, self._place = values, faults, place

    def text(self, name: str, *, required: bool = False) -> str | None:
        """A text; a required one is not blank."""
        value = self._get(name, required)
        if value is None or (isinstance(value, str) and (value.strip() or not required)):
            return value
        code = "missing_field" if isinstance(value, str) else "wrong_type"
        self._blame(code, name, "a text", value)
        return None

    def flag(self, name: str) -> bool | None:
        """True or false."""
        value = self._get(name, required=False)
        if value is None or isinstance(value, bool):
            return value
        self._blame("wrong_type", name, "true or false", value)
        return None

    def number(self, name: str, *, required: bool = False) -> float | None:
        """A finite number, or a text that is one: ``0E-30``."""
        value = self._get(name, required)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            self._blame("wrong_type", name, "a number", value)
            return None
        try:
            # Python also takes 1_000, and digits that are not ASCII.
            is_number = not isinstance(value, str) or _NUMBER.fullmatch(value)
            number = float(value) if is_number else math.nan
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
        self._blame("not_finite", name, "a finite number", value)
        return None

    def time(self, name: str, *, required: bool = False) -> datetime | None:
        """A moment in UTC, from ISO 8601; without a zone it is UTC."""
        value = self._get(name, required)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value.strip())
            return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        except (AttributeError, ValueError, OverflowError):
            self._blame("bad_time", name, "a time such as 2024-01-31T10:00:00Z", value)
            return None

    def pair(self, name: str) -> str | None:
        """A canonical pair, required, from any spelling."""
        value = self.text(name, required=True)
        if value is None:
            return None
        try:
            return parse_symbol(value).name
        except InputError as error:
            self.faults.add("unknown_product", f"{self._place}{name}: {error}")
            return None

    def choice(
        self, name: str, among: Mapping[str, str], code: str, *, required: bool = True
    ) -> str | None:
        """What ``among`` has for a text, in any case; anything else is ``code``."""
        value = self.text(name, required=required)
        if value is None:
            return None
        chosen = among.get(value.strip().upper())
        if chosen is None:
            self._blame(code, name, f"one of {', '.join(among)}", value)
        return chosen

    def json(self, name: str) -> str | None:
        """An object, as JSON with its keys sorted."""
        value = self._object(name)
        return None if value is None else canonical(value)

    def part(self, name: str) -> "Fields":
        """The fields of an object inside of this one; of none, if it is not there."""
        return Fields(self._object(name) or {}, self.faults, f"{self._place}{name}.")

    def parts(self, name: str) -> "list[Fields]":
        """The fields of each object of a list, which is required and may be empty."""
        value = self._get(name, required=True)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self._blame("wrong_type", name, "a list of objects", value)
            return []
        return [
            Fields(each, self.faults, f"{self._place}{name}[{number}].")
            for number, each in enumerate(value)
        ]

    def both(self, name: str, other: str) -> None:
        """Blame a field that is missing while the other one is there."""
        for absent, present in ((name, other), (other, name)):
            if self._values.get(absent) is None and self._values.get(present) is not None:
                detail = f"{self._place}{absent} is missing: there is {present}"
                self.faults.add("missing_field", detail)

    def not_positive(self, name: str, value: float | None) -> None:
        """Blame a value that is not above zero, if there is one."""
        if value is not None and value <= 0:
            self._blame("price_not_positive", name, "above zero", value)

    def _get(self, name: str, required: bool) -> Any:
        value = self._values.get(name)
        if value is None and required:
            self.faults.add("missing_field", f"{self._place}{name} is missing")
        return value

    def _object(self, name: str) -> dict[str, Any] | None:
        value = self._get(name, required=False)
        if value is None or isinstance(value, dict):
            return value
        self._blame("wrong_type", name, "an object", value)
        return None

    def _blame(self, code: str, name: str, wanted: str, value: object) -> None:
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
        self.faults.add(code, f"{self._place}{name} is {shown}, not {wanted}")


def canonical(value: object) -> str:
    """JSON with sorted keys and no blanks: equal for equal values.

    Raises:
        TypeError: It cannot be written: nested 254 levels deep, or a text that is no Unicode.
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
