"""Signs of trouble that only Dagster's instance shows: its daemon, ticks, checks and runs.

What belongs here: reading them, with as few and as light queries as can be. What does not: our own tables
(`storage.alert_signs`), and what becomes of a finding (`notify.rounds`). A failing check leaves its run successful, and a
failing tick has no run: Dagster's own sensor of failed runs sees neither.
"""

import datetime as dt
import json
from collections.abc import Callable, Sequence

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorStatus, TickStatus
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from cmms_pipelines.domain.alert_configuration import Thresholds
from cmms_pipelines.domain.alert_findings import DAEMON, DATABASE, EXTERNAL_API, database_finding
from cmms_pipelines.domain.alerts import Finding, Severity, Trigger
from cmms_pipelines.notify.rounds import Look
from cmms_pipelines.storage import sync_log

DAYS_BACK = 14
_COVERED = frozenset({Trigger.DATABASE, Trigger.DAEMON, Trigger.TICK, Trigger.CHECK, Trigger.RUN})
_SYNC_OF_JOB = {
    "sync_plants": "plants",
    "sync_equipment": "equipment",
    "sync_running_times": "running_times",
    "sync_work_orders": "work_orders",
}
_CAUSE_OF_CHECK = {"no_dead_letters": str(Trigger.DEAD_LETTERS), "oldest_pending_under_limit": str(Trigger.INBOX)}
_LONGEST_ERROR = 300

_FAILED_CHECKS = sa.text("""
    SELECT * FROM (
        SELECT DISTINCT ON (asset_key, check_name) asset_key, check_name, id, run_id, execution_status, evaluation_event,
               create_timestamp, partition
        FROM asset_check_executions
        WHERE execution_status IN ('SUCCEEDED', 'FAILED') AND evaluation_event_timestamp > :since
        ORDER BY asset_key, check_name, id DESC
    ) AS newest
    WHERE execution_status = 'FAILED'
""")
# What a person starts, a person sees fail: only runs that a schedule or a sensor has started are told of.
_FAILED_RUNS = sa.text("""
    SELECT newest.job_name, newest.run_id, newest.ended_at FROM (
        SELECT DISTINCT ON (run.pipeline_name) run.pipeline_name AS job_name, run.run_id, run.status, run.id,
               run.end_time AS ended_at
        FROM runs AS run
        WHERE run.status IN ('SUCCESS', 'FAILURE') AND run.update_timestamp > :since
          AND EXISTS (
              SELECT FROM run_tags AS tag
              WHERE tag.run_id = run.run_id AND tag.key IN ('dagster/schedule_name', 'dagster/sensor_name')
          )
        ORDER BY run.pipeline_name, run.id DESC
    ) AS newest
    WHERE newest.status = 'FAILURE' AND newest.ended_at <= :settled
      AND NOT EXISTS (
          SELECT FROM runs AS later
          WHERE later.pipeline_name = newest.job_name AND later.id > newest.id
            AND later.status NOT IN ('FAILURE', 'CANCELED', 'CANCELING')
      )
""")


class DagsterSigns:
    """Looks at Dagster's instance, which `open_instance` opens at the first look: its database may be away until then.

    `engine` is on our own database, which knows whether a run has a sync log.
    """

    def __init__(self, open_instance: Callable[[], dg.DagsterInstance], engine: sa.Engine) -> None:
        self._open_instance, self._engine = open_instance, engine
        self._opened: dg.DagsterInstance | None = None
        self._away_since: dt.datetime | None = None

    def __call__(self, now: dt.datetime, thresholds: Thresholds) -> Look:
        """Return what is wrong now; where Dagster's own database is away, that alone."""
        try:
            findings = [
                *self._daemon(now, thresholds),
                *self._ticks(thresholds),
                *self._checks(now),
                *self._runs(now, thresholds),
            ]
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            self._away_since = self._away_since or now
            said = str(error.orig).strip().splitlines()
            return Look([database_finding(self._away_since, now, "of Dagster", said[-1] if said else "", subject="dagster")])
        self._away_since = None
        return Look(findings, _COVERED)

    @property
    def _instance(self) -> dg.DagsterInstance:
        self._opened = self._opened or self._open_instance()
        return self._opened

    def _daemon(self, now: dt.datetime, thresholds: Thresholds) -> list[Finding]:
        beats = self._instance.get_daemon_heartbeats()
        required = set(self._instance.get_required_daemon_types())
        last = {name: dt.datetime.fromtimestamp(beat.timestamp, dt.UTC) for name, beat in beats.items() if name in required}
        silent = {name: at for name, at in last.items() if (now - at).total_seconds() > thresholds.daemon_silent_s}
        if not silent:
            return []
        since = min(silent.values())
        is_dead = len(silent) == len(last)
        return [
            Finding(
                Trigger.DAEMON,
                "",
                Severity.CRITICAL,
                "Dagster's daemon does not run" if is_dead else f"Parts of Dagster's daemon hang: {', '.join(sorted(silent))}",
                "No schedule, no sensor and no queue works without it: nothing is synced, no event is applied.",
                "the process has ended, hangs, or cannot reach its database. Start the services again; "
                "CMMS_HOME/logs/daemon.log says why.",
                since=since,
                figures={"silent_s": int((now - since).total_seconds())},
                explained_by=(DATABASE, f"{DATABASE}:dagster"),
            )
        ]

    def _ticks(self, thresholds: Thresholds) -> list[Finding]:
        findings = []
        for state in self._instance.all_instigator_state():
            if state.status is InstigatorStatus.STOPPED:
                continue
            is_schedule = state.instigator_type is InstigatorType.SCHEDULE
            wanted = 1 if is_schedule else thresholds.failed_ticks
            newest = self._instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=wanted + 1)
            ended = [tick for tick in newest if tick.status is not TickStatus.STARTED][:wanted]
            if len(ended) < wanted or any(tick.status is not TickStatus.FAILURE for tick in ended):
                continue
            error = ended[0].error
            said = (
                error.message.strip().splitlines()[0][:_LONGEST_ERROR]
                if error and error.message.strip()
                else "it does not say why"
            )
            kind = "schedule" if is_schedule else "sensor"
            findings.append(
                Finding(
                    Trigger.TICK,
                    state.instigator_name,
                    Severity.HIGH,
                    f"The {kind} {state.instigator_name} fails",
                    f"Its last {wanted} ticks failed, so what it would start does not start. {said}",
                    f"see Automation, {state.instigator_name}, in the UI: the tick has the whole error.",
                    since=dt.datetime.fromtimestamp(ended[-1].timestamp, dt.UTC),
                    figures={"failed_ticks": len(ended)},
                    explained_by=(DATABASE, DAEMON),
                )
            )
        return findings

    def _checks(self, now: dt.datetime) -> list[Finding]:
        storage = self._instance.event_log_storage
        if not isinstance(storage, SqlEventLogStorage):
            return []
        with storage.index_connection() as connection:
            rows = connection.execute(_FAILED_CHECKS, {"since": _naive(now - dt.timedelta(days=DAYS_BACK))}).mappings().all()
        findings = []
        for row in rows:
            asset_key = dg.AssetKey(json.loads(row["asset_key"]))
            record = AssetCheckExecutionRecord.from_db_row(row, dg.AssetCheckKey(asset_key, row["check_name"]))
            findings += [_check_finding(record)] if record.evaluation is not None else []
        return findings

    def _runs(self, now: dt.datetime, thresholds: Thresholds) -> list[Finding]:
        storage = self._instance.run_storage
        if not isinstance(storage, SqlRunStorage):
            return []
        since, settled = _naive(now - dt.timedelta(days=DAYS_BACK)), now.timestamp() - thresholds.settle_s
        with storage.connect() as connection:
            rows = connection.execute(_FAILED_RUNS, {"since": since, "settled": settled}).all()
        return [self._run_finding(str(row.job_name), str(row.run_id), float(row.ended_at)) for row in rows]

    def _run_finding(self, job: str, run_id: str, ended_at_s: float) -> Finding:
        sync_type = _SYNC_OF_JOB.get(job)
        has_begun = sync_type is None or bool(sync_log.read_of_run(self._engine, run_id))
        return Finding(
            Trigger.RUN,
            job,
            Severity.HIGH if has_begun else Severity.CRITICAL,
            f"The last run of {job} failed",
            "A schedule or a sensor started it." + ("" if has_begun else " It failed before the sync could begin."),
            "the run's log has the error of the step that failed.",
            since=dt.datetime.fromtimestamp(ended_at_s, dt.UTC),
            run_id=run_id,
            explained_by=(f"{Trigger.SYNC}:{sync_type}", EXTERNAL_API, DATABASE) if sync_type else (DATABASE,),
        )


def _check_finding(record: AssetCheckExecutionRecord) -> Finding:
    evaluation, name = record.evaluation, record.key.name
    asset = record.key.asset_key.to_user_string()
    is_error = evaluation is not None and evaluation.severity is dg.AssetCheckSeverity.ERROR
    figures = _figures(evaluation.metadata) if evaluation else {}
    return Finding(
        Trigger.CHECK,
        f"{asset}:{name}",
        Severity.HIGH if is_error else Severity.LOW,
        f"The check {name} of {asset} fails",
        (evaluation.description if evaluation and evaluation.description else "What it claims is not so.")
        + (" What is built on it is held back." if evaluation and evaluation.blocking else ""),
        f"see the tab Checks of {asset} in the UI.",
        since=dt.datetime.fromtimestamp(record.create_timestamp, dt.UTC),
        figures=figures,
        run_id=record.run_id or None,
        explained_by=(_CAUSE_OF_CHECK[name],) if name in _CAUSE_OF_CHECK else (),
    )


def _figures(metadata: "dict[str, dg.MetadataValue] | object") -> dict[str, float | int | str]:
    if not isinstance(metadata, dict):
        return {}
    numbers: Sequence[tuple[str, object]] = [(str(name), getattr(value, "value", None)) for name, value in metadata.items()]
    return {name: value for name, value in numbers if isinstance(value, int | float) and not isinstance(value, bool)}


def _naive(at: dt.datetime) -> dt.datetime:
    return at.astimezone(dt.UTC).replace(tzinfo=None)  # as Dagster keeps its times
