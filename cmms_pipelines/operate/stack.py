"""The whole system on one machine: databases, then services, up for the length of a block.

What belongs here: putting database, migrations, ports, environment and supervision together. What does not: what one does with
the running system (`operate.demo`, the command line).
"""

import datetime as dt
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from cmms_pipelines.operate import runs, services
from cmms_pipelines.operate.dagster_api import DagsterApi
from cmms_pipelines.operate.supervise import Progress, Supervisor, supervised
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import embedded, migrate
from cmms_pipelines.storage.engine import CONNECT_TIMEOUT_S, Databases, ensure_database, locate, shared_engine
from cmms_pipelines.storage.inbox_peek import tell_watchers_to_stop

DRAIN_JOB = "process_maintenance_events"


@dataclass(frozen=True)
class Stack:
    """The running system: its parts' addresses, and the supervisor to ask whether they still run."""

    settings: Settings
    databases: Databases
    ports: services.Ports
    supervisor: Supervisor

    @property
    def dagster_address(self) -> str:
        """Where the Dagster UI is."""
        return f"http://{services.LOOPBACK}:{self.ports.dagster}"

    @property
    def viewer_address(self) -> str | None:
        """Where the Dagster UI is that only shows, if it runs."""
        return None if self.ports.viewer is None else f"http://{services.LOOPBACK}:{self.ports.viewer}"

    @property
    def webhook_address(self) -> str:
        """Where the webhook receiver is."""
        return services.webhook_address(self.settings, self.ports)

    @property
    def emulator_address(self) -> str | None:
        """Where the emulator of the external API is, if it runs."""
        return None if self.ports.emulator is None else f"http://{services.LOOPBACK}:{self.ports.emulator}"


@contextmanager
def running(settings: Settings, progress: Progress, *, emulator_token: str | None = None) -> Iterator[Stack]:
    """Run databases and services for a block, with the emulator as the external API where a token for it is given.

    At the end of the block all of it is stopped, the embedded database too if it did not run before. Runs of a demo are canceled
    first; otherwise only the drain of the inbox is, which stays for a while after its work, and Dagster retries the others later.

    Raises:
        PermanentError: a port is taken, a database is broken, a service ended; TransientError: one did not become ready in time.
    """
    with _embedded_database_as_before(settings), supervised(settings.home, progress) as supervisor:
        chosen = services.claim_ports(settings, with_emulator=emulator_token is not None)
        databases = prepare_databases(settings, progress)
        environment = services.service_environment(settings, databases, chosen)
        wanted = services.services(settings, chosen, is_first_start=not has_dagster_tables(databases.dagster))
        if chosen.emulator is not None and emulator_token is not None:
            environment |= services.emulator_environment(chosen.emulator, emulator_token, dt.datetime.now(dt.UTC).date())
            wanted.append(services.emulator(chosen.emulator))
        started_at_s = time.time()
        supervisor.start(wanted, environment, progress)
        stack = Stack(settings, databases, chosen, supervisor)
        with DagsterApi(stack.dagster_address) as dagster:
            if settings.dagster_database_url is None:  # a given one may belong to other machines too, whose runs we do not judge
                runs.cancel_orphans(dagster, started_at_s, progress)
            try:
                yield stack
            finally:
                runs.end_in_flight(dagster, None if emulator_token else DRAIN_JOB, progress)
                tell_watchers_to_stop(databases.cmms)


def prepare_databases(settings: Settings, progress: Progress) -> Databases:
    """Start the embedded server where it is used, create both databases where they are missing, and migrate ours."""
    databases = locate(settings)
    ensure_database(databases.cmms)
    ensure_database(databases.dagster)
    migrate.upgrade(shared_engine(databases.cmms))
    progress("the database is ready")
    return databases


@contextmanager
def _embedded_database_as_before(settings: Settings) -> Iterator[None]:
    is_ours_to_stop = _uses_embedded(settings) and embedded.find_running(settings.home) is None
    try:
        yield
    finally:
        if is_ours_to_stop:
            embedded.stop(settings.home)


def _uses_embedded(settings: Settings) -> bool:
    return settings.database_url is None or settings.dagster_database_url is None


def has_dagster_tables(address: str) -> bool:
    """Tell whether Dagster has made its tables in the database at `address`; it does so at its first start."""
    with psycopg.connect(address, connect_timeout=CONNECT_TIMEOUT_S) as connection:
        row = connection.execute("SELECT to_regclass('public.daemon_heartbeats') IS NOT NULL").fetchone()
    return row is not None and bool(row[0])
