"""Which sync may touch what: the claims that keep two syncs of overlapping scope apart, wherever they run.

What belongs here: opening a sync's log together with its claim, who stands in its way, and closing what died. What does not:
how long one waits (`sync.control`) and what a sync does.

A claim counts while its sync holds a session lock (the class below and the number of its log) on a connection of its own,
so that it dies with its holder, however that ends. Claims are served in the order of their logs: nobody is overtaken for ever.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.domain.reports import SyncStatus
from cmms_pipelines.storage.sync_log import SyncLog, insert_log
from cmms_pipelines.storage.tables import api_sync_logs, sync_claims

_CLASS = 0x63737963  # of the locks; the drains of the inbox have another
_ENTRANCE = 0  # a lock that is held while a claim is made, so that claims come to exist in the order of their numbers

_KILLED = "The process was killed and could not close its log. What it had done is kept; a retry does the rest."

_HELD = f"""
    SELECT objid::bigint FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = {_CLASS}
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_IN_THE_WAY = sa.text(f"""
    SELECT log.id, log.sync_type, log.scope, log.dagster_run_id
    FROM {sync_claims.fullname} mine
    JOIN {sync_claims.fullname} other ON other.sync_type = mine.sync_type AND other.sync_log_id <> mine.sync_log_id
    JOIN {api_sync_logs.fullname} log ON log.id = other.sync_log_id
    WHERE mine.sync_log_id = :id
      AND (other.sync_log_id < mine.sync_log_id OR :is_any)
      AND coalesce(other.plant_codes && mine.plant_codes, true)
      AND coalesce(daterange(other.first_day, other.last_day, '[]') && daterange(mine.first_day, mine.last_day, '[]'), true)
      AND other.sync_log_id & {0x7FFFFFFF} IN ({_HELD})
    ORDER BY log.id
""")
_LIVING = sa.text(f"""
    SELECT id, sync_type, scope, dagster_run_id FROM {api_sync_logs.fullname}
    WHERE status = 'running' AND id & {0x7FFFFFFF} IN ({_HELD}) ORDER BY id
""")
_DEAD = sa.text(f"""
    SELECT id FROM {api_sync_logs.fullname} WHERE status = 'running' AND id & {0x7FFFFFFF} NOT IN ({_HELD}) FOR UPDATE SKIP LOCKED
""")


@dataclass(frozen=True)
class OtherSync:
    """A sync that stands in the way."""

    id: int
    sync_type: str
    scope: Mapping[str, Any]
    run_id: str | None

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {_short(value)}" for name, value in self.scope.items())
        run = f", run {self.run_id[:8]}" if self.run_id else ""
        return f"sync {self.id} of {self.sync_type} ({shown}{run})"


class SyncClaim:
    """A sync's open log and its claim, on a connection of its own; `renew` is for any thread, the rest for one."""

    def __init__(self, engine: sa.Engine, connection: sa.Connection, log: SyncLog) -> None:
        self._engine = engine
        self._connection = connection
        self._renewing = threading.Lock()
        self.log = log

    def in_the_way(self) -> list[OtherSync]:
        """Return the living syncs of overlapping scope that came before."""
        return self._others(is_any=False)

    def renew(self) -> None:
        """Make sure that the claim still counts, also after the server was restarted.

        Raises:
            TransientError: another sync took the place while the server was away.
            DBAPIError: the server cannot be asked.
        """
        with self._renewing:
            try:
                if not self._connection.closed:
                    self._connection.execute(sa.text("SELECT 1"))
                    return
            except DBAPIError:
                _close(self._connection)
            self._connect_again()

    def _connect_again(self) -> None:
        connection = _connect(self._engine)
        try:
            _lock(connection, self.log.id)
            is_running = sa.select(api_sync_logs.c.status == SyncStatus.RUNNING.value).where(api_sync_logs.c.id == self.log.id)
            self._connection = connection
            others = self._others(is_any=True)
            has_place = connection.scalar(is_running) and not others
        except DBAPIError:
            _close(connection)
            raise
        if not has_place:
            taken_by = f" to {others[0]}" if others else ""
            raise TransientError(f"The database was away, and the sync lost its place{taken_by}. A retry goes on from here.")

    def release(self) -> None:
        """Give the claim up; whatever happens to its row, the lock ends with the connection."""
        try:
            self._connection.execute(sa.delete(sync_claims).where(sync_claims.c.sync_log_id == self.log.id))
        except SQLAlchemyError:  # the lock is gone with the connection; the next sync clears the row away
            return
        finally:
            _close(self._connection)

    def _others(self, *, is_any: bool) -> list[OtherSync]:
        rows = self._connection.execute(_IN_THE_WAY, {"id": self.log.id, "is_any": is_any})
        return [OtherSync(row.id, row.sync_type, row.scope, row.dagster_run_id) for row in rows]


def open_log(engine: sa.Engine, sync_type: str, scope: Mapping[str, Any], sync_key: str, run_id: str | None) -> SyncClaim:
    """Open a sync's log with status `running` and enter its claim on what `scope` names.

    Args:
        engine: of the `cmms` database.
        sync_type: plants, equipment, running_times, ...; syncs of different types do not get into each other's way.
        scope: `plants` (a list; anything else means all), `from` and `to` (ISO dates; absent: not a matter of days) make the
            claim; all of it is shown in the log.
        sync_key: what retries of one sync share.
        run_id: of the Dagster run.
    """
    plants = scope.get("plants")
    days = {name: date.fromisoformat(scope[key]) for name, key in (("first_day", "from"), ("last_day", "to")) if key in scope}
    connection = _connect(engine)
    try:
        connection.execute(sa.text("SELECT pg_advisory_lock(:class, :id)"), {"class": _CLASS, "id": _ENTRANCE})
        with engine.begin() as transaction:
            log = insert_log(transaction, sync_type, scope, sync_key, run_id)
            _lock(connection, log.id)
            transaction.execute(
                sa.insert(sync_claims).values(
                    sync_log_id=log.id,
                    sync_type=sync_type,
                    plant_codes=list(plants) if isinstance(plants, list | tuple) else None,
                    **days,
                )
            )
        connection.execute(sa.text("SELECT pg_advisory_unlock(:class, :id)"), {"class": _CLASS, "id": _ENTRANCE})
    except BaseException:
        _close(connection)
        raise
    return SyncClaim(engine, connection, log)


def living(connection: sa.Connection) -> list[OtherSync]:
    """Return the syncs that are running or waiting now, wherever they were started."""
    return [OtherSync(row.id, row.sync_type, row.scope, row.dagster_run_id) for row in connection.execute(_LIVING)]


def close_abandoned(engine: sa.Engine) -> list[int]:
    """Mark as failed the syncs that say `running` although their process is gone; return their numbers.

    A process that was killed cannot close its own log; the next sync does.
    """
    with engine.begin() as connection:
        dead = list(connection.scalars(_DEAD))
        values = {
            "status": SyncStatus.FAILED.value,
            "sync_completed_at": sa.func.now(),
            "updated_at": sa.func.now(),
            "activity": None,
            "error_message": _KILLED,
        }
        connection.execute(sa.update(api_sync_logs).where(api_sync_logs.c.id.in_(dead)).values(**values))
        over = sa.select(api_sync_logs.c.id).where(api_sync_logs.c.status != SyncStatus.RUNNING.value)
        connection.execute(sa.delete(sync_claims).where(sync_claims.c.sync_log_id.in_(over)))  # also those left by `release`
    return dead


def _connect(engine: sa.Engine) -> sa.Connection:
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


def _close(connection: sa.Connection) -> None:
    """End the connection for good, if it has not ended yet: the pool would hand it on with its locks."""
    if connection.closed:
        return
    connection.invalidate()
    connection.close()


def _lock(connection: sa.Connection, log_id: int) -> None:
    connection.execute(sa.text("SELECT pg_advisory_lock(:class, :id)"), {"class": _CLASS, "id": log_id & 0x7FFFFFFF})


def _short(value: object) -> str:
    if isinstance(value, list) and len(value) > 3:
        return f"{', '.join(map(str, value[:3]))} and {len(value) - 3} more"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
