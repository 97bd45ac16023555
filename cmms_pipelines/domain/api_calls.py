"""What is remembered of one request to the external API."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class ApiCall:
    """One request with all its attempts; a row of `cmms.api_calls`.

    `duration_ms` runs from the call to its outcome, waits and retries included. `status` is that of the last answer, None
    if there was none. `bytes_received` counts the bodies of all attempts as they came over the wire. `rows` is the number of
    records, 0 where the answer is refused. `error` is the message of the exception that ended the call, if any.
    """

    endpoint: str
    method: str
    status: int | None
    attempts: int
    duration_ms: float
    bytes_received: int
    rows: int
    error: str | None
    started_at: datetime
