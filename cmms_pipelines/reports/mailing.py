"""The daily report to those who want it: a short text, and the page as a file.

What belongs here: which channels, what the message says, and noting what became of it. What does not: the channels' library
(`notify.channels`). Nothing is sent until the alert configuration names channels in its route `report`.
"""

import datetime as dt
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import sqlalchemy as sa

from cmms_pipelines.domain.alert_messages import Message
from cmms_pipelines.domain.alerts import Severity
from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.notify.channels import send
from cmms_pipelines.reports.daily import Daily
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import alert_deliveries
from cmms_pipelines.storage.alert_configuration import open_address, read_alert_configuration
from cmms_pipelines.storage.secrets import secret_box


@dataclass(frozen=True)
class Sent:
    """What became of a report on its way to a channel."""

    channel: str
    error: str | None

    def as_dict(self) -> dict[str, str | None]:
        """Return it as plain values."""
        return asdict(self)


def send_report(engine: sa.Engine, settings: Settings, daily: Daily, page: Path) -> list[Sent]:
    """Send a report to every channel of the route `report`, and log each attempt; a channel that fails stops no other.

    Raises:
        PermanentError: the alert configuration is not usable.
    """
    with engine.connect() as connection:
        configuration = read_alert_configuration(connection)
    if not configuration.routes.report:
        return []
    text, severity = message_of(daily, settings.dagster_address), Severity.INFO if daily.is_complete else Severity.HIGH
    found = []
    for name in configuration.routes.report:
        error = None
        try:
            address = open_address(configuration.channels[name], secret_box(settings), os.environ)
            send(address, text, severity, is_good_news=daily.is_complete, attachment=page)
        except (PermanentError, TransientError) as failure:
            error = str(failure)
        with engine.begin() as connection:
            now = dt.datetime.now(dt.UTC)
            alert_deliveries.note_at_once(connection, name, text, error, now, kind=alert_deliveries.REPORT)
        found.append(Sent(name, error))
    return found


def message_of(daily: Daily, dagster_url: str) -> Message:
    """Return the short text that goes with the page: who reads no further knows whether last night is complete."""
    verdict = "complete" if daily.is_complete else "NOT complete"
    lines = [f"The night to {daily.day:%A, %d %B %Y} is {verdict}."]
    lines += [f"- {problem}" for problem in daily.problems]
    lines += ["", f"Records refused and open: {daily.refused_records:,}."]
    if daily.actions:
        lines += ["", "What to do:", *(f"- {action.why} {action.command}" for action in daily.actions)]
    lines += ["", f"The whole report is attached. Dagster: {dagster_url}"]
    return Message(f"[report] {daily.day.isoformat()}: last night is {verdict}", "\n".join(lines))
