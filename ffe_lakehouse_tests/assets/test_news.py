"""News under real Dagster runs, from vendors on real sockets, on real Delta tables."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import pytest

from ffe_lakehouse.assets.bronze import FAILED as WHY_FAILED
from ffe_lakehouse.assets.metadata import METADATA_ROWS
from ffe_lakehouse.assets.news import news_assets
from ffe_lakehouse.io_manager import DeltaIOManager
from ffe_lakehouse.lake import Where
from ffe_lakehouse.partitions import daily_by_pair, partition_key, table_key
from ffe_lakehouse.providers.news_rows import LETTERS
from ffe_lakehouse.schemas.records import RAW_NEWS_SENTIMENT
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.watermarks import State, partition_states
from ffe_lakehouse_tests.doubles.faults import HTML_PAGE, Body, Fault, TooManyRequests
from ffe_lakehouse_tests.doubles.news import Story, news_double
from ffe_lakehouse_tests.doubles.server import VendorDouble

TABLE, DLQ = table_key(RAW_NEWS_SENTIMENT), table_key(LETTERS)
FIRST, SECOND, THIRD = (date(2024, 3, day) for day in (1, 2, 3))
MIDNIGHT = datetime(2024, 3, 1, tzinfo=UTC)
BITCOIN, ETHER, EURO, DOLLAR = "CRYPTO:BTC", "CRYPTO:ETH", "FOREX:EUR", "FOREX:USD"
COMPLETE, FAILED, NO_DATA = State.COMPLETE, State.FAILED, State.NO_DATA


@pytest.fixture(scope="module")
def double() -> Iterator[VendorDouble]:
    with news_double() as playing:
        yield playing


class Desk:
    """A Dagster instance, a lake, the news asset, vendors, and a clock that a test sets."""

    def __init__(self, instance: dg.DagsterInstance, double: VendorDouble) -> None:
        """An empty lake, where the settings say."""
        self.now = datetime(2024, 6, 1, tzinfo=UTC)
        self.instance = instance
        self.double = double
        self.io = DeltaIOManager(storage_path=get_settings().lake_uri)
        instance.add_dynamic_partitions("asset_pair", ["BTCUSD", "ETHUSD", "EURUSD"])

    def tell(self, *stories: Story, vendor: str = "alpha_vantage") -> None:
        """What the vendor knows from now on."""
        self.double.vendors[vendor].stories = stories

    def fault(self, fault: Fault, ticker: str) -> None:
        """What goes wrong with every question about this ticker."""
        self.double.play(fault, 99, lambda request: request.params.get("tickers") == ticker)

    def run(
        self,
        pairs: tuple[str, str] = ("BTCUSD", "BTCUSD"),
        days: tuple[date, date] = (FIRST, THIRD),
        **config: str,
    ) -> dg.ExecuteInProcessResult:
        """One run over the cross product of both ranges, last ones included."""
        first, last = (partition_key(pairs[n], days[n]) for n in (0, 1))
        return dg.materialize(
            news_assets(lambda: self.now),
            instance=self.instance,
            resources={"io_manager": self.io},
            tags={
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last,
            },
            run_config={"ops": {"raw_news_sentiment": {"config": config}}},
            raise_on_error=False,
        )

    def states(self, pair: str, *days: date) -> list[State]:
        """The state of days of a pair."""
        found = partition_states(self.instance, TABLE, [pair], min(days), max(days), self.now)
        return [found[pair, day] for day in days]

    def metadata(self, key: dg.AssetKey, pair: str, day: date) -> dict[str, Any]:
        """The newest metadata of a partition."""
        partition = partition_key(pair, day)
        records = self.instance.fetch_materializations(key, limit=1000).records
        record = next(each for each in records if each.partition_key == partition)
        assert record.asset_materialization is not None
        return {name: v.value for name, v in record.asset_materialization.metadata.items()}

    def counts(self, pair: str, *days: date) -> list[list[int]]:
        """Fetched, written, unchanged, duplicate, rejected of each day; the sum is checked."""
        told = [self.metadata(TABLE, pair, day) for day in days]
        found = [[int(each[name]) for name in METADATA_ROWS] for each in told]
        assert all(fetched == sum(parts) for fetched, *parts in found)
        return found

    def rows(self, pair: str | None = None, newest: bool = False) -> list[dict[str, Any]]:
        """What the table holds."""
        if not self.io.lake.table_exists(RAW_NEWS_SENTIMENT.name):
            return []
        where = Where((pair,) if pair else None)
        return self.io.lake.read(RAW_NEWS_SENTIMENT.name, where, newest=newest).to_pylist()

    def letters(self) -> list[dict[str, Any]]:
        """All dead letters."""
        return self.io.lake.read(LETTERS.name).to_pylist()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, double: VendorDouble) -> Iterator[Desk]:
    double.reset()
    variables = double.environment | {
        "FFE_HOME": str(tmp_path / "home"),
        "FFE_ALPHA_VANTAGE_PLAN": "unlimited",
        "FFE_POLYGON_PLAN": "unlimited",
        "FFE_HTTP_STATE_DIR": str(tmp_path),
        "FFE_RETRY_WAITS": "0.001,0.001",
        "FFE_BREAKER_FAILURES": "1000000",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    with dg.DagsterInstance.ephemeral() as instance:
        yield Desk(instance, double)
    get_settings.cache_clear()


def story(name: str, hours: float, *tickers: str, score: float = 0.25, **more: Any) -> Story:
    return Story(name, MIDNIGHT + timedelta(hours=hours), dict.fromkeys(tickers, score), more)


def failure(result: dg.ExecuteInProcessResult) -> Any:
    """What the failed step said."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data


def test_a_range_of_pairs_and_days_is_loaded_with_one_request_a_ticker(desk: Desk) -> None:
    desk.tell(
        story("a", 1, BITCOIN, ETHER),
        story("b", 30, BITCOIN, score=-0.5),
        story("c", 31, EURO, DOLLAR),
        story("d", 80, BITCOIN),
    )
    assert desk.run(("BTCUSD", "EURUSD")).success
    asked = Counter(request.params["tickers"] for request in desk.double.requests)
    assert asked == dict.fromkeys((BITCOIN, ETHER, EURO, DOLLAR), 1)
    assert desk.counts("BTCUSD", FIRST, SECOND, THIRD) == [[1, 1, 0, 0, 0]] * 2 + [[0] * 5]
    assert desk.counts("EURUSD", SECOND) == [[2, 2, 0, 0, 0]]
    assert desk.states("BTCUSD", FIRST, SECOND, THIRD) == [COMPLETE, COMPLETE, NO_DATA]
    (a, b) = desk.rows("BTCUSD")
    assert (a["article_id"], a["sentiment_score"]) == ("https://news.example/a", 0.25)
    assert (b["timestamp"], b["sentiment_score"]) == (MIDNIGHT + timedelta(hours=30), -0.5)
    assert [row["ticker"] for row in desk.rows("EURUSD")] == [EURO, DOLLAR]
    told = desk.metadata(TABLE, "BTCUSD", SECOND)
    assert told["source_provider"] == "alpha_vantage"
    assert told["first_timestamp"] == told["last_timestamp"] == b["timestamp"].timestamp()
    assert "Title of b" in told["sample"]


def test_a_second_run_writes_nothing_and_a_revised_article_is_a_second_version(desk: Desk) -> None:
    def version() -> Any:
        record = desk.instance.get_latest_materialization_event(TABLE)
        assert record is not None
        assert record.asset_materialization is not None
        return dict(record.asset_materialization.tags or {})["dagster/data_version"]

    desk.tell(story("a", 1, BITCOIN), story("b", 2, BITCOIN))
    assert desk.run(days=(FIRST, FIRST)).success
    before = version()
    assert desk.run(days=(FIRST, FIRST)).success
    assert desk.counts("BTCUSD", FIRST) == [[2, 0, 2, 0, 0]]
    assert (version(), len(desk.rows())) == (before, 2)
    desk.tell(story("a", 1, BITCOIN), story("b", 2, BITCOIN, score=0.5))
    assert desk.run(days=(FIRST, FIRST)).success
    assert desk.counts("BTCUSD", FIRST) == [[2, 1, 1, 0, 0]]
    assert desk.metadata(TABLE, "BTCUSD", FIRST)["rows_revised"] == 1
    assert len(desk.rows()) == 3
    assert [row["sentiment_score"] for row in desk.rows(newest=True)] == [0.25, 0.5]
    assert version() != before


def test_bad_articles_are_letters_of_their_day_and_are_written_once(desk: Desk) -> None:
    desk.tell(
        story("a", 1, BITCOIN),
        story("again", 2, BITCOIN),
        story("again", 2, BITCOIN),
        story("b", 26, BITCOIN, title=" "),
        story("c", 27, BITCOIN, time_published="soon"),
        story("d", 28, BITCOIN, url="https://news.example/d"),
        story("e", 28, BITCOIN, url="https://news.example/d"),
        story("f", 30, BITCOIN, ticker_sentiment=[{"ticker": "CRYPTO:DOGE"}]),
    )
    for _ in range(2):
        assert desk.run().success
        ((_, *first), second, third) = desk.counts("BTCUSD", FIRST, SECOND, THIRD)
        assert first[2:] == [1, 0]
        assert (second, third) == ([4, 0, 0, 0, 4], [0] * 5)
        assert desk.metadata(TABLE, "BTCUSD", SECOND)["articles_unrelated"] == 1
        letters = desk.metadata(DLQ, "BTCUSD", SECOND)
        assert (letters["rows_fetched"], letters["rows_rejected"]) == (4, 4)
        assert letters["reasons"] == {"missing_field": 1, "bad_time": 1, "conflicting_version": 2}
        assert Counter(
            (row["asset_pair"], row["partition_date"], *row["reasons"]) for row in desk.letters()
        ) == {
            ("BTCUSD", SECOND, "missing_field"): 1,
            ("BTCUSD", SECOND, "bad_time"): 1,
            ("BTCUSD", SECOND, "conflicting_version"): 2,
        }
    assert {row["source"] for row in desk.letters()} == {
        "alpha_vantage: BTCUSD 2024-03-01..2024-03-03"
    }
    assert len(desk.rows()) == 2


def test_a_pair_whose_vendor_fails_fails_alone(desk: Desk) -> None:
    desk.tell(story("a", 1, BITCOIN, EURO))
    desk.fault(TooManyRequests(), ETHER)
    result = desk.run(("BTCUSD", "EURUSD"))
    assert not result.success
    assert desk.states("BTCUSD", FIRST) == desk.states("EURUSD", FIRST) == [COMPLETE]
    assert desk.states("ETHUSD", FIRST, SECOND, THIRD) == [FAILED] * 3
    said = failure(result).user_failure_data
    ((pair, (reason,)),) = said.metadata[WHY_FAILED].value.items()
    assert (pair, len(desk.rows())) == ("ETHUSD", 2)
    assert reason.startswith("2024-03-01..2024-03-03: rate_limited: alpha_vantage: ")
    desk.double.heal()
    assert desk.run(("ETHUSD", "ETHUSD")).success
    assert desk.states("ETHUSD", FIRST) == [NO_DATA]


def test_what_came_before_a_vendor_failed_stays_and_the_bad_answer_is_a_letter(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFE_BATCH_DAYS", "1")
    get_settings.cache_clear()
    desk.tell(*(story(f"s{n}", n / 2, BITCOIN) for n in range(144)))
    desk.double.vendors["alpha_vantage"].longest = 50
    desk.double.play(
        HTML_PAGE, 99, lambda request: request.params.get("time_from", "") >= "20240303"
    )
    try:
        assert not desk.run().success
        assert desk.states("BTCUSD", FIRST, SECOND, THIRD) == [COMPLETE, COMPLETE, FAILED]
        assert desk.counts("BTCUSD", FIRST, SECOND) == [[48, 48, 0, 0, 0]] * 2
        (letter,) = desk.letters()
        assert (letter["reasons"], letter["partition_date"]) == (["unreadable_file"], THIRD)
        assert "no JSON" in letter["detail"]
        desk.double.heal()
        assert desk.run().success
    finally:
        desk.double.vendors["alpha_vantage"].longest = 1000
    assert desk.counts("BTCUSD", FIRST, THIRD) == [[48, 0, 48, 0, 0], [48, 48, 0, 0, 0]]
    assert len(desk.rows()) == 144


@pytest.mark.parametrize("batch_days", ["1", "2", "30"])
def test_in_batches_of_any_length_the_same_rows_are_stored(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, batch_days: str
) -> None:
    monkeypatch.setenv("FFE_BATCH_DAYS", batch_days)
    get_settings.cache_clear()
    desk.tell(*(story(f"s{n}", n * 0.7, BITCOIN) for n in range(102)))
    assert desk.run().success
    assert [row["article_id"].rpartition("/")[2] for row in desk.rows()] == [
        f"s{n}" for n in range(102)
    ]


def test_polygon_is_asked_if_the_config_says_so_and_pages_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    stories = [story(f"s{n}", n / 20, "X:BTCUSD", score=-1) for n in range(1_300)]
    desk.tell(*stories, vendor="polygon")
    assert desk.run(provider="polygon").success
    assert len(desk.double.requests) == 2
    assert sum(counts[1] for counts in desk.counts("BTCUSD", FIRST, SECOND, THIRD)) == 1_300
    rows = desk.rows()
    assert [row["article_id"] for row in rows] == [f"s{n}" for n in range(1_300)]
    assert {(row["sentiment_score"], row["sentiment_label"]) for row in rows} == {
        (-1.0, "negative")
    }


def test_without_a_key_the_run_fails_and_says_how_to_get_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ALPHA_VANTAGE_API_KEY", "POLYGON_API_KEY", "MASSIVE_API_KEY"):
        monkeypatch.delenv(f"FFE_{name}", raising=False)
    get_settings.cache_clear()
    result = desk.run()
    assert not result.success
    assert "FFE_ALPHA_VANTAGE_API_KEY" in str(failure(result))
    assert desk.states("BTCUSD", FIRST) == [FAILED]


def test_another_spelling_of_a_pair_is_refused(desk: Desk) -> None:
    desk.instance.add_dynamic_partitions("asset_pair", ["btc-usd"])
    result = desk.run(("btc-usd", "btc-usd"))
    (reason,) = failure(result).user_failure_data.metadata[WHY_FAILED].value["btc-usd"]
    assert "another spelling of BTCUSD" in reason
    assert desk.rows() == []


def test_without_its_dead_letters_no_news_are_written(desk: Desk) -> None:
    in_the_way = Path(desk.io.storage_path, LETTERS.name)
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("no table can be here")
    desk.tell(story("a", 1, BITCOIN))
    assert not desk.run().success
    assert desk.states("BTCUSD", FIRST) == [FAILED]
    assert desk.rows() == []


def test_the_running_day_is_unfinished_until_it_was_loaded_after_its_end(desk: Desk) -> None:
    desk.tell(story("a", 1, BITCOIN), story("b", 12.01, BITCOIN), story("c", 23, BITCOIN))
    desk.now = MIDNIGHT + timedelta(hours=12, seconds=50)
    assert desk.run(days=(FIRST, FIRST)).success
    assert desk.states("BTCUSD", FIRST) == [State.UNFINISHED]
    told = desk.metadata(TABLE, "BTCUSD", FIRST)
    assert told["asked_until"] == (MIDNIGHT + timedelta(hours=12)).timestamp()
    desk.now = MIDNIGHT + timedelta(days=2)
    assert desk.states("BTCUSD", FIRST) == [State.LATE]
    assert desk.run(days=(FIRST, FIRST)).success
    assert desk.states("BTCUSD", FIRST) == [COMPLETE]
    assert desk.counts("BTCUSD", FIRST) == [[3, 2, 1, 0, 0]]


def test_a_day_that_has_only_just_begun_is_loaded_with_nothing(desk: Desk) -> None:
    desk.now = MIDNIGHT + timedelta(seconds=30)
    assert desk.run(days=(FIRST, FIRST)).success
    assert desk.states("BTCUSD", FIRST) == [State.UNFINISHED]
    assert desk.double.requests == []


def test_what_depends_on_news_goes_on_in_the_same_run(desk: Desk) -> None:
    @dg.asset(
        deps=[TABLE],
        partitions_def=daily_by_pair(),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def downstream() -> None:
        """Does nothing."""

    desk.double.play(Body(orjson.dumps({"items": "0", "feed": []}).decode()))
    key = partition_key("BTCUSD", FIRST)
    result = dg.materialize(
        [*news_assets(lambda: desk.now), downstream],
        instance=desk.instance,
        resources={"io_manager": desk.io},
        partition_key=key,
    )
    assert not [event for event in result.all_events if event.is_step_skipped]
    assert desk.states("BTCUSD", FIRST) == [NO_DATA]
    assert desk.instance.get_materialized_partitions(downstream.key) == {key}
