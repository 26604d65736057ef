"""``run_failure_sensor`` and ``sla_sensor``: someone is told when the lakehouse is not current.

What is wrong is found out anew at every look (``troubles``). A cursor holds which incidents were
told, so that each is told once when it begins and once when it is over; a telling that failed is
made up for at the next look.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from itertools import chain

import dagster as dg
from pydantic import BaseModel

from ffe_lakehouse.automation.due import live_pairs
from ffe_lakehouse.automation.freshness import Judged, allowed, evaluation, judge
from ffe_lakehouse.automation.troubles import (
    failed_jobs,
    failing_pairs,
    late_pipeline,
    stale_pairs,
)
from ffe_lakehouse.clock import utc_now
from ffe_lakehouse.errors import InputError
from ffe_lakehouse.monitoring.alerts import AlertError, post
from ffe_lakehouse.monitoring.freshness import watched_since
from ffe_lakehouse.monitoring.incidents import Incident, Key, Told, changes, in_words
from ffe_lakehouse.settings import get_settings
from ffe_lakehouse.timeframes import TIMEFRAMES, Timeframe

_REPORT_AGAIN = timedelta(minutes=10)
"""An unchanged result of the check ``fresh`` is reported anew so seldom: each is kept for ever."""


class _Memory(BaseModel):
    """The cursor of a sensor."""

    told: Told = {}


class _SlaMemory(_Memory):
    """Of ``sla_sensor``.

    Attributes:
        began: First look at which there was a live pair: of earlier days nothing was expected.
        looked: Last look.
        watched: Since when each live pair has been looked at without a break.
        reported: Last report of the check ``fresh`` by timeframe: whether it passed, and when.
    """

    began: datetime | None = None
    looked: datetime | None = None
    watched: dict[str, datetime] = {}
    reported: dict[str, tuple[bool, datetime]] = {}

    def look(self, pairs: Collection[str], now: datetime) -> set[str]:
        """Note a look at the live ``pairs``; which of them had the time to be loaded since."""
        pause = allowed() + 2 * timedelta(seconds=get_settings().sensor_seconds)
        self.watched = watched_since(self.watched, self.looked, pairs, now, pause)
        self.looked = now
        self.began = self.began or (now if pairs else None)
        return {pair for pair, since in self.watched.items() if now - since >= allowed()}

    def is_news(self, timeframe: Timeframe, passed: bool, now: datetime) -> bool:
        """Whether the result of the check ``fresh`` is to be reported; noted, if so."""
        before, at = self.reported.get(timeframe.code, (None, now))
        if before is passed and now - at < _REPORT_AGAIN:
            return False
        self.reported[timeframe.code] = passed, now
        return True


def alert_sensors(clock: Callable[[], datetime] = utc_now) -> list[dg.SensorDefinition]:
    """The sensors that tell people.

    Args:
        clock: The present moment (UTC).
    """

    @dg.sensor(
        minimum_interval_seconds=get_settings().sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells when days of the look-back, or a job, failed, and when they no longer"
        " do.",
    )
    def run_failure_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        memory, now = _Memory.model_validate_json(context.cursor or "{}"), clock()
        live = live_pairs(context.instance, get_settings())
        present, undecided = failing_pairs(context.instance, live, now)
        jobs = context.repository_def.job_names if context.repository_def else []
        present += failed_jobs(context.instance, jobs)
        memory.told = _tell(context, memory.told, present, undecided, now)
        return dg.SensorResult(cursor=memory.model_dump_json(), skip_reason=_open(memory.told))

    @dg.sensor(
        minimum_interval_seconds=get_settings().sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells when the daily pipeline is late or a live pair is stale while its market"
        " is open, and reports the check `fresh` of the Bronze tables.",
    )
    def sla_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        memory, now = _SlaMemory.model_validate_json(context.cursor or "{}"), clock()
        instance = context.instance
        live = live_pairs(instance, get_settings())
        ripe = memory.look([each.pair for each in live], now)
        judged = {each: judge(instance, live, each, now) for each in TIMEFRAMES.values()}
        of_pair: dict[str, list[Judged]] = {each.pair: [] for each in live}
        for each in chain.from_iterable(judged.values()):
            if each.pair in ripe:
                of_pair[each.pair].append(each)
        present, undecided = stale_pairs(instance, of_pair, now)
        if memory.began is not None:
            present += late_pipeline(instance, memory.began, now)
        memory.told = _tell(context, memory.told, present, undecided, now)
        results = [(timeframe, evaluation(timeframe, group)) for timeframe, group in judged.items()]
        reports = [result for each, result in results if memory.is_news(each, result.passed, now)]
        return dg.SensorResult(
            cursor=memory.model_dump_json(),
            skip_reason=_open(memory.told),
            asset_events=reports,
        )

    return [run_failure_sensor, sla_sensor]


def _tell(
    context: dg.SensorEvaluationContext,
    told: Told,
    present: Iterable[Incident],
    undecided: Collection[Key],
    now: datetime,
) -> Told:
    """Tell what changed: to the log, and to the webhook if there is one.

    Returns:
        What has been told by now: as before, if the webhook did not take it.
    """
    settings, found = get_settings(), changes(told, present, undecided)
    text = in_words(found, settings.lake_uri, now)
    if not text:
        return found.told
    context.log.warning(text)
    if settings.alert_webhook_url is not None:
        try:
            post(settings.alert_webhook_url, text)
        except (AlertError, InputError) as error:
            again = f"Not told; it is tried again at the next look: {error}"
            context.log.error(again)  # noqa: TRY400 - the message says it all, without the address
            return told
    return found.told


def _open(told: Told) -> str:
    """What the page of the sensor shows of a look."""
    counts = [f"{title} ({len(subjects)})" for title, subjects in told.items()]
    return f"Open incidents: {', '.join(counts) or 'none'}."
