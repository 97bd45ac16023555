"""How often, and after which waits, an event is tried again that failed for a passing reason.

What belongs here: the policy and its waits. What does not: which failures pass (`storage.retrying`).
"""

import hashlib
import uuid
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RetryPolicy(BaseModel):
    """Retries of one source's events: the wait doubles from `first_wait_s` up to `longest_wait_s`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_retries: Annotated[int, Field(ge=0, le=100)] = Field(
        default=8, description="attempts after the first; then the event is a dead letter"
    )
    first_wait_s: Annotated[float, Field(gt=0, le=3600)] = Field(default=2.0, description="before the first of them")
    longest_wait_s: Annotated[float, Field(gt=0, le=86_400)] = Field(default=600.0, description="between two of them")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.longest_wait_s < self.first_wait_s:
            raise ValueError("longest_wait_s is shorter than first_wait_s")
        return self

    def wait_s(self, retry_count: int, event_id: uuid.UUID) -> float:
        """Return the wait after `retry_count` retries: 50 to 100 % of the doubled one, by the event's id."""
        longest = min(self.first_wait_s * 2.0**retry_count, self.longest_wait_s)
        digest = hashlib.blake2b(f"{event_id}{retry_count}".encode(), digest_size=4).digest()
        return longest * (0.5 + 0.5 * int.from_bytes(digest) / 2**32)


DEFAULT_RETRIES = RetryPolicy()
