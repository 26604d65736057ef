"""The policy stack around every request to a vendor, the same for all of them.

A request takes its turn at the rate limiter, asks the circuit breaker, makes one attempt, and is
made again if the failure may heal; who asks gets an answer or one ``ProviderError``. What refusals
of a vendor mean is told by its own hook; which vendor is asked next is not decided here.

Keys are given as ``SecretStr`` and leave this module only on the wire.
"""

import logging
import random
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import httpcore
from pydantic import SecretStr

from ffe_lakehouse import __version__
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.breaker import Breaker, shared_breaker
from ffe_lakehouse.providers.limiter import RateLimiter
from ffe_lakehouse.providers.limits import VendorPolicy
from ffe_lakehouse.providers.redaction import Redactor
from ffe_lakehouse.providers.statuses import (
    HEALING,
    REDIRECTS,
    status_failure,
    with_retry_after,
)
from ffe_lakehouse.providers.transport import Answer, Transport
from ffe_lakehouse.providers.urls import below, joined, origin, place, with_params, without_params

__all__ = ["HttpSource", "Refusal", "Response", "VendorPolicy"]

_MOST_REDIRECTS = 3
_LONGEST_MESSAGE = 600

_log = logging.getLogger(__name__)
_wire_redactor = Redactor()


@dataclass(frozen=True)
class Response(Answer):
    """An answer, with every key that the vendor sent back replaced by ``***``.

    Attributes:
        url: What was asked, without the keys.
    """

    url: str


Refusal = Callable[[Response], ProviderError | None]
"""A vendor's hook: the failure that an answer of any status means; None: as its status says."""


class Sender(Protocol):
    """What stands between the policy and the network: ``Transport``."""

    def send(self, request: httpcore.Request) -> Answer:
        """Make one request."""

    def close(self) -> None:
        """Let the connections go."""


class HttpSource:
    """One vendor behind one base URL. Any thread may use it.

    Attributes:
        policy: Limits, retries and bounds.
        breaker: The circuit breaker, shared by all sources of this process with the same vendor,
            origin and thresholds.
    """

    def __init__(
        self,
        base_url: str,
        policy: VendorPolicy,
        *,
        headers: Mapping[str, SecretStr | str] = {},
        params: Mapping[str, SecretStr | str] = {},
        refusal: Refusal | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
        transport: Sender | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            base_url: Scheme, host, and perhaps a port and the beginning of every path.
            policy: How the vendor is asked.
            headers: Sent with every request.
            params: Sent with every request; to a link or a redirect only the secret ones are.
            refusal: The vendor's hook.
            clock: Seconds since 1970, for the rates and for dates of ``Retry-After``.
            sleep: Waits for so many seconds.
            transport: Makes the requests.
            breaker: Another breaker than the shared one.

        Raises:
            ProviderError: ``configuration``: the base URL is none, or a header cannot be sent.
            InputError: A rate of ``policy`` is no positive number.
        """
        self.policy = policy
        self._vendor = policy.vendor
        self._base = base_url.rstrip("/")
        self._origin = self._checked_origin(base_url)
        self._headers: dict[str, SecretStr | str] = {
            "user-agent": f"ffe-lakehouse/{__version__}",
            **{name.lower(): value for name, value in headers.items()},
            "host": urlsplit(base_url).netloc,
            "accept-encoding": "gzip",
        }
        self._params = {k: v for k, v in params.items() if isinstance(v, str)}
        self._secret_params = {k: v for k, v in params.items() if isinstance(v, SecretStr)}
        secrets = [v for v in (*headers.values(), *params.values()) if isinstance(v, SecretStr)]
        self._redactor = Redactor(secrets)
        # httpcore's log tells, at DEBUG, the headers of every answer: a redirect may repeat a key.
        _wire_redactor.learn(secrets)
        logging.getLogger("httpcore.http11").addFilter(_wire_redactor)
        self._refusal = refusal
        self._clock = clock
        self._sleep = sleep
        self._limiter = RateLimiter(
            policy.vendor, policy.rates, policy.state_dir, clock=clock, sleep=sleep
        )
        self.breaker = breaker or shared_breaker(
            policy.vendor, self._origin, policy.breaker_failures, policy.breaker_seconds
        )
        self._transport = transport or Transport(
            policy.vendor, self._origin, timeout=policy.timeout, max_body=policy.max_body
        )
        weakref.finalize(self, self._transport.close)
        self._check_headers()

    def __repr__(self) -> str:
        """Whom it asks, and how that goes."""
        return f"<HttpSource {self._vendor} at {self._base}, {self.breaker.state}>"

    def get(
        self, path: str, params: Mapping[str, str | int] = {}, *, url: str | None = None
    ) -> Response:
        """Ask, by all the rules of the policy.

        Args:
            path: Below the base URL, as text: what a URL cannot hold is escaped.
            params: Of this request.
            url: A link that the vendor gave, in place of ``path``: followed only to the same
                scheme, host and port, because the keys go with it.

        Returns:
            An answer with a status from 200 to 299 in which the vendor's hook sees no refusal.

        Raises:
            ProviderError: There is none. ``retry_after`` is set if it is known when to ask again.
        """
        if url is None:
            url, params = below(self._base, path), {**self._params, **params}
        target = self._link(url, params)
        waits = iter(self.policy.retry_waits)
        tries = 0
        while True:
            self.breaker.check()  # an open breaker must not cost a turn
            self._limiter.acquire()
            tries += 1
            try:
                with self.breaker.attempt():
                    return self._attempt(target)
            except ProviderError as error:
                failure = self._clean(error)
            wait = self._wait(failure, next(waits, None))
            if wait is None or self.breaker.state == "open":
                raise self._clean(failure, f" (tried {tries} times)" if tries > 1 else "")
            _log.warning("%s; trying again in %.1f s", failure, wait)
            self._sleep(wait)

    def _wait(self, failure: ProviderError, scheduled: float | None) -> float | None:
        """Seconds until the next try; None if there is none."""
        asked = failure.retry_after or 0.0
        if scheduled is None or failure.kind not in HEALING or asked > self.policy.retry_max_wait:
            return None
        jitter = random.uniform(0, self.policy.retry_jitter) * scheduled  # noqa: S311 - no secret
        return max(scheduled, asked) + jitter

    def _attempt(self, url: str) -> Response:
        """Ask once, and follow redirects: each takes a turn of its own."""
        response = self._send(url)
        for _ in range(_MOST_REDIRECTS):
            location = response.headers.get("location")
            if response.status not in REDIRECTS or location is None:
                break
            target = joined(url, location)
            if origin(target) != self._origin:
                break
            url = self._link(target)
            self._limiter.acquire()
            response = self._send(url)
        failure = self._refusal(response) if self._refusal else None
        if failure is None and 200 <= response.status < 300:
            return response
        failure = failure or status_failure(self._vendor, response.url, response)
        raise with_retry_after(failure, response, self._clock())

    def _send(self, url: str) -> Response:
        answer = self._transport.send(self._request(url))
        headers = {name: self._redactor.text(value) for name, value in answer.headers.items()}
        body = self._redactor.body(answer.body)
        return Response(answer.status, headers, body, self._redactor.text(url))

    def _request(self, url: str) -> httpcore.Request:
        """The request with its keys. Its repr has none, so no traceback shows them."""
        keys = {name: _revealed(value) for name, value in self._secret_params.items()}
        headers = [(name, _revealed(value)) for name, value in self._headers.items()]
        return httpcore.Request("GET", with_params(url, keys), headers=headers)

    def _link(self, url: str, params: Mapping[str, str | int] = {}) -> str:
        """``url`` with ``params`` and without secret ones, if it leads to the vendor.

        Raises:
            ProviderError: ``bad_response``: it leads elsewhere.
        """
        if origin(url) != self._origin:
            raise ProviderError(
                "bad_response",
                f"{self._vendor} gave a link to {self._redactor.text(place(url))}, which was not"
                f" followed: it must stay at {self._origin}",
            )
        return with_params(without_params(url, self._secret_params), params)

    def _clean(self, failure: ProviderError, more: str = "") -> ProviderError:
        """``failure`` as one line without keys, and without the exceptions that led to it."""
        line = " ".join(self._redactor.text(str(failure)).split())
        if len(line) > _LONGEST_MESSAGE:
            line = f"{line[:_LONGEST_MESSAGE]}…"
        return ProviderError(failure.kind, line + more, retry_after=failure.retry_after)

    def _checked_origin(self, base_url: str) -> str:
        found = origin(base_url)
        if not found or place(base_url) != base_url:
            shown = "a URL with a user" if "@" in base_url else repr(place(base_url))
            raise ProviderError(
                "configuration",
                f"{self._vendor} cannot be asked at {shown}: a base URL is http:// or https://, a"
                " host, perhaps a port and a path, and nothing else",
            )
        return found

    def _check_headers(self) -> None:
        for name, value in self._headers.items():
            if not _sendable(value):
                raise ProviderError(
                    "configuration",
                    f"the header {name} of {self._vendor} has blanks at its ends or characters"
                    " that no header may have: copy the key again",
                )


def _revealed(value: SecretStr | str) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _sendable(value: SecretStr | str) -> bool:
    text = _revealed(value)
    return text.isascii() and text.isprintable() and text == text.strip()
