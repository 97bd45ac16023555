"""Channels, routes and thresholds of alerts in `cmms.sync_configurations`, with the secrets of channels sealed.

What belongs here: reading and writing the one configuration of sync type `alerts`, and opening the addresses of its channels.
What does not: the model (`domain.alert_configuration`) and what an address means (`notify.channels`). No function here logs,
prints or audits an address.
"""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet
from pydantic import SecretStr, ValidationError

from cmms_pipelines.domain.alert_configuration import AlertConfiguration, Channel
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.storage.configurations import StoredConfiguration, find_configuration, write_configuration

ALERTS = "alerts"
SYSTEM = "cmms"
URL = "url"


def read_alert_configuration(connection: sa.Connection) -> AlertConfiguration:
    """Return the configuration in force; without one, or with an inactive one, the defaults: nothing is sent.

    Raises:
        PermanentError: it was changed by hand into something that is none; the message names the fields.
    """
    found = find_configuration(connection, ALERTS, SYSTEM)
    if found is None or not found.is_active:
        return AlertConfiguration()
    return check_alert_configuration(found.configuration)


def check_alert_configuration(configuration: Mapping[str, Any]) -> AlertConfiguration:
    """Return a configuration as its model.

    Raises:
        PermanentError: it is not usable; the message names the fields, never their values.
    """
    try:
        return AlertConfiguration.model_validate(configuration)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors(include_input=False)
        )
        raise PermanentError(f"The configuration of alerts is not usable: {problems}") from error


def write_alert_configuration(
    connection: sa.Connection, box: MultiFernet, given: Mapping[str, Any], *, actor: str
) -> StoredConfiguration:
    """Store a configuration as people write it, where a channel may have its `url` in clear: it is sealed on the way in.

    A channel that is given by name alone (`{}`) keeps the address that it has.

    Raises:
        PermanentError: it is not usable; nothing is stored.
    """
    before = find_configuration(connection, ALERTS, SYSTEM)
    checked = check_alert_configuration(sealed(given, before.configuration if before else {}, lambda: box))
    configuration = checked.model_dump(mode="json", exclude_defaults=True)
    return write_configuration(connection, SYSTEM, ALERTS, configuration, actor=actor, is_active=True)


def sealed(given: Mapping[str, Any], before: Mapping[str, Any], box: Callable[[], MultiFernet]) -> dict[str, Any]:
    """Return a configuration as it is stored: each `url` in clear sealed, and channels given by name alone as they were."""
    known: Mapping[str, Any] = before.get("channels", {})
    wanted = dict(given)
    if isinstance(channels := wanted.get("channels"), Mapping):
        wanted["channels"] = {name: _sealed(channel, known.get(name), box) for name, channel in channels.items()}
    return wanted


def without_addresses(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored configuration, usable or not, with `sealed` in place of each sealed address."""
    found = dict(configuration)
    if isinstance(channels := found.get("channels"), Mapping):
        found["channels"] = {name: _without_address(channel) for name, channel in channels.items()}
    return found


def shown(configuration: AlertConfiguration) -> dict[str, Any]:
    """Return a configuration for people: whole, and without sealed addresses."""
    found = configuration.model_dump(mode="json")
    for channel in found["channels"].values():
        is_sealed = channel.pop("url_sealed") is not None
        if is_sealed:
            channel.pop("url_env")
            channel[URL] = "sealed"
    return found


def open_address(channel: Channel, box: MultiFernet, environment: Mapping[str, str]) -> SecretStr:
    """Return a channel's address.

    Raises:
        PermanentError: its variable is not set, or it was sealed with another key.
    """
    if channel.url_env is not None:
        value = environment.get(channel.url_env, "")
        if not value:
            raise PermanentError(f"The variable {channel.url_env} is not set.")
        return SecretStr(value)
    try:
        return SecretStr(box.decrypt((channel.url_sealed or "").encode()).decode())
    except InvalidToken as error:
        raise PermanentError("Its address was sealed with another CMMS_SECRET_KEY; configure it again.") from error


def _without_address(channel: object) -> object:
    if not isinstance(channel, Mapping) or channel.get("url_sealed") is None:
        return {name: value for name, value in channel.items() if value is not None} if isinstance(channel, Mapping) else channel
    return {URL: "sealed"}


def _sealed(channel: object, known: object, box: Callable[[], MultiFernet]) -> object:
    if not isinstance(channel, Mapping):
        return channel
    if not channel and known is not None:
        return known
    rest = {name: value for name, value in channel.items() if name != URL}
    if isinstance(address := channel.get(URL), str) and address:
        rest["url_sealed"] = box().encrypt(address.encode()).decode()
    return rest
