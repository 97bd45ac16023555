"""The demo: the whole system on real data, step by step as an operator would do it, and every figure checked.

What belongs here: the steps. What does not: the system itself (`operate.stack`), the figures (`operate.figures`) and what must
hold between them (`operate.summary`).
"""

import datetime as dt
import secrets
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import httpx
import sqlalchemy as sa
from pydantic import SecretStr

from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.domain.signatures import SchemeName, key_of, sign
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.operate import demo_conflicts, demo_rules, figures, stack
from cmms_pipelines.operate.dagster_api import ENDED, DagsterApi, RunStatus
from cmms_pipelines.operate.demo_events import SYSTEM, DemoEvent, events_of
from cmms_pipelines.operate.summary import ConflictFigures, EventFigures, Summary, SyncFigures
from cmms_pipelines.operate.supervise import Progress
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.configurations import register_source
from cmms_pipelines.storage.engine import shared_engine
from cmms_pipelines.storage.secrets import active_secrets, secret_box

DAYS = 7
RUN_TIMEOUT_S = 300.0
POLL_S = 0.4
EVENTS_TIMEOUT_S = 120.0
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass
class Demo:
    """A running system, and the demo on it."""

    stack: stack.Stack
    token: str
    progress: Progress
    started_s: float
    _seconds: dict[str, float] = field(default_factory=dict)

    def run(self) -> Summary:
        """Do everything and return the figures; wrong figures are in the summary, not an error.

        Raises:
            PermanentError: a run failed or a service ended; TransientError: something took far too long.
        """
        self._seconds["start"] = round(time.monotonic() - self.started_s, 1)
        engine = shared_engine(self.stack.databases.cmms)
        today = dt.datetime.now(ZoneInfo(self.stack.settings.time_zone)).date()
        first, last = today - dt.timedelta(days=DAYS), today - dt.timedelta(days=1)
        with DagsterApi(self.stack.dagster_address) as dagster:
            secret = self._register(engine)
            runs = {"plants": self._dagster_run(dagster, "sync_plants", {})}
            codes = figures.active_plants(engine)
            runs["equipment"] = self._dagster_run(dagster, "sync_equipment", {RANGE_START: codes[0], RANGE_END: codes[-1]})
            days = {RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}
            runs["running_times"] = self._dagster_run(dagster, "sync_running_times", days)
            wanted, strangers = figures.in_source(str(self.stack.emulator_address), self.token, first, last)
            events = events_of(today, figures.machines_with_readings(engine, first, last), strangers)
            event_figures = self._send_and_wait(engine, events, secret)
            contradictions, conflicts = self._contradict(engine, today, secret)
            self._wait_for_reporting(dagster)
            demo_rules.set_rules(engine)
            self._dagster_run(dagster, "build_marts", {})
            problems = self._problems_of_runs(dagster, {*event_figures.runs, *contradictions.runs})
        self._seconds["total"] = round(time.monotonic() - self.started_s, 1)
        syncs = {sync_type: figures.sync_figures(engine, sync_type, run, wanted[sync_type]) for sync_type, run in runs.items()}
        missing = [f"{sync_type}: its run left no line in the sync log" for sync_type, found in syncs.items() if found is None]
        return Summary(
            days={"first": first.isoformat(), "last": last.isoformat()},
            syncs=tuple(found for found in syncs.values() if isinstance(found, SyncFigures)),
            events=event_figures,
            contradictions=contradictions,
            conflicts=conflicts,
            tables=figures.table_rows(engine),
            marts=figures.mart_rows(engine),
            maintenance={"machines with a rule": demo_rules.machines_with_a_rule(engine), **demo_rules.due_by_status(engine)},
            seconds=self._seconds,
            addresses=self._addresses(),
            other_problems=(*missing, *problems),
        )

    def _dagster_run(self, dagster: DagsterApi, job_name: str, tags: Mapping[str, str]) -> str:
        """Run a job through the queue, as the UI would, and wait for its success; return the run's id."""
        with self._timed(job_name):
            run_id = dagster.launch(job_name, {"cmms/started_by": "demo", **tags})
            status = RunStatus.QUEUED
            for _ in self._until_deadline(RUN_TIMEOUT_S, f"{job_name} (run {run_id})"):
                now = dagster.run(run_id).status
                if now is not status:
                    status = now
                    if status is RunStatus.STARTED:
                        self.progress(f"{job_name}: run {run_id[:8]} has started")
                if status in ENDED:
                    break
            if status is not RunStatus.SUCCESS:
                raise PermanentError(
                    f"{job_name} ended as {status.lower()}: {dagster.failure(run_id)} "
                    f"(run {run_id}, {self.stack.dagster_address}/runs/{run_id})"
                )
        self.progress(f"{job_name}: done in {self._seconds[job_name]} s")
        return run_id

    def _register(self, engine: sa.Engine) -> SecretStr:
        """Make the demo's CMMS a source of events; its secret of an earlier demo stays in use."""
        with engine.connect() as connection:
            box = secret_box(self.stack.settings)
            known = [stored.value for stored in active_secrets(connection, box, dt.datetime.now(dt.UTC), SYSTEM) if stored.value]
        secret = known[0] if known else SecretStr(secrets.token_urlsafe(32))
        register_source(engine, self.stack.settings, SYSTEM, WebhookSource(), secret=secret, actor="demo")
        return secret

    def _contradict(self, engine: sa.Engine, day: dt.date, secret: SecretStr) -> tuple[EventFigures, ConflictFigures]:
        """Edit orders here, have the CMMS contradict, decide one conflict, and return the figures of all that."""

        def tries() -> Iterator[None]:
            return self._until_deadline(10, "the management API to know the demo's token")

        contested = demo_conflicts.contested_orders(day)
        with demo_conflicts.operator(engine, self.stack.webhook_address, tries) as client:
            edited, is_refused = demo_conflicts.edit_orders(engine, client, contested)
            told = self._send_and_wait(engine, [one.event for one in contested], secret, what="contradictions")
            demo_conflicts.decide(client, contested[1])
            found = demo_conflicts.queue_figures(client, contested, edited=edited, is_stale_refused=is_refused)
        self.progress(
            f"conflicts: {found.decided_by_rule} decided by a rule, {found.decided_by_hand} by hand, {found.waiting} waiting"
        )
        return told, found

    def _send_and_wait(
        self, engine: sa.Engine, events: Sequence[DemoEvent], secret: SecretStr, what: str = "events"
    ) -> EventFigures:
        ids = [event.event_id for event in events]
        known_before = figures.known_events(engine, ids)
        with self._timed(f"send_{what}"):
            answers, is_refused = self._send(events, secret)
        self.progress(f"{what}: {len(events)} sent, {answers['accepted']} new, {answers['duplicate']} known already")
        with self._timed(f"apply_{what}"):
            said = -1
            for _ in self._until_deadline(EVENTS_TIMEOUT_S, "applying the events"):
                found = figures.inbox_figures(engine, ids)
                if not found["unfinished"]:
                    break
                if found["unfinished"] != said:
                    said = found["unfinished"]
                    self.progress(f"{what}: {said} are waiting for the run that the sensor starts")
        self.progress(f"{what}: {found['applied']} applied, {found['ignored']} ignored, {found['held']} held")
        latencies = [round(float(value), 3) for value in found["latencies"] or ()]
        p50, p95, longest = latencies if latencies and answers["accepted"] else (None, None, None)
        counts = ("applied", "ignored", "held", "unfinished", "failed", "without_run")
        return EventFigures(
            sent=len(events),
            known_before=known_before,
            waiting_expected=sum(event.waits for event in events),
            accepted=answers["accepted"],
            duplicate=answers["duplicate"],
            refused=answers["refused"],
            unsigned_refused=is_refused,
            **{name: int(found[name]) for name in counts},
            runs=tuple(found["runs"] or ()),
            latency_p50_s=p50,
            latency_p95_s=p95,
            latency_max_s=longest,
        )

    def _send(self, events: Sequence[DemoEvent], secret: SecretStr) -> tuple[dict[str, int], bool]:
        """Post all events signed, and the first one signed wrongly; return the answers by kind and whether that was refused."""
        key = key_of(SchemeName.HMAC_HEX, secret.get_secret_value())
        answers = {"accepted": 0, "duplicate": 0, "refused": 0}
        base = f"{self.stack.webhook_address}/api/v1/hooks/maintenance/events/{SYSTEM}"
        with httpx.Client(timeout=30, trust_env=False, headers={"Content-Type": "application/json"}) as client:
            self._wait_for_source(client, base, events[0], key)
            for event in events:
                now = dt.datetime.now(dt.UTC)
                reply = client.post(base, content=event.body, headers=sign(SchemeName.HMAC_HEX, key, event.body, now))
                kind = reply.json().get("status") if reply.status_code == httpx.codes.ACCEPTED else "refused"
                answers[kind if kind in answers else "refused"] += 1
            forged = sign(SchemeName.HMAC_HEX, key_of(SchemeName.HMAC_HEX, secrets.token_urlsafe(32)), events[0].body, now)
            is_refused = client.post(base, content=events[0].body, headers=forged).status_code == httpx.codes.UNAUTHORIZED
        return answers, is_refused

    def _wait_for_source(self, client: httpx.Client, address: str, event: DemoEvent, key: bytes) -> None:
        """Wait until the receiver knows the source (a second at most), asking with an authentic body that it cannot use."""
        body = b"[]"
        for _ in self._until_deadline(10, f"the webhook receiver to know {SYSTEM} ({event.event_id})"):
            headers = sign(SchemeName.HMAC_HEX, key, body, dt.datetime.now(dt.UTC))
            if client.post(address, content=body, headers=headers).status_code != httpx.codes.UNAUTHORIZED:
                return

    def _wait_for_reporting(self, dagster: DagsterApi) -> None:
        for _ in self._until_deadline(RUN_TIMEOUT_S, "loading the reports"):
            if not dagster.unloaded_locations():
                return

    def _problems_of_runs(self, dagster: DagsterApi, event_runs: Collection[str]) -> list[str]:
        strange = [run for run in event_runs if dagster.run(run).job_name != "process_maintenance_events"]
        sick = dagster.unhealthy_daemons()
        return [f"events: run {run} is no run of the inbox's job" for run in strange] + (
            [f"Dagster: {', '.join(sick)} gave no sign of life"] if sick else []
        )

    def _addresses(self) -> dict[str, str]:
        return {
            "dagster": self.stack.dagster_address,
            **({"viewer": self.stack.viewer_address} if self.stack.viewer_address else {}),
            "webhook": f"{self.stack.webhook_address}/docs",
            "emulator": str(self.stack.emulator_address),
            "database": 'psql "$(.venv/bin/cmms db url)"',
            "logs": str(self.stack.settings.home / "logs"),
        }

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._seconds[step] = round(time.monotonic() - started, 1)

    def _until_deadline(self, timeout_s: float, what: str) -> Iterator[None]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.stack.supervisor.check()
            yield
            time.sleep(POLL_S)
        raise TransientError(f"It took longer than {timeout_s:.0f} s: {what}.")


@contextmanager
def prepared(settings: Settings, progress: Progress) -> Iterator[Demo]:
    """Bring the system up with the emulator as its external API, for a block; see `stack.running` for errors."""
    started_s = time.monotonic()
    token = secrets.token_urlsafe(24)

    def timed_progress(message: str) -> None:
        progress(f"{time.monotonic() - started_s:6.1f} s  {message}")

    with stack.running(settings, timed_progress, emulator_token=token) as running:
        yield Demo(running, token, timed_progress, started_s)
