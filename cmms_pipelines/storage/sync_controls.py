"""What operators tell all syncs at once: pause and resume, and stop.

What belongs here: the flags, who set them and why, and their trail in the audit log. What does not: obeying them
(`sync.control`), and ending Dagster's runs (`defs.operations`).

A pause holds until it is lifted. A stop is a moment: it ends every sync that began before it and none that begins after.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cmms_pipelines.storage.tables import audit_log, sync_controls

PAUSE, STOP = "pause", "stop"


@dataclass(frozen=True)
class Control:
    """A flag that is set: by whom, why, since when."""

    changed_by: str
    reason: str | None
    changed_at: datetime

    def __str__(self) -> str:
        since = self.changed_at.isoformat(sep=" ", timespec="seconds")
        return f"by {self.changed_by} since {since}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Controls:
    """The flags that are set now."""

    pause: Control | None
    stop: Control | None


def read_controls(connection: sa.Connection) -> Controls:
    """Return what operators have told the syncs."""
    table = sync_controls.c
    rows = connection.execute(sa.select(table.name, table.changed_by, table.reason, table.changed_at).where(table.is_set)).all()
    found = {row.name: Control(row.changed_by, row.reason, row.changed_at) for row in rows}
    return Controls(found.get(PAUSE), found.get(STOP))


def pause(connection: sa.Connection, *, actor: str, reason: str | None, run_id: str | None = None) -> bool:
    """Hold all syncs; False if they are held already (the newer reason is kept then)."""
    return _change(connection, PAUSE, True, actor=actor, reason=reason, run_id=run_id)


def resume(connection: sa.Connection, *, actor: str, reason: str | None = None, run_id: str | None = None) -> bool:
    """Let syncs go on; False if nothing held them."""
    return _change(connection, PAUSE, False, actor=actor, reason=reason, run_id=run_id)


def stop(connection: sa.Connection, *, actor: str, reason: str | None, run_id: str | None = None) -> None:
    """End every sync that has begun by now."""
    _change(connection, STOP, True, actor=actor, reason=reason, run_id=run_id)


def _change(connection: sa.Connection, name: str, is_set: bool, *, actor: str, reason: str | None, run_id: str | None) -> bool:
    before = connection.scalar(sa.select(sync_controls.c.is_set).where(sync_controls.c.name == name).with_for_update())
    values = {"is_set": is_set, "reason": reason, "changed_by": actor, "changed_at": sa.func.clock_timestamp()}
    statement = insert(sync_controls).values(name=name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
    action = {(PAUSE, True): "syncs_paused", (PAUSE, False): "syncs_resumed", (STOP, True): "syncs_stopped"}[name, is_set]
    connection.execute(
        sa.insert(audit_log).values(
            actor=actor, action=action, entity_type="sync_control", entity_key=name, reason=reason, dagster_run_id=run_id
        )
    )
    return bool(before) != is_set
