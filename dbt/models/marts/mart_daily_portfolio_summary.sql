select calendar.date, 1.0 as x
from {{ source('ffe','calendar') }} as calendar
where exists (select 1 from {{ source('bronze','raw_portfolio_snapshots') }} where partition_date <= calendar.date)
