"""Limits that the daily key figures are held against.

What belongs here: names, bounds and defaults. What does not: the figures (`dbt_models/models/marts/daily_kpis.sql`), and what
becomes of a figure beyond its limit (a check warns).
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

LEAST_WANTED = frozenset({"sync_success_rate", "retry_success_rate", "automatic_conflict_rate", "receiver_availability"})
"""Figures that should not fall below their limit; no other should rise above its own."""
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class KpiLimits(BaseModel):
    """The limits by the names of the figures (`LEAST_WANTED`, or else the most); the defaults are those of the specification."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sync_success_rate: _Share = 0.95
    refusal_rate: _Share = 0.10
    api_p95_ms: _Milliseconds = 5000
    inbox_latency_p95_ms: _Milliseconds = 5000
    event_error_rate: _Share = 0.01
    retry_success_rate: _Share = 0.99
    automatic_conflict_rate: _Share = 0.95
    receiver_availability: _Share = 0.999
    freshness_worst_days_late: Annotated[int, Field(ge=0)] = 1

    def keeps(self, name: str, value: float) -> bool:
        """Tell whether a figure lies on the right side of its limit."""
        limit = float(getattr(self, name))
        return value >= limit if name in LEAST_WANTED else value <= limit
