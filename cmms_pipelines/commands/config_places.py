"""Which configuration a command of `cmms config` is about, and documents from files.

What belongs here: reading the words that were typed. What does not: the commands (`commands.config`).
"""

import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmms_pipelines.domain.conflict_policy import CONFLICTS
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import Settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from cmms_pipelines.storage.configuration_centre import Kind
    from cmms_pipelines.storage.configurations import StoredConfiguration


@dataclass(frozen=True)
class Place:
    """A kind of configuration and the system that it stands for."""

    kind: "Kind"
    system: str

    def __str__(self) -> str:
        return f"{self.kind.name} for {self.system}" if self.kind.is_per_system else self.kind.name

    def stored(self, connection: "sa.Connection") -> "StoredConfiguration":
        """Return what is stored.

        Raises:
            PermanentError: nothing is.
        """
        from cmms_pipelines.storage.configurations import find_configuration  # noqa: PLC0415 - loads SQLAlchemy

        found = find_configuration(connection, self.kind.name, self.system)
        if found is None:
            raise PermanentError(f"Nothing is stored of {self}.")
        return found

    def document(self, connection: "sa.Connection") -> Mapping[str, Any]:
        """Return the newest version's content, nothing where there is none."""
        from cmms_pipelines.storage.configurations import find_configuration  # noqa: PLC0415 - loads SQLAlchemy

        found = find_configuration(connection, self.kind.name, self.system)
        return found.configuration if found else {}

    def newest(self, connection: "sa.Connection") -> int:
        """Return the newest version, 0 where there is none."""
        from cmms_pipelines.storage.configurations import find_configuration  # noqa: PLC0415 - loads SQLAlchemy

        found = find_configuration(connection, self.kind.name, self.system)
        return found.version if found else 0


def find_place(connection: "sa.Connection", settings: Settings, kind: str, system: str | None) -> Place:
    """Return what was meant: a kind and its system, or the name of a source of events alone.

    Raises:
        PermanentError: there is no such kind or source, or the kind stands for systems and none was named.
    """
    from cmms_pipelines.storage import configuration_centre as centre  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.configuration_changes import list_sources  # noqa: PLC0415
    from cmms_pipelines.storage.configurations import WEBHOOK  # noqa: PLC0415

    if kind not in centre.KINDS and system is None:
        if any(source.cmms_system_id == kind for source in list_sources(connection)):
            return Place(centre.KINDS[WEBHOOK], kind)
        near = get_close_matches(kind, centre.KINDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"kinds are {', '.join(centre.KINDS)}."
        raise PermanentError(f"No source of events and no kind of configuration is named {kind!r}: {hint}")
    found = centre.kind_of(kind)
    if system is not None:
        centre.check_system(found, system)
        return Place(found, system)
    if found.name in (WEBHOOK, CONFLICTS):
        raise PermanentError(f"Name the system: {found.name} stands for each of them.")
    return Place(found, _own_system(connection, settings, found))


def stored_places(connection: "sa.Connection", settings: Settings) -> list[Place]:
    """Return all kinds that stand once, and everything that is stored for a system."""
    from cmms_pipelines.storage import configuration_centre as centre  # noqa: PLC0415 - loads SQLAlchemy
    from cmms_pipelines.storage.configurations import WEBHOOK  # noqa: PLC0415

    places: dict[tuple[str, str], Place] = {}
    for kind in centre.KINDS.values():
        systems = [stored.cmms_system_id for stored in centre.stored_in(connection, kind)]
        if kind.name not in (WEBHOOK, CONFLICTS):
            systems.insert(0, _own_system(connection, settings, kind))
        places |= {(kind.name, system): Place(kind, system) for system in systems}
    return list(places.values())


def read_document(file: Path) -> Mapping[str, Any]:
    """Return the document of a file.

    Raises:
        PermanentError: it cannot be read, or holds no document.
    """
    import orjson  # noqa: PLC0415

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        found = tomllib.loads(text) if file.suffix == ".toml" else orjson.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentError(f"{file} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise PermanentError(f"{file} is not TOML: {error}.") from error
    except orjson.JSONDecodeError as error:
        raise PermanentError(f"{file} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise PermanentError(f"{file} holds no JSON object.")
    return found


def _own_system(connection: "sa.Connection", settings: Settings, kind: "Kind") -> str:
    from cmms_pipelines.storage import settings_in_force  # noqa: PLC0415 - loads SQLAlchemy

    return settings_in_force.system_of(kind.name, settings, settings_in_force.in_force(connection, settings_in_force.API))
