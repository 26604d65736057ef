"""The lake beside a plain list of rows: whatever is done to both, both hold the same."""

import shutil
import tempfile
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ffe_lakehouse.lake import DeltaLakeManager

TABLE = "own/facts"
KEYS = ["asset_pair", "timestamp"]
START = datetime(2025, 1, 1, tzinfo=UTC)

Fact = tuple[str, int]
"""Pair and hour."""
Content = tuple[tuple[Fact, float], ...]
"""Rows of a version, sorted; a key may be there several times."""

PAIRS = st.sampled_from(["BTCUSD", "ETHUSD", "EURUSD"])
FACTS = st.tuples(PAIRS, st.integers(0, 5))
VALUES = st.sampled_from([1.0, 2.0, -0.0, 1e-300, 7.25])
ROWS = st.dictionaries(FACTS, VALUES, min_size=1, max_size=8)


class LakeBesideModel(RuleBasedStateMachine):
    """Append, revise, merge, overwrite, compact, sort, vacuum, restore, travel."""

    @initialize(rows=ROWS)
    def begin(self, rows: dict[Fact, float]) -> None:
        """A table with some rows."""
        self.folder = tempfile.mkdtemp()
        self.lake = DeltaLakeManager(self.folder, durable=False)
        self.lake.create_or_update_table(_table(rows), TABLE, ["asset_pair"])
        self.known: dict[int, Content] = {0: (), 1: tuple(sorted(rows.items()))}
        self.oldest = 0

    def teardown(self) -> None:
        """Delete the lake."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def content(self) -> Content:
        """Rows of the newest version."""
        return self.known[max(self.known)]

    def is_now(self, content: list[tuple[Fact, float]] | Content) -> None:
        """Every version since the last one holds this."""
        for version in range(max(self.known) + 1, self.lake.table(TABLE).version() + 1):
            self.known[version] = tuple(sorted(content))

    def some_version(self, share: float) -> int:
        """A version that can still be read."""
        return self.oldest + round(share * (max(self.known) - self.oldest))

    @rule(rows=ROWS)
    def append(self, rows: dict[Fact, float]) -> None:
        """Add rows, whatever is there."""
        self.lake.create_or_update_table(_table(rows), TABLE)
        self.is_now([*self.content, *rows.items()])

    @rule(rows=ROWS)
    def merge(self, rows: dict[Fact, float]) -> None:
        """Update by key, insert what is new."""
        there = {key for key, _ in self.content}
        self.lake.merge_upsert(_table(rows), TABLE, KEYS)
        updated = [(key, rows.get(key, value)) for key, value in self.content]
        self.is_now([*updated, *(row for row in rows.items() if row[0] not in there)])

    @rule(rows=ROWS)
    def overwrite(self, rows: dict[Fact, float]) -> None:
        """Replace the rows of one pair."""
        pair = next(iter(rows))[0]
        of_pair = {key: value for key, value in rows.items() if key[0] == pair}
        condition = f"asset_pair = '{pair}'"
        self.lake.create_or_update_table(
            _table(of_pair), TABLE, mode="overwrite", filters=condition
        )
        others = [row for row in self.content if row[0][0] != pair]
        self.is_now([*others, *of_pair.items()])

    @rule()
    def compact(self) -> None:
        """Put files together."""
        self.lake.optimize_table(TABLE)
        self.is_now(self.content)

    @rule()
    def sort(self) -> None:
        """Write files anew."""
        self.lake.optimize_table(TABLE, ["timestamp"])
        self.is_now(self.content)

    @rule()
    def vacuum(self) -> None:
        """Forget every version but the newest."""
        newest = self.lake.table(TABLE).version()
        self.lake.vacuum_table(TABLE, 0, allow_short_retention=True)
        self.oldest = newest
        self.is_now(self.content)

    @precondition(lambda self: max(self.known) > self.oldest)
    @rule(share=st.floats(0, 1))
    def restore(self, share: float) -> None:
        """Bring back a version."""
        version = self.some_version(share)
        self.lake.restore_table(TABLE, version=version)
        self.is_now(self.known[version])

    @rule(share=st.floats(0, 1))
    def travel(self, share: float) -> None:
        """Read a version."""
        version = self.some_version(share)
        assert self.read(version=version) == self.known[version]

    @rule(pair=PAIRS, hour=st.integers(0, 5))
    def select(self, pair: str, hour: int) -> None:
        """Read some rows."""
        moment = (START + timedelta(hours=hour)).isoformat()
        found = self.read(filters=[f"asset_pair = '{pair}'", f"timestamp >= '{moment}'"])
        assert found == tuple(
            row for row in self.content if row[0][0] == pair and row[0][1] >= hour
        )

    @invariant()
    def holds_the_same(self) -> None:
        """The newest version is as expected."""
        if hasattr(self, "lake"):
            assert self.read() == self.content

    def read(self, **how: object) -> Content:
        """Rows as the model has them."""
        rows = self.lake.read_table(TABLE, to="arrow", **how)  # type: ignore[arg-type]
        return tuple(
            sorted(
                (
                    (row["asset_pair"], int((row["timestamp"] - START) / timedelta(hours=1))),
                    row["x"],
                )
                for row in rows.to_pylist()
            )
        )


def _hour(moment: datetime) -> int:
    return (moment - START) // timedelta(hours=1)


def _table(rows: dict[Fact, float]) -> pa.Table:
    return pa.table(
        {
            "asset_pair": [pair for pair, _ in rows],
            "timestamp": pa.array(
                [START + timedelta(hours=hour) for _, hour in rows], pa.timestamp("us", "UTC")
            ),
            "x": list(rows.values()),
        }
    )


TestLakeBesideModel = LakeBesideModel.TestCase
TestLakeBesideModel.settings = settings(
    max_examples=20,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
