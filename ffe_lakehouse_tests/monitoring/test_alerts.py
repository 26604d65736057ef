"""An alert goes to a webhook, or says why not; its address is told to nobody."""

import json
import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.monitoring.alerts import AlertError, post
from ffe_lakehouse_tests.monitoring.webhook import PATH, Webhook, serving


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with serving() as hook:
        yield hook


def failure(url: str, seconds: float = 10.0) -> str:
    """What is told when an alert is not delivered."""
    with pytest.raises(AlertError) as caught:
        post(SecretStr(url), "text", seconds)
    assert caught.value.__context__ is None
    return str(caught.value)


def test_a_text_is_posted_as_slack_wants_it(webhook: Webhook) -> None:
    post(SecretStr(webhook.url), "🔴 *Stale*: BTCUSD\n→ `ffe backfill`")
    ((path, headers, body),) = webhook.posted
    assert path == PATH
    assert headers["content-type"] == "application/json"
    assert headers["host"] in webhook.url
    assert json.loads(body) == {"text": "🔴 *Stale*: BTCUSD\n→ `ffe backfill`"}


def test_an_error_of_a_vendor_calls_nobody(webhook: Webhook) -> None:
    post(SecretStr(webhook.url), "<!channel> & <@U0>")
    assert webhook.texts == ["&lt;!channel&gt; &amp; &lt;@U0&gt;"]


@pytest.mark.parametrize("status", [201, 204])
def test_every_answer_of_success_is_one(webhook: Webhook, status: int) -> None:
    webhook.status, webhook.body = status, b""
    post(SecretStr(webhook.url), "text")


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
def test_a_refusal_is_told_with_its_status(webhook: Webhook, status: int) -> None:
    webhook.status, webhook.body = status, webhook.url.encode()
    assert f"answered with status {status}" in failure(webhook.url)


def test_a_redirect_is_not_followed(webhook: Webhook) -> None:
    webhook.status, webhook.location = 302, webhook.url
    assert "answered with status 302" in failure(webhook.url)
    assert len(webhook.posted) == 1


def test_a_webhook_that_hangs_is_given_up(webhook: Webhook) -> None:
    webhook.go_on.clear()
    begun = time.monotonic()
    assert "did not answer within 0.3 s" in failure(webhook.url, 0.3)
    assert time.monotonic() - begun > 0.2


def test_an_answer_without_an_end_is_given_up(webhook: Webhook) -> None:
    webhook.body = b"x" * (1 << 20)
    assert "sent more than" in failure(webhook.url)


def test_no_connection_is_told_without_the_address() -> None:
    with serving() as hook:
        url = hook.url
    told = failure(url)
    assert "cannot be reached" in told
    assert "FFE_ALERT_WEBHOOK_URL" in told
    assert url not in told
    assert "SECRET" not in told
    assert "127.0.0.1" not in told


@pytest.mark.parametrize(
    "url",
    [
        "hooks.example.com/SECRET",
        "ftp://hooks.example.com/SECRET",
        "http:///SECRET",
        "http://hooks.example.com:SECRET/",
        "http://hooks.example.com/SECRÉT",
        "http://hooks.example.com/SECRET\nx",
        "http://hooks.example.com/SEC RET",
    ],
)
def test_what_is_no_address_is_refused_without_naming_it(url: str) -> None:
    with pytest.raises(InputError, match="FFE_ALERT_WEBHOOK_URL") as caught:
        post(SecretStr(url), "text")
    assert "SEC" not in str(caught.value)
    assert caught.value.__context__ is None


def test_nothing_is_logged_of_the_address(
    webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    post(SecretStr(webhook.url), "text")
    webhook.status = 500
    failure(webhook.url)
    assert "SECRET" not in caplog.text
