"""The dialect over real HTTP: shapes, filters, refusals, compression and work orders."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.emulator_server import TODAY, TOKEN, Emulator, running_emulator

DAY = {"start_date": "2013-10-28", "end_date": "2013-10-28"}
ALL_DAYS_OF_2013 = 254_290


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running_emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def http(emulator: Emulator) -> Iterator[httpx.Client]:
    with emulator.http() as http:
        yield http


def rows(
    http: httpx.Client, path: str, params: dict[str, str] | None = None, plants: list[str] | None = None
) -> list[dict[str, Any]]:
    body = None if plants is None else {"plant": plants}
    reply = http.request("GET", path, params=params, json=body).raise_for_status().json()
    assert list(reply) == ["data"]
    data: list[dict[str, Any]] = reply["data"]
    return data


def window(start: str, end: str) -> dict[str, str]:
    return {"start_date": start, "end_date": end}


def test_health_needs_no_token(emulator: Emulator) -> None:
    reply = httpx.get(f"{emulator.url}/health", trust_env=False)
    assert reply.status_code == 200
    assert reply.json() == {"status": "ok", "dialect": "ims", "machines": 4_043, "plants": 35}


@pytest.mark.parametrize("sent", [None, "", "wrong", f"Bearer {TOKEN}", TOKEN + "x"])
@pytest.mark.parametrize("path", ["/plants", "/equipments", "/equipments/jam-jalan", "/work-order", "/_emulator/stats"])
def test_only_the_raw_token_is_let_in(emulator: Emulator, path: str, sent: str | None) -> None:
    headers = {} if sent is None else {"Authorization": sent}
    reply = httpx.get(emulator.url + path, headers=headers, params=DAY, trust_env=False)
    assert (reply.status_code, reply.json()) == (401, {"message": "Unauthenticated."})


def test_plants(http: httpx.Client) -> None:
    plants = rows(http, "/plants")
    assert len(plants) == 35
    assert {
        "SWERK": "B6LG",
        "NAME1": "JetBlue Airways, La Guardia",
        "TIME_ZONE": "America/New_York",
        "ACTIVE": "X",
    } in plants


def test_equipment_without_a_filter_is_the_whole_register(http: httpx.Client) -> None:
    equipment = rows(http, "/equipments")
    assert len(equipment) == len({row["EQUNR"] for row in equipment}) == 3_322
    assert sum(row["SWERK"] is None for row in equipment) == 6


def test_equipment_carries_what_a_classification_needs(http: httpx.Client) -> None:
    (row,) = [row for row in rows(http, "/equipments", plants=[""]) if row["EQUNR"] == "N347SW"]
    assert row == {
        "ID": 842,
        "MANDT": "300",
        "SWERK": None,
        "BUKRS": None,
        "EQUNR": "N347SW",
        "EQKTU": "BOEING 737-3H4",
        "OBJNR": "IEN347SW",
        "POINT": "000000000842",
        "EQTYP": "M",
        "EQART": "Fixed wing multi engine",
        "HERST": "BOEING",
        "TYPBZ": "737-3H4",
        "BAUJJ": "1989",
        "GROES": "149 SEATS",
        "ENGINE": "Turbo-fan",
        "MRNGU": "H",
        "KOSTL": None,
        "MAINTAINANCE_PLANNER_GROUP": None,
        "MAINTAINANCE_WORK_CENTER": None,
        "FUNCTIONAL_LOCATION": None,
        "DESCRIPTION_FUNC_LOCATION": None,
        "group_name": None,
        "CREATED_AT": "2013-01-01T00:15:00.000000Z",
    }


def test_equipment_by_plant_adds_up_to_the_register(http: httpx.Client) -> None:
    plants = [row["SWERK"] for row in rows(http, "/plants")] + [""]
    by_plant = {code: rows(http, "/equipments", plants=[code]) for code in plants}
    assert all((row["SWERK"] or "") == code for code, found in by_plant.items() for row in found)
    assert sum(map(len, by_plant.values())) == 3_322
    assert len(by_plant[""]) == 6
    assert sorted(row["EQUNR"] for row in rows(http, "/equipments", plants=["B6JF", "", "XXXX"])) == sorted(
        row["EQUNR"] for row in by_plant["B6JF"] + by_plant[""]
    )


def test_a_reading_has_every_field_of_the_dialect(http: httpx.Client) -> None:
    day = {row["SWERK"]: row for row in rows(http, "/equipments/jam-jalan", DAY) if row["EQUNR"] == "N526JB"}
    assert day["B6JF"] == {
        "ID": day["B6JF"]["ID"],
        "MANDT": "300",
        "SWERK": "B6JF",
        "BUKRS": "B6",
        "EQUNR": "N526JB",
        "EQKTU": "N526JB",
        "OBJNR": "IEN526JB",
        "POINT": "000000001897",
        "DATE": "2013-10-28",
        "DATE_TIME": "2013-10-29T00:00:00Z",
        "RECDV": "6.1000",
        "CNTRR": "680.1833",
        "MDTXT": None,
        "CREATED_AT": "2013-10-29T00:15:00.000000Z",
    }
    assert (day["B6LG"]["RECDV"], day["B6LG"]["CNTRR"]) == ("5.0667", "674.0833")


def test_the_company_code_is_that_of_the_reading(http: httpx.Client) -> None:
    year = rows(http, "/equipments/jam-jalan", window("2013-01-01", "2013-12-31"), ["9EJF", "EVEW", "EVLG", "9ELG"])
    assert all(row["SWERK"].startswith(row["BUKRS"]) for row in year)
    assert {row["BUKRS"] for row in year if row["EQUNR"] == "N146PQ"} == {"9E", "EV"}


def test_the_plant_filter_in_the_body(http: httpx.Client) -> None:
    every = rows(http, "/equipments/jam-jalan", DAY)
    some = rows(http, "/equipments/jam-jalan", DAY, ["B6LG", "UAEW"])
    assert some == [row for row in every if row["SWERK"] in ("B6LG", "UAEW")]
    assert rows(http, "/equipments/jam-jalan", DAY, ["XXXX"]) == []


def test_the_past_before_2013_and_the_future_are_empty(http: httpx.Client) -> None:
    today = TODAY.date()
    tomorrow = today + dt.timedelta(days=1)
    assert rows(http, "/equipments/jam-jalan", window("2012-12-01", "2012-12-31")) == []
    assert rows(http, "/equipments/jam-jalan", window(str(tomorrow), "2026-04-01")) == []
    up_to_now = rows(http, "/equipments/jam-jalan", window("2026-03-14", "2026-04-01"))
    assert {row["DATE"] for row in up_to_now} == {"2026-03-14", "2026-03-15"}
    assert rows(http, "/work-order", window(str(tomorrow), "2026-04-30")) == []


def test_a_leap_day_has_readings_of_its_own(http: httpx.Client) -> None:
    days = rows(http, "/equipments/jam-jalan", window("2024-02-28", "2024-02-29"), ["DLLG"])
    february = {date: [row["RECDV"] for row in days if row["DATE"] == date] for date in ("2024-02-28", "2024-02-29")}
    assert february["2024-02-28"] == february["2024-02-29"] != []
    assert len({row["ID"] for row in days}) == len(days)


@pytest.mark.parametrize("path", ["/equipments/jam-jalan", "/work-order"])
@pytest.mark.parametrize(
    ("params", "errors"),
    [
        ({"end_date": "2013-01-01"}, {"start_date": ["The start date field is required."]}),
        ({"start_date": "2013-01-01"}, {"end_date": ["The end date field is required."]}),
        (window("yesterday", "2013-02-30"), {
            "start_date": ["The start date is not a valid date."],
            "end_date": ["The end date is not a valid date."],
        }),
        (window("2013-01-02", "2013-01-01"), {
            "end_date": ["The end date must be a date after or equal to start date."],
        }),
        (window("2013-01-01", "2014-01-02"), {"end_date": ["The end date must be within 366 days of start date."]}),
    ],
)  # fmt: skip
def test_dates_are_checked(http: httpx.Client, path: str, params: dict[str, str], errors: dict[str, Any]) -> None:
    reply = http.get(path, params=params)
    assert reply.status_code == 422
    assert reply.json() == {"message": "The given data was invalid.", "errors": errors}


@pytest.mark.parametrize(
    "body",
    [b'{"plant":["1","2","3","4","5","6"]}', b'{"plant":[]}', b'{"plant":"B6LG"}', b'{"plant":[7]}', b"[]", b"{oops"],
)
@pytest.mark.parametrize("path", ["/equipments", "/equipments/jam-jalan", "/work-order"])
def test_the_plant_filter_is_checked(http: httpx.Client, path: str, body: bytes) -> None:
    reply = http.request("GET", path, params=DAY, content=body)
    assert reply.status_code == 422
    assert list(reply.json()["errors"]) == ["plant"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"plant":null}'])
def test_no_filter_means_every_plant(http: httpx.Client, body: bytes) -> None:
    reply = http.request("GET", "/equipments", content=body)
    assert len(reply.json()["data"]) == 3_322


def test_replies_are_compressed_for_those_who_ask(http: httpx.Client, emulator: Emulator) -> None:
    compressed = http.get("/equipments/jam-jalan", params=DAY)
    plain = http.get("/equipments/jam-jalan", params=DAY, headers={"Accept-Encoding": "identity"})
    assert compressed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert compressed.json() == plain.json()
    assert compressed.num_bytes_downloaded * 5 < plain.num_bytes_downloaded
    assert emulator.stats()["gzipped"] > 0


def test_work_orders_follow_the_counters(http: httpx.Client) -> None:
    orders = rows(http, "/work-order", window("2014-03-01", "2014-03-31"))
    created = [order for order in orders if order["created_on"] >= "2014-03-01"]
    assert len({order["order"] for order in orders}) == len({order["id"] for order in orders}) == len(orders)
    assert len(created) > 50
    readings: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows(http, "/equipments/jam-jalan", window("2014-03-01", "2014-03-31")):
        day = readings.setdefault((row["EQUNR"], row["DATE"]), [])
        day.append((float(row["CNTRR"]), float(row["RECDV"])))
    passed = {
        (equipment, date)
        for (equipment, date), day in readings.items()
        if (max(day)[0] + 0.001) // 250 > (max(day)[0] - sum(running for _, running in day) + 0.001) // 250
    }
    assert {(order["equipment_number"], order["created_on"]) for order in created} == passed
    assert {order["order_type"] for order in orders} == {"PM01"}
    assert {order["order_status"] for order in orders} == {"CLSD"}


def test_the_work_order_filter(http: httpx.Client) -> None:
    month = window("2014-03-01", "2014-03-31")
    every = rows(http, "/work-order", month)
    some = rows(http, "/work-order", month, ["DLLG", "UAEW"])
    assert some == [order for order in every if order["plant"] in ("DLLG", "UAEW")] != []


def test_work_orders_progress_with_the_days() -> None:
    today = [dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)]
    recent = window("2026-02-24", "2026-03-20")
    histories: dict[str, list[str]] = {}
    with running_emulator(clock=lambda: today[0]) as emulator, emulator.http() as http:
        for _ in range(15):
            for order in rows(http, "/work-order", recent):
                histories.setdefault(order["order"], []).append(order["order_status"])
                assert order["updated_at"][:10] <= str(today[0].date())
                reached = [order[name] is not None for name in ("released", "technical_completion", "closed")]
                assert reached == [order["order_status"] in after for after in (
                    ("REL", "TECO", "CLSD"), ("TECO", "CLSD"), ("CLSD",)
                )]  # fmt: skip
            today[0] += dt.timedelta(days=1)
    ranks = [["CRTD", "REL", "TECO", "CLSD"].index(status) for history in histories.values() for status in history]
    assert set(ranks) == {0, 1, 2, 3}
    for history in histories.values():
        assert history == sorted(history, key=["CRTD", "REL", "TECO", "CLSD"].index)


def test_a_nightly_window_sees_every_change_of_an_order() -> None:
    """Three days back, each night, is enough to learn that an order was closed."""
    first = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    nights = [first + dt.timedelta(days=days) for days in range(20)]
    today = [first]
    seen: dict[str, str] = {}
    with running_emulator(clock=lambda: today[0]) as emulator, emulator.http() as http:
        for today[0] in nights:
            start = today[0].date() - dt.timedelta(days=3)
            for order in rows(http, "/work-order", window(str(start), str(today[0].date()))):
                seen[order["order"]] = order["order_status"]
        whole_time = window("2026-02-26", str(nights[-1].date()))
        assert seen == {order["order"]: order["order_status"] for order in rows(http, "/work-order", whole_time)}
