"""The resources that assets ask for: the database and the external API, both from the environment when a run starts."""

from typing import TYPE_CHECKING

import dagster as dg

from cmms_pipelines.settings import Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from cmms_pipelines.clients.api import ExternalApi
    from cmms_pipelines.domain.api_calls import ApiCall


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
    """The external system behind its REST API; address, dialect and credentials come from `CMMS_API_*`."""

    def settings(self) -> Settings:
        """Return the environment as it is now."""
        return read_settings()

    def connect(self, on_call: "Callable[[ApiCall], None]") -> "ExternalApi":
        """Open a client; `on_call` is told of every request.

        Raises:
            PermanentError: CMMS_API_URL or CMMS_API_TOKEN is not set, or the dialect is unknown.
        """
        from cmms_pipelines.sync.source import connect_source  # noqa: PLC0415 - httpx is needed only where something is fetched

        return connect_source(self.settings(), on_call)
