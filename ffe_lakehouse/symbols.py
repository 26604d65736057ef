"""Pairs: one canonical spelling, an asset class, and with it a trading calendar.

``BTCUSD``, ``EURUSD``, ``AAPL``, ``BRK.B`` are canonical; ``btc-usd``, ``BTC_USD`` and ``BTC/USD``
are understood. How a vendor spells a pair is the business of its module in ``providers``. The
canonical spelling is also a path of the lake and half a partition key, so it is checked here, once,
before it gets anywhere.
"""

import re
from dataclasses import dataclass

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.settings import AssetClass

# ISO 4217 codes that trade against each other, and the metals quoted like them. As one text: a list
# of 32 quoted codes would be a page.
_FIAT = frozenset(
    "USD EUR GBP JPY CHF AUD NZD CAD SEK NOK DKK SGD HKD CNH CNY MXN ZAR TRY PLN HUF CZK ILS THB"  # noqa: SIM905
    " INR KRW BRL XAU XAG XPT XPD".split()
)
_CRYPTO_QUOTES = ("USDT", "USDC", "USD", "EUR", "GBP", "JPY", "KRW", "BTC", "ETH")
_LONGEST = 20


@dataclass(frozen=True, order=True)
class Symbol:
    """A pair or a ticker.

    Attributes:
        name: Canonical spelling, the value of ``asset_pair`` in every table.
        asset_class: Decides the calendar, the price range and the provider chain.
        base: What is bought: ``BTC``, ``EUR``, or the whole ticker of an equity.
        quote: What it is paid with: ``USD``.
    """

    name: str
    asset_class: AssetClass
    base: str
    quote: str

    def __str__(self) -> str:
        """The canonical name."""
        return self.name


def parse_symbol(text: str) -> Symbol:
    """Understand a pair or ticker in any common spelling.

    Two fiat currencies (or a metal and one) are forex; a currency pair with another base is
    crypto; one to five letters, optionally with a class (``BRK.B``), are an equity.

    Raises:
        InputError: ``text`` is no pair and no ticker. Nothing that could leave a path or break a
            partition key passes: only letters, digits and one dot do.
    """
    shown = repr(text if len(text) <= 40 else text[:40] + "…")
    upper = text.strip().upper()
    if (
        not upper
        or not text.isascii()  # some letters become ASCII in capitals
        or len(upper) > _LONGEST
        or not re.fullmatch(r"[A-Z0-9]+([-_/.][A-Z0-9]+)?", upper)
    ):
        raise InputError(
            f"unknown pair {shown}: write a pair such as BTCUSD, EUR_USD or BTC/USD,"
            " or a ticker such as AAPL or BRK.B"
        )
    pair = re.fullmatch(r"([A-Z0-9]+)[-_/]([A-Z0-9]+)", upper)
    if pair is None and "." not in upper and len(upper) > 4:
        pair = re.fullmatch(rf"([A-Z0-9]{{2,}}?)({'|'.join((*_CRYPTO_QUOTES, *_FIAT))})", upper)
    if pair is not None:
        base, quote = pair.groups()
        if base in _FIAT and quote in _FIAT and base != quote:
            return Symbol(base + quote, "forex", base, quote)
        if quote in _CRYPTO_QUOTES and base != quote and len(base) >= 2:
            return Symbol(base + quote, "crypto", base, quote)
    if re.fullmatch(r"[A-Z]{1,5}([.-][A-Z]{1,2})?", upper):
        ticker = upper.replace("-", ".")
        return Symbol(ticker, "equity", ticker, "USD")
    raise InputError(
        f"unknown pair {shown}: {upper!r} ends in no known quote currency"
        f" ({', '.join(_CRYPTO_QUOTES)}) and is no ticker of one to five letters"
    )


def canonical_symbol(pair: str, what: str) -> Symbol:
    """The symbol of a partition, whose pair has to be spelt canonically.

    Args:
        pair: As it stands in the partition key.
        what: What is stored there: ``bars``.

    Raises:
        InputError: It is no pair, or another spelling of one.
    """
    symbol = parse_symbol(pair)
    if symbol.name != pair:
        raise InputError(
            f"{pair!r} is another spelling of {symbol}: remove this partition"
            f" (`ffe pairs remove`) and add {symbol}, or its {what} would be stored twice"
        )
    return symbol
