"""The same flights through each dialect end in the same tables, row by row."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cmms_pipelines.clients.odata import VERSIONS
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.emulator.flights import flight_hours
from cmms_pipelines.storage.engine import make_engine
from cmms_pipelines.storage.tables import (
    counter_events,
    equipment,
    equipment_groups,
    equipment_running_times,
    plants,
    sync_rejections,
)
from cmms_pipelines.sync.again import Runner, Wanted
from tests.conftest import TEMPLATE, Database, new_database
from tests.emulator_server import running_emulator
from tests.sync.conftest import Source, settings_for, silent
from tests.sync.tables import count, open_rejections

ODATA = ("odata_v2", "odata_v4")
DAYS = [date(2013, 10, 27), date(2013, 10, 28), date(2013, 11, 3)]  # one day of two plants, one of 25 hours
ALIKE = ("EQTYP", "EQART", "HERST", "TYPBZ", "BAUJJ", "GROES", "ENGINE", "MRNGU")


def synced(database: Database, home: Path, dialect: str, days: Sequence[date], **options: Any) -> Source:  # noqa: ANN401
    with running_emulator(dialect=dialect, **options) as server:
        source = Source(database, settings_for(server, database, home, api_dialect=dialect, api_plants_per_call=5))
        source.plants()
        source.equipment()
        source.running_times(*days)
    return source


def tables(engine: sa.Engine) -> dict[str, list[tuple[Any, ...]]]:
    """All that the three tables say, with keys of the business in place of surrogate ones."""
    p, e, g, t = plants.c, equipment.c, equipment_groups.c, equipment_running_times.c
    left_out = {"id", "equipment_id", "plant_id", "equipment_group_id", "created_at", "updated_at", "attributes", "record_digest"}
    attributes = [e.attributes[name].astext.label(name) for name in ALIKE]
    statements = {
        "plants": sa.select(p.plant_code, p.name, p.time_zone, p.is_active).order_by(p.plant_code),
        "equipment": sa.select(
            *(column for column in equipment.columns if column.name not in left_out),
            p.plant_code,
            g.name.label("group_name"),
            *attributes,
        )
        .join(plants, p.id == e.plant_id)
        .outerjoin(equipment_groups, g.id == e.equipment_group_id)
        .order_by(e.equipment_number),
        "running_times": sa.select(
            *(column for column in equipment_running_times.columns if column.name not in left_out),
            e.equipment_number,
            p.plant_code,
        )
        .join(equipment, e.id == t.equipment_id)
        .join(plants, p.id == t.plant_id)
        .order_by(e.equipment_number, t.date),
    }
    with engine.connect() as connection:
        return {name: [tuple(row) for row in connection.execute(statement)] for name, statement in statements.items()}


@pytest.fixture(scope="module")
def synced_as(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, sa.Engine]]:
    """Databases into which the same days came through each dialect; to be read only."""
    options = {dialect: {"page_size": 150, "traps": "overlap"} for dialect in ODATA}
    with ExitStack() as stack:
        found = {}
        for dialect in ("ims", *ODATA):
            url = stack.enter_context(contextmanager(new_database)(server_url, TEMPLATE))
            engine = make_engine(url)
            stack.callback(engine.dispose)
            synced(Database(url, engine), tmp_path_factory.mktemp(dialect), dialect, DAYS, **options.get(dialect, {}))
            found[dialect] = engine
        yield found


@pytest.mark.parametrize("dialect", ODATA)
def test_the_same_plants_machines_and_hours_arrive_in_the_same_tables(synced_as: dict[str, sa.Engine], dialect: str) -> None:
    found, by_ims = tables(synced_as[dialect]), tables(synced_as["ims"])
    assert {name: len(rows) for name, rows in found.items()} == {name: len(rows) for name, rows in by_ims.items()}
    assert (len(found["plants"]), len(found["equipment"])) == (35, 3316)
    assert len(found["running_times"]) > 1500
    for name, rows in by_ims.items():
        assert found[name] == rows
    assert set(open_rejections(synced_as[dialect])) == {"plant_code_missing", "equipment_unknown"}


@pytest.mark.parametrize("dialect", ODATA)
def test_counters_that_overflow_and_go_back_leave_the_hours_that_the_aircraft_flew(
    database: Database, tmp_path: Path, dialect: str
) -> None:
    days = [date(2013, 10, 20) + timedelta(days=offset) for offset in range(4)]
    source = synced(database, tmp_path, dialect, days, has_counters=True)
    kinds = sa.select(counter_events.c.kind).distinct()
    # a difference below 0 can only be told from a mistake where there is a reading before it
    before = sa.exists().where(
        equipment.c.id == equipment_running_times.c.equipment_id,
        equipment.c.equipment_number == sync_rejections.c.equipment_number,
        equipment_running_times.c.date < sync_rejections.c.date,
    )
    refused = sa.select(sync_rejections.c.rule).distinct().where(before, sync_rejections.c.date.is_not(None))
    with source.engine.connect() as connection:
        assert set(connection.scalars(kinds)) == {"rollover", "replacement", "reset"}
        assert set(connection.scalars(refused)) == set()
        inactive = connection.scalar(sa.select(sa.func.count()).where(~equipment.c.is_active)) or 0
    assert inactive > 100
    hours = hours_by_machine_and_day(source.engine, days[1:])
    flown = flown_hours(days[1:])
    differing = {key for key, value in hours.items() if abs(value - flown[key]) > 0.001}
    assert not differing
    assert len(hours) > 1500
    unknown = flown.keys() - hours.keys()  # where a counter was set back or swapped, nobody knows
    assert len(unknown) < 60


def hours_by_machine_and_day(engine: sa.Engine, days: Sequence[date]) -> dict[tuple[str, date], float]:
    times = equipment_running_times.c
    statement = (
        sa.select(equipment.c.equipment_number, times.date, times.running_hours)
        .join(equipment, equipment.c.id == times.equipment_id)
        .where(times.date.in_(days), times.running_hours.is_not(None))
    )
    with engine.connect() as connection:
        return {(row.equipment_number, row.date): float(row.running_hours) for row in connection.execute(statement)}


def flown_hours(days: Sequence[date]) -> dict[tuple[str, date], float]:
    """What each registered machine flew, whatever its counter shows."""
    flown = flight_hours().machine_days(days[0], days[-1])
    return {(day.machine.tail_number, day.date): day.running_minutes / 60 for day in flown if day.machine.is_registered}


def test_a_refused_record_lies_in_the_quarantine_with_its_measuring_point(synced_as: dict[str, sa.Engine]) -> None:
    payload = sa.text("SELECT payload FROM cmms.sync_rejections WHERE rule = 'equipment_unknown' LIMIT 1")
    with synced_as["odata_v4"].connect() as connection:
        kept = connection.scalar(payload)
    assert {"MeasurementDocument", "Equipment", "CounterOverflowRdngThreshold", "MsrgPtIsCountingBackwards"} <= kept.keys()


@pytest.mark.parametrize("dialect", ODATA)
def test_a_sync_downloads_no_list_twice(database: Database, tmp_path: Path, dialect: str) -> None:
    version, codes, days = VERSIONS[dialect], ["B6JF", "DLLG", "EVEW", "UAEW"], DAYS[:2]
    with running_emulator(dialect=dialect, page_size=10_000) as server:
        source = Source(database, settings_for(server, database, tmp_path, api_dialect=dialect, api_plants_per_call=1))

        def asked_by(sync: Callable[[], object]) -> Counter[str]:
            before = Counter(server.stats()["endpoints"])
            sync()
            return Counter(server.stats()["endpoints"]) - before

        assert asked_by(source.plants) == {f"/{version.plants}": 1}
        assert asked_by(lambda: source.equipment(codes)) == {f"/{version.equipment}": len(codes), f"/{version.points}": 1}
        assert asked_by(lambda: source.running_times(*days, plants=codes)) == {
            f"/{version.documents}": len(codes) * len(days) + 1,  # and once whether documents name plants
            f"/{version.points}": 1,
            f"/{version.equipment}": 1,
        }


def test_the_syncs_of_a_run_and_their_retries_fetch_reference_data_once(database: Database, tmp_path: Path) -> None:
    wanted = Wanted(["B6JF"], first_day=DAYS[0], last_day=DAYS[1])
    reference = (f"/{VERSIONS['odata_v4'].points}", f"/{VERSIONS['odata_v4'].equipment}")
    with running_emulator(dialect="odata_v4", page_size=10_000) as server:
        settings = settings_for(server, database, tmp_path, api_dialect="odata_v4")
        Source(database, settings).plants()

        def asked_after(run_id: str, attempt: int) -> list[int]:
            runner = Runner(database.engine, settings, run_id, silent)
            runner.named("equipment", wanted, today=DAYS[2], sync_key=f"{run_id}:masters")
            runner.named("running_times", wanted, today=DAYS[2], sync_key=f"{run_id}:hours:{attempt}")
            return [server.stats()["endpoints"][path] for path in reference]

        assert asked_after("first", attempt=1) == [1, 2]  # the machines also as what is synced
        assert asked_after("first", attempt=2) == [1, 2]
        assert asked_after("second", attempt=1) == [2, 4]


def test_a_service_that_pages_in_a_circle_fails_the_sync_and_leaves_nothing_half(database: Database, tmp_path: Path) -> None:
    with (
        running_emulator(dialect="odata_v4", page_size=10, traps="repeat") as server,
        pytest.raises(PermanentError, match="pages in a circle"),
    ):
        Source(database, settings_for(server, database, tmp_path, api_dialect="odata_v4")).plants()
    assert count(database.engine, plants) == 0
