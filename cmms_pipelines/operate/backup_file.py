"""The file of a backup: a tar archive of a manifest and the dumps of both databases, whole or not there at all.

What belongs here: its form, writing it and reading it back. What does not: what is dumped when (`operate.backup`).
"""

import datetime as dt
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, ValidationError

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.storage.contents import Contents

FORMAT = 1
MANIFEST = "manifest.json"
SUFFIX = ".tar"
_BLOCK = 1 << 20


class DumpNote(BaseModel):
    """What the manifest says of one dump."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    contents: Contents


class Manifest(BaseModel):
    """What a backup says of itself.

    Attributes:
        made_at: the state that both dumps show.
        product_version, revision: of the code that made it, and of our schema.
        key_check: something sealed with the key of then, which only that key opens; the key itself is not in a backup.
        databases: by name, `cmms` and `dagster`.
    """

    model_config = ConfigDict(frozen=True)

    format: int
    made_at: dt.datetime
    product_version: str
    revision: str
    key_check: str | None
    databases: dict[str, DumpNote]


def dump_name(database: str) -> str:
    """Return the name of a database's dump within the file."""
    return f"{database}.dump"


def digest_of(file: IO[bytes]) -> str:
    """Return the SHA-256 of what is left to read of `file`."""
    found = hashlib.sha256()
    while block := file.read(_BLOCK):
        found.update(block)
    return found.hexdigest()


def write(file: Path, manifest: Manifest, dumps: dict[str, Path]) -> None:
    """Write a backup beside its place, read it back, and only then put it there; readable by its owner alone.

    Raises:
        PermanentError: what was read back is not what was written; OSError: the folder cannot be written to.
    """
    draft = file.with_name(f".{file.name}.partial")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
            with tarfile.open(fileobj=output, mode="w") as archive:
                text = manifest.model_dump_json(indent=1).encode()
                entry = tarfile.TarInfo(MANIFEST)
                entry.size, entry.mtime, entry.mode = len(text), int(manifest.made_at.timestamp()), 0o600
                archive.addfile(entry, io.BytesIO(text))
                for database, dump in dumps.items():
                    archive.add(dump, dump_name(database))
            output.flush()
            os.fsync(output.fileno())
        with opened(draft):
            draft.replace(file)
        descriptor = os.open(file.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def opened(file: Path) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    """Open a backup for a block, once every byte of its dumps has been compared with the manifest.

    Raises:
        PermanentError: it is not there, no backup of ours, of a later form, or damaged.
    """
    try:
        with tarfile.open(file, "r:") as archive:
            manifest = Manifest.model_validate_json(_member(archive, file, MANIFEST).read())
            if manifest.format > FORMAT:
                raise PermanentError(
                    f"{file} was made by version {manifest.product_version}, whose backups this one cannot read."
                )
            for database, note in manifest.databases.items():
                if digest_of(_member(archive, file, dump_name(database))) != note.sha256:
                    raise PermanentError(
                        f"{file} is damaged: the dump of {database} is not what was written. Use another backup."
                    )
            yield archive, manifest
    except OSError as error:
        raise PermanentError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (tarfile.TarError, ValidationError) as error:
        raise PermanentError(f"{file} is no backup of `cmms db backup`, or was cut short. Use another one.") from error


def extract(archive: tarfile.TarFile, database: str, folder: Path) -> Path:
    """Write the dump of a database into `folder`, and return where: PostgreSQL's programs want files."""
    target = folder / dump_name(database)
    with _member(archive, Path(str(archive.name)), target.name) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, _BLOCK)
    return target


def _member(archive: tarfile.TarFile, file: Path, name: str) -> IO[bytes]:
    try:
        member = archive.extractfile(name)
    except KeyError:
        member = None
    if member is None:
        raise PermanentError(f"{file} is no backup of `cmms db backup`: it has no {name}.")
    return member
