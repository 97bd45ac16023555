"""Every envelope of the known sources, and nothing else, is a reply with records (quirk 38)."""

from typing import Any

import pytest

from cmms_pipelines.clients.envelope import records_and_next
from cmms_pipelines.domain.errors import PermanentError

ROWS = [{"EQUNR": "N526JB"}, {"EQUNR": "N347SW"}]
V2_LINK = "https://host/sap/Equipment?$inlinecount=allpages&$skiptoken=100"
V4_LINK = "MeasurementDocument?$filter=MsmtRdngDate%20ge%202013-04-20&$skiptoken=100"


@pytest.mark.parametrize(
    ("body", "records", "link"),
    [
        ({"data": ROWS}, ROWS, None),
        ({"data": []}, [], None),
        (ROWS, ROWS, None),
        ([], [], None),
        (None, [], None),
        ({"d": {"__count": "2", "results": ROWS, "__next": V2_LINK}}, ROWS, V2_LINK),
        ({"d": {"results": ROWS}}, ROWS, None),
        ({"d": {"results": [], "__next": None}}, [], None),
        ({"d": ROWS}, ROWS, None),
        ({"@odata.context": "$metadata", "value": ROWS, "@odata.nextLink": V4_LINK}, ROWS, V4_LINK),
        ({"value": []}, [], None),
    ],
)
def test_known_envelopes(body: Any, records: list[dict[str, Any]], link: str | None) -> None:  # noqa: ANN401
    assert records_and_next(body) == (records, link)


@pytest.mark.parametrize(
    ("body", "came"),
    [
        ({}, "an object {}"),
        ({"message": "Unauthenticated."}, "an object {'message': str}"),
        ({"data": None}, "an object {'data': NoneType}"),
        ({"data": {"EQUNR": "1"}}, "an object {'data': dict}"),
        ({"d": {"EQUNR": "1"}}, "an object {'d': dict}"),
        ({"error": {"code": "/IWBEP/CM_MGW_RT/020"}}, "an object {'error': dict}"),
        ("maintenance", "str 'maintenance'"),
        (7, "int '7'"),
        (True, "bool 'True'"),
        ([{"EQUNR": "1"}, "2"], "record 1 of the reply is no object but str '2'"),
        ({"data": [None]}, "record 0 of the reply is no object but NoneType"),
        ({"value": [], "@odata.nextLink": 3}, "link to the next page is no text but int"),
    ],
)
def test_anything_else_is_refused_and_described(body: Any, came: str) -> None:  # noqa: ANN401
    with pytest.raises(PermanentError) as refusal:
        records_and_next(body)
    assert came in str(refusal.value)
