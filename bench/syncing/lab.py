"""The place of the benchmark: a PostgreSQL of its own with fsync on, the source, fresh databases; all gone at the end.

What belongs here: what every contender finds. What does not: the contenders.
"""

import hashlib
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from cmms_pipelines.operate.services import dagster_environment
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import embedded, migrate
from cmms_pipelines.storage.engine import Databases, ensure_database, make_engine
from cmms_pipelines.storage.partitions import ensure_month_partitions
from syncing import children
from syncing.records import FIRST_DAY, World
from syncing.source import TOKEN

_TEMPLATE = "bench_template"
_LOOK_AGAIN_S = 0.02
_OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
_CONTENT = """
    SELECT count(*)::text || ' ' || COALESCE(sum(hashtextextended(concat_ws('|', e.equipment_number, p.plant_code, r.date,
           extract(epoch FROM r.date_time), r.point, r.description, r.running_hours, r.cumulative_hours, r.company_code,
           r.equipment_description, r.object_number, extract(epoch FROM r.api_created_at)), 0)::numeric), 0)::text
    FROM cmms.equipment_running_times r JOIN cmms.equipment e ON e.id = r.equipment_id JOIN cmms.plants p ON p.id = r.plant_id
"""


@dataclass
class Lab:
    """What the contenders share."""

    home: Path
    world: World
    server: embedded.EmbeddedServer
    source_url: str
    last_day: int
    _prepared: set[tuple[int, int]] = field(default_factory=set)
    _has_template: bool = False

    def say(self, line: str) -> None:
        """Tell the one who waits."""
        print(line, file=sys.stderr, flush=True)

    def prepare(self, days: int, variant: int) -> None:
        """Have the source render, outside of what is timed."""
        if (days, variant) not in self._prepared:
            request = urllib.request.Request(f"{self.source_url}/prepare?days={days}&variant={variant}", method="POST")  # noqa: S310
            urllib.request.urlopen(request, timeout=600).read()  # noqa: S310 - our own server on the loopback
            self._prepared.add((days, variant))

    def fresh_database(self, name: str) -> str:
        """Return the URL of a new database with our tables and the plants in it; one of that name goes."""
        self._make_template()
        self.drop_database(name)
        self._admin(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(_TEMPLATE)))
        return self.server.url(name)

    def empty_database(self, name: str) -> str:
        """Return the URL of a new database without any table."""
        self.drop_database(name)
        self._admin(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.server.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database with whoever is in it."""
        self._admin(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def checkpoint(self) -> None:
        """Write out what earlier runs left, so that nobody pays for it."""
        self._admin(sql.SQL("CHECKPOINT"))

    def environment(self, database_url: str, variant: int) -> dict[str, str]:
        """Return the environment in which a sync of ours reads `variant` into a database."""
        settings = Settings(home=self.home)
        found = dagster_environment(settings, Databases(cmms=database_url, dagster=self.server.url("dagster")))
        return found | {
            "CMMS_API_URL": f"{self.source_url}/v{variant}",
            "CMMS_API_TOKEN": TOKEN,
            "CMMS_FIRST_DAY": FIRST_DAY.isoformat(),
        }

    def csv(self, what: str, days: range, variant: int) -> Path:
        """Return a ready CSV of masters or readings, written outside of what is timed."""
        name = f"{what}-{days.start}-{days.stop}-{variant}.csv"
        path = self.home / "csv" / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            if what == "equipment":
                self.world.write_equipment_csv(path, variant)
            else:
                self.world.write_readings_csv(path, days, variant)
        return path

    def database_cpu_s(self) -> float:
        """Return the processor time that the server has used since it started, once everybody else has gone."""
        with psycopg.connect(self.server.url("postgres"), autocommit=True) as connection:
            while connection.execute(_OTHERS).fetchone() != (0,):
                time.sleep(_LOOK_AGAIN_S)
            return children.of_tree_s(psutil.Process(connection.info.backend_pid).ppid())

    def content(self, database_url: str) -> str:
        """Return count and hash of the stored readings, by the machines' numbers: the same content has the same text."""
        with psycopg.connect(database_url) as connection:
            row = connection.execute(_CONTENT).fetchone()
        return hashlib.sha256(str(row).encode()).hexdigest()[:16]

    def _make_template(self) -> None:
        """Migrate the template and sync the plants into it, which also tells Dagster of them."""
        if self._has_template:
            return
        url = self.server.url(_TEMPLATE)
        ensure_database(url)
        ensure_database(self.server.url("dagster"))
        engine = make_engine(url)
        migrate.upgrade(engine)
        with engine.begin() as connection:
            ensure_month_partitions(connection, [FIRST_DAY + timedelta(days=day) for day in range(self.last_day + 1)])
        engine.dispose()
        run = [sys.executable, "-m", "syncing.ours", "plants"]
        children.run(run, extra=self.environment(url, 0), log=self.home / "plants.log")
        self._has_template = True

    def _admin(self, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self.server.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def opened(world: World, *, last_day: int, latency_ms: float) -> Iterator[Lab]:
    """Start server and source for a block; stop them and remove every file afterwards."""
    home = Path(tempfile.mkdtemp(prefix="cmms-bench-"))
    home.chmod(0o755)  # as root the server runs as another user, who must get in
    served = [sys.executable, "-m", "syncing.source", "--machines", str(world.machines), "--plants", str(world.plants)]
    try:
        with children.serving([*served, "--latency-ms", str(latency_ms)]) as source_url:
            lab = Lab(home, world, embedded.ensure_running(home), source_url, last_day)
            yield lab
    finally:
        embedded.stop(home)
        shutil.rmtree(home, ignore_errors=True)
