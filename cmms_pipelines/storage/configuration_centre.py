"""The configuration centre: every kind of configuration with one way to read, check, change, compare and take it back.

What belongs here: which kinds there are, and what all of them have in common. What does not: the plain write and versions
(`storage.configurations`), what of the settings is in force (`storage.settings_in_force`), and the models (`domain`).

| kind | stands once for | model |
|---|---|---|
| api, schedules, thresholds | the installation | made of `Settings` |
| mapping | the system that the external API belongs to | made of `Settings` |
| alerts | the installation | `domain.alert_configuration` |
| webhook | a source of events | `domain.webhook_source` |
| conflicts | a system | `domain.conflict_policy` |
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, cast

import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet
from pydantic import BaseModel

from cmms_pipelines.domain.alert_configuration import AlertConfiguration
from cmms_pipelines.domain.configuration_documents import Difference, checked, differences
from cmms_pipelines.domain.conflict_policy import CONFLICTS, ConflictPolicy
from cmms_pipelines.domain.errors import NotFoundError, PermanentError, VersionConflictError
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.alert_configuration import ALERTS, sealed, without_addresses
from cmms_pipelines.storage.configurations import (
    WEBHOOK,
    StoredConfiguration,
    Version,
    find_configuration,
    lock_configuration,
    read_configurations,
    read_versions,
    write_configuration,
)
from cmms_pipelines.storage.settings_in_force import (
    API,
    FIELDS,
    INSTALLATION,
    MAPPING,
    SCHEDULES,
    THRESHOLDS,
    check_settings,
    in_force,
    model_of,
    newest_usable,
    values_of,
)

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of configuration.

    Attributes:
        name: the `sync_type` of its rows.
        about: what it says, in one sentence.
        is_per_system: it stands for each system; else once, under the system `cmms`.
        model: what its documents must be.
    """

    name: str
    about: str
    is_per_system: bool
    model: type[BaseModel]

    def check(self, document: object) -> dict[str, Any]:
        """Return a document as it is stored.

        Raises:
            UnusableDocumentError: it does not fit; the message names the fields.
        """
        if self.name in FIELDS:
            return check_settings(self.name, document)
        found = checked(self.model, document, f"The configuration of {self.name}")
        is_sparse = self.name != WEBHOOK  # a source is kept whole, as it always was
        return found.model_dump(mode="json", exclude_defaults=is_sparse)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind(API, "Where the external API is, how it is asked, and how much is worked on at a time.", False, model_of(API)),
            Kind(SCHEDULES, "The time zone, and when each schedule runs.", False, model_of(SCHEDULES)),
            Kind(MAPPING, "The source's own fields, groups of machines, and where plants come from.", True, model_of(MAPPING)),
            Kind(
                THRESHOLDS,
                "How far back syncs look, how long what is kept, and the limits of checks.",
                False,
                model_of(THRESHOLDS),
            ),
            Kind(ALERTS, "Channels, routes, repeats and thresholds of alerts.", False, AlertConfiguration),
            Kind(WEBHOOK, "A source of events.", True, WebhookSource),
            Kind(CONFLICTS, "How conflicts with a system are decided.", True, ConflictPolicy),
        )
    }
)


@dataclass(frozen=True)
class Shown:
    """A configuration as people see it, without any secret.

    Attributes:
        version: the newest stored one; 0 where nothing is stored.
        version_in_force: the one whose content holds; another one where the newest is not usable or switched off.
        values: by key, the value in force and where it comes from: `environment (VARIABLE)`, `stored version N` or `default`.
        problem: why the newest version is not usable.
    """

    kind: str
    cmms_system_id: str
    version: int
    version_in_force: int
    is_active: bool
    values: Mapping[str, Document]
    problem: str | None


def kind_of(name: str) -> Kind:
    """Return a kind.

    Raises:
        PermanentError: there is none of this name; the message has the nearest one.
    """
    if name in KINDS:
        return KINDS[name]
    near = get_close_matches(name, KINDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(KINDS)}."
    raise PermanentError(f"There is no kind of configuration {name!r}: {hint}")


def stored_in(connection: sa.Connection, kind: Kind) -> list[StoredConfiguration]:
    """Return what is stored of a kind, by system."""
    return read_configurations(connection, kind.name)


def show(connection: sa.Connection, environment: Settings, kind: Kind, system: str) -> Shown:
    """Return a configuration as it is in force."""
    stored = find_configuration(connection, kind.name, system)
    if kind.name in FIELDS:
        found = in_force(connection, kind.name, system)
        values: Mapping[str, Document] = {
            one.key: {"value": one.value, "source": one.origin()} for one in values_of(environment, found)
        }
    else:
        found = newest_usable(connection, kind.name, system, stored, kind.check)
        values = _whole(kind, found.document, found.version)
    version, is_active = (stored.version, stored.is_active) if stored else (0, True)
    return Shown(kind.name, system, version, found.version, is_active, values, found.problem)


def change(
    connection: sa.Connection,
    box: Callable[[], MultiFernet],
    kind: Kind,
    system: str,
    document: object,
    *,
    expected_version: int | None,
    actor: str,
    is_active: bool | None = None,
) -> StoredConfiguration:
    """Store a document as the newest version; an identical one adds none.

    Args:
        box: seals the addresses of channels of alerts, which people write in clear; asked only where there are some.
        expected_version: the version that the caller has seen, 0 where there was none; None takes whatever is there.
        is_active: False switches it off, as if nothing were stored; None leaves that as it is.

    Raises:
        UnusableDocumentError: the document does not fit; nothing is stored.
        VersionConflictError: the configuration is at another version.
        PermanentError: the kind does not stand for this system, or a source that signs has to be created first.
    """
    check_system(kind, system)
    lock_configuration(connection, kind.name, system)
    before = find_configuration(connection, kind.name, system)
    current = before.version if before else 0
    if expected_version is not None and expected_version != current:
        raise VersionConflictError(f"The configuration of {kind.name} for {system} is at version {current} by now.", current)
    if kind.name == ALERTS and isinstance(document, Mapping):
        document = sealed(cast("Document", document), before.configuration if before else {}, box)
    is_on = (before is None or before.is_active) if is_active is None else is_active
    return write_configuration(connection, system, kind.name, kind.check(document), actor=actor, is_active=is_on)


def judge(kind: Kind, document: object, before: Document) -> dict[str, Any]:
    """Return a document as it would be stored in place of `before`, its addresses sealed with a key that nobody has.

    Raises:
        UnusableDocumentError: it does not fit.
    """
    if kind.name == ALERTS and isinstance(document, Mapping):
        document = sealed(cast("Document", document), before, lambda: MultiFernet([Fernet(Fernet.generate_key())]))
    return kind.check(document)


def history(connection: sa.Connection, kind: Kind, system: str) -> list[Version]:
    """Return all versions, the newest first, without any secret.

    Raises:
        NotFoundError: nothing is stored.
    """
    found = read_versions(connection, kind.name, system)
    if not found:
        raise NotFoundError(f"Nothing is stored of {kind.name} for {system}.")
    return [
        Version(one.version, shown_document(kind, one.configuration), one.is_active, one.changed_by, one.changed_at)
        for one in found
    ]


def version_of(connection: sa.Connection, kind: Kind, system: str, version: int) -> Document:
    """Return the content of a version, as it is stored; version 0 is the defaults.

    Raises:
        NotFoundError: there is no such version.
    """
    if version == 0:
        return {}
    found = next((one for one in read_versions(connection, kind.name, system) if one.version == version), None)
    if found is None:
        raise NotFoundError(f"The configuration of {kind.name} for {system} has no version {version}.")
    return found.configuration


def compare(kind: Kind, before: Document, after: Document) -> list[Difference]:
    """Return what two documents of a kind differ in, without any secret."""
    return differences(shown_document(kind, before), shown_document(kind, after))


def rollback(
    connection: sa.Connection, kind: Kind, system: str, to_version: int, *, expected_version: int | None, actor: str
) -> StoredConfiguration:
    """Make an earlier version's content the newest version; version 0 is the defaults.

    Raises:
        NotFoundError: there is no such version.
        VersionConflictError: the configuration is at another version than `expected_version`.
        UnusableDocumentError: the earlier version is not valid any more.
    """
    lock_configuration(connection, kind.name, system)
    stored = find_configuration(connection, kind.name, system)
    if stored is None or (to_version == 0 and kind.name == WEBHOOK):
        raise NotFoundError(f"The configuration of {kind.name} for {system} has no version {to_version}.")
    if expected_version is not None and expected_version != stored.version:
        raise VersionConflictError(
            f"The configuration of {kind.name} for {system} is at version {stored.version} by now.", stored.version
        )
    document = kind.check(version_of(connection, kind, system, to_version))
    was_off = any(one.version == to_version and not one.is_active for one in read_versions(connection, kind.name, system))
    return write_configuration(connection, system, kind.name, document, actor=actor, is_active=not was_off)


def check_system(kind: Kind, system: str) -> None:
    """Refuse a system for which a kind does not stand.

    Raises:
        PermanentError: it stands once for the installation.
    """
    if not kind.is_per_system and system != INSTALLATION:
        raise PermanentError(
            f"The configuration of {kind.name} stands once for the installation, as {INSTALLATION}, not {system}."
        )


def shown_document(kind: Kind, document: Document) -> Document:
    """Return a document without any secret, whether it is usable or not."""
    return without_addresses(document) if kind.name == ALERTS else document


def _whole(kind: Kind, document: Document, version: int) -> Mapping[str, Mapping[str, Any]]:
    """Return each top-level key of a document with its defaults filled in; of a source that does not exist there is none."""
    if kind.name == WEBHOOK and not document:
        return {}
    whole = shown_document(kind, kind.model.model_validate(document).model_dump(mode="json"))
    return {
        key: {"value": value, "source": f"stored version {version}" if key in document else "default"}
        for key, value in whole.items()
    }
