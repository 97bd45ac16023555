"""`CMMS_KPI_LIMITS`: what may stand in it, and what is said of what may not."""

import pytest
import yaml

from cmms_pipelines.defs.reporting.project import PROJECT_DIR
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.kpi_limits import LEAST_WANTED, KpiLimits
from cmms_pipelines.settings import read_settings


def test_limits_that_are_left_out_keep_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMMS_KPI_LIMITS", '{"refusal_rate": 0.02}')
    limits = read_settings().kpi_limits
    assert (limits.refusal_rate, limits.receiver_availability) == (0.02, 0.999)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ('{"refusal_rate": 2}', r"CMMS_KPI_LIMITS\.refusal_rate: Input should be less than or equal to 1"),
        ('{"refusals": 0.1}', r"CMMS_KPI_LIMITS\.refusals: Extra inputs are not permitted"),
        ('{"api_p95_ms": NaN}', "CMMS_KPI_LIMITS"),
        ("{0.1", "CMMS_KPI_LIMITS: it must be JSON"),
        ("[]", "CMMS_KPI_LIMITS"),
    ],
)
def test_limits_that_cannot_be_are_refused_with_their_name(monkeypatch: pytest.MonkeyPatch, value: str, says: str) -> None:
    monkeypatch.setenv("CMMS_KPI_LIMITS", value)
    with pytest.raises(PermanentError, match=says):
        read_settings()


@pytest.mark.parametrize(
    ("name", "value", "is_kept"),
    [
        ("sync_success_rate", 0.95, True),
        ("sync_success_rate", 0.9499, False),
        ("refusal_rate", 0.10, True),
        ("refusal_rate", 0.1001, False),
        ("receiver_availability", 1.0, True),
        ("freshness_worst_days_late", 2, False),
    ],
)
def test_a_figure_on_its_limit_keeps_it_from_either_side(name: str, value: float, is_kept: bool) -> None:
    assert KpiLimits().keeps(name, value) is is_kept


def test_the_checks_of_the_mart_and_the_report_agree_on_which_limit_is_the_least() -> None:
    models = yaml.safe_load((PROJECT_DIR / "models/marts/daily_kpis.yml").read_text())["models"]
    tests = [
        test["kpi_within_limit"]["arguments"]
        for column in models[0]["columns"]
        for test in column.get("data_tests", [])
        if isinstance(test, dict) and "kpi_within_limit" in test
    ]
    assert {one["kpi"]: one["is_floor"] for one in tests} == {name: name in LEAST_WANTED for name in KpiLimits.model_fields}
