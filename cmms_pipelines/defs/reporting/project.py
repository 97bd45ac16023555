"""The dbt project on disk: where it is, its manifest, and the environment that leads dbt to a database.

What belongs here: what must be known about dbt before Dagster comes in. What does not: assets and jobs (beside this file), and
SQL (`dbt_models/`).
"""

import hashlib
import os
import subprocess
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path

import psycopg
from filelock import FileLock, Timeout
from psycopg import pq

from cmms_pipelines.domain.errors import PermanentError, TransientError

PROJECT_DIR = Path(__file__).resolve().parents[3] / "dbt_models"
EXECUTABLE = Path(sysconfig.get_path("scripts")) / "dbt"
PASSWORD_VARIABLE = "DBT_ENV_SECRET_CMMS_PASSWORD"  # noqa: S105 - the name; dbt masks the values of variables that begin so
PARSE_TIMEOUT_S = 300
MANIFESTS_KEPT = 3

_VARIABLES = {"host": "CMMS_DBT_HOST", "port": "CMMS_DBT_PORT", "user": "CMMS_DBT_USER", "dbname": "CMMS_DBT_DBNAME"}
_BY_HAND = {"target", "logs", "dbt_packages"}


def connection_environment(address: str) -> dict[str, str]:
    """Return the variables that `profiles.yml` asks for, filled from a libpq URL.

    Parts that the URL leaves out get libpq's own defaults; parts that dbt's profile does not name (`sslmode` and its like)
    travel as libpq's variables, which its driver reads. The result holds a password: never log it.

    Raises:
        PermanentError: `address` is no libpq URL.
    """
    try:
        options = pq.Conninfo.parse(address.encode())
    except psycopg.Error:
        raise PermanentError(
            "The address of the database is no libpq URL: postgresql://user:password@host:5432/database."
        ) from None
    defaults = {option.keyword: option.val for option in pq.Conninfo.get_defaults()}
    environment = {PASSWORD_VARIABLE: "none"}  # dbt's adapter wants a password even where the server asks for none
    for option in options:
        name = option.keyword.decode()
        if name in _VARIABLES:
            environment[_VARIABLES[name]] = (option.val or defaults[option.keyword] or b"").decode()
        elif name == "password" and (option.val or defaults[option.keyword]):
            environment[PASSWORD_VARIABLE] = (option.val or defaults[option.keyword] or b"").decode()
        elif option.val and option.envvar:
            environment[option.envvar.decode()] = option.val.decode()
    return environment


def prepare_manifest(project_dir: Path, target_dir: Path, database: str) -> Path:
    """Return dbt's manifest of the project for the database named `database`, parsing it only when a dbt file has changed.

    Safe to call from many processes at once: one parses, the others wait for it. Needs no database that answers.

    Raises:
        PermanentError: the project is not there, or dbt refuses it; the message ends with dbt's own.
        TransientError: another process has been parsing for minutes.
    """
    if not (project_dir / "dbt_project.yml").exists():
        raise PermanentError(f"There is no dbt project in {project_dir}: run from a checkout of the repository.")
    manifest = target_dir / f"manifest-{_fingerprint(project_dir, database)}.json"
    if manifest.exists():
        return manifest
    target_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(target_dir / "manifest.lock", timeout=PARSE_TIMEOUT_S):
            if not manifest.exists():
                _parse(project_dir, manifest, database)
                _forget_old_manifests(target_dir)
    except Timeout as error:
        raise TransientError(f"Another process has held {target_dir / 'manifest.lock'} for {PARSE_TIMEOUT_S} s.") from error
    return manifest


def parse_cache(project_dir: Path, target_dir: Path) -> Path:
    """Return where dbt's parse of the project as it stands is kept, for the next build; it need not exist."""
    return target_dir / f"partial_parse-{_fingerprint(project_dir, '')}.msgpack"


def _parse(project_dir: Path, manifest: Path, database: str) -> None:
    placeholders = connection_environment(f"postgresql://nobody@127.0.0.1:5432/{database}")
    with tempfile.TemporaryDirectory(dir=manifest.parent, prefix="parse-") as scratch:
        finished = subprocess.run(
            [
                str(EXECUTABLE), "--no-use-colors", "--no-partial-parse", "parse",
                "--project-dir", str(project_dir), "--profiles-dir", str(project_dir),
                "--target-path", scratch, "--log-path", scratch,
            ],
            env={**os.environ, **placeholders},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PARSE_TIMEOUT_S,
        )  # fmt: skip
        if finished.returncode != 0:
            raise PermanentError(f"dbt cannot parse {project_dir}:\n{finished.stdout.strip()[-2000:]}")
        (Path(scratch) / "manifest.json").replace(manifest)


def _fingerprint(project_dir: Path, database: str) -> str:
    """Return what a manifest depends on as one short word: dbt's version, the database's name, every file of the project."""
    digest = hashlib.sha256(f"{version('dbt-core')}\0{version('dbt-postgres')}\0{database}".encode())
    for path in sorted(project_dir.rglob("*")):
        parts = path.relative_to(project_dir).parts
        if parts[0] not in _BY_HAND and not any(part.startswith(".") for part in parts) and path.is_file():
            digest.update(f"\0{'/'.join(parts)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _forget_old_manifests(target_dir: Path) -> None:
    """Keep the newest of each kind only; more than one, because a process of the version before may be about to read its own."""
    for pattern in ("manifest-*.json", "partial_parse-*.msgpack"):
        newest_first = sorted(target_dir.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in newest_first[MANIFESTS_KEPT:]:
            old.unlink(missing_ok=True)
