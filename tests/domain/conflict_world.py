"""Small cases for tests of the conflict engine: an agreed entity, an edit here, a statement there."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import JsonValue

from cmms_pipelines.domain.conflict_cases import Base, Case, Decision, Delivery, Merge, Operation, Rule, Side, Verdict
from cmms_pipelines.domain.conflict_policy import DEFAULT_POLICY, ConflictPolicy
from cmms_pipelines.domain.conflicts import merge
from cmms_pipelines.domain.counters import NOTHING_KNOWN, CounterFacts

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
Fields = Mapping[str, JsonValue]


def minutes(count: float) -> datetime:
    """Return a time that many minutes after noon."""
    return NOON + timedelta(minutes=count)


def case(
    base: Fields | None,
    here: Fields,
    there: Fields,
    *,
    entity_type: str = "work_order",
    here_at: float | None = 30,
    there_at: float | None = 60,
    operation: Operation = Operation.CHANGE,
    delivery: Delivery | None = None,
    counter: CounterFacts = NOTHING_KNOWN,
    claims: Mapping[str, Fields] | None = None,
    **options: Any,  # noqa: ANN401 - further fields of a case
) -> Case:
    """Return a case: `here` are our edits over `base`, `there` what the source states, at minutes after noon."""
    agreed = dict(base or {})
    return Case(
        entity_type=entity_type,
        base=None if base is None else Base(agreed, dict.fromkeys(agreed, NOON)),
        ours=Side({**agreed, **here}, dict.fromkeys(here, None if here_at is None else minutes(here_at))),
        theirs=Side(there, dict.fromkeys(there, None if there_at is None else minutes(there_at)), writer="atlas"),
        operation=operation,
        delivery=delivery or Delivery(),
        counter=counter,
        claims=claims or {},
        **options,
    )


def merged(*arguments: Any, policy: ConflictPolicy = DEFAULT_POLICY, **options: Any) -> Merge:  # noqa: ANN401 - as of case()
    """Return what the engine makes of a case."""
    return merge(case(*arguments, **options), policy)


def fate(result: Merge, field: str) -> tuple[Verdict, JsonValue, Rule]:
    """Return verdict, value and rule of a field."""
    decision = of(result, field)
    return decision.verdict, decision.value, decision.rule


def of(result: Merge, field: str) -> Decision:
    """Return the decision on a field that must have one."""
    decision = result.decision(field)
    assert decision is not None, f"no decision on {field}"
    return decision
