"""Progress of a long command: a live display on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts finished units and estimates what remains.

    Args:
        total: Units to do.
        console: Where to show it.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, total: int, console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is shown before ``__enter__``."""
        self.total = total
        self.successful = 0
        self.failed = 0
        self._console = console
        self._clock = clock
        self._begun = clock()
        self._shown_at = self._begun
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Show the end."""
        if self._console.is_terminal:
            self._live.stop()
        self._console.print(self.text())

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._begun

    def update(self, *, successful: int = 0, failed: int = 0) -> None:
        """Count units that have just ended."""
        self.successful += successful
        self.failed += failed
        if self._console.is_terminal:
            self._live.update(Text(self.text()))
        elif self._clock() - self._shown_at >= _SECONDS_BETWEEN_LINES:
            self._shown_at = self._clock()
            self._console.print(self.text())

    def text(self) -> str:
        """The three lines that are shown."""
        done = self.successful + self.failed
        share = done / self.total if self.total else 1.0
        remaining = self.total - done
        left = self.elapsed / done * remaining if done else 0.0
        return (
            f"Progress: {done}/{self.total} ({share:.1%})\n"
            f"Successful: {self.successful} | Failed: {self.failed} | Remaining: {remaining}\n"
            f"Elapsed: {duration(self.elapsed)} | Est. remaining: {duration(left)}"
        )


def duration(seconds: float) -> str:
    """``5m 30s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s"
