"""What an HTTP answer that is no success means, unless the hook of the vendor knows better."""

from datetime import UTC
from email.utils import parsedate_to_datetime

from ffe_lakehouse.providers.base import FailureKind, ProviderError
from ffe_lakehouse.providers.transport import Answer
from ffe_lakehouse.providers.urls import joined, place

HEALING: frozenset[FailureKind] = frozenset({"rate_limited", "timeout", "unavailable"})
"""Kinds of failure that may be gone the next time. Only these are tried again."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})

_KINDS: dict[int, FailureKind] = {
    401: "authentication",
    403: "authentication",
    404: "invalid_symbol",
    408: "timeout",
    429: "rate_limited",
    # 520 to 524 are how Cloudflare tells that the vendor's server behind it is down.
    **dict.fromkeys((500, 502, 503, 504, *range(520, 525)), "unavailable"),
}
_MEANS: dict[FailureKind, str] = {
    "authentication": "refused the key, or its plan; check both",
    "invalid_symbol": "has nothing there; check the symbol",
    "timeout": "did not get the request in time; ask again later",
    "rate_limited": "allows no more requests for now; ask again later",
    "unavailable": "is down; ask again later",
    "bad_response": "gave no usable answer; check the request and the base URL",
}
_EXCERPT = 200


def status_failure(vendor: str, url: str, answer: Answer) -> ProviderError:
    """The failure that the status of ``answer`` means.

    Args:
        vendor: As in messages.
        url: What was asked.
        answer: Its status is not one of success.
    """
    if answer.status in REDIRECTS:
        target = place(joined(url, answer.headers.get("location", "")))
        return ProviderError(
            "bad_response",
            f"{vendor} redirects to {target}, which was not followed; check the base URL",
        )
    kind = _KINDS.get(answer.status, "bad_response")
    said = " ".join(answer.body[: 4 * _EXCERPT].decode(errors="replace").split())[:_EXCERPT]
    return ProviderError(
        kind,
        f"{vendor} {_MEANS[kind]} (HTTP {answer.status} of {place(url)}: {said or 'no text'})",
    )


def with_retry_after(failure: ProviderError, answer: Answer, now: float) -> ProviderError:
    """``failure`` with the time that ``Retry-After`` tells, if it may heal and has none of its own.

    Args:
        failure: What ``answer`` means.
        answer: Its header tells seconds or an HTTP date; anything else is ignored.
        now: Seconds since 1970.
    """
    told = answer.headers.get("retry-after")
    if failure.retry_after is not None or told is None or failure.kind not in HEALING:
        return failure
    seconds = _seconds(told.strip(), now)
    if seconds is None:
        return failure
    return ProviderError(
        failure.kind, f"{failure}; it asks to wait {seconds:.0f} s", retry_after=seconds
    )


def _seconds(told: str, now: float) -> float | None:
    if told.isascii() and told.isdigit():
        return float(told)
    try:
        moment = parsedate_to_datetime(told)
    except ValueError:
        return None
    return max(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now, 0.0)
