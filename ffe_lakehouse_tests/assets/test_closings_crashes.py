"""A run that closes letters is broken off at every place where it could be, and done again."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import dagster as dg
import pytest
from pydantic import PrivateAttr

from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse_tests.dead_letters.desk import SWAPPED, Desk, write_file

MANAGER = sys.modules[DeltaLakeManager.__module__].__file__
TOUCHES = ("table_exists", "read", "table", "append", "append_if_changed")


class GoneError(OSError):
    """The lake cannot be reached any more."""


class BreakingLake(DeltaLakeManager):
    """A lake that is there for so many calls, and then no more."""

    calls_left = 0
    is_deadly = False

    def __getattribute__(self, name: str) -> Any:
        """Count the calls from outside; what the manager itself calls goes uncounted."""
        if name in TOUCHES and sys._getframe(1).f_code.co_filename != MANAGER:
            if self.calls_left == 0:
                if self.is_deadly:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise GoneError
            self.calls_left -= 1
        return super().__getattribute__(name)


class BreakingIO(DeltaIOManager):
    """The IO manager of such a lake."""

    calls: int
    is_deadly: bool = False
    _breaking: BreakingLake | None = PrivateAttr(default=None)

    @property
    def lake(self) -> DeltaLakeManager:
        """The lake that breaks."""
        if self._breaking is None:
            self._breaking = BreakingLake(self.storage_path)
            self._breaking.calls_left = self.calls
            self._breaking.is_deadly = self.is_deadly
        return self._breaking


def open_desk(home: Path) -> Desk:
    """An installation in ``home``; what is there is taken over."""
    os.environ["FFE_HOME"] = str(home)
    get_settings.cache_clear()
    (home / "dagster").mkdir(parents=True, exist_ok=True)
    return Desk(dg.DagsterInstance.local_temp(str(home / "dagster")), home.parent)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of an installation with twenty bars and a hundred letters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FFE_HOME", "")
        patch.setenv("FFE_MAX_REJECT_RATIO", "1")
        folder = tmp_path_factory.mktemp("loaded")
        write_file(folder, swapped=100)
        desk = open_desk(folder / "home")
        assert desk.load()
        desk.instance.dispose()
        yield folder / "home"
        get_settings.cache_clear()


@pytest.fixture
def desk_of_its_own(loaded: Path, tmp_path: Path) -> Iterator[Callable[[str], Desk]]:
    """Makes copies of that installation."""
    opened: list[Desk] = []

    def make(name: str) -> Desk:
        shutil.copytree(loaded, tmp_path / name / "home")
        opened.append(open_desk(tmp_path / name / "home"))
        return opened[-1]

    yield make
    for desk in opened:
        desk.instance.dispose()


def check_the_end(desk: Desk) -> None:
    """A hundred letters became a hundred bars, once each, and everything that is said is true."""
    assert len(desk.bars()) == len(set(desk.bars())) == 120
    closed = [closing["letter_id"] for closing in desk.closings()]
    assert len(closed) == len(set(closed)) == 100
    assert desk.open().num_rows == 0
    assert desk.broken() == []
    assert {known.version for known in desk.known()} == {"holes:24:files"}
    assert {desk.told("letters", day)["open_letters"] for day in _days(desk)} == {0}


def _days(desk: Desk) -> set[Any]:
    return set(desk.letters()["partition_date"].to_pylist())


@pytest.mark.slow
def test_a_run_that_loses_the_lake_at_any_moment_is_made_good_by_the_next_one(
    desk_of_its_own: Callable[[str], Desk],
) -> None:
    ends = set()
    for calls in range(40):
        desk = desk_of_its_own(str(calls))
        usual, desk.io = desk.io, BreakingIO(storage_path=desk.io.storage_path, calls=calls)
        succeeded = desk.close(mapping=SWAPPED, timeframes=["1h"])
        desk.io = usual
        bars, closings = len(desk.bars()), len(desk.closings())
        ends.add((bars, closings, succeeded))
        assert desk.close(mapping=SWAPPED)
        check_the_end(desk)
        if succeeded:
            break
    # Broken off before the bars, or between bars and closings, or not at all: and nothing else.
    assert ends == {(20, 0, False), (120, 0, False), (120, 100, True)}


KILLED = """
import sys
from pathlib import Path
from ffe_lakehouse_tests.assets.test_closings_crashes import BreakingIO, open_desk
from ffe_lakehouse_tests.dead_letters.desk import SWAPPED
desk = open_desk(Path(sys.argv[1]))
path = desk.io.storage_path
desk.io = BreakingIO(storage_path=path, calls=int(sys.argv[2]), is_deadly=True)
desk.close(mapping=SWAPPED, timeframes=["1h"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("calls", [3, 4, 7], ids=["before bars", "after bars", "before closings"])
def test_a_run_that_is_killed_is_made_good_by_the_next_one(
    desk_of_its_own: Callable[[str], Desk], calls: int
) -> None:
    desk = desk_of_its_own("killed")
    home = os.environ["FFE_HOME"]
    done = subprocess.run(  # noqa: S603 - fixed command
        [sys.executable, "-c", KILLED, home, str(calls)], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert desk.closings() == []
    assert desk.close(mapping=SWAPPED)
    check_the_end(desk)


def test_two_runs_at_once_close_each_letter_once_and_write_each_bar_once(
    desk_of_its_own: Callable[[str], Desk],
) -> None:
    desk = desk_of_its_own("shared")
    both = Barrier(2)

    def close(number: int) -> bool:
        mine = open_desk(Path(os.environ["FFE_HOME"]))
        both.wait()
        done = mine.close(mapping=SWAPPED, by=str(number))
        mine.instance.dispose()
        return done

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(close, range(2)))
    check_the_end(desk)
