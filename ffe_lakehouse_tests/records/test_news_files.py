"""News that somebody kept as a file: a vendor's answer, as it came."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ffe_lakehouse.records import files_below
from ffe_lakehouse_tests.records.desk import LONG_AGO, Desk, counts, decision, trade

TABLE = "bronze/raw_news_sentiment"


def article(number: int, **changes: object) -> dict[str, object]:
    """An article of Alpha Vantage about bitcoin."""
    return {
        "title": f"title {number}",
        "url": f"https://news.example/{number}",
        "time_published": "20260102T030405",
        "summary": "s",
        "source": "paper",
        "topics": [{"topic": "Blockchain", "relevance_score": "0.5"}],
        "overall_sentiment_score": 0.1,
        "overall_sentiment_label": "Neutral",
        "ticker_sentiment": [
            {
                "ticker": "CRYPTO:BTC",
                "relevance_score": "0.7",
                "ticker_sentiment_score": "0.2",
                "ticker_sentiment_label": "Somewhat-Bullish",
            }
        ],
    } | changes


def test_the_mentions_of_the_universe_become_rows_once(desk: Desk) -> None:
    desk.pairs = ["BTCUSD"]
    other = article(3, ticker_sentiment=[])
    desk.put("news/a.json", {"feed": [article(1), article(2), article(2), other]})
    loaded = desk.load()["raw_news_sentiment"]
    assert counts(loaded) == (2, 0, 1, 0)
    assert loaded.unrelated == 1
    assert [row["ticker"] for row in desk.rows(TABLE)] == ["CRYPTO:BTC", "CRYPTO:BTC"]
    assert {row["source_provider"] for row in desk.rows(TABLE)} == {"alpha_vantage"}
    assert counts(desk.load()["raw_news_sentiment"]) == (0, 2, 1, 0)


def test_each_refused_mention_is_a_letter_of_its_own(desk: Desk) -> None:
    desk.pairs = ["BTCUSD", "BTCEUR"]
    desk.put("news/a.json", {"feed": [article(1, time_published="soon")]})
    loaded = desk.load()["raw_news_sentiment"]
    assert counts(loaded) == (0, 0, 0, 2)
    assert loaded.new_letters == 2
    assert {letter["asset_pair"] for letter in desk.rows("dlq/raw_news_sentiment")} == set(
        desk.pairs
    )


def test_an_article_that_moves_to_another_day_is_told_of_on_both(desk: Desk) -> None:
    desk.pairs = ["BTCUSD"]
    desk.put("news/a.json", {"feed": [article(1)]})
    desk.load()
    moved = article(1, time_published="20260105T000000")
    desk.put("news/a.json", {"feed": [moved]}, LONG_AGO + 60)
    loaded = desk.load()["raw_news_sentiment"]
    assert counts(loaded) == (1, 0, 0, 0)
    assert sorted(str(day) for _, day in loaded.days) == ["2026-01-02", "2026-01-05"]
    assert counts(desk.load()["raw_news_sentiment"]) == (0, 1, 0, 0)
    # At another time it is another fact; what is known of that stays known.
    desk.put("news/a.json", {"feed": [article(1)]}, desk.now.timestamp() + 60)
    assert counts(desk.load()["raw_news_sentiment"]) == (0, 1, 0, 0)


def test_a_file_that_is_no_news_is_a_letter(desk: Desk) -> None:
    desk.put("news/a.json", {"Information": "call frequency"})
    assert counts(desk.load()["raw_news_sentiment"]) == (0, 0, 0, 1)
    (letter,) = desk.rows("dlq/raw_news_sentiment")
    assert letter["reasons"] == ["unreadable_file"]
    assert json.loads(letter["record"]) == {"Information": "call frequency"}


def test_recorded_answers_of_both_vendors_are_understood(desk: Desk, shared_data: Path) -> None:
    desk.pairs, desk.now = ["AAPL", "NFLX"], datetime(2026, 6, 1, tzinfo=UTC)
    wire = shared_data / "wire"
    (path,) = (wire / "alpha_vantage_recorded" / "intelligence").glob("NEWS_SENTIMENT_*.json")
    desk.put("news/alpha_vantage.json", path.read_bytes())
    path = wire / "polygon" / "mocks" / "v2" / "reference" / "news&ticker=NFLX.json"
    desk.put("news/polygon.json", path.read_bytes())
    loaded = desk.load()["raw_news_sentiment"]
    assert loaded.fetched == sum(counts(loaded))
    assert {row["source_provider"] for row in desk.rows(TABLE)} == {"alpha_vantage", "polygon"}
    assert counts(desk.load()["raw_news_sentiment"])[0] == 0


def test_a_refused_version_is_not_stored_by_its_repetition(desk: Desk) -> None:
    desk.pairs = ["BTCUSD"]
    one, other = article(1), article(1, title="another title")
    desk.put("news/a.json", {"feed": [one, other, one]})
    loaded = desk.load()["raw_news_sentiment"]
    assert counts(loaded) == (0, 0, 0, 3)
    assert loaded.new_letters == 2


@pytest.mark.parametrize(
    "answer", [{"status": "OK", "count": 0}, {"Information": "No articles found."}]
)
def test_an_honest_answer_without_articles_is_no_letter(
    desk: Desk, answer: dict[str, object]
) -> None:
    desk.put("news/a.json", answer)
    loaded = desk.load().get("raw_news_sentiment")
    assert loaded is None or counts(loaded) == (0, 0, 0, 0)


def test_files_in_hidden_folders_are_left_alone(desk: Desk) -> None:
    desk.put("decisions/.ipynb_checkpoints/x.json", [decision()])
    desk.put("decisions/2026/x.json", [decision()])
    assert [file.name for file in files_below(desk.landing)] == ["decisions/2026/x.json"]


def test_an_entry_of_the_year_one_is_refused(desk: Desk) -> None:
    desk.put("trade_outcomes/a.jsonl", [trade(entry_time="0001-01-01T00:00:00Z")])
    loaded = desk.load()["raw_trade_executions"]
    assert counts(loaded) == (0, 0, 0, 1)
    assert loaded.reasons == {"bad_time": 1}
