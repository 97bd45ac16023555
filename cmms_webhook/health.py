"""Is this process alive, and can it do its work: answers for supervisors and load balancers, with a reason that is a code.

What belongs here: the two questions. What does not: what somebody does about the answers.
"""

import asyncio
from typing import Literal

import sqlalchemy as sa
from alembic.script import ScriptDirectory
from pydantic import BaseModel, Field

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.storage import migrate
from cmms_webhook.sources import Sources
from cmms_webhook.writer import InboxWriter

TIMEOUT_S = 3.0


class Live(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """Whether events are taken now."""

    status: Literal["ready", "not_ready"]
    reason: str | None = Field(
        default=None,
        description="`database_unreachable`, `database_not_migrated`, `stopping`, or what is wrong with a source",
        examples=["database_unreachable"],
    )


class Health:
    """Answers about one application."""

    def __init__(self, engine: sa.Engine, sources: Sources, writer: InboxWriter) -> None:
        self._engine, self._sources, self._writer = engine, sources, writer
        self._newest = ScriptDirectory.from_config(migrate.alembic_config(engine)).get_current_head()

    async def ready(self) -> Ready:
        """Return `ready` when an event that came now would be stored: the database answers, migrated, secrets readable."""
        reason = await self._reason()
        return Ready(status="not_ready" if reason else "ready", reason=reason)

    async def _reason(self) -> str | None:
        if not self._writer.is_running:
            return "stopping"
        try:
            async with asyncio.timeout(TIMEOUT_S):
                revision = await asyncio.to_thread(migrate.current_revision, self._engine)
                if revision != self._newest:
                    return "database_not_migrated"
                await self._sources.find("")
        except (sa.exc.SQLAlchemyError, TransientError, TimeoutError):
            return "database_unreachable"
        return ", ".join(self._sources.faults()) or None
