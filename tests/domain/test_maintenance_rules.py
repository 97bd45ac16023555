"""What makes a rule of maintenance usable."""

from decimal import Decimal
from typing import Any

import pytest

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.maintenance_rules import Scheduling, read_rule, read_rules

PUMPS = {"name": "oil", "equipment_group": "pumps", "interval_hours": "250"}


def test_texts_of_a_file_are_read_and_empty_ones_count_as_not_given() -> None:
    rule = read_rule({**PUMPS, "interval_days": "", "tolerance_hours": "12.5", "scheduling": "fixed", "is_active": "false"})
    assert (rule.interval_hours, rule.interval_days, rule.tolerance_hours) == (Decimal(250), None, Decimal("12.5"))
    assert (rule.scheduling, rule.is_active, rule.subject) == (Scheduling.FIXED, False, "group 'pumps'")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"equipment_number": "P-1"}, "either an equipment_group or an equipment_number"),
        ({"equipment_group": None}, "either an equipment_group or an equipment_number"),
        ({"interval_hours": None}, "interval_hours, interval_days or both"),
        ({"interval_hours": "0"}, "interval_hours: Input should be greater than 0"),
        ({"interval_hours": "NaN"}, "interval_hours"),
        ({"interval_hours": "0.00001"}, "interval_hours"),
        ({"tolerance_hours": "250"}, "tolerance_hours must be less than interval_hours"),
        ({"tolerance_days": "1"}, "tolerance_days must be less than interval_days"),
        ({"tolerance_hours": "-1"}, "tolerance_hours"),
        ({"interval_hours": None, "interval_days": "9", "baseline_hours": "5"}, "baseline_hours means nothing"),
        ({"scheduling": "sometimes"}, "scheduling"),
        ({"intervall": "3"}, "intervall: Extra inputs are not permitted"),
        ({"name": "  "}, "name"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused_with_its_field(change: dict[str, Any], says: str) -> None:
    with pytest.raises(PermanentError, match=r"^Rule 7 is not usable: ") as refusal:
        read_rule({**PUMPS, **change}, where="Rule 7")
    assert says in str(refusal.value)


def test_the_tolerance_may_come_up_to_the_interval() -> None:
    assert read_rule({**PUMPS, "tolerance_hours": "249.9999"}).tolerance_hours == Decimal("249.9999")


def test_a_file_says_each_rule_once() -> None:
    assert len(read_rules([PUMPS, {**PUMPS, "equipment_group": "fans"}, {**PUMPS, "name": "grease"}])) == 3
    with pytest.raises(PermanentError, match="Rules 1 and 3 are both named 'oil' for group 'pumps'"):
        read_rules([PUMPS, {**PUMPS, "name": "grease"}, {**PUMPS, "name": " oil "}])
