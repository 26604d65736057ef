"""The present moment, as the lakehouse sees it.

What has closed, what is late, what is stale: all go by this clock, and by no other. Dagster's own
times (when a run began) and the pauses between two requests are the machine's.
"""

from datetime import UTC, datetime

from ffe_lakehouse.errors import InputError
from ffe_lakehouse.settings import get_settings


def utc_now() -> datetime:
    """The present moment (UTC): the machine's, or the one in ``FFE_CLOCK_FILE``.

    The file is read at every call, so that a rehearsal or a test can move the clock of all
    processes of an installation at once.

    Raises:
        InputError: The file cannot be read, or holds no moment.
    """
    file = get_settings().clock_file
    if file is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(file.read_text().strip())
    except (OSError, ValueError) as error:
        raise InputError(
            f"FFE_CLOCK_FILE={file}: {error}; write a moment such as 2024-01-31T10:00:00Z into it"
        ) from error
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
