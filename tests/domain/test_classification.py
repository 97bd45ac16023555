"""Equipment groups: the first rule that applies gives the group, and a rule that cannot work is named."""

import tomllib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain.classification import DEFAULT_RULES, GroupRule, classify, classify_all, read_rules
from cmms_pipelines.domain.errors import PermanentError

RULES = read_rules(
    tomllib.loads("""
        [[group]]
        name = "Helicopters"
        when = { EQART = "Rotorcraft" }

        [[group]]
        name = "Airbus narrow-bodies"
        when = { HERST = ["AIRBUS", "AIRBUS INDUSTRIE"], TYPBZ = { matches = "A3(18|19|2\\\\d).*" } }

        [[group]]
        group_from = "HERST"
        when = { EQTYP = "M" }
    """)
)


@pytest.mark.parametrize(
    ("attributes", "group"),
    [
        ({"EQART": "Rotorcraft", "HERST": "AIRBUS", "TYPBZ": "A320"}, "Helicopters"),
        ({"HERST": "AIRBUS INDUSTRIE", "TYPBZ": "a320-232", "EQTYP": "M"}, "Airbus narrow-bodies"),
        ({"HERST": "AIRBUS", "TYPBZ": "A330-200", "EQTYP": "M"}, "AIRBUS"),
        ({"HERST": " BOEING ", "EQTYP": "M"}, "BOEING"),
        ({"HERST": "BOEING"}, None),
        ({"HERST": "", "EQTYP": "M"}, None),
        ({"HERST": "X" * 120, "EQTYP": "M"}, "X" * 100),
        ({"HERST": 320, "EQTYP": "M"}, "320"),
        ({}, None),
    ],
)
def test_the_first_rule_that_applies_gives_the_group(attributes: dict[str, object], group: str | None) -> None:
    assert classify(attributes, RULES) == group


FIELDS = {
    "EQART": st.sampled_from(["Rotorcraft", "PUMP", "", None, 7]),
    "HERST": st.sampled_from(["AIRBUS", " BOEING ", "", None, ["AIRBUS"], 320, 0, False]),
    "TYPBZ": st.sampled_from(["A320", "a321", None]),
    "EQTYP": st.sampled_from(["M", "", None]),
    "KOSTL": st.integers(0, 3),
}


@given(st.lists(st.fixed_dictionaries({}, optional=FIELDS), max_size=12), st.sampled_from([RULES, DEFAULT_RULES, ()]))
def test_many_machines_are_classified_as_each_of_them_is(machines: list[dict[str, object]], rules: Sequence[GroupRule]) -> None:
    assert classify_all(machines, rules) == [classify(attributes, rules) for attributes in machines]


@pytest.mark.parametrize(
    ("attributes", "group"),
    [({"group_name": "HDD", "EQART": "WDC"}, "HDD"), ({"EQART": "WDC"}, "WDC"), ({"group_name": " "}, None)],
)
def test_without_configuration_the_source_names_the_group(attributes: dict[str, object], group: str | None) -> None:
    assert classify(attributes, DEFAULT_RULES) == group


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "no .*group.* entry"),
        ({"group": []}, "no .*group.* entry"),
        ({"group": [{"name": "A"}, {"name": "B", "group_from": "HERST"}]}, "rule 2: .*either `name` or `group_from`"),
        ({"group": [{"when": {"HERST": "A"}}]}, "rule 1: .*either `name` or `group_from`"),
        ({"group": [{"name": "A", "wenn": {}}]}, "rule 1: wenn: "),
        ({"group": [{"name": "A", "when": {"HERST": {"equals": "A"}}}]}, "rule 1: .*condition on HERST"),
        ({"group": [{"name": "A" * 101}]}, "rule 1: name: "),
        ({"group": [{"name": "A", "when": {"HERST": {"matches": "A(3"}}}]}, "rule 1: .*HERST.*regular expression"),
    ],
)
def test_a_rule_that_cannot_work_is_named_with_its_place(document: dict[str, object], message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        read_rules(document)
