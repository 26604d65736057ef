"""URLs taken apart and put together, as far as the policy of ``http`` asks for it."""

from collections.abc import Collection, Mapping
from urllib.parse import quote, unquote_plus, urlencode, urljoin, urlsplit

_SAFE_IN_PATHS = "/%:@!$&'()*+,;=-._~"


def origin(url: str) -> str:
    """Scheme, host and port of an HTTP URL; empty if it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (KeyError, ValueError):
        return ""
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}" if host else ""


def below(base: str, path: str) -> str:
    """``path``, as text, below the URL ``base``: what a URL cannot hold is escaped."""
    return f"{base}/{quote(path.lstrip('/'), safe=_SAFE_IN_PATHS)}"


def with_params(url: str, params: Mapping[str, str | int]) -> str:
    """``url`` with ``params`` behind those that it has."""
    parts = urlsplit(url)
    return parts._replace(query="&".join(filter(None, [parts.query, urlencode(params)]))).geturl()


def without_params(url: str, names: Collection[str]) -> str:
    """``url`` without these parameters and without a fragment; nothing is spelled anew."""
    parts = urlsplit(url)
    kept = [
        part for part in parts.query.split("&") if unquote_plus(part.partition("=")[0]) not in names
    ]
    return parts._replace(query="&".join(kept), fragment="").geturl()


def joined(url: str, link: str) -> str:
    """Where ``link``, found at ``url``, leads; ``link`` itself if that cannot be read."""
    try:
        return urljoin(url, link)
    except ValueError:
        return link


def place(url: str) -> str:
    """Where ``url`` leads, for a message: no user, no query."""
    shown = url.partition("#")[0].partition("?")[0]
    scheme, mark, rest = shown.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
