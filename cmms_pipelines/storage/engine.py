"""Where the two databases are, and engines on them.

What belongs here: addresses (embedded or given), the one engine per process, creating a missing database.
What does not: SQL of the product.
"""

from dataclasses import dataclass
from functools import lru_cache

import orjson
import psycopg
import sqlalchemy as sa
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError

from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import embedded

CMMS_DATABASE = "cmms"
DAGSTER_DATABASE = "dagster"
CONNECT_TIMEOUT_S = 10
SESSION = "-c timezone=UTC -c search_path=public"  # a user named like our schema would else find it first


@dataclass(frozen=True)
class Databases:
    """The libpq URLs (`postgresql://`, no driver) of our database and of Dagster's; they hold passwords: never log them."""

    cmms: str
    dagster: str


def locate(settings: Settings) -> Databases:
    """Return both addresses, starting the embedded server if the environment does not give both.

    Raises:
        PermanentError: an address in the environment is no PostgreSQL URL, or the embedded server cannot run here.
    """
    dagster = _given(settings.dagster_database_url, "DAGSTER_DATABASE_URL")
    return Databases(cmms=cmms_address(settings), dagster=dagster or embedded.ensure_running(settings.home).url(DAGSTER_DATABASE))


def cmms_address(settings: Settings) -> str:
    """Return the libpq URL of our own database, starting the embedded server only if the environment does not give it.

    Raises:
        PermanentError: the address in the environment is no PostgreSQL URL, or the embedded server cannot run here.
    """
    given = _given(settings.database_url, "CMMS_DATABASE_URL")
    return given or embedded.ensure_running(settings.home).url(CMMS_DATABASE)


def with_driver(address: str, driver: str) -> str:
    """Return `address` with its SQLAlchemy driver named: `psycopg` for our code, `psycopg2` for Dagster's storage."""
    return make_url(address).set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)


def ensure_database(address: str) -> None:
    """Create the database that `address` names if the server does not have it.

    Raises:
        TransientError: the server does not answer.
        PermanentError: it refuses us, or the database is missing and we may not create it.
    """
    name = make_url(address).database or CMMS_DATABASE
    try:
        with psycopg.connect(address, connect_timeout=CONNECT_TIMEOUT_S):
            return
    except psycopg.OperationalError as error:
        if "does not exist" not in str(error):
            raise unreachable(address, error) from error
    try:
        admin = make_url(address).set(database="postgres").render_as_string(hide_password=False)
        with psycopg.connect(admin, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.errors.DuplicateDatabase:
        return
    except psycopg.Error as error:
        raise PermanentError(
            f"The database {name!r} does not exist on {where(address)} and could not be created: {_line(error)}"
        ) from error


def make_engine(address: str, **options: int) -> sa.Engine:
    """Return an engine on `address` through psycopg 3, its sessions in UTC and its connections checked before use."""
    engine = sa.create_engine(
        with_driver(address, "psycopg"),
        pool_pre_ping=True,
        json_serializer=lambda value: orjson.dumps(value, default=str).decode(),
        json_deserializer=orjson.loads,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "options": SESSION,
            "application_name": "cmms-pipelines",
        },
        **options,
    )
    sa.event.listen(engine, "handle_error", _raise_interruption_of_ping)
    return engine


@lru_cache(maxsize=4)
def shared_engine(address: str) -> sa.Engine:
    """Return this process's one pooled engine on `address`."""
    return make_engine(address, pool_size=8, max_overflow=8)


def _raise_interruption_of_ping(context: ExceptionContext) -> None:
    """Raise the interruption (Ctrl-C, Dagster's own) in whose course a connection could not be checked before its use.

    SQLAlchemy cleans up after the check; interrupted in the middle of it, the connection refuses that, and its error would take
    the place of the interruption.
    """
    if not context.is_pre_ping or not isinstance(context.original_exception, psycopg.ProgrammingError):
        return
    behind = context.original_exception.__context__
    while behind is not None:
        if not isinstance(behind, Exception):
            raise behind
        behind = behind.__context__


def _given(address: SecretStr | None, variable: str) -> str | None:
    if address is None:
        return None
    try:
        url = make_url(address.get_secret_value())
    except ArgumentError as error:
        raise PermanentError(f"{variable} is no URL; it looks like postgresql://user:password@host:5432/database.") from error
    if url.get_backend_name() != "postgresql" or not url.database:
        raise PermanentError(f"{variable} must name a PostgreSQL database: postgresql://user:password@host:5432/database.")
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def unreachable(address: str, error: psycopg.OperationalError) -> TransientError | PermanentError:
    """Return what to raise where a database cannot be connected to: it may pass, unless the password is wrong."""
    kind = PermanentError if "authentication failed" in str(error) else TransientError
    return kind(f"The database on {where(address)} does not let us in: {_line(error)}")


def where(address: str) -> str:
    """Return host and port of an address, as errors name a server: without its password."""
    url: URL = make_url(address)
    return f"{url.host or 'the local socket'}:{url.port or 5432}"


def _line(error: psycopg.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.strip().startswith(_ADVICE)]
    return lines[-1] if lines else type(error).__name__


_ADVICE = "Is the server running"  # libpq's second line, which says less than its first
