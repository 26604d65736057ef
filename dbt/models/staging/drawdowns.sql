-- How far the equity of a pair is below its highest, and how deep and how long the deepest of these
-- drawdowns has been.
--
-- An episode begins on a day at the highest equity so far, and ends before the next such day: its days
-- under water are all its others. Episode 0 is that of a pair which loses on its very first day.

with peaks as (
    select
        asset_pair,
        date,
        is_mock,
        equity,
        greatest(initial_capital, max(equity) over so_far) as peak
    from {{ ref('daily_returns') }}
    window so_far as (partition by asset_pair, is_mock order by date rows unbounded preceding)
),

under_water as (
    -- Zero at the peak and nowhere else, and no digit lost near it.
    select *, (equity - peak) / peak as drawdown
    from peaks
),

episodes as (
    select
        *,
        min(drawdown) over so_far as max_drawdown,
        count(*) filter (where drawdown = 0) over so_far as episode
    from under_water
    window so_far as (partition by asset_pair, is_mock order by date rows unbounded preceding)
),

lows as (
    select
        *,
        count(*) filter (where drawdown < 0) over (
            partition by asset_pair, is_mock, episode order by date rows unbounded preceding
        ) as days_under_water,
        drawdown < coalesce(lag(max_drawdown) over (partition by asset_pair, is_mock order by date), 0)
            as is_new_low
    from episodes
),

deepest as (
    select
        *,
        max(episode) filter (where is_new_low) over so_far as deepest_episode
    from lows
    window so_far as (partition by asset_pair, is_mock order by date rows unbounded preceding)
)

select
    asset_pair,
    date,
    drawdown,
    max_drawdown,
    -- The last day of an episode, while it is the deepest so far, knows its length to date.
    coalesce(
        last_value(case when episode = deepest_episode then days_under_water end ignore nulls) over so_far, 0
    ) as max_drawdown_days
from deepest
window so_far as (partition by asset_pair, is_mock order by date rows unbounded preceding)
