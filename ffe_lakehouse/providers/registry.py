"""Providers by name: the built-in ones, and those that other distributions bring.

A plug-in is an entry point of the group ``ffe_lakehouse.providers``: its name is the provider's
name, its value a class or function that takes the settings and returns a ``Provider``. What a
provider does belongs in its own module, which is imported when it is asked for and not before.
``ccxt:EXCHANGE`` is built in, too; these are too many to be listed.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.base import Provider, ProviderError
from ffe_lakehouse.settings import Settings

Factory = Callable[[Settings], Provider]

GROUP = "ffe_lakehouse.providers"
"""The entry point group of plug-ins."""


def provider_names() -> list[str]:
    """The names that can be asked for: built-in ones first, then plug-ins, each sorted."""
    plug_ins = {plug_in.name for plug_in in entry_points(group=GROUP)}
    return [*sorted(_BUILT_IN), *sorted(plug_ins - _BUILT_IN.keys())]


def get_provider(name: str, settings: Settings) -> Provider:
    """Make the provider of this name.

    Raises:
        InputError: There is no such provider, or its plug-in cannot be used.
        ProviderError: ``configuration``: the provider misses a setting.
    """
    factory = _factory(name)
    provider = factory(settings)
    if not isinstance(provider, Provider) or getattr(provider, "name", None) != name:
        raise InputError(
            f"provider {name!r} cannot be used: {factory!r} made {provider!r},"
            f" which is not a Provider whose name is {name!r}"
        )
    return provider


def vendors_of(name: str, settings: Settings) -> frozenset[str]:
    """Whose bars a provider brings: its own, or those of every vendor of the chain."""
    if name == "chain":
        return frozenset(each for chain in settings.provider_chain.values() for each in chain)
    return frozenset({name})


def describe_provider(name: str) -> str:
    """One line for a list: the first of the factory's docstring, or why it cannot be used."""
    try:
        documentation = _factory(name).__doc__ or ""
    except InputError as error:
        return str(error)
    return documentation.strip().partition("\n")[0]


def _factory(name: str) -> Factory:
    if name.startswith("ccxt:"):
        return _ccxt(name.removeprefix("ccxt:"))
    plug_ins = list(entry_points(group=GROUP, name=name))
    built_in = _BUILT_IN.get(name)
    if built_in and not plug_ins:
        return built_in
    if not plug_ins:
        raise InputError(f"unknown provider {name!r}: use one of {', '.join(provider_names())}")
    origins = " and ".join(sorted(map(_distribution, plug_ins)))
    if built_in:
        raise InputError(
            f"provider {name!r} is built in, and {origins} brings another of that name:"
            f" uninstall {origins}, or rename its entry point"
        )
    if len(plug_ins) > 1:
        raise InputError(f"provider {name!r} comes from {origins}: uninstall all but one")
    try:
        factory = plug_ins[0].load()
    except Exception as error:
        raise InputError(
            f"provider {name!r} of {origins} cannot be loaded from {plug_ins[0].value!r}:"
            f" {type(error).__name__}: {error}"
        ) from error
    if not callable(factory):
        raise InputError(
            f"provider {name!r} of {origins}: {plug_ins[0].value!r} is no class or function"
        )
    return cast("Factory", factory)


def _distribution(plug_in: EntryPoint) -> str:
    return plug_in.dist.name if plug_in.dist else "an unnamed distribution"


def _simulated(settings: Settings) -> Provider:
    """Made-up candles of any pair, the same every time; needs no account and no network."""
    from ffe_lakehouse.providers.simulated import SimulatedProvider

    return SimulatedProvider(settings.simulated_seed, settings.simulated_faults)


def _files(settings: Settings) -> Provider:
    """Your own candle files: PAIR_TIMEFRAME.parquet, .csv or .csv.gz in one folder."""
    from ffe_lakehouse.providers.files import FilesProvider

    if settings.files_dir is None:
        raise ProviderError(
            "configuration",
            "the provider 'files' needs a folder of candle files: give one with --source DIR or"
            " FFE_FILES_DIR",
        )
    return FilesProvider(settings.files_dir)


def _coinbase(settings: Settings) -> Provider:
    """Crypto of Coinbase; needs no key."""
    from ffe_lakehouse.providers.coinbase import CoinbaseProvider

    return CoinbaseProvider(settings)


def _oanda(settings: Settings) -> Provider:
    """Forex and crypto CFDs of Oanda; needs FFE_OANDA_TOKEN, of a free practice account."""
    from ffe_lakehouse.providers.oanda import OandaProvider

    return OandaProvider(settings)


def _alpha_vantage(settings: Settings) -> Provider:
    """Equities, forex and crypto of Alpha Vantage; needs FFE_ALPHA_VANTAGE_API_KEY."""
    from ffe_lakehouse.providers.alpha_vantage import AlphaVantageProvider

    return AlphaVantageProvider(settings)


def _alpaca(settings: Settings) -> Provider:
    """US equities and crypto of Alpaca; needs FFE_ALPACA_API_KEY and FFE_ALPACA_API_SECRET."""
    from ffe_lakehouse.providers.alpaca import AlpacaProvider

    return AlpacaProvider(settings)


def _polygon(settings: Settings) -> Provider:
    """US equities, forex and crypto of Polygon.io, now Massive; needs FFE_POLYGON_API_KEY."""
    from ffe_lakehouse.providers.polygon import PolygonProvider

    return PolygonProvider(settings)


def _yahoo(settings: Settings) -> Provider:
    """Equities, forex and crypto of Yahoo, unofficial; needs no key, minutes only of 29 days."""
    from ffe_lakehouse.providers.yahoo import YahooProvider

    return YahooProvider(settings)


def _ccxt(exchange: str) -> Factory:
    def make(settings: Settings) -> Provider:
        """Crypto of an exchange that ccxt knows; needs pip install 'ffe-lakehouse[ccxt]'."""
        from ffe_lakehouse.providers.ccxt_exchange import CcxtProvider

        return CcxtProvider(exchange, settings)

    return make


def _chain(settings: Settings) -> Provider:
    """The vendors of FFE_PROVIDER_CHAIN, one after the other, until one of them answers."""
    from ffe_lakehouse.providers.chain import ChainProvider

    return ChainProvider(settings)


_BUILT_IN: dict[str, Factory] = {
    "simulated": _simulated,
    "files": _files,
    "coinbase": _coinbase,
    "oanda": _oanda,
    "alpha_vantage": _alpha_vantage,
    "alpaca": _alpaca,
    "polygon": _polygon,
    "yahoo": _yahoo,
    "chain": _chain,
}
