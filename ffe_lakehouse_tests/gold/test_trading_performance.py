from ffe_lakehouse_tests.gold_lake import GoldLake


def test_it_works(gold: GoldLake) -> None:
    gold.trade(0.5, 10.0)
    gold.trade(2.5, -3.0)
    gold.bar(0, "trend", 1)
    gold.decision(1)
    gold.voice(1, "d0", "qwen")
    gold.snapshot(0.2, [])
    rows = gold.build("mart_trading_performance", last=4)
    assert [row["net_pnl"] for row in rows] == [10, 10, 7, 7, 7]
    rows = gold.build("mart_trading_performance", last=5, first=3, write=False)
    assert [row["net_pnl"] for row in rows] == [10, 10, 7, 7, 7, 7]
    gold.build("mart_daily_portfolio_summary", last=5, first=3)
