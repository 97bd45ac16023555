"""The resources that assets ask for: the database, and the external API as it is configured when a run starts."""

from typing import TYPE_CHECKING

import dagster as dg

from cmms_pipelines.settings import Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa


class Warehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The `cmms` database: where it is and an engine on it."""

    database_url: str | None = None
    """A libpq URL; by default the environment's, or the embedded server's."""

    def address(self) -> str:
        """Return the libpq URL; it holds a password: never log it."""
        from cmms_pipelines.storage.engine import cmms_address  # noqa: PLC0415 - keeps SQLAlchemy out of a run's start

        return self.database_url or cmms_address(read_settings())

    def engine(self) -> "sa.Engine":
        """Return this process's pooled engine."""
        from cmms_pipelines.storage.engine import shared_engine  # noqa: PLC0415

        return shared_engine(self.address())


class SourceSystem(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The external system behind its REST API: `CMMS_API_*`, and what the configuration centre says where they are silent."""

    def settings(self) -> Settings:
        """Return the environment as it is now."""
        return read_settings()

    def in_force(self, warehouse: Warehouse, tell: "Callable[[str], None]") -> Settings:
        """Return the environment over what is configured in the database; `tell` hears of what is not usable there."""
        from cmms_pipelines.storage.settings_in_force import settings_in_force  # noqa: PLC0415 - keeps SQLAlchemy out of a start

        return settings_in_force(warehouse.engine(), self.settings(), tell)
