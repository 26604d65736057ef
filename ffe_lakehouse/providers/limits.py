"""What each vendor allows on each of its plans, and what may be asked of it in time and bytes.

Numbers only: ``limiter`` keeps the rates, ``breaker`` counts the failures, ``http`` does the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.limiter import Rate
from ffe_lakehouse.settings import Settings

_DAY = 86_400.0


@dataclass(frozen=True)
class VendorPolicy:
    """How one vendor is asked.

    Attributes:
        vendor: As in ``source_provider`` and in messages.
        per_second: Requests in any second. None: not limited so; all limits that are given hold.
        per_minute: Requests in any minute.
        per_day: Requests in any 24 hours.
        retry_waits: Seconds before each new try of a request that failed and may heal.
        retry_jitter: A wait is longer by a random share of itself, up to this one.
        retry_max_wait: A vendor that asks to wait for more seconds is given up for now.
        timeout: Seconds from the start of a try to the last byte of its answer.
        max_body: Bytes of an answer, unpacked.
        breaker_failures: So many failures in a row open the circuit breaker.
        breaker_seconds: How long it stays open.
        state_dir: Folder of the limiter's files; None: the user's own in the system's folder of
            temporary files.
    """

    vendor: str
    per_second: float | None = None
    per_minute: float | None = None
    per_day: int | None = None
    retry_waits: tuple[float, ...] = (5.0, 10.0, 20.0)
    retry_jitter: float = 0.1
    retry_max_wait: float = 120.0
    timeout: float = 30.0
    max_body: int = 32 << 20
    breaker_failures: int = 5
    breaker_seconds: float = 60.0
    state_dir: Path | None = None

    @property
    def rates(self) -> list[Rate]:
        """The limits that are given.

        Raises:
            InputError: One of them is no positive number.
        """
        limits = [(self.per_second, 1.0), (self.per_minute, 60.0), (self.per_day, _DAY)]
        return [Rate.of(requests, seconds) for requests, seconds in limits if requests is not None]


_UNLIMITED = VendorPolicy("")

PLANS: Mapping[str, Mapping[str, VendorPolicy]] = {
    vendor: {plan: replace(limits, vendor=vendor) for plan, limits in plans.items()}
    for vendor, plans in {
        "coinbase": {"free": VendorPolicy("", per_second=10), "unlimited": _UNLIMITED},
        "oanda": {"free": VendorPolicy("", per_second=100), "unlimited": _UNLIMITED},
        "alpha_vantage": {
            "free": VendorPolicy("", per_second=1, per_day=25),
            "premium": VendorPolicy("", per_minute=75),
            "premium_1200": VendorPolicy("", per_minute=1200),
            "unlimited": _UNLIMITED,
        },
        "alpaca": {
            "free": VendorPolicy("", per_minute=200),
            "paid": VendorPolicy("", per_second=150),
            "unlimited": _UNLIMITED,
        },
        "polygon": {
            "free": VendorPolicy("", per_minute=5),
            "paid": VendorPolicy("", per_second=50),
            "unlimited": _UNLIMITED,
        },
        "yahoo": {"free": VendorPolicy("", per_second=5), "unlimited": _UNLIMITED},
    }.items()
}
"""By vendor and plan. ``unlimited`` is for a proxy, or a double, that limits itself."""


def plan_limits(vendor: str, plan: str) -> VendorPolicy:
    """The limits of a plan, everything else as it is by default.

    Raises:
        InputError: The vendor has no such plan, or there is no such vendor.
    """
    plans = PLANS.get(vendor)
    if plans is None:
        raise InputError(f"no plans are known of {vendor!r}: use one of {', '.join(PLANS)}")
    if plan not in plans:
        raise InputError(f"unknown plan {plan!r} of {vendor}: use one of {', '.join(plans)}")
    return plans[plan]


def vendor_policy(vendor: str, settings: Settings) -> VendorPolicy:
    """How the settings want one of the six vendors to be asked: its plan, retries and bounds."""
    return replace(
        plan_limits(vendor, getattr(settings, f"{vendor}_plan")),
        retry_waits=settings.retry_waits,
        retry_max_wait=settings.retry_max_wait_seconds,
        timeout=settings.http_timeout_seconds,
        max_body=settings.http_max_body_mb << 20,
        breaker_failures=settings.breaker_failures,
        breaker_seconds=settings.breaker_seconds,
        state_dir=settings.http_state_dir,
    )
