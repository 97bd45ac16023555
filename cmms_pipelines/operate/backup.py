"""Backup of both databases into one file, while everything runs.

What belongs here: one state of both, its manifest, and how many older files stay. What does not: putting it back
(`operate.restore`), and the key that seals secrets: whoever finds a backup must not find the key in it.
"""

import datetime as dt
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cryptography.fernet import MultiFernet

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.operate import backup_file
from cmms_pipelines.operate.backup_file import DumpNote, Manifest
from cmms_pipelines.operate.supervise import Progress
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import dumps, migrate
from cmms_pipelines.storage.contents import read_contents
from cmms_pipelines.storage.engine import CMMS_DATABASE, DAGSTER_DATABASE, ensure_database, locate, make_engine
from cmms_pipelines.storage.secrets import KEY_FILE, secret_box

KEY_CHECK = b"cmms-pipelines: the key of this backup"
NAME = "cmms-{at:%Y%m%dT%H%M%SZ}" + backup_file.SUFFIX
PATTERN = "cmms-????????T??????Z" + backup_file.SUFFIX


@dataclass(frozen=True)
class Backup:
    """A backup that was made, and what was removed for it."""

    file: Path
    bytes: int
    manifest: Manifest
    removed: tuple[Path, ...]

    def figures(self) -> dict[str, object]:
        """Return what machines want to know of it."""
        return {
            "file": str(self.file),
            "bytes": self.bytes,
            "made_at": self.manifest.made_at,
            "revision": self.manifest.revision,
            "rows": {name: note.contents.rows for name, note in self.manifest.databases.items()},
            "tables": {name: len(note.contents.tables) for name, note in self.manifest.databases.items()},
            "removed": [str(file) for file in self.removed],
        }


def back_up(settings: Settings, output: Path, *, now: dt.datetime, keep: int | None, progress: Progress) -> Backup:
    """Write both databases to `output`: a file, or a folder in which the file is named after the time.

    Args:
        settings: name the databases, embedded or given.
        output: an earlier file of that name is replaced once the new one has been verified.
        now: the time of the backup.
        keep: of the files in the folder that were named after their time, only the newest so many stay.
        progress: is told what goes on.

    Raises:
        PermanentError: nothing was written; the message says why. TransientError: a database cannot be reached.
    """
    file = output
    try:
        if output.is_dir():
            file = output / NAME.format(at=now)
        elif keep is not None:
            raise PermanentError(f"--keep needs a folder as --output, and {output} is none: only there names go by time.")
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".cmms-backup-") as folder:
            manifest = _write(settings, file, Path(folder), now, progress)
    except OSError as error:
        raise PermanentError(f"The backup {file} cannot be written: {error.strerror or error}.") from error
    removed = sorted(output.glob(PATTERN))[:-keep] if keep else []
    for old in removed:
        old.unlink()
    return Backup(file, file.stat().st_size, manifest, tuple(removed))


def key_of(settings: Settings) -> MultiFernet | None:
    """Return what opens sealed secrets here, or None where there is no key yet: none is made."""
    has_key = settings.secret_key is not None or (settings.home / KEY_FILE).exists()
    return secret_box(settings) if has_key else None


def _revision(address: str) -> str | None:
    engine = make_engine(address)
    try:
        return migrate.current_revision(engine)
    finally:
        engine.dispose()


def _write(settings: Settings, file: Path, folder: Path, now: dt.datetime, progress: Progress) -> Manifest:
    databases = locate(settings)
    addresses = {DAGSTER_DATABASE: databases.dagster, CMMS_DATABASE: databases.cmms}
    for address in addresses.values():
        ensure_database(address)
    revision, key = _revision(databases.cmms), key_of(settings)
    if revision is None:
        raise PermanentError("There is nothing to back up: the database was never migrated (`cmms db migrate`).")
    files, notes = {}, {}
    with ExitStack() as held:
        # Dagster's state first, ours right after it: what it says is done is there, and what is there beyond it does no harm.
        states = {name: held.enter_context(dumps.snapshot(address)) for name, address in addresses.items()}
        for name, (connection, snapshot_name) in states.items():
            files[name] = folder / backup_file.dump_name(name)
            dumps.dump(addresses[name], snapshot_name, files[name])
            dumps.read_through(files[name])
            with files[name].open("rb") as dump:
                notes[name] = DumpNote(sha256=backup_file.digest_of(dump), contents=read_contents(connection))
            progress(f"{name}: {notes[name].contents.rows} rows of {len(notes[name].contents.tables)} tables")
    manifest = Manifest(
        format=backup_file.FORMAT,
        made_at=now,
        product_version=version("cmms-pipelines"),
        revision=revision,
        key_check=key.encrypt(KEY_CHECK).decode() if key else None,
        databases=notes,
    )
    backup_file.write(file, manifest, files)
    return manifest
