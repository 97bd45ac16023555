"""A backup put back: every row, sequence and definition is there, secrets still open, and the next sync goes on."""

import datetime as dt
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.operate import backup_file
from cmms_pipelines.operate.supervise import only_one
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import embedded, migrate
from cmms_pipelines.storage.configurations import register_source
from cmms_pipelines.storage.engine import make_engine, with_driver
from cmms_pipelines.storage.tables import equipment, equipment_running_times
from tests.command_line import CommandLine
from tests.conftest import TEMPLATE, Database, new_database
from tests.emulator_server import Emulator, running_emulator
from tests.sync.conftest import Source, settings_for
from tests.sync.tables import versions
from tests.webhook.conftest import SECRET, event_body, running, signed

DAY = dt.date(2026, 3, 1)
PLANTS = ["B6JF", "B6LG"]


@dataclass(frozen=True)
class Origin:
    """A system with real data, and its backup."""

    database: Database
    dagster_url: str
    home: Path
    emulator: Emulator
    file: Path
    said: dict[str, object]

    def cmms(self, database_url: str, dagster_url: str, home: Path | None = None, **more: str) -> CommandLine:
        given = {"CMMS_HOME": str(home or self.home), "CMMS_DATABASE_URL": database_url, "DAGSTER_DATABASE_URL": dagster_url}
        return CommandLine(given | more)


@dg.op
def nothing() -> None:
    """Leave a run behind."""


@dg.job
def leaves_a_run() -> None:
    nothing()


@pytest.fixture(scope="module")
def origin(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    home = tmp_path_factory.mktemp("home")
    for url in new_database(server_url, template=TEMPLATE):
        for dagster_url in new_database(server_url, template="template0"):
            database = Database(url, make_engine(url))
            with running_emulator() as server:
                source = Source(database, settings_for(server, database, home))
                source.plants()
                source.equipment(PLANTS)
                source.running_times(DAY, plants=PLANTS)
                _fill(database, dagster_url, home)
                file = home / "backup.tar"
                found = Origin(database, dagster_url, home, server, file, {})
                found.said.update(found.cmms(url, dagster_url).json("db", "backup", "--output", str(file)))
                yield found
            database.engine.dispose()


def _fill(database: Database, dagster_url: str, home: Path) -> None:
    settings = Settings(home=home, database_url=SecretStr(database.url))
    register_source(database.engine, settings, "plant-cmms", WebhookSource(), secret=SecretStr(SECRET), actor="tests")
    with running(database, settings) as sidecar:
        body = event_body()
        assert sidecar.post(body, signed(body)).status_code == 202
    with psycopg.connect(database.url) as connection:
        connection.execute("CREATE SCHEMA analytics")
        connection.execute("CREATE VIEW analytics.machines AS SELECT equipment_number FROM cmms.equipment")
        connection.execute("CREATE TABLE analytics.odd AS SELECT NULL::text AS nothing, 'a\tb\\n'::text AS \"whole_row\"")
    config = home / "dagster.yaml"
    config.write_text(
        f'storage:\n  postgres:\n    postgres_url: "{with_driver(dagster_url, "psycopg2")}"\ntelemetry:\n  enabled: false\n'
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert leaves_a_run.execute_in_process(instance=instance).success


@pytest.fixture
def targets(server_url: str) -> Iterator[tuple[str, str]]:
    for url in new_database(server_url, template="template0"):
        for dagster_url in new_database(server_url, template="template0"):
            yield url, dagster_url


def definitions(url: str) -> str:
    """Everything but the rows, as PostgreSQL itself writes it down: tables, partitions, views, indexes, comments.

    Without casts and brackets: a condition on a varchar is written with others once it has been read again.
    """
    command = [str(embedded.installation() / "bin" / "pg_dump"), "--schema-only", "--restrict-key=x", "--no-owner", url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.sub(r"::(text|character varying)(\[\])?|[()]", "", text)


def rows(url: str) -> dict[str, list[str]]:
    """All rows of all tables and the state of all sequences, as text."""
    what = {"r": "*", "S": "last_value, is_called"}  # a sequence keeps for itself how many numbers it has logged ahead
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT oid::regclass::text, relkind::text FROM pg_class WHERE relkind IN ('r', 'S') "
            "AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
        ).fetchall()
        return {
            name: sorted(str(row) for row in connection.execute(f"SELECT {what[kind]} FROM {name}".encode()))  # noqa: S608 - from the catalogue
            for name, kind in names
        }


def same(one: str, other: str) -> None:
    assert definitions(one) == definitions(other)
    here, there = rows(one), rows(other)
    assert here.keys() == there.keys()
    assert {name for name in here if here[name] != there[name]} == set()


def test_every_table_is_back_events_verify_and_the_next_sync_finds_all_of_it_unchanged(
    origin: Origin, targets: tuple[str, str]
) -> None:
    cmms = origin.cmms(*targets)
    said = cmms.json("db", "restore", str(origin.file))
    assert said["needs_migration"] is False
    assert said["rows"] == origin.said["rows"]
    assert said["rows"]["dagster"] > 5
    same(origin.database.url, targets[0])
    same(origin.dagster_url, targets[1])
    restored = Database(targets[0], make_engine(targets[0]))
    before = versions(restored.engine, equipment_running_times), versions(restored.engine, equipment)
    assert all(before)
    source = Source(restored, settings_for(origin.emulator, restored, origin.home))
    counts = source.running_times(DAY, plants=PLANTS, key="after the restore").counts
    assert (counts.inserted, counts.updated, counts.unchanged) == (0, 0, len(before[0]))
    assert (versions(restored.engine, equipment_running_times), versions(restored.engine, equipment)) == before
    with running(restored, source.settings) as sidecar:
        body = event_body()
        assert sidecar.post(body, signed(body)).status_code == 202
        assert sidecar.post(body, signed(body, "another secret")).status_code == 401
    restored.engine.dispose()


def test_a_backup_goes_into_the_embedded_server_and_out_of_it_again(origin: Origin) -> None:
    folder = Path(tempfile.mkdtemp(prefix="cmms-backup-"))
    folder.chmod(0o755)  # as root the server runs as another user, who must get in
    home = folder / "home"
    home.mkdir()
    cmms = CommandLine({"CMMS_HOME": str(home)})
    try:
        refused = cmms("db", "restore", str(origin.file))
        assert refused.returncode == 1
        assert "there is no key here" in refused.stderr
        assert not (home / "secret.key").exists()
        shutil.copy(origin.home / "secret.key", home)
        cmms.json("db", "restore", str(origin.file))
        server = embedded.ensure_running(home)
        same(origin.database.url, server.url("cmms"))
        same(origin.dagster_url, server.url("dagster"))
        again = cmms.json("db", "backup", "--output", str(folder / "again.tar"))
        assert again["rows"] == origin.said["rows"]
    finally:
        embedded.stop(home)
        shutil.rmtree(folder)


def test_what_is_not_empty_in_use_or_sealed_with_another_key_is_refused_and_stays(
    origin: Origin, targets: tuple[str, str], tmp_path: Path
) -> None:
    url, dagster_url = targets

    def said(cmms: CommandLine, *more: str) -> str:
        finished = cmms("db", "restore", str(origin.file), *more)
        assert (finished.returncode, finished.stdout) == (1, "")
        return finished.stderr

    cmms = origin.cmms(url, dagster_url)
    with psycopg.connect(url) as mine:
        mine.execute("CREATE SCHEMA cmms")
        mine.execute("CREATE TABLE cmms.mine AS SELECT 7 AS lucky")
        mine.commit()
        assert "is in use by a client without a name (1): stop them first" in said(cmms)
    assert "is not empty: back it up, then give --replace" in said(cmms)
    with only_one(origin.home):
        assert "run already" in said(cmms, "--replace")
    another = origin.cmms(url, dagster_url, tmp_path, CMMS_SECRET_KEY=Fernet.generate_key().decode())
    assert "were sealed with another key than that of CMMS_SECRET_KEY" in said(another, "--replace")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT lucky FROM cmms.mine").fetchone() == (7,)
    assert another("db", "restore", str(origin.file), "--replace", "--any-key").returncode == 0
    same(origin.database.url, url)


@pytest.fixture
def plain(server_url: str, targets: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """Both targets as a role owns them that has no other right."""
    names = [make_url(url).database for url in targets]
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        for name in names:
            connection.execute(f'ALTER DATABASE "{name}" OWNER TO plain'.encode())
        url, dagster_url = (make_url(url).set(username="plain", password="plain").render_as_string(False) for url in targets)
        yield url, dagster_url
        for name in names:
            connection.execute(f'ALTER DATABASE "{name}" OWNER TO CURRENT_USER'.encode())
        for target in targets:
            with psycopg.connect(target) as own:
                own.execute("REASSIGN OWNED BY plain TO CURRENT_USER")
        connection.execute("DROP ROLE plain")


def test_a_role_that_owns_nothing_but_the_databases_restores_and_backs_up(
    origin: Origin, plain: tuple[str, str], targets: tuple[str, str], tmp_path: Path
) -> None:
    cmms = origin.cmms(*plain)
    cmms.json("db", "restore", str(origin.file))
    cmms.json("db", "restore", str(origin.file), "--replace")
    again = cmms.json("db", "backup", "--output", str(tmp_path))
    assert again["rows"] == origin.said["rows"]
    with psycopg.connect(targets[0]):  # somebody else, whose session it may not look at
        refused = cmms("db", "restore", str(origin.file), "--replace")
    assert "is in use by a client without a name (1)" in refused.stderr


def test_a_backup_of_an_older_version_is_brought_up_by_a_migration_and_one_of_a_newer_is_refused(
    origin: Origin, targets: tuple[str, str], tmp_path: Path
) -> None:
    cmms, older, newer = origin.cmms(*targets), tmp_path / "older.tar", tmp_path / "newer.tar"
    cmms.json("db", "restore", str(origin.file))
    engine = make_engine(targets[0])
    newest = migrate.current_revision(engine)
    migrate.downgrade(engine, "-1")
    engine.dispose()
    with psycopg.connect(targets[1]) as connection:
        ours = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        # before the newest by two that change MySQL alone
        connection.execute("UPDATE alembic_version SET version_num = '7e2f3204cf8e'")
    cmms.json("db", "backup", "--output", str(older))
    restored = cmms("db", "restore", str(older), "--replace")
    assert "`cmms db migrate` brings it to this version" in restored.stderr
    migrated = cmms("db", "migrate")
    assert (migrated.returncode, "Dagster's storage is ready" in migrated.stderr) == (0, True), migrated.stderr
    assert migrate.current_revision(engine) == newest
    with psycopg.connect(targets[1]) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ours != ("7e2f3204cf8e",)
    engine.dispose()
    with backup_file.opened(older) as (archive, manifest):
        files = {name: backup_file.extract(archive, name, tmp_path) for name in manifest.databases}
        backup_file.write(newer, manifest.model_copy(update={"revision": "9999"}), files)
    assert "with schema 9999, which this version does not know" in cmms("db", "restore", str(newer), "--replace").stderr


def test_a_damaged_or_foreign_file_changes_nothing(origin: Origin, targets: tuple[str, str], tmp_path: Path) -> None:
    cmms, whole = origin.cmms(*targets), origin.file.read_bytes()

    def said(content: bytes) -> str:
        file = tmp_path / "file.tar"
        file.write_bytes(content)
        finished = cmms("db", "restore", str(file))
        assert (finished.returncode, len(finished.stderr.splitlines())) == (1, 1)
        return finished.stderr

    middle = len(whole) // 2
    assert "is damaged" in said(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert "was cut short" in said(whole[:middle])
    assert "is no backup" in said(b"something else")
    assert "cannot be read" in cmms("db", "restore", str(tmp_path / "none.tar")).stderr
    assert rows(targets[0]) == {}


def test_a_database_that_refuses_in_the_middle_is_as_it_was(origin: Origin, targets: tuple[str, str], server_url: str) -> None:
    with psycopg.connect(targets[0], autocommit=True) as connection:
        connection.execute("CREATE TABLE mine AS SELECT 7 AS lucky")
        connection.execute("CREATE TYPE public.in_the_way AS ENUM ('a')")
        connection.execute(
            "CREATE FUNCTION public.no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no views here'; END $$"
        )
        connection.execute(
            "CREATE EVENT TRIGGER no ON ddl_command_start WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION public.no()"
        )
    finished = origin.cmms(*targets)("db", "restore", str(origin.file), "--replace")
    assert finished.returncode == 1
    assert "refused the backup, and is as it was: no views here" in finished.stderr
    assert rows(targets[0]) == {"mine": ["(7,)"]}


def test_backups_in_a_folder_are_named_by_time_and_the_newest_stay(origin: Origin, tmp_path: Path) -> None:
    cmms = origin.cmms(origin.database.url, origin.dagster_url)
    for name in ("cmms-20200101T000000Z.tar", "cmms-20200102T000000Z.tar", "cmms-notes.tar"):
        (tmp_path / name).write_text("")
    made = cmms.json("db", "backup", "--output", str(tmp_path), "--keep", "2")
    assert [Path(name).name for name in made["removed"]] == ["cmms-20200101T000000Z.tar"]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"cmms-20200102T000000Z.tar", "cmms-notes.tar", Path(made["file"]).name}
    assert Path(made["file"]).stat().st_mode & 0o777 == 0o600
    refused = cmms("db", "backup", "--output", str(tmp_path / "file.tar"), "--keep", "2")
    assert (refused.returncode, "--keep needs a folder" in refused.stderr) == (1, True)
    assert "cannot be written" in cmms("db", "backup", "--output", str(tmp_path / "none" / "file.tar")).stderr


def test_a_backup_holds_neither_key_nor_secret_nor_password(origin: Origin) -> None:
    key = (origin.home / "secret.key").read_bytes().strip()
    password = str(make_url(origin.database.url).password).encode()
    found = origin.home / "opened"
    found.mkdir()
    with backup_file.opened(origin.file) as (archive, manifest):
        assert manifest.revision
        files = [backup_file.extract(archive, database, found) for database in manifest.databases]
    plain = b"".join(
        subprocess.run(
            [str(embedded.installation() / "bin" / "pg_restore"), "--file=-", str(file)], capture_output=True, check=True
        ).stdout
        for file in files
    )
    assert b"plant-cmms" in plain
    for secret in (key, SECRET.encode(), password):
        assert secret not in plain + origin.file.read_bytes()


def test_a_database_that_was_never_migrated_or_is_away_is_told_in_one_sentence(origin: Origin, targets: tuple[str, str]) -> None:
    empty = origin.cmms(*targets)("db", "backup", "--output", str(origin.home / "x.tar"))
    assert (empty.returncode, "never migrated" in empty.stderr, len(empty.stderr.splitlines())) == (1, True, 1)
    away = origin.cmms("postgresql://u:p4ssword@127.0.0.1:9/cmms", targets[1])(
        "db", "backup", "--output", str(origin.home / "x.tar")
    )
    assert (away.returncode, "Connection refused" in away.stderr, len(away.stderr.splitlines())) == (1, True, 1)
    assert "p4ssword" not in away.stderr
    assert not (origin.home / "x.tar").exists()
