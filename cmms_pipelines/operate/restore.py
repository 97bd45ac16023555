"""Putting a backup back into both databases, and comparing every table with what was written.

What belongs here: what must be so before anything is touched, and the order. What does not: the file (`operate.backup_file`).
"""

import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from alembic.script import ScriptDirectory
from alembic.util import CommandError
from cryptography.fernet import InvalidToken

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.operate import backup_file
from cmms_pipelines.operate.backup import key_of
from cmms_pipelines.operate.backup_file import Manifest
from cmms_pipelines.operate.supervise import Progress, only_one
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import dumps, migrate
from cmms_pipelines.storage.contents import read_contents
from cmms_pipelines.storage.engine import CMMS_DATABASE, DAGSTER_DATABASE, ensure_database, locate, shared_engine, where
from cmms_pipelines.storage.secrets import KEY_FILE


@dataclass(frozen=True)
class Restored:
    """A backup that is in force again."""

    file: Path
    manifest: Manifest
    needs_migration: bool

    def figures(self) -> dict[str, object]:
        """Return what machines want to know of it."""
        return {
            "file": str(self.file),
            "made_at": self.manifest.made_at,
            "revision": self.manifest.revision,
            "needs_migration": self.needs_migration,
            "rows": {name: note.contents.rows for name, note in self.manifest.databases.items()},
            "tables": {name: len(note.contents.tables) for name, note in self.manifest.databases.items()},
        }


def restore(settings: Settings, file: Path, *, replace: bool, any_key: bool, progress: Progress) -> Restored:
    """Put the backup `file` into both databases, each in one transaction, and compare what they hold with its manifest.

    Args:
        settings: name the databases, embedded or given; one that is missing is created.
        file: was written by `operate.backup`.
        replace: also into databases that hold something, which is then gone.
        any_key: also where the key here is not the one of the backup: sealed secrets must then be given anew.
        progress: is told what goes on.

    Raises:
        PermanentError: the message says why, and whether anything was changed. TransientError: a database cannot be reached.
    """
    with only_one(settings.home), backup_file.opened(file) as (archive, manifest):
        progress(f"{file} is whole: of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC, version {manifest.product_version}")
        if not any_key:
            _refuse_another_key(settings, manifest)
        databases = locate(settings)
        script = ScriptDirectory.from_config(migrate.alembic_config(shared_engine(databases.cmms)))
        _refuse_a_later_schema(script, manifest)
        addresses = {DAGSTER_DATABASE: databases.dagster, CMMS_DATABASE: databases.cmms}
        for name, address in addresses.items():
            ensure_database(address)
            _refuse_one_in_use(name, address, replace=replace)
        for name, address in addresses.items():
            _load(settings, archive, manifest, name, address)
            progress(f"{name}: {manifest.databases[name].contents.rows} rows are back, and compared")
    return Restored(file, manifest, manifest.revision != script.get_current_head())


def _load(settings: Settings, archive: tarfile.TarFile, manifest: Manifest, name: str, address: str) -> None:
    with tempfile.TemporaryDirectory(dir=settings.home, prefix=".cmms-restore-") as folder:
        dumps.load(address, backup_file.extract(archive, name, Path(folder)))
    with dumps.connected(address) as connection:
        unlike = manifest.databases[name].contents.unlike(read_contents(connection))
    if unlike:
        raise PermanentError(
            f"The database {name} was restored, but is not what was backed up: {', '.join(unlike[:5])}. Use another backup."
        )


def _refuse_another_key(settings: Settings, manifest: Manifest) -> None:
    if manifest.key_check is None:
        return
    place = "CMMS_SECRET_KEY" if settings.secret_key else str(settings.home / KEY_FILE)
    key = key_of(settings)
    if key is None:
        raise PermanentError(
            f"The secrets in this backup are sealed, and there is no key here: put the key of then into "
            f"{settings.home / KEY_FILE} or CMMS_SECRET_KEY, or give --any-key and set the secrets anew."
        )
    try:
        key.decrypt(manifest.key_check.encode())
    except InvalidToken as error:
        raise PermanentError(
            f"The secrets in this backup were sealed with another key than that of {place}: bring the key of then (several may "
            "stand in CMMS_SECRET_KEY, separated by commas), or give --any-key and set the secrets anew."
        ) from error


def _refuse_a_later_schema(script: ScriptDirectory, manifest: Manifest) -> None:
    try:
        script.get_revision(manifest.revision)
    except CommandError as error:
        raise PermanentError(
            f"The backup was made by version {manifest.product_version} with schema {manifest.revision}, which this version does "
            "not know: restore it with that version or a later one."
        ) from error


def _refuse_one_in_use(name: str, address: str, *, replace: bool) -> None:
    others = dumps.sessions(address)
    if others:
        raise PermanentError(f"The database {name} on {where(address)} is in use by {', '.join(others)}: stop them first.")
    if not replace and not dumps.is_empty(address):
        raise PermanentError(
            f"The database {name} on {where(address)} is not empty: back it up, then give --replace, which removes what it "
            "holds; or restore into another CMMS_HOME, CMMS_DATABASE_URL and DAGSTER_DATABASE_URL."
        )
