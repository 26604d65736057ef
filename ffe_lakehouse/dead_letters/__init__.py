"""Dead letters: the records that were refused, what became of them, and how they become bars.

How a record gets here is decided in ``transforms.validation``; what it looks like as a row stands
in ``schemas.dead_letters``. A letter is never changed or removed: it is *open* until a row of
``schemas.CLOSINGS`` closes it.
"""

from ffe_lakehouse.dead_letters.closings import Action, Closing, close, open_letters, read_closings
from ffe_lakehouse.dead_letters.json_files import export
from ffe_lakehouse.dead_letters.letters import (
    Statistics,
    against_their_day,
    having,
    read_letters,
    statistics,
)
from ffe_lakehouse.dead_letters.records import check_mapping
from ffe_lakehouse.dead_letters.replay import Replayed, Write, replay

__all__ = [
    "Action",
    "Closing",
    "Replayed",
    "Statistics",
    "Write",
    "against_their_day",
    "check_mapping",
    "close",
    "export",
    "having",
    "open_letters",
    "read_closings",
    "read_letters",
    "replay",
    "statistics",
]
