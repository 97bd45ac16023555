"""Syncs that events have asked for: `cmms.sync_requests`, from the event to the run and its end.

What belongs here: recording a request once per event, and its life. What does not: what a source may start
(`domain.scoped_syncs`), starting runs (`defs.maintenance.requested_syncs`).
"""

import dataclasses
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from cmms_pipelines.domain.events import EQUIPMENT_FIELDS, canonical_number
from cmms_pipelines.domain.scoped_syncs import SyncScope, SyncStart, equipment_of, requested_scopes
from cmms_pipelines.domain.senders.reading import text
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement, Verdict
from cmms_pipelines.storage.tables import equipment, plants, sync_requests

PAGE = 50
_OPEN = ("waiting", "requested", "running")
_WAITS_FOR_SYNC = frozenset({Verdict.APPLIED, Verdict.IGNORED, Verdict.HELD})
_requests = sync_requests.c

_RECORD = sa.text(f"""
    INSERT INTO {sync_requests.fullname} (cmms_system_id, hook_id, sync_type, scope, scope_key)
    SELECT system, hook_id, sync_type, scope, scope_key
    FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS wanted (system text, hook_id uuid, sync_type text, scope jsonb, scope_key text, position bigint)
    ORDER BY position
    ON CONFLICT (hook_id, scope_key) DO NOTHING
""")
_OF_EVENTS = sa.text(f"""
    SELECT hook_id, array_agg(id ORDER BY id) FROM {sync_requests.fullname} WHERE hook_id = ANY(CAST(:ids AS uuid[])) GROUP BY 1
""")
_GROUP = sa.text(f"""
    UPDATE {sync_requests.fullname} AS requests
    SET status = 'requested', lead_id = led.lead
    FROM (
        SELECT scope_key, min(id) AS lead FROM {sync_requests.fullname} WHERE status = 'waiting' GROUP BY 1
    ) AS led
    WHERE requests.status = 'waiting' AND requests.scope_key = led.scope_key
""")


@dataclass(frozen=True)
class OpenRequest:
    """One run that is wanted or going on, for all requests that it leads; `run_id` is None until the run is known."""

    lead_id: int
    scope: SyncScope
    status: str
    run_id: str | None
    requests: int


def apply_sync_requests(
    connection: sa.Connection, events: Sequence[ClaimedEvent], sources: Mapping[str, WebhookSource]
) -> list[Settlement]:
    """Record what events of type `sync_requested` ask for; one of a source that may not is held.

    Rules: `sync_not_allowed` (held), `invalid_payload`, `unknown_plant`.
    """
    if not events:
        return []
    known: set[str] = set(connection.scalars(sa.select(plants.c.plant_code)))
    settlements: list[Settlement] = []
    wanted: list[tuple[ClaimedEvent, SyncScope]] = []
    for event in events:
        scopes = requested_scopes(event.payload)
        if _start_of(event, sources) is None:
            said = "this source may not start syncs: see starts_syncs of its configuration"
            settlements.append(_refused(event, Verdict.HELD, "sync_not_allowed", said))
        elif isinstance(scopes, str):
            settlements.append(_refused(event, Verdict.DEAD, "invalid_payload", scopes))
        elif unknown := sorted({plant for scope in scopes for plant in scope.plants} - known):
            settlements.append(_refused(event, Verdict.DEAD, "unknown_plant", f"there is no plant {', '.join(unknown[:5])}"))
        else:
            wanted += [(event, scope) for scope in scopes]
    recorded = _record(connection, wanted)
    for event in {event.id: event for event, _ in wanted}.values():
        ids, is_new = recorded[event.id]
        settlements.append(Settlement(event, Verdict.APPLIED if is_new else Verdict.IGNORED, {"sync_requests": ids}))
    return settlements


def request_syncs_of_plants(
    connection: sa.Connection, settlements: Sequence[Settlement], sources: Mapping[str, WebhookSource]
) -> list[Settlement]:
    """Record the syncs that asset events start where their source is configured so, also of machines that are not known yet.

    The plant is the one that the event names, else the machine's; the settlements tell which requests were recorded.
    """
    starting = [
        one
        for one in settlements
        if one.verdict in _WAITS_FOR_SYNC and _start_of(one.event, sources) is SyncStart.EQUIPMENT_OF_PLANT
    ]
    if not starting:
        return list(settlements)
    starting.sort(key=lambda one: one.event.sequence)
    plant_of = _plants_of(connection, [one.event for one in starting])
    wanted = [(one.event, equipment_of(plant)) for one in starting if (plant := plant_of.get(one.event.id)) is not None]
    recorded = _record(connection, wanted)
    told = {one.event.id: recorded[one.event.id][0] if one.event.id in recorded else [] for one in starting}
    return [
        dataclasses.replace(one, outcome={**one.outcome, "sync_requests": told[one.event.id]}) if one.event.id in told else one
        for one in settlements
    ]


def group_waiting(connection: sa.Connection) -> None:
    """Put all waiting requests of one scope under one lead, whose run will serve them all."""
    connection.execute(_GROUP)


def has_open(connection: sa.Connection) -> bool:
    """Tell whether any request waits for its run, or for its run's end."""
    return bool(connection.scalar(sa.select(sa.exists().where(_requests.status.in_(_OPEN)))))


def open_requests(connection: sa.Connection) -> list[OpenRequest]:
    """Return the runs that are wanted or going on, the oldest request first."""
    lead = _requests.lead_id
    query = (
        sa.select(lead, _requests.sync_type, _requests.scope, _requests.status, _requests.dagster_run_id, sa.func.count())
        .where(_requests.status.in_(("requested", "running")))
        .group_by(lead, _requests.sync_type, _requests.scope, _requests.status, _requests.dagster_run_id)
        .order_by(lead)
    )
    return [OpenRequest(row[0], SyncScope.of_json(row[1], row[2]), row[3], row[4], row[5]) for row in connection.execute(query)]


def note_run(connection: sa.Connection, lead_id: int, run_id: str) -> None:
    """Enter the run that serves a lead and its others."""
    _change(connection, lead_id, status="running", dagster_run_id=run_id, started_at=sa.func.clock_timestamp())


def note_end(connection: sa.Connection, lead_id: int, status: str, error: str | None = None) -> None:
    """Enter how it ended: `success`, `failed` or `cancelled`."""
    _change(connection, lead_id, status=status, error_message=error, ended_at=sa.func.clock_timestamp())


def list_requests(
    connection: sa.Connection, *, statuses: Collection[str] = (), before: int | None = None, limit: int = PAGE
) -> list[dict[str, Any]]:
    """Return a page of requests, the newest first: those with an id below `before`."""
    query = sa.select(sync_requests).order_by(_requests.id.desc()).limit(limit)
    if statuses:
        query = query.where(_requests.status.in_(list(statuses)))
    if before is not None:
        query = query.where(_requests.id < before)
    return [dict(row) for row in connection.execute(query).mappings()]


def _change(connection: sa.Connection, lead_id: int, **values: object) -> None:
    is_open = sa.and_(_requests.lead_id == lead_id, _requests.status.in_(_OPEN))
    connection.execute(sa.update(sync_requests).where(is_open).values(**values))


def _start_of(event: ClaimedEvent, sources: Mapping[str, WebhookSource]) -> SyncStart | None:
    source = sources.get(event.cmms_system_id)
    if source is None or not source.starts_syncs:
        return None
    return {kind.value: start for kind, start in source.starts_syncs.items()}.get(event.event_type)


def _refused(event: ClaimedEvent, verdict: Verdict, rule: str, said: str) -> Settlement:
    return Settlement(event, verdict, {"rule": rule}, f"{rule}: {said}")


def _record(
    connection: sa.Connection, wanted: Sequence[tuple[ClaimedEvent, SyncScope]]
) -> dict[uuid.UUID, tuple[list[int], bool]]:
    """Return the ids of the requests by the event's id, and whether they are new."""
    if not wanted:
        return {}
    ids = list({event.id: None for event, _ in wanted})
    before = {row[0] for row in connection.execute(_OF_EVENTS, {"ids": ids})}
    rows = [
        {
            "system": event.cmms_system_id,
            "hook_id": str(event.id),
            "sync_type": scope.sync_type,
            "scope": scope.as_json(),
            "scope_key": scope.key(),
            "position": position,
        }
        for position, (event, scope) in enumerate(wanted)
    ]
    connection.execute(_RECORD, {"rows": orjson.dumps(rows).decode()})
    return {row[0]: (list(row[1]), row[0] not in before) for row in connection.execute(_OF_EVENTS, {"ids": ids})}


def _plants_of(connection: sa.Connection, events: Sequence[ClaimedEvent]) -> dict[uuid.UUID, str]:
    said = {event.id: text(event.payload.get("plant_code")) or text(event.payload.get("plant")) for event in events}
    numbers = {
        event.id: next((number for name in EQUIPMENT_FIELDS if (number := canonical_number(event.payload.get(name)))), None)
        for event in events
    }
    codes = sa.select(plants.c.plant_code).where(plants.c.plant_code.in_(set(filter(None, said.values()))))
    known: set[str] = set(connection.scalars(codes))
    machines = (
        sa.select(equipment.c.equipment_number, plants.c.plant_code)
        .join(plants, plants.c.id == equipment.c.plant_id)
        .where(equipment.c.equipment_number.in_(set(filter(None, numbers.values()))))
    )
    plant_of: dict[str | None, str] = {row[0]: row[1] for row in connection.execute(machines)}
    found = {key: code if code in known else plant_of.get(numbers[key]) for key, code in said.items()}
    return {key: code for key, code in found.items() if code is not None}
