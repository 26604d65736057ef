"""What the lake tells of its days, and that it never tells more than was."""

import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe_lakehouse.calendars import expected_bars
from ffe_lakehouse.ingestion import Ingestion
from ffe_lakehouse.io_manager import commit_info
from ffe_lakehouse.lake import DeltaLakeManager, Where
from ffe_lakehouse.partitions import PairDays, day_start
from ffe_lakehouse.providers.simulated import SimulatedProvider
from ffe_lakehouse.recollection import Finality, Recollection, Sources, recollect
from ffe_lakehouse.schemas import CANDLE_GAPS, CLOSINGS, TIMESTAMP, TableSchema, raw_candles
from ffe_lakehouse.settings import SimulatedFaults, get_settings
from ffe_lakehouse.symbols import parse_symbol
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.watermarks import data_version
from ffe_lakehouse_tests.builders import bars

DAY = timedelta(days=1)
FRIDAY = date(2024, 3, 1)
NOON = datetime(2024, 3, 11, 12, tzinfo=UTC)
FOUR = TIMEFRAMES["4h"]
UNTOLD, OPEN, HOLES, CLOSED = Finality
CLOSED_AS = {"open": OPEN, "holes": HOLES, "closed": CLOSED}


class Loader:
    """Loads days into a lake, and knows what Dagster would have been told of each."""

    def __init__(self, folder: Path, pair: str = "BTCUSD") -> None:
        """Into an empty lake."""
        self.lake, self.pair = DeltaLakeManager(folder), pair
        self.versions: dict[date, str] = {}
        self.generation = 0

    def write(self, schema: TableSchema, rows: pa.Table, where: Where) -> object:
        """As the IO manager does it in a run."""
        commit = commit_info("run", schema.name, where)
        return self.lake.append_if_changed(schema, rows, where, commit)

    def load(self, first: date, last: date, now: datetime, **faults: float) -> None:
        """Load days (both included) as Bronze does, with the faults of the simulated vendor."""
        self.generation += 1
        ingestion = Ingestion(
            provider=SimulatedProvider(0, SimulatedFaults(**faults), self.generation),
            timeframe=FOUR,
            batch_days=3,
            max_reject_ratio=0.3,
            run_id="run",
            write=self.write,  # type: ignore[arg-type] # it returns what the lake returns
            clock=lambda: now,
        )
        for found in ingestion.days(PairDays(self.pair, first, last)):
            for report in filter(lambda report: not report.refused, found):
                before = self.versions.get(report.day, "")
                self.versions[report.day] = data_version(
                    report.day,
                    now,
                    report.versions,
                    report.vendors,
                    look_again=report.missing > 0 and not before.startswith(("closed", "holes")),
                )

    def recollect(self, now: datetime) -> dict[date, Finality]:
        """What is told of every day."""
        found = self.whole(now)
        if found is None:
            return {}
        return dict(zip(found.days.tolist(), map(Finality, found.finality.tolist()), strict=True))

    def whole(self, now: datetime) -> Recollection | None:
        """All that is told."""
        return recollect(Sources(self.lake, FOUR, now), self.pair)


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path)


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


shares = st.sampled_from([0.0, 0.2, 0.6])
loads = st.lists(
    st.tuples(
        st.integers(0, 9),  # first day
        st.integers(1, 6),  # how many
        st.integers(0, 24 * 12),  # hours since the first day began
        shares,  # gaps
        shares,  # bad rows
        shares,  # revisions
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=40)
@given(pair=st.sampled_from(["BTCUSD", "EURUSD"]), planned=loads, later=st.integers(0, 48))
def test_no_day_is_told_to_be_more_final_than_it_was(
    pair: str, planned: list[tuple[int, int, int, float, float, float]], later: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        loader, now = Loader(Path(folder), pair), day_start(FRIDAY)
        for first, count, hours, gaps, bad_rows, revisions in sorted(planned, key=itemgetter(2)):
            now = day_start(FRIDAY) + timedelta(hours=hours)
            begin = FRIDAY + first * DAY
            last = min(begin + (count - 1) * DAY, now.date())
            if begin <= last:
                loader.load(begin, last, now, gaps=gaps, bad_rows=bad_rows, revisions=revisions)
        now += timedelta(hours=later)
        there = set()
        if loader.lake.table_exists(raw_candles(FOUR).name):
            times = loader.lake.read(raw_candles(FOUR).name, columns=["timestamp"])
            there = set(times["timestamp"].to_numpy().astype("M8[us]").tolist())
        for day, finality in loader.recollect(now).items():
            was = CLOSED_AS.get(loader.versions.get(day, "").partition(":")[0], UNTOLD)
            expected = expected_bars(
                parse_symbol(pair), FOUR, day_start(day), day_start(day + DAY)
            ).tolist()
            if not set(expected) <= there:
                assert finality <= was, (day, finality, was)


def test_a_day_of_which_all_is_there_is_closed_and_the_running_one_open(loader: Loader) -> None:
    loader.load(NOON.date() - 2 * DAY, NOON.date(), NOON)
    assert list(loader.recollect(NOON).values()) == [CLOSED, CLOSED, OPEN]
    found = loader.whole(NOON)
    assert found is not None
    assert found.asked_until[-1] == np.datetime64("2024-03-11T12:00")
    assert found.missing.tolist() == [0, 0, 0]
    assert found.expected.tolist() == [6, 6, 3]


def test_a_day_that_has_not_settled_stays_open(loader: Loader) -> None:
    midnight = day_start(NOON.date())
    loader.load(NOON.date() - DAY, NOON.date() - DAY, midnight)
    assert list(loader.recollect(midnight + timedelta(minutes=14)).values()) == [OPEN, UNTOLD]


def test_a_day_that_was_left_in_the_middle_stays_open_however_late_it_is(loader: Loader) -> None:
    loader.load(NOON.date(), NOON.date(), NOON)
    assert loader.recollect(NOON + 5 * DAY)[NOON.date()] is OPEN


def test_holes_are_closed_by_a_second_look_that_left_a_trace(loader: Loader) -> None:
    first, last = NOON.date() - 3 * DAY, NOON.date() - DAY
    loader.load(first, last, NOON, gaps=0.5)
    assert set(loader.recollect(NOON).values()) == {HOLES, UNTOLD}
    loader.load(first, last, NOON + timedelta(hours=1), gaps=0.5, revisions=1.0)
    assert set(list(loader.recollect(NOON + timedelta(hours=1)).values())[:3]) == {CLOSED}


def test_a_second_look_that_left_no_trace_is_known_from_the_table_of_gaps(loader: Loader) -> None:
    day = NOON.date() - DAY
    loader.load(day, day, NOON, gaps=0.5)
    found = loader.whole(NOON)
    assert found is not None
    missing = int(found.missing[0])
    assert missing
    gaps(loader, day, "vendor_has_none", missing - 1)
    assert loader.recollect(NOON)[day] is HOLES
    gaps(loader, day, "vendor_has_none", missing)
    assert loader.recollect(NOON)[day] is CLOSED
    gaps(loader, day, "not_fetched", 1)
    assert loader.recollect(NOON)[day] is HOLES


def gaps(loader: Loader, day: date, kind: str, count: int) -> None:
    """Add a gap to the table of gaps; each has a key of its own."""
    rows = pa.table(
        {
            "asset_pair": [loader.pair],
            "timeframe": [FOUR.code],
            "first": pa.array([day_start(day) + timedelta(minutes=count)], TIMESTAMP),
            "last": pa.array([day_start(day)], TIMESTAMP),
            "bars": [count],
            "class": [kind],
            "found_at": pa.array([NOON], TIMESTAMP),
            "partition_date": [day],
            "partition_asset_pair": [loader.pair],
            "storage_period": ["2024"],
        }
    ).cast(CANDLE_GAPS.arrow)
    where = Where((loader.pair,), day_start(day), day_start(day + DAY))
    if kind == "vendor_has_none":
        loader.lake.overwrite(CANDLE_GAPS, rows, where)
    else:
        loader.lake.merge(CANDLE_GAPS, rows)


def test_days_without_a_bar_are_known_by_the_commit_that_covers_them(loader: Loader) -> None:
    # A listing in the middle of the first batch of three days.
    bronze, first = raw_candles(FOUR), FRIDAY
    rows = bars(loader.pair, day_start(first + DAY), 6, "4h", known=NOON)
    loader.write(bronze, rows, Where((loader.pair,), day_start(first), day_start(first + 3 * DAY)))
    known = loader.recollect(NOON)
    assert [known[first + n * DAY] for n in range(4)] == [HOLES, CLOSED, HOLES, UNTOLD]


def test_what_was_written_before_a_restore_proves_nothing_beyond_its_bars(loader: Loader) -> None:
    bronze, first = raw_candles(FOUR), FRIDAY
    where = Where((loader.pair,), day_start(first), day_start(first + 3 * DAY))
    loader.write(bronze, bars(loader.pair, day_start(first + DAY), 6, "4h", known=NOON), where)
    version = loader.lake.table(bronze.name).version()
    loader.write(bronze, bars(loader.pair, day_start(first), 6, "4h", known=NOON), where)
    loader.lake.table(bronze.name).restore(version)
    loader.lake = DeltaLakeManager(loader.lake.storage_path)
    known = loader.recollect(NOON)
    assert set(known) == {first + n * DAY for n in range(1, 11)}
    assert [known[first + n * DAY] for n in (1, 2)] == [CLOSED, UNTOLD]


def test_a_bar_that_was_a_dead_letter_is_no_proof_that_a_vendor_was_asked(loader: Loader) -> None:
    bronze, day = raw_candles(FOUR), NOON.date() - DAY
    where = Where((loader.pair,), day_start(day), day_start(day + DAY))
    loader.write(bronze, bars(loader.pair, day_start(day), 2, "4h", known=NOON - DAY), where)
    replayed = NOON - timedelta(hours=1)
    later = bars(loader.pair, day_start(day) + timedelta(hours=8), 1, "4h", known=replayed)
    loader.write(bronze, later, where)
    assert loader.recollect(NOON)[day] is HOLES
    closing = {
        "letter_id": "1",
        "timeframe": FOUR.code,
        "asset_pair": loader.pair,
        "action": "replayed",
        "closed_by": "me",
        "why": "",
        "closed_at": replayed,
        "run_id": "run",
        "partition_date": day,
        "partition_asset_pair": loader.pair,
        "storage_period": "2024",
    }
    loader.lake.append(CLOSINGS, pa.Table.from_pylist([closing], CLOSINGS.arrow))
    assert loader.recollect(NOON)[day] is OPEN


def test_a_closed_weekend_is_known_by_its_neighbours_and_not_without_them(
    tmp_path: Path,
) -> None:
    forex = Loader(tmp_path, "EURUSD")
    forex.load(FRIDAY, FRIDAY, day_start(FRIDAY) + 25 * timedelta(hours=1))
    saturday, monday = FRIDAY + DAY, FRIDAY + 3 * DAY
    assert forex.recollect(day_start(saturday + DAY) + timedelta(hours=9))[saturday] is CLOSED
    assert forex.recollect(day_start(monday) + timedelta(hours=9))[saturday] is UNTOLD
    forex.load(monday - DAY, monday, NOON)
    assert forex.recollect(NOON)[saturday] is CLOSED


def test_the_vendor_that_answered_last_is_named(loader: Loader) -> None:
    bronze, day = raw_candles(FOUR), FRIDAY
    where = Where((loader.pair,), day_start(day), day_start(day + DAY))
    for hours, vendor in ((0, "coinbase"), (1, "oanda")):
        known = NOON + timedelta(hours=hours)
        rows = bars(loader.pair, day_start(day), 6, "4h", known=known, provider=vendor)
        loader.write(bronze, rows, where)
    found = loader.whole(NOON + DAY)
    assert found is not None
    assert found.vendors[0] == ("oanda",)
    assert found.rows[0] == 12
    assert found.missing[0] == 0
