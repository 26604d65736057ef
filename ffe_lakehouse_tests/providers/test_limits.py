"""Plans: the numbers of each vendor, and how the settings reach the policy."""

from pathlib import Path
from typing import get_args

import pytest

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.limiter import Rate
from ffe_lakehouse.providers.limits import PLANS, VendorPolicy, plan_limits, vendor_policy
from ffe_lakehouse.settings import Settings


@pytest.mark.parametrize(
    ("vendor", "plan", "rates"),
    [
        ("coinbase", "free", [Rate(10, 1.0)]),
        ("oanda", "free", [Rate(100, 1.0)]),
        ("alpha_vantage", "free", [Rate(1, 1.0), Rate(25, 86_400.0)]),
        ("alpha_vantage", "premium", [Rate(75, 60.0)]),
        ("alpaca", "free", [Rate(200, 60.0)]),
        ("alpaca", "paid", [Rate(150, 1.0)]),
        ("polygon", "free", [Rate(5, 60.0)]),
        ("polygon", "paid", [Rate(50, 1.0)]),
        ("yahoo", "free", [Rate(5, 1.0)]),
    ],
)
def test_a_plan_has_the_numbers_of_its_vendor(vendor: str, plan: str, rates: list[Rate]) -> None:
    assert plan_limits(vendor, plan).rates == rates


@pytest.mark.parametrize("vendor", PLANS)
def test_the_settings_allow_exactly_the_plans_of_a_vendor(vendor: str) -> None:
    setting = Settings.model_fields[f"{vendor}_plan"]
    assert get_args(setting.annotation) == tuple(PLANS[vendor])
    assert setting.default == "free"
    assert plan_limits(vendor, "unlimited") == VendorPolicy(vendor)
    assert not plan_limits(vendor, "unlimited").rates


def test_an_unknown_plan_or_vendor_names_the_known_ones() -> None:
    with pytest.raises(
        InputError, match=r"unknown plan 'gold' of alpaca: use one of free, paid, unlimited"
    ):
        plan_limits("alpaca", "gold")
    with pytest.raises(InputError, match=r"of 'acme': use one of coinbase, oanda, "):
        plan_limits("acme", "free")


def test_the_defaults_of_the_settings_are_those_of_the_policy() -> None:
    assert vendor_policy("yahoo", Settings(_env_file=None)) == VendorPolicy("yahoo", per_second=5)


def test_every_setting_reaches_the_policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {
        "POLYGON_PLAN": "paid",
        "RETRY_WAITS": "1,2.5",
        "RETRY_MAX_WAIT_SECONDS": "7",
        "HTTP_TIMEOUT_SECONDS": "3",
        "HTTP_MAX_BODY_MB": "1",
        "HTTP_STATE_DIR": str(tmp_path),
        "BREAKER_FAILURES": "2",
        "BREAKER_SECONDS": "9",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"FFE_{name}", value)
    assert vendor_policy("polygon", Settings(_env_file=None)) == VendorPolicy(
        "polygon",
        per_second=50,
        retry_waits=(1.0, 2.5),
        retry_max_wait=7.0,
        timeout=3.0,
        max_body=1 << 20,
        state_dir=tmp_path,
        breaker_failures=2,
        breaker_seconds=9.0,
    )


def test_no_text_means_no_new_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFE_RETRY_WAITS", "")
    assert Settings(_env_file=None).retry_waits == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALPACA_PLAN", "gold"),
        ("RETRY_WAITS", "5,soon"),
        ("RETRY_WAITS", "5,-1"),
        ("MAX_IN_FLIGHT", "0"),
        ("HTTP_TIMEOUT_SECONDS", "0"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_and_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FFE_{name}", value)
    with pytest.raises(ValueError, match=name.lower()):
        Settings(_env_file=None)
