"""How conflicts with each system are decided: `cmms.sync_configurations` of sync type `conflicts`, versioned and audited.

What belongs here: reading, changing and rolling back. What does not: the model (`domain.conflict_policy`), the plain write
(`storage.configurations`), and reading all of them for a merge (`storage.conflict_records`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from cmms_pipelines.domain.conflict_policy import CONFLICTS, DEFAULT_POLICY, ConflictPolicy
from cmms_pipelines.domain.errors import NotFoundError, PermanentError, VersionConflictError
from cmms_pipelines.storage.configurations import (
    Version,
    lock_configuration,
    read_configurations,
    read_versions,
    write_configuration,
)


@dataclass(frozen=True)
class SystemPolicy:
    """The policy of a system; version 0 is the default one, which no configuration has changed."""

    cmms_system_id: str
    policy: ConflictPolicy
    version: int


def list_policies(connection: sa.Connection) -> list[SystemPolicy]:
    """Return the policies that are configured, by system."""
    return [
        _policy(stored.cmms_system_id, stored.configuration, stored.version)
        for stored in read_configurations(connection, CONFLICTS)
    ]


def find_policy(connection: sa.Connection, cmms_system_id: str) -> SystemPolicy:
    """Return the policy that decides conflicts with a system: its own, else the default one."""
    found = read_configurations(connection, CONFLICTS, cmms_system_id)
    if not found:
        return SystemPolicy(cmms_system_id, DEFAULT_POLICY, 0)
    return _policy(cmms_system_id, found[0].configuration, found[0].version)


def change_policy(
    connection: sa.Connection, cmms_system_id: str, policy: ConflictPolicy, *, expected_version: int | None, actor: str
) -> SystemPolicy:
    """Make a policy the one of a system; an identical write adds no version.

    Conflicts that wait are judged by it when one of their sides says something next.

    Raises:
        VersionConflictError: it is at another version than `expected_version` (0: none yet; None takes whatever is there).
        PermanentError: `cmms_system_id` is no name of a system.
    """
    lock_configuration(connection, CONFLICTS, cmms_system_id)
    current = find_policy(connection, cmms_system_id).version
    if expected_version is not None and current != expected_version:
        raise VersionConflictError(f"The policy of {cmms_system_id!r} is at version {current} by now.", current)
    document = policy.model_dump(mode="json", exclude_defaults=True)
    stored = write_configuration(connection, cmms_system_id, CONFLICTS, document, actor=actor)
    return _policy(cmms_system_id, stored.configuration, stored.version)


def policy_history(connection: sa.Connection, cmms_system_id: str) -> list[Version]:
    """Return all versions of a system's policy, the newest first; none for one that follows the default."""
    return read_versions(connection, CONFLICTS, cmms_system_id)


def rollback_policy(
    connection: sa.Connection, cmms_system_id: str, to_version: int, *, expected_version: int | None, actor: str
) -> SystemPolicy:
    """Make an earlier version's content the newest version; version 0 is the default policy.

    Raises:
        NotFoundError: there is no such version.
        VersionConflictError: the policy is at another version than `expected_version`.
        PermanentError: the earlier version is not valid any more.
    """
    found = next((one for one in policy_history(connection, cmms_system_id) if one.version == to_version), None)
    if found is None and to_version != 0:
        raise NotFoundError(f"The policy of {cmms_system_id!r} has no version {to_version}.")
    policy = DEFAULT_POLICY if found is None else read_policy(found.configuration)
    return change_policy(connection, cmms_system_id, policy, expected_version=expected_version, actor=actor)


def read_policy(configuration: Mapping[str, Any]) -> ConflictPolicy:
    """Read a policy as it is stored or written by hand.

    Raises:
        PermanentError: it is none; the message names the fields.
    """
    try:
        return ConflictPolicy.model_validate(configuration)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise PermanentError(f"A policy of conflicts is not usable: {problems}") from error


def _policy(cmms_system_id: str, configuration: Mapping[str, Any], version: int) -> SystemPolicy:
    return SystemPolicy(cmms_system_id, read_policy(configuration), version)
