"""What the doubles of all vendors have in common: a request comes in, a response goes out.

No sockets here: ``server`` has them. No vendor's format either: each has a module of its own.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Protocol

import orjson

from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse_tests.doubles.market import Bars, Market

Clock = Callable[[], datetime]
JSON = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Request:
    """One request as the double saw it.

    Attributes:
        vendor: First part of the path: whose prefix it was sent to.
        path: Below the prefix.
        params: The query; of a repeated name the last.
        headers: With names in lower case.
        base_url: How the client reached the vendor, prefix included.
        at: ``time.monotonic()`` of its arrival.
    """

    vendor: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    base_url: str
    at: float


@dataclass(frozen=True)
class Response:
    """What goes back."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": JSON})


class Edits(Protocol):
    """How a fault changes an answer while it is written, before any format is known."""

    def bars(self, bars: Bars) -> Bars:
        """The bars that are told instead of these."""

    def symbol(self, name: str) -> str:
        """The name that the answer bears instead of this one, in the vendor's spelling."""


class Refused(Exception):  # noqa: N818 - a refusal is an ordinary answer of a vendor
    """The vendor turns the request down."""

    def __init__(self, status: int, body: object) -> None:
        """``body`` is JSON, or a text that is sent as it is."""
        super().__init__(f"{status} {body}")
        if isinstance(body, str):
            self.response = Response(status, body.encode(), {"Content-Type": "text/plain"})
        else:
            self.response = json_response(body, status)


class Vendor(ABC):
    """One vendor's candle endpoints over a ``Market``.

    Attributes:
        name: As in ``source_provider``; also the path prefix at which it is served.
        keys: The settings that hold its keys, with the only values that it accepts.
    """

    name: ClassVar[str]
    keys: ClassVar[Mapping[str, str]] = {}

    def __init__(self, market: Market, clock: Clock) -> None:
        """Serve ``market`` as it is known at ``clock()``."""
        self.market = market
        self.clock = clock
        self._symbols = {
            spelled: symbol for symbol in market.symbols if (spelled := self.spell(symbol))
        }

    @abstractmethod
    def spell(self, symbol: Symbol) -> str | None:
        """The vendor's name of a symbol; ``None`` if it does not trade it."""

    @abstractmethod
    def answer(self, request: Request, edits: Edits) -> Response:
        """Answer one request.

        Raises:
            Refused: With the body that the vendor really sends.
        """

    @abstractmethod
    def too_many_requests(self) -> Response:
        """What the vendor sends to those who ask too often, without ``Retry-After``."""

    def find(self, spelled: str) -> Symbol | None:
        """The symbol of exactly this spelling."""
        return self._symbols.get(spelled)


def json_response(body: object, status: int = 200) -> Response:
    """A body as JSON, without blanks, NaN as null."""
    return Response(status, orjson.dumps(body))


def whole(value: float) -> float | int | None:
    """A number as JavaScript and Go write it: 10106 and not 10106.0; null for NaN."""
    if value != value:
        return None
    return int(value) if value == int(value) else value


def decimals(value: float, digits: int) -> str:
    """A price as text with so many decimals, or with as many more as it really has."""
    text = f"{value:.{digits}f}"
    return text if float(text) == value else json.dumps(value)


def parse_moment(text: str) -> datetime:
    """An ISO 8601 time or a number of Unix seconds; without a zone it is UTC.

    Raises:
        ValueError: It is neither. So is ``...+00:00`` whose plus sign was sent as it is: in a
            query it means a blank.
    """
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except ValueError:
        if " " in text:
            raise ValueError(f"not a time: {text!r}") from None
        # Python 3.11 reads at most six decimals.
        seconds, dot, rest = text.partition(".")
        fraction = rest.rstrip("Z+-:0123456789") if dot else ""
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        zone = rest[len(digits) :]
        moment = datetime.fromisoformat(f"{seconds}{dot}{digits[:6]}{fraction}{zone}")
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def no_such_path(request: Request) -> Refused:
    """A path that the vendor does not have."""
    return Refused(404, {"message": f"no route {request.path}"})
