"""`CMMS_KPI_LIMITS`: what may stand in it, and what is said of what may not."""

import pytest

from cmms_pipelines.domain.errors import PermanentError
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
