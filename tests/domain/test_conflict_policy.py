"""What may be configured about conflicts, what holds without, and how nonsense is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from cmms_pipelines.domain.comparing import Kind, compared_form, kind_of, stored_form
from cmms_pipelines.domain.conflict_cases import Rule, Verdict
from cmms_pipelines.domain.conflict_policy import DEFAULT_POLICY, DEFAULT_RULES, Authority, ConflictPolicy, Strategy
from cmms_pipelines.domain.safety import is_safety_name, speaks_of_safety
from tests.domain.conflict_world import fate, merged


def policy(**rules: Any) -> ConflictPolicy:  # noqa: ANN401 - rules as JSON has them
    return ConflictPolicy.model_validate({"rules": rules})


def test_the_defaults_are_those_of_the_specification() -> None:
    rules = {name: DEFAULT_POLICY.rule_of("work_order", name) for name in ("status", "assignee", "cost", "priority", "due_at")}
    assert {rule.authority for rule in rules.values()} == {Authority.SOURCE}
    assert DEFAULT_POLICY.rule_of("meter", "running_hours").authority is Authority.LOCAL
    assert DEFAULT_POLICY.rule_of("meter", "vibration").authority is Authority.LOCAL
    later = {name for rules in DEFAULT_RULES.values() for name, rule in rules.items() if rule.strategy is Strategy.LAST_WRITER}
    assert later == {"title", "description", "equipment_description", "equipment_group"}
    assert DEFAULT_POLICY.rule_of("something_else", "whatever").strategy is Strategy.ESCALATE


def test_a_configured_rule_goes_before_the_default_and_a_star_only_after_it() -> None:
    ours = policy(
        work_order={
            "due_at": {"strategy": "authority", "authority": "local"},
            "*": {"strategy": "authority", "authority": "local"},
        }
    )
    result = merged({"due_at": None}, {"due_at": "2026-03-09"}, {"due_at": "2026-03-10"}, policy=ours)
    assert fate(result, "due_at") == (Verdict.KEPT, "2026-03-09", Rule.AUTHORITY)
    assert ours.rule_of("work_order", "assignee").authority is Authority.SOURCE
    attributes = policy(equipment={"*": {"strategy": "authority", "authority": "source"}})
    assert attributes.rule_of("equipment", "attributes.COLOUR").authority is Authority.SOURCE
    assert attributes.rule_of("equipment", "attributes.LOTO").strategy is Strategy.ESCALATE


def test_the_allowed_skew_and_further_safety_fields_are_obeyed() -> None:
    strict = ConflictPolicy(allowed_skew_s=7200, safety_fields=("description",))
    assert fate(merged({"title": "x"}, {"title": "a"}, {"title": "b"}, policy=strict), "title")[0] is Verdict.ESCALATED
    assert (
        fate(merged({"description": "x"}, {"description": "a"}, {"description": "b"}, policy=strict), "description")[2]
        is Rule.SAFETY
    )


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"rules": {"workorder": {}}}, "'workorder' is no entity type: take one of work_order, equipment"),
        ({"rules": {"work_order": {"titel": {"strategy": "escalate"}}}}, "rules.work_order.titel: no field of this entity"),
        ({"rules": {"work_order": {"status": {"strategy": "last_writer"}}}}, "does not fit what the field holds (status)"),
        ({"rules": {"work_order": {"title": {"strategy": "set"}}}}, "'set' does not fit what the field holds (text)"),
        ({"rules": {"work_order": {"cost": {"strategy": "last_writer"}}}}, "does not fit what the field holds (money)"),
        ({"rules": {"work_order": {"title": {"strategy": "authority"}}}}, "needs an authority: 'source' or 'local'"),
        ({"rules": {"work_order": {"title": {"strategy": "authority", "authority": "cmms"}}}}, "'source' or 'local'"),
        ({"rules": {"work_order": {"*": {"strategy": "last_writer"}}}}, "does not fit every field"),
        (
            {"rules": {"equipment": {"attributes.lockout": {"strategy": "authority", "authority": "source"}}}},
            "a safety or lock-out field is decided by people alone",
        ),
        (
            {"safety_fields": ["title"], "rules": {"work_order": {"title": {"strategy": "last_writer"}}}},
            "a safety or lock-out field is decided by people alone",
        ),
        ({"rules": {"failure": {"Bad Name": {"strategy": "escalate"}}}}, "no name of a field"),
        ({"allowed_skew_s": -1}, "greater than or equal to 0"),
        ({"time_zone": "Mars/Olympus"}, "no time zone of the IANA database"),
        ({"skew": 5}, "Extra inputs are not permitted"),
    ],
)
def test_nonsense_is_refused_with_a_clear_message(document: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ConflictPolicy.model_validate(document)
    assert says in str(refused.value)


def test_every_example_of_the_schema_is_valid() -> None:
    schema = ConflictPolicy.model_json_schema()
    assert [ConflictPolicy.model_validate(example) for example in schema["examples"]]
    assert all("description" in field for field in schema["properties"].values())


@pytest.mark.parametrize(
    ("name", "is_safety"),
    [
        ("lockout", True),
        ("attributes.Lock-Out State", True),
        ("isLockedOut", True),
        ("LOTO", True),
        ("permit_number", True),
        ("hazard_class", True),
        ("title", False),
        ("clock_rate", False),
        ("safe_keeping_shelf", True),
        ("locked_by_user", False),
    ],
)
def test_safety_fields_are_known_by_their_names(name: str, is_safety: bool) -> None:
    assert is_safety_name(name) is is_safety


def test_texts_that_warn_are_known_by_their_words() -> None:
    assert speaks_of_safety("Locked out by Weber")
    assert speaks_of_safety("please do NOT start")
    assert not speaks_of_safety("Replace safety valve, block 7")


@pytest.mark.parametrize(
    ("field", "one", "other", "is_same"),
    [
        ("attributes.VERSION", "1.10", "1.1", False),
        ("attributes.VERSION", 1.10, "1.1", True),
        ("attributes.SERIAL", "007", "7", False),
        ("attributes.FLAG", True, 1, False),
        ("attributes.DEEP", {"a": [1, 2.0], "b": None}, {"a": ["1", "2"]}, True),
        ("attributes.ORDERED", [1, 2], [2, 1], False),
        ("equipment_number", "000010020570", 10020570, True),
        ("description", "", None, True),
        ("company_code", "bkbz ", "BKBZ", True),
        ("scheduled_at", "2026-03-02T12:00:00.0004Z", "2026-03-02T12:00:00Z", True),
        ("cumulative_hours", "1,234.5 h", 74070, False),
        ("cumulative_hours", "1,234.5 h", "74070 min", True),
        ("is_active", "yes", True, True),
        ("due_at", "soon", "later", False),
    ],
)
def test_values_are_compared_by_what_they_mean(field: str, one: Any, other: Any, is_same: bool) -> None:  # noqa: ANN401
    kind = kind_of(field)
    assert (compared_form(kind, one) == compared_form(kind, other)) is is_same


def test_a_time_without_an_offset_is_read_in_the_zone_of_its_side() -> None:
    assert stored_form(Kind.INSTANT, "2026-03-02 07:00:00", "America/New_York") == "2026-03-02T12:00:00+00:00"
    assert stored_form(Kind.INSTANT, "2026-03-02T12:00:00Z", "America/New_York") == "2026-03-02T12:00:00+00:00"
