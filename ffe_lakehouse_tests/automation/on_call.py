"""Who is called when something is wrong with an installation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import dagster as dg

from ffe_lakehouse.automation.alert_sensors import alert_sensors
from ffe_lakehouse_tests.automation.conftest import FRIDAY, Lakehouse, Open
from ffe_lakehouse_tests.monitoring.webhook import Webhook

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@dataclass
class OnCall:
    """Who is called: the sensors of a lakehouse, and what they post."""

    lakehouse: Lakehouse
    webhook: Webhook
    jobs: tuple[dg.JobDefinition, ...] = ()
    cursors: dict[str, str | None] = field(default_factory=dict)
    reported: list[dg.AssetCheckEvaluation] = field(default_factory=list)
    page: dict[str, str] = field(default_factory=dict)
    """What the page of each sensor shows of its last look."""

    def look(self) -> list[str]:
        """Let both sensors look once; returns what is posted."""
        before = len(self.webhook.texts)
        for sensor in alert_sensors():
            with dg.build_sensor_context(
                self.lakehouse.instance,
                self.cursors.get(sensor.name),
                definitions=dg.Definitions(jobs=self.jobs),
            ) as context:
                result = sensor.evaluate_tick(context)
            assert not result.run_requests
            self.cursors[sensor.name] = result.cursor
            self.page[sensor.name] = str(result.skip_message)
            self.reported += result.asset_events  # type: ignore[arg-type] - no other is reported
        return self.webhook.texts[before:]

    def after(self, pause: timedelta) -> list[str]:
        """Put the clock forward, and look."""
        self.lakehouse.move(pause)
        return self.look()

    def load(self) -> None:
        """Load what is due, as the daemon does, until nothing is."""
        while self.lakehouse.tick():
            pass

    @classmethod
    def opened(
        cls, installation: Open, webhook: Webhook, now: datetime = FRIDAY, **settings: object
    ) -> "OnCall":
        """Of a new installation with a webhook."""
        settings = {"look_back_days": 1, "alert_webhook_url": webhook.url, **settings}
        return cls(installation(now=now, **settings), webhook)


def job(name: str, why: str | None = None) -> dg.JobDefinition:
    """A job whose one step fails, if it is said why."""

    @dg.op(name=f"{name}_step")
    def step() -> None:
        if why:
            raise RuntimeError(why)

    @dg.job(name=name)
    def made() -> None:
        step()

    return made


Opened = Callable[..., OnCall]
