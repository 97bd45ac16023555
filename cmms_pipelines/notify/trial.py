"""A trial message to channels, here and now: does each of them reach somebody?"""

import datetime as dt
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from cryptography.fernet import MultiFernet

from cmms_pipelines.domain.alert_messages import trial_message
from cmms_pipelines.domain.alerts import Severity
from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.notify.channels import described, send
from cmms_pipelines.storage import alert_deliveries
from cmms_pipelines.storage.alert_configuration import open_address, read_alert_configuration


def try_channels(
    engine: sa.Engine,
    box: MultiFernet,
    environment: Mapping[str, str],
    *,
    channels: Sequence[str],
    now: dt.datetime,
    dagster_url: str,
) -> list[dict[str, object]]:
    """Send a trial to each channel, all of them unless `channels` names some, and log it like any delivery.

    Returns:
        by channel: `channel`, `service`, `severities` that lead to it, `is_delivered`, `error`.

    Raises:
        PermanentError: a channel that is named does not exist.
    """
    with engine.connect() as connection:
        configuration = read_alert_configuration(connection)
    unknown = sorted(set(channels) - set(configuration.channels))
    if unknown:
        raise PermanentError(
            f"There is no channel {', '.join(unknown)}; there are: {', '.join(configuration.channels) or 'none'}."
        )
    rows: list[dict[str, object]] = []
    for name in channels or configuration.channels:
        text, where, error = trial_message(name, now, dagster_url), "", None
        try:
            address = open_address(configuration.channels[name], box, environment)
            where = described(address)
            send(address, text, Severity.INFO)
        except (PermanentError, TransientError) as failure:
            error = str(failure)
        with engine.begin() as connection:
            alert_deliveries.note_at_once(connection, name, text, error, now)
        severities = [severity.value for severity in Severity if name in configuration.routes.of(severity)]
        rows.append({"channel": name, "service": where, "severities": severities, "is_delivered": error is None, "error": error})
    return rows
