"""Sets of features from real distributions on ``sys.path``, the one of the documentation first."""

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ffe_lakehouse import features, schemas
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.features import GROUP, FeatureSet, feature_sets
from ffe_lakehouse.lake import DeltaLakeManager
from ffe_lakehouse.timeframes import TIMEFRAMES
from ffe_lakehouse.transforms.enrichment import enrich
from ffe_lakehouse.transforms.history import history_start
from ffe_lakehouse_tests.conftest import REPOSITORY
from ffe_lakehouse_tests.transforms.series import recorded

HOUR = TIMEFRAMES["1h"]
START, END = datetime(2022, 12, 25, tzinfo=UTC), datetime(2023, 1, 10, tzinfo=UTC)
GOOD = "def calculate(frame):\n    return frame.assign(double=2 * frame['close'])\n"

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a distribution on ``sys.path``: its entry points, and the code of its module."""
    modules = []
    features._feature_set.cache_clear()
    monkeypatch.setattr(schemas, "_PLUGGED", {})

    def install(distribution: str, module: str, code: str, **entry_points: str) -> None:
        folder = tmp_path / distribution
        information = folder / f"{distribution}-1.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8"
        )
        lines = "".join(f"{name} = {value}\n" for name, value in entry_points.items())
        (information / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}", encoding="utf-8")
        (folder / f"{module}.py").write_text(code, encoding="utf-8")
        monkeypatch.syspath_prepend(str(folder))
        modules.append(module)

    yield install
    features._feature_set.cache_clear()
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture
def documented(install: Install) -> FeatureSet:
    """The example of ``docs/features.md``, installed."""
    text = (REPOSITORY / "docs" / "features.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL))
    project = tomllib.loads(files["pyproject.toml"])["project"]
    install(
        project["name"].replace("-", "_"),
        "desk_features",
        files["desk_features.py"],
        **project["entry-points"][GROUP],
    )
    return one("momentum")


def one(name: str) -> FeatureSet:
    (found,) = [each for each in feature_sets() if each.name == name]
    return found


def enriched(folder: Path) -> pa.Table:
    """Real bars of BTCUSD, from as far back as the window needs."""
    bars = recorded(folder, "BTCUSD_1h")
    return enrich(bars, HOUR, history_start(HOUR, START), END)


def test_the_example_of_the_documentation_computes_features_of_real_bars(
    documented: FeatureSet, shared_data: Path, tmp_path: Path
) -> None:
    assert documented.failure == ""
    assert documented.table.name == "silver/features_momentum"
    bars = enriched(shared_data)
    rows = documented.rows(bars, HOUR, START, END)
    assert rows.schema == documented.table.arrow
    assert rows.column_names == [
        *("timestamp", "asset_pair", "timeframe", "momentum_10", "turned", "mood", "is_mock"),
        *("partition_date", "partition_asset_pair", "storage_period"),
    ]
    days = (END - START).days
    assert rows.num_rows == days * 24
    wanted = bars.slice(bars.num_rows - rows.num_rows)
    for name in ("timestamp", "asset_pair", "timeframe", "is_mock", "storage_period"):
        assert rows[name].equals(wanted[name])
    close, atr = (bars[name].to_numpy() for name in ("close", "atr_14"))
    expected = (close[10:] - close[:-10]) / atr[10:]
    assert np.allclose(rows["momentum_10"].to_numpy(), expected[-rows.num_rows :], rtol=1e-12)
    assert set(rows["mood"].to_pylist()) <= {"trend", "range", "volatile"}
    assert 0 < rows["turned"].to_numpy().sum() < rows.num_rows / 2

    lake = DeltaLakeManager(tmp_path / "lake")
    for part in (rows.slice(0, 200), rows):
        lake.merge(documented.table, part)
    stored = lake.table(documented.table.name).to_pyarrow_table()
    assert stored.num_rows == rows.num_rows
    assert lake.table(documented.table.name).metadata().partition_columns == [
        "partition_asset_pair",
        "timeframe",
        "storage_period",
    ]


def test_the_error_that_the_documentation_shows_is_the_one_that_is_raised(
    install: Install,
) -> None:
    ahead = "frame.assign(momentum_10=frame.close.shift(-10) / frame.close - 1)"
    code = f"def f(frame):\n    return {ahead}\n"
    install("desk-features", "desk_features", code, momentum="desk_features:f")
    text = (REPOSITORY / "docs" / "features.md").read_text(encoding="utf-8")
    shown = " ".join(line[2:] for line in text.splitlines() if line.startswith("> "))
    assert one("momentum").failure.startswith(shown.removesuffix(" …"))
    assert shown.endswith("the rows before it: …")


@pytest.mark.parametrize(
    ("code", "value", "reason"),
    [
        ("import nothing_of_that_name", "m:f", "ModuleNotFoundError: No module named"),
        ("raise RuntimeError('no licence')", "m:f", "RuntimeError: no licence"),
        ("", "m:f", "AttributeError: "),
        ("f = 7", "m:f", "'m:f' is no function"),
        ("def f(frame): return frame.nope", "m:f", "it fails on 600 bars: AttributeError"),
        ("def f(frame): return 7", "m:f", "it returns a int: return a pandas.DataFrame"),
        ("def f(frame): return frame", "m:f", "it adds no column"),
        ("def f(frame): return frame[1:]", "m:f", "it returns 599 rows for 600 bars"),
        ("def f(frame): return frame.assign(a=frame.close.shift(-1))", "m:f", "'a' looks ahead"),
    ],
)
def test_a_set_that_cannot_be_used_says_why_and_takes_nothing_down(
    install: Install, code: str, value: str, reason: str
) -> None:
    install("broken", "m", code, broken=value)
    install("fine", "fine_features", GOOD, fine="fine_features:calculate")
    broken, fine = feature_sets()
    assert (broken.name, fine.name) == ("broken", "fine")
    assert (broken.function, fine.failure) == (None, "")
    assert broken.failure.startswith("features 'broken' of broken cannot be used: ")
    assert reason in broken.failure
    assert broken.table.description == broken.failure
    assert broken.table.name == "silver/features_broken"
    bars = pa.table({})
    for use in (broken.usable, lambda: broken.rows(bars, HOUR, START, END)):
        with pytest.raises(InputError) as caught:
            use()
        assert str(caught.value) == broken.failure


def test_two_distributions_may_not_bring_the_same_name(install: Install) -> None:
    install("one", "code_of_one", GOOD, same="code_of_one:calculate")
    install("two", "code_of_two", GOOD, same="code_of_two:calculate")
    (found,) = feature_sets()
    assert "'same' of one and two cannot be used: the name is taken twice" in found.failure


@pytest.mark.parametrize("name", ["Momentum", "2nd", "my-set", "a.b"])
def test_a_name_that_no_table_can_have_is_refused_under_one_that_it_can(
    install: Install, name: str
) -> None:
    install("odd", "odd_code", GOOD, **{name: "odd_code:calculate"})
    (found,) = feature_sets()
    assert f"features {name!r} of odd cannot be used: rename the entry point" in found.failure
    assert re.fullmatch(r"silver/features_[a-z][a-z0-9_]*", found.table.name)


def test_a_function_that_fails_on_real_bars_names_its_set(
    install: Install, shared_data: Path
) -> None:
    code = (
        "def f(frame):\n"
        "    if len(frame) > 700: raise RuntimeError('too many')\n"
        "    return frame.assign(a=frame.close)\n"
    )
    install("shy", "shy_code", code, shy="shy_code:f")
    with pytest.raises(InputError, match=r"^features 'shy': it fails on \d+ bars: RuntimeError"):
        one("shy").rows(enriched(shared_data), HOUR, START, END)


def test_a_set_is_probed_once_a_process(install: Install) -> None:
    counted = (
        "calls = []\ndef f(frame):\n    calls.append(1)\n    return frame.assign(a=frame.close)"
    )
    install("counted", "counted_code", counted, counted="counted_code:f")
    assert feature_sets() == feature_sets()
    calls = len(sys.modules["counted_code"].calls)
    feature_sets()
    assert len(sys.modules["counted_code"].calls) == calls > 1
