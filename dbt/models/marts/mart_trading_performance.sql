select asset_pair, date, is_mock, {{ exact_sum('t.net_pnl', over='(partition by d.asset_pair order by d.date)') }} as net_pnl
from {{ ref('pair_days') }} d left join (select asset_pair, date, {{ exact_sum('net_pnl') }} as net_pnl from {{ ref('trades') }} group by all) t using (asset_pair, date)
