"""Alerts to people: a text to a Slack-compatible webhook.

What there is to tell is made elsewhere. The address of a webhook is a secret, since whoever knows
it can post: no message here names any part of it.
"""

from urllib.parse import urlsplit

import orjson
from pydantic import SecretStr

from ffe_lakehouse import __version__
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.providers.base import ProviderError
from ffe_lakehouse.providers.urls import origin

_SETTING = "FFE_ALERT_WEBHOOK_URL"
_SECONDS = 10.0  # one look of a sensor has 60 in all
_MOST_BYTES = 1 << 16


class AlertError(Exception):
    """An alert was not delivered."""


def post(webhook: SecretStr, text: str, seconds: float = _SECONDS) -> None:
    """Post ``text``.

    Args:
        webhook: An address that takes ``{"text": ...}``: Slack, Mattermost, Rocket.Chat, and
            Discord's ``/slack``.
        text: In Slack's markup, as far as that is ``*bold*`` and ``code``; ``&``, ``<`` and ``>``
            mean nothing in it.
        seconds: From the call to the last byte of the answer.

    Raises:
        AlertError: It was not delivered.
        InputError: ``webhook`` is no address.
    """
    # Only who tells somebody waits for them; beside trio, httpcore even starts a process.
    import httpcore

    from ffe_lakehouse.providers.transport import Transport

    url = webhook.get_secret_value()
    at = origin(url)
    if not at or not url.isascii() or not url.isprintable() or " " in url:
        raise InputError(
            f"{_SETTING} is no address that can be posted to: write http:// or https://, a host"
            " and a path, as the webhook's page shows it"
        )
    body = orjson.dumps({"text": _escaped(text)})
    request = httpcore.Request(
        "POST",
        url,
        headers={
            "host": urlsplit(url).netloc.rpartition("@")[2],
            "user-agent": f"ffe-lakehouse/{__version__}",
            "content-type": "application/json",
            "content-length": str(len(body)),
        },
        content=body,
    )
    transport = Transport("the alert webhook", at, timeout=seconds, max_body=_MOST_BYTES)
    try:
        status = transport.send(request).status
    except ProviderError as error:
        # A certificate's error names the host, and that may be as good as the address.
        told = str(error).replace(at, _SETTING).replace(urlsplit(at).hostname or at, "***")
        failure = AlertError(told)
    else:
        if 200 <= status < 300:
            return
        failure = AlertError(
            f"the alert webhook answered with status {status}; check {_SETTING}, and whether the"
            " webhook still exists"
        )
    finally:
        transport.close()
    # Out here, the exception has no context that could tell the address.
    raise failure


def _escaped(text: str) -> str:
    """Slack would read ``<!channel>`` in a vendor's error as an order."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
