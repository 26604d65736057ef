"""Several vendors as one: the next is asked for what the one before did not deliver.

Which vendors, in which order, is a setting by asset class. Each is asked under its own limits and
retries, so what reaches the chain is a vendor's last word.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.base import CandleQuery, FailureKind, Page, Provider, ProviderError
from ffe_lakehouse.providers.capabilities import earliest, supports
from ffe_lakehouse.providers.registry import get_provider
from ffe_lakehouse.providers.vendor import Clock, now
from ffe_lakehouse.settings import Settings

# Of all that the vendors said, the failure that is most worth another try names the whole.
_HOPE: tuple[FailureKind, ...] = (
    "unavailable",
    "timeout",
    "rate_limited",
    "bad_response",
    "no_data",
    "invalid_symbol",
    "authentication",
    "configuration",
)


@dataclass(frozen=True)
class _Refusal:
    vendor: str
    kind: FailureKind
    reason: str


class ChainProvider(Provider):
    """The vendors of FFE_PROVIDER_CHAIN, one after the other, until one of them answers.

    Pages name the vendor that they come from. An answer without bars is an answer: the chain goes
    on only where a vendor fails, is not set up, has no such timeframe, or does not reach so far
    back. Made-up candles are no substitute for real ones, so a provider of such is passed over.
    """

    name = "chain"
    waits = True

    def __init__(
        self,
        settings: Settings,
        make: Callable[[str, Settings], Provider] = get_provider,
        clock: Clock = now,
    ) -> None:
        """Make no vendor yet: one that is not set up matters only when it is its turn.

        Args:
            settings: The chains, and what each vendor needs.
            make: Gives a vendor by its name.
            clock: Decides what a vendor's history still holds.

        Raises:
            InputError: A chain names itself.
        """
        self._settings = settings
        self._make = make
        self._clock = clock
        self._made: dict[str, Provider] = {}
        for asset_class, chain in settings.provider_chain.items():
            if self.name in chain:
                raise InputError(
                    f"FFE_PROVIDER_CHAIN for {asset_class} names 'chain' itself: name vendors only"
                )

    def fetch(self, query: CandleQuery) -> Iterator[Page]:
        """Answer ``query``; where a vendor stops, the next one goes on.

        Raises:
            ProviderError: No vendor could deliver the rest. What each of them said is in the
                message; the kind is the one most worth another try.
        """
        refusals: list[_Refusal] = []
        rest = query
        for vendor in self._settings.provider_chain.get(query.symbol.asset_class, ()):
            try:
                for page in self._vendor(vendor, rest).fetch(rest):
                    yield replace(page, source=page.source or vendor)
                    rest = replace(rest, start=max(rest.start, page.covered_until))
            except ProviderError as error:
                refusals.append(_Refusal(vendor, error.kind, str(error)))
            except InputError as error:
                refusals.append(_Refusal(vendor, "configuration", str(error)))
            else:
                if rest.start >= query.end:
                    return
                reason = f"ended its answer at {rest.start:%Y-%m-%d %H:%M} UTC"
                refusals.append(_Refusal(vendor, "bad_response", reason))
        raise _nobody(rest, refusals)

    def _vendor(self, name: str, query: CandleQuery) -> Provider:
        symbol, timeframe = query.symbol, query.timeframe
        if not supports(name, symbol, timeframe):
            raise ProviderError("invalid_symbol", f"has no {timeframe} of {symbol}")
        first = earliest(name, symbol, timeframe, self._clock())
        if first is not None and query.start < first:
            raise ProviderError(
                "no_data", f"has {timeframe} of {symbol} only from {first:%Y-%m-%d} on"
            )
        if name not in self._made:
            self._made[name] = self._make(name, self._settings)
        if self._made[name].is_mock:
            raise ProviderError("configuration", "its candles are made up")
        return self._made[name]


def _nobody(rest: CandleQuery, refusals: list[_Refusal]) -> ProviderError:
    asked = f"{rest.timeframe} of {rest.symbol} from {rest.start:%Y-%m-%d %H:%M} UTC on"
    if not refusals:
        return ProviderError(
            "configuration",
            f"FFE_PROVIDER_CHAIN names no vendor for {rest.symbol.asset_class}, so nobody was"
            f" asked for {asked}",
        )
    said = "; ".join(f"{refusal.vendor}: {refusal.reason}" for refusal in refusals)
    kind = min((refusal.kind for refusal in refusals), key=_HOPE.index)
    return ProviderError(kind, f"no vendor of the chain has {asked}: {said}")
