"""Dumps: a database as a file, and back in one transaction, by PostgreSQL's own programs that the wheel brings along.

What belongs here: `pg_dump`, `pg_restore` and `psql` on one database. What does not: the file that holds the dumps of both
databases and says what is in them (`operate.backup_file`).
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.storage import embedded
from cmms_pipelines.storage.contents import OF_USERS
from cmms_pipelines.storage.engine import CONNECT_TIMEOUT_S, unreachable, where

LOCK_TIMEOUT = "60s"
_SCHEMAS = f"SELECT namespace.nspname FROM pg_namespace AS namespace WHERE {OF_USERS} AND namespace.nspname <> 'public'"
_SINCE_17 = b"SET transaction_timeout = 0;\n"  # `pg_restore` writes it for every server, and earlier ones refuse it
_IN_PUBLIC = """
    SELECT class.relkind::text, class.relname FROM pg_class AS class
    WHERE class.relnamespace = to_regnamespace('public') AND class.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
      AND NOT EXISTS (SELECT FROM pg_depend AS held WHERE held.objid = class.oid AND held.deptype IN ('e', 'i', 'a'))
"""
_KINDS = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "S": "SEQUENCE", "f": "FOREIGN TABLE"}
# A role without rights to look at others sees only whose their sessions are; PostgreSQL's own workers are nobody's.
_SESSIONS = """
    SELECT coalesce(nullif(application_name, ''), 'a client without a name'), count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
      AND coalesce(backend_type, 'client backend') = 'client backend'
    GROUP BY 1 ORDER BY 1
"""


@contextmanager
def snapshot(address: str) -> Iterator[tuple[psycopg.Connection, str]]:
    """Hold one state of a database for a block: a connection that sees it, and its name for `dump`.

    Raises:
        TransientError, PermanentError: the database cannot be reached, or refuses us.
    """
    with connected(address) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        yield connection, str(row[0] if row else "")


@contextmanager
def connected(address: str) -> Iterator[psycopg.Connection]:
    """Connect for a block.

    Raises:
        TransientError, PermanentError: the database cannot be reached, or refuses us.
    """
    try:
        connection = psycopg.connect(address, connect_timeout=CONNECT_TIMEOUT_S, application_name="cmms-pipelines backup")
    except psycopg.OperationalError as error:
        raise unreachable(address, error) from error
    with connection:
        yield connection


def dump(address: str, snapshot_name: str, file: Path) -> None:
    """Write a snapshot of a database to `file`, compressed, without owners and rights: whoever restores it owns it.

    Raises:
        PermanentError: `pg_dump` refuses; the message has its reason.
    """
    command = [
        _program("pg_dump"), "--format=custom", "--no-owner", "--no-privileges", f"--lock-wait-timeout={LOCK_TIMEOUT}",
        f"--snapshot={snapshot_name}", f"--file={file}", f"--dbname={_without_password(address)}",
    ]  # fmt: skip
    finished = subprocess.run(command, env=_environment(address), capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise PermanentError(f"The database on {where(address)} could not be dumped: {_reason(finished.stderr)}")


def read_through(file: Path) -> None:
    """Read a dump to its end.

    Raises:
        PermanentError: it is damaged, or no dump.
    """
    command = [_program("pg_restore"), "--file=/dev/null", str(file)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise PermanentError(f"The dump {file.name} cannot be read: {_reason(finished.stderr)}")


def is_empty(address: str) -> bool:
    """Tell whether a database has no table, view or schema of anybody."""
    with connected(address) as connection:
        return not _removals(connection)


def sessions(address: str) -> list[str]:
    """Return who else is connected to a database, each with the number of connections."""
    with connected(address) as connection:
        return [f"{name} ({count})" for name, count in connection.execute(_SESSIONS).fetchall()]


def load(address: str, file: Path) -> None:
    """Put a dump in the place of all that a database holds, in one transaction: a failure leaves it as it was.

    Raises:
        PermanentError: the dump or the database refuses; the message has the reason.
    """
    with connected(address) as connection:
        removals = [statement.as_string(connection) for statement in _removals(connection)]
        unknown = _SINCE_17 if connection.info.server_version < 170_000 else None
    preamble = "\n".join(["BEGIN;", *(f"{statement};" for statement in removals), ""])
    command = [_program("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={_without_password(address)}"]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as said_of_file:
        reading = [_program("pg_restore"), "--no-owner", "--no-privileges", "--file=-", str(file)]
        psql = subprocess.Popen(command, env=_environment(address), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said)
        with psql, subprocess.Popen(reading, stdout=subprocess.PIPE, stderr=said_of_file) as read:
            if psql.stdin is None or read.stdout is None:
                raise TypeError("both were started with a pipe")
            with suppress(BrokenPipeError):  # psql has ended, and said why
                psql.stdin.write(preamble.encode())
                _copy(read.stdout, psql.stdin, without=unknown)
                if read.wait() == 0:  # a dump that ends early must not be taken for a whole one
                    psql.stdin.write(b"COMMIT;\n")
            with suppress(BrokenPipeError):
                psql.stdin.close()
        reason, reason_of_file = _all_of(said), _all_of(said_of_file)
    if psql.returncode != 0:
        raise PermanentError(f"The database on {where(address)} refused the backup, and is as it was: {_reason(reason)}")
    if read.returncode != 0:
        raise PermanentError(f"The dump {file.name} cannot be read, and the database is as it was: {_reason(reason_of_file)}")
    with connected(address) as connection:
        connection.autocommit = True
        connection.execute("ANALYZE")


def _copy(source: IO[bytes], target: IO[bytes], *, without: bytes | None) -> None:
    """Copy all lines, leaving out the first that is `without`: it stands at the head, before any row of a table."""
    if without is not None:
        for line in source:
            if line == without:
                break
            target.write(line)
    shutil.copyfileobj(source, target)
    target.flush()


def _all_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _removals(connection: psycopg.Connection) -> list[sql.Composed]:
    """Return the statements that empty a database; the schema `public` stays, which may belong to somebody else."""
    schemas = [sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(row[0])) for row in connection.execute(_SCHEMAS.encode())]
    relations = [
        sql.SQL("DROP {} IF EXISTS {} CASCADE").format(sql.SQL(_KINDS[kind]), sql.Identifier("public", name))
        for kind, name in connection.execute(_IN_PUBLIC).fetchall()
    ]
    return schemas + relations


def _program(name: str) -> str:
    return str(embedded.installation() / "bin" / name)


def _without_password(address: str) -> str:
    """Return an address for the command line, which other users of the machine can read."""
    return make_conninfo("", **{name: value for name, value in conninfo_to_dict(address).items() if name != "password"})


def _environment(address: str) -> dict[str, str]:
    password = conninfo_to_dict(address).get("password")
    return dict(os.environ) | ({"PGPASSWORD": str(password)} if password else {})


def _reason(said: str) -> str:
    """Return the first error among what a program said, in one line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    found = next((line for line in lines if "error:" in line.lower()), lines[-1] if lines else "it does not say why")
    return found.partition("error: ")[2] or found.partition("ERROR: ")[2].strip() or found
