"""Keys that are sent to vendors, taken out of everything else: texts, bodies and log records.

A vendor may send a key back: Alpha Vantage names it in the refusal of a spent quota, a redirect
repeats it. Sending keys belongs in ``http``.
"""

import logging
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from pydantic import SecretStr

MASK = "***"

_SHORTEST = 8  # a shorter word (the key "demo") is no secret, and occurs in honest texts


class Redactor(logging.Filter):
    """Replaces secrets, as they are and as a URL spells them, by ``MASK``.

    Added to a logger, it changes what the logger's records say, and drops none.
    """

    def __init__(self, secrets: Iterable[SecretStr] = ()) -> None:
        """Knows the words of ``secrets``: ``Bearer`` and the token of an authorization."""
        super().__init__()
        self._words: tuple[str, ...] = ()
        self.learn(secrets)

    def learn(self, secrets: Iterable[SecretStr]) -> None:
        """Know these, too."""
        words = {word for secret in secrets for word in secret.get_secret_value().split()}
        spelled = {spell(word) for word in words for spell in (str, _quote, quote_plus)}
        known = spelled.union(self._words)
        # Longest first: one secret may begin like another.
        self._words = tuple(
            sorted((word for word in known if len(word) >= _SHORTEST), key=len, reverse=True)
        )

    def text(self, text: str) -> str:
        """``text`` without the secrets."""
        for word in self._words:
            text = text.replace(word, MASK)
        return text

    def body(self, body: bytes) -> bytes:
        """``body`` without the secrets; the same object if it has none."""
        for word in self._words:
            body = body.replace(word.encode(), MASK.encode())
        return body

    def filter(self, record: logging.LogRecord) -> bool:
        """Take the secrets out of what ``record`` says."""
        message = record.getMessage()
        shown = self.text(message)
        if shown != message:
            record.msg, record.args = shown, ()
        return True

    def __repr__(self) -> str:
        """How many words, and none of them."""
        return f"<Redactor of {len(self._words)} words>"


def _quote(word: str) -> str:
    return quote(word, safe="")
