"""What each vendor has: timeframes, history and page sizes by asset class, and its spelling.

One table, read by the providers, the chain and ``ffe providers``. A timeframe that a vendor lacks,
or has on another grid than UTC, is rolled up from the coarsest finer one that it has right. How a
vendor is asked is in its own module; how often it may be asked, in ``limits``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.settings import AssetClass
from ffe_lakehouse.symbols import Symbol
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe


@dataclass(frozen=True)
class Capability:
    """How one vendor serves one timeframe of one asset class.

    Attributes:
        asked: The timeframe that is asked for. Finer than the one delivered if that is rolled up.
        code: How the vendor spells ``asked``.
        page: Most bars of ``asked`` in one answer; 0 if the vendor bounds the window instead.
        history: How far back the vendor reaches from now; None if as far as it has data.
    """

    asked: Timeframe
    code: str
    page: int
    history: timedelta | None = None


Native = Mapping[str, Capability]
"""By timeframe code: what a vendor has itself, on the UTC grid."""


def _native(
    codes: Mapping[str, str], page: int, history: Mapping[str, int] | None = None
) -> Native:
    """Capabilities from codes by timeframe, a page size for all, and days of history by some."""
    days = history or {}
    return {
        name: Capability(
            TIMEFRAMES[name], code, page, timedelta(days[name]) if name in days else None
        )
        for name, code in codes.items()
    }


def _but(codes: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: code for name, code in codes.items() if name not in names}


_COINBASE = {"1m": "60", "5m": "300", "15m": "900", "1h": "3600", "1d": "86400"}
_OANDA = {"1m": "M1", "5m": "M5", "15m": "M15", "1h": "H1", "4h": "H4", "1d": "D"}
_ALPHA_VANTAGE = {"1m": "1min", "5m": "5min", "15m": "15min", "1h": "60min", "1d": "daily"}
_ALPACA = {"1m": "1Min", "5m": "5Min", "15m": "15Min", "1h": "1Hour", "1d": "1Day"}
_POLYGON = {
    "1m": "1/minute",
    "5m": "5/minute",
    "15m": "15/minute",
    "1h": "1/hour",
    "4h": "4/hour",
    "1d": "1/day",
}
_YAHOO = {"1m": "1m", "5m": "5m", "15m": "15m", "1h": "1h", "1d": "1d"}
# Of 30, 60 and 730 days: one is kept back, for the vendor counts from the moment of the request.
_YAHOO_DAYS = {"1m": 29, "5m": 59, "15m": 59, "1h": 729}

MATRIX: Mapping[str, Mapping[AssetClass, Native]] = {
    "coinbase": {"crypto": _native(_COINBASE, 300)},
    # H4 and D lie on the UTC grid because the request says so.
    "oanda": {"forex": _native(_OANDA, 5_000), "crypto": _native(_OANDA, 5_000)},
    "alpha_vantage": {
        "equity": _native(_ALPHA_VANTAGE, 0),
        "forex": _native(_ALPHA_VANTAGE, 0),
        "crypto": _native(_ALPHA_VANTAGE, 0),
    },
    "alpaca": {
        # 4Hour is counted from midnight in New York.
        "equity": _native(_ALPACA, 10_000),
        # Its crypto days begin at midnight in the United States: 05:00Z in the recorded body.
        "crypto": _native(_but(_ALPACA, "1d"), 10_000),
    },
    "polygon": {
        # The page counts the minutes (or days) that a bar is made of, not the bars.
        "equity": _native(_but(_POLYGON, "4h"), 50_000),
        "forex": _native(_POLYGON, 50_000),
        "crypto": _native(_POLYGON, 50_000),
    },
    "yahoo": {
        # Its equity hours begin with the session, at half past.
        "equity": _native(_but(_YAHOO, "1h"), 0, _YAHOO_DAYS),
        # Its forex days are London's: 23:00Z to 23:00Z in summer.
        "forex": _native(_but(_YAHOO, "1d"), 0, _YAHOO_DAYS),
        "crypto": _native(_YAHOO, 0, _YAHOO_DAYS),
    },
}
"""What each vendor has on the UTC grid, by asset class and timeframe."""


def capability(vendor: str, symbol: Symbol, timeframe: Timeframe) -> Capability:
    """How ``vendor`` serves this, itself or rolled up.

    Raises:
        ProviderError: ``invalid_symbol``: it has no such asset class. (Every vendor has, or can be
            rolled up to, each of the six timeframes.)
    """
    classes = MATRIX[vendor]
    found = _find(classes.get(symbol.asset_class, {}), timeframe)
    if found is None:
        raise ProviderError(
            "invalid_symbol",
            f"{vendor} has no {timeframe} of {symbol}, which is {symbol.asset_class}:"
            f" it has {', '.join(classes)}",
        )
    return found


def supports(vendor: str, symbol: Symbol, timeframe: Timeframe) -> bool:
    """Whether ``vendor`` has this. A vendor that the table does not know may have anything."""
    classes = MATRIX.get(vendor)
    return classes is None or _find(classes.get(symbol.asset_class, {}), timeframe) is not None


def earliest(vendor: str, symbol: Symbol, timeframe: Timeframe, now: datetime) -> datetime | None:
    """The first moment for which ``vendor`` still has this; None: the table knows no bound."""
    if vendor not in MATRIX:
        return None
    history = capability(vendor, symbol, timeframe).history
    return None if history is None else now - history


def spell(vendor: str, symbol: Symbol) -> str:
    """How ``vendor`` spells the pair: ``BTC-USD``, ``EUR_USD``, ``X:BTCUSD``, ``BRK-B``."""
    base, quote = symbol.base, symbol.quote
    match vendor, symbol.asset_class:
        case "coinbase", _:
            return f"{base}-{quote}"
        case "oanda", _:
            return f"{base}_{quote}"
        case "alpaca", "crypto":
            return f"{base}/{quote}"
        case "polygon", "crypto":
            return f"X:{base}{quote}"
        case "polygon", "forex":
            return f"C:{base}{quote}"
        case "yahoo", "crypto":
            return f"{base}-{quote}"
        case "yahoo", "forex":
            return f"{base}{quote}=X"
        case (("yahoo" | "alpha_vantage"), "equity"):
            return symbol.name.replace(".", "-")
        case _:
            return symbol.name


def rows() -> Iterator[tuple[str, AssetClass, Timeframe, Capability]]:
    """The whole table, what is rolled up included: vendor, class, timeframe, how it is served."""
    for vendor, classes in MATRIX.items():
        for asset_class, native in classes.items():
            for timeframe in TIMEFRAMES.values():
                found = _find(native, timeframe)
                if found is not None:
                    yield vendor, asset_class, timeframe, found


def _find(native: Native, timeframe: Timeframe) -> Capability | None:
    """The timeframe itself, else the coarsest finer one (each of the six divides the coarser)."""
    if timeframe.code in native:
        return native[timeframe.code]
    finer = [has for has in native.values() if has.asked < timeframe]
    return max(finer, key=lambda has: has.asked, default=None)
