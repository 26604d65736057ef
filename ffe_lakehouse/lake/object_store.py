"""Lakes on object storage: which options delta-rs needs, and what its errors mean.

Of S3, where delta-rs 1.6 falls short of what AWS's own clients do by themselves: with an endpoint
of one's own it looks for keys in two variables only; it reads neither region nor endpoint of a
profile; it refuses ``http://``; and it takes the session token of the environment to keys that were
given. Azure and Google Cloud are reached as delta-rs does it.
"""

import os
import re
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path

from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from ffe_lakehouse.errors import InputError


def storage_options(address: str, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """What delta-rs is to be told of the object store at ``address``.

    Args:
        address: Root of the lake; for all but ``s3://`` the options stay as they are.
        given: Options of delta-rs, in any of its spellings. They win over the environment, the
            environment wins over the profile (``AWS_PROFILE`` of ``~/.aws/config``).

    Raises:
        InputError: An option that delta-rs would overlook, or one that lets writers overwrite
            each other's commits.
    """
    options = dict(given or {})
    if not address.startswith("s3://"):
        return options
    told = {_plain(name): value for name, value in options.items()}
    if "profile" in told:
        raise InputError(
            f"the storage option AWS_PROFILE={told['profile']} has no effect:"
            " set AWS_PROFILE in the environment"
        )
    if told.get("conditional_put", "etag") != "etag":
        raise InputError(
            f"the storage option aws_conditional_put={told['conditional_put']} would let writers"
            " overwrite each other's commits: leave it out"
        )
    options["aws_conditional_put"] = "etag"  # Also if the environment says something else.
    profile = _profile()
    endpoint = (
        told.get("endpoint")
        or told.get("endpoint_url")
        or told.get("endpoint_url_s3")
        or _environment("ENDPOINT_URL_S3", "ENDPOINT_URL", "ENDPOINT")
        or profile.get("endpoint_url")
    )
    if endpoint:
        # Of the two the second wins, and that of the environment over the first one given here.
        options |= {"aws_endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
        if endpoint.startswith("http://") and "allow_http" not in told:
            options["aws_allow_http"] = "true"
    region = _environment("REGION", "DEFAULT_REGION") or profile.get("region")
    if region and not {"region", "default_region"} & set(told):
        options["aws_region"] = region
    if "access_key_id" in told:
        options.setdefault("aws_session_token", told.get("session_token") or told.get("token", ""))
    elif "skip_signature" not in told and not _environment("ACCESS_KEY_ID"):
        options["aws_force_credential_load"] = "true"  # Profile, role, web identity, container.
    return options


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Have errors of the object store say what they mean, and what to do.

    Args:
        place: Address of the lake or the table that is worked on; errors of local disk stay as
            they are.

    Raises:
        OSError: The object store refuses, is not there, or there is no such bucket.
    """
    try:
        yield
    except (TableNotFoundError, CommitFailedError):
        raise  # Said by the table, not by its store.
    except (OSError, DeltaError) as error:
        if "://" not in place or isinstance(error.__cause__, (OSError, DeltaError)):
            raise
        cause = " ".join(re.sub(r"\x1b\[\d*m|↳", " ", str(error)).split())
        way_out = _way_out(cause)
        if way_out is None:
            raise
        raise OSError(f"{place}: {way_out}. ({cause})") from error


_REFUSED = (
    "the object store refuses these credentials, or they may not do this here:"
    " look at the keys, the profile or the role (docs/object-storage.md)"
)
_WAYS_OUT = (
    ("ExpiredToken", "the credentials have expired: get new ones"),
    ("NoSuchBucket", "there is no such bucket: make it, or correct FFE_STORAGE_PATH"),
    ("ContainerNotFound", "there is no such container: make it, or correct FFE_STORAGE_PATH"),
    (
        "credential",
        "no credentials are found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    ),
    ("IMDS", "no credentials are found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ("169.254.169.254", "no credentials are found: set them, or give the machine a role"),
    ("403 Forbidden", _REFUSED),
    ("Access Denied", _REFUSED),
    ("AccessDenied", _REFUSED),
    ("401 Unauthorized", _REFUSED),
    ("lacked the necessary privileges", _REFUSED),
    ("SlowDown", "the object store asks for fewer requests: try again later, with fewer writers"),
    ("error sending request", "the object store cannot be reached: look at its endpoint"),
    ("301 Moved Permanently", "the bucket is in another region: set AWS_REGION to it"),
    ("URL scheme is not allowed", "http:// is not allowed: set AWS_ALLOW_HTTP=true"),
    ("Server returned", "the object store does not do what it is asked; try again later"),
)


def _way_out(cause: str) -> str | None:
    return next((way_out for sign, way_out in _WAYS_OUT if sign in cause), None)


def _plain(name: str) -> str:
    return name.lower().removeprefix("aws_")


def _environment(*names: str) -> str | None:
    return next((value for name in names if (value := os.environ.get(f"AWS_{name}"))), None)


def _profile() -> dict[str, str]:
    """Region and the like of the profile that counts."""
    given = os.environ.get("AWS_CONFIG_FILE")
    path = Path(given) if given else Path.home() / ".aws" / "config"
    name = os.environ.get("AWS_PROFILE") or "default"
    file = ConfigParser(interpolation=None, default_section="")
    file.read(path.expanduser())
    for section in (f"profile {name}", name):
        if file.has_section(section):
            return dict(file[section])
    return {}
