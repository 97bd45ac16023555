"""How events and syncs stand: asked for, over time, and live."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Queue
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn

from cmms_pipelines.domain.roles import Role
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.drain import drain
from cmms_pipelines.storage.engine import make_engine
from cmms_pipelines.storage.secrets import secret_box
from cmms_pipelines.storage.tokens import create_token, revoke_token
from cmms_webhook.app import EVENTS, create_app, utc_now
from cmms_webhook.management.router import create_router
from cmms_webhook.management.state import ManagementState
from cmms_webhook.server import listen, server_config
from tests.conftest import Database
from tests.management.conftest import Api, make_api, problem
from tests.storage.inbox_world import drain_now, query, send, work_order
from tests.webhook.conftest import Sidecar, event_body, running, wait_until


class Stream:
    """A client of the live stream: what came, and when."""

    def __init__(self, url: str, token: str) -> None:
        self.messages: Queue[tuple[str, Any]] = Queue()
        self.beats = 0
        self.has_ended = threading.Event()
        self._client = httpx.Client(timeout=30)
        self._url, self._token = url, token
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert self.next("counts")

    def _read(self) -> None:
        name = ""
        headers = {"Authorization": f"Bearer {self._token}"}
        with suppress(httpx.TransportError), self._client.stream("GET", self._url, headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            self._socket = answer.extensions["network_stream"].get_extra_info("socket")
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self.messages.put((name, json.loads(line.removeprefix("data: "))))
                elif line.startswith(":"):
                    self.beats += 1
        self.has_ended.set()

    def next(self, name: str, within_s: float = 5.0) -> dict[str, Any]:
        deadline = time.monotonic() + within_s
        while True:
            try:
                found, data = self.messages.get(timeout=max(0.01, deadline - time.monotonic()))
            except Empty:
                pytest.fail(f"no {name} came within {within_s} s")
            if found == name:
                assert isinstance(data, dict)
                return data

    def until(self, name: str, is_it: Callable[[dict[str, Any]], bool], within_s: float = 5.0) -> dict[str, Any]:
        deadline = time.monotonic() + within_s
        while True:
            data = self.next(name, deadline - time.monotonic())
            if is_it(data):
                return data

    def close(self) -> None:
        with suppress(OSError):  # the server may have closed it
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._client.close()


@contextmanager
def watched(api: Api) -> Iterator[Stream]:
    stream = Stream(api.url + "/events/stream", api.tokens[Role.VIEWER])
    try:
        yield stream
    finally:
        stream.close()


@contextmanager
def managed(database: Database, settings: Settings, **options: Any) -> Iterator[Api]:  # noqa: ANN401 - of ManagementState
    """A sidecar whose management API has limits of the test's own."""
    engine = make_engine(database.url)
    app = create_app(engine, secret_box(settings))
    del app.router.routes[-1]
    state = ManagementState(engine, secret_box(settings), clock=utc_now, receiver=app, events_path=EVENTS, **options)
    app.include_router(create_router(state))
    server = uvicorn.Server(server_config(app))
    listener = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: server.started)
    api = make_api(Sidecar(f"http://127.0.0.1:{listener.getsockname()[1]}", database, settings))
    try:
        yield api
    finally:
        api.client.close()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
        engine.dispose()
        listener.close()


def test_status_tells_counts_ages_drains_and_syncs(api: Api) -> None:
    url = api.database.url
    work_order(url, title="A")
    query(url, "UPDATE cmms.maintenance_event_hooks SET created_at = now() - interval '5 min'")
    query(url, "INSERT INTO cmms.api_sync_logs (sync_type, status, sync_completed_at) VALUES ('equipment', 'success', now())")
    query(url, "INSERT INTO cmms.api_sync_logs (sync_type, dagster_run_id) VALUES ('running_times', 'a-run')")
    status = api.read("/sync/status")
    inbox, syncs = status["inbox"], status["syncs"]
    assert (inbox["counts"]["pending"], inbox["drain"], inbox["waiting_for_retry"]) == (1, "absent", 0)
    assert 300 <= inbox["oldest_pending_age_s"] < 400
    assert 300 <= inbox["oldest_due_age_s"] < 400
    assert inbox["newest"]["event_type"] == "work_order_updated"
    assert [(run["sync_type"], run["dagster_run_id"]) for run in syncs["running"]] == [("running_times", "a-run")]
    assert {name: one["status"] for name, one in syncs["last"].items()} == {"equipment": "success", "running_times": "running"}
    assert syncs["is_paused"] is False
    drain_now(url)
    after = api.read("/sync/status")["inbox"]
    assert (after["counts"]["processed"], after["oldest_pending_age_s"], after["oldest_due_age_s"]) == (1, None, None)


def test_status_sees_a_drain_at_work(api: Api) -> None:
    is_over = threading.Event()
    thread = threading.Thread(target=drain, args=(api.database.url,), kwargs={"should_stop": is_over.is_set, "idle_s": 20})
    thread.start()
    wait_until(lambda: api.read("/sync/status")["inbox"]["drain"] == "working")
    is_over.set()
    thread.join()
    assert api.read("/sync/status")["inbox"]["drain"] == "absent"


def test_every_client_of_the_stream_sees_events_come_and_change_within_two_seconds(api: Api) -> None:
    with watched(api) as one, watched(api) as other:
        sent = time.monotonic()
        work_order(api.database.url, type="created", title="A")
        for client in (one, other):
            [event] = client.next("events", 2.0)["events"]
            assert (event["processing_status"], event["entity_key"]) == ("pending", "work_order:4000123")
        assert time.monotonic() - sent < 2
        sent = time.monotonic()
        drain_now(api.database.url)
        for client in (one, other):
            [changed] = client.until("events", lambda data: data["events"][0]["processing_status"] == "processed", 2.0)["events"]
            assert changed["id"] == event["id"]
        assert time.monotonic() - sent < 2
        watchers = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cmms-event-stream' AND datname = current_database()"
        )
        assert query(api.database.url, watchers) == [(1,)]
    wait_until(lambda: query(api.database.url, watchers) == [(0,)])


def test_counts_follow_also_what_nobody_has_told(api: Api) -> None:
    work_order(api.database.url, title="A")
    with watched(api) as stream:
        query(api.database.url, "UPDATE cmms.maintenance_event_hooks SET processing_status = 'ignored', processed_at = now()")
        assert stream.until("counts", lambda counts: counts["ignored"] == 1, 2.5)["pending"] == 0


def test_a_burst_is_told_by_its_newest_events_and_how_many_more(api: Api) -> None:
    with watched(api) as stream:
        with psycopg.connect(api.database.url) as connection:
            for number in range(300):
                send(api.database.url, "work_order_created", {"work_order_number": str(number)}, connection=connection)
        told = stream.next("events")
        assert (len(told["events"]), told["more"]) == (200, 100)
        drain_now(api.database.url)
        told = stream.next("events")
        assert (len(told["events"]), told["more"]) == (200, 100)


def test_a_stop_ends_streams_at_once_and_says_so(database: Database, settings_of: Settings) -> None:
    with running(database, settings_of) as sidecar:
        api = make_api(sidecar)
        stream = Stream(api.url + "/events/stream", api.tokens[Role.VIEWER])
        stopped = time.monotonic()
    assert time.monotonic() - stopped < 5
    assert stream.next("end")["reason"] == "shutdown"
    assert stream.has_ended.wait(2)


def test_places_are_limited_beats_come_and_a_revoked_token_ends_its_stream(database: Database, settings_of: Settings) -> None:
    with managed(database, settings_of, max_streams=2, heartbeat_s=0.3) as api:
        with watched(api) as one, watched(api):
            full = problem(api.ask("GET", "/events/stream"), 503)
            assert "places" in full["detail"]
            wait_until(lambda: one.beats >= 2)
            with database.engine.begin() as connection:
                revoke_token(connection, "a viewer", actor="tests")
            assert one.next("end")["reason"] == "token_no_longer_in_force"
        with database.engine.begin() as connection:
            token = create_token(connection, "a viewer", Role.VIEWER, actor="tests")[1]
        time.sleep(1.1)
        wait_until(lambda: api.ask("GET", "/sync/status").status_code == 200)
        late = Stream(api.url + "/events/stream", token.get_secret_value())
        late.close()


def test_analytics_count_what_came_and_what_became_of_it(api: Api) -> None:
    url = api.database.url
    api.sidecar.register("plant-cmms")
    time.sleep(1.1)
    body = event_body()
    answers = [api.sidecar.post(body).json()["status"] for _ in range(3)]
    assert answers == ["accepted", "duplicate", "duplicate"]
    assert api.sidecar.post(body, {"content-type": "application/json", "x-cmms-system": "plant-cmms"}).status_code == 401
    send(url, "work_order_updated", {"work_order_number": "2", "status": "exploded"}, system="plant-cmms")
    for number in range(20):
        send(url, "work_order_created", {"work_order_number": f"1{number}"}, system="other")
    query(url, "UPDATE cmms.maintenance_event_hooks SET retry_count = 2, retries_total = 2 WHERE event_payload ->>"
               " 'work_order_number' = '10'")  # fmt: skip
    drain_now(url)
    query(url, "UPDATE cmms.maintenance_event_hooks AS h SET processed_at = created_at + number * interval '10 ms'"
               " FROM (SELECT id, row_number() OVER () AS number FROM cmms.maintenance_event_hooks"
               "       WHERE cmms_system_id = 'other') AS n WHERE n.id = h.id")  # fmt: skip
    time.sleep(0.8)  # the ledger writes twice a second
    found = api.read("/analytics", bucket="all")
    by_key = {(row["cmms_system_id"], row["event_type"]): row for row in found["events"]}
    ours = by_key["plant-cmms", "work_order_updated"]
    assert (ours["received"], ours["duplicates"], ours["processed"], ours["dead_letters"]) == (2, 2, 1, 1)
    theirs = by_key["other", "work_order_created"]
    assert (theirs["received"], theirs["retried"], theirs["retried_successfully"], theirs["retries"]) == (20, 1, 1, 2)
    expected = [10.5 * 10, 19.05 * 10, 19.81 * 10]
    assert [theirs[f"latency_p{share}_ms"] for share in (50, 95, 99)] == pytest.approx(expected)
    assert [(row["cmms_system_id"], row["refused"]) for row in found["refusals"]] == [("plant-cmms", 1)]
    of_hours = api.read("/analytics", bucket="hour", source="other")["events"]  # of two where one began just now
    assert {row["cmms_system_id"] for row in of_hours} == {"other"}
    assert sum(row["received"] for row in of_hours) == 20
    assert api.read("/analytics", bucket="day", type="asset_created")["events"] == []


@pytest.mark.parametrize(
    "wanted",
    [{"bucket": "year"}, {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, {"since": "2020-01-01T00:00:00Z"}],
)
def test_analytics_of_no_time_or_too_much_of_it_are_refused(shared_api: Api, wanted: dict[str, str]) -> None:
    problem(shared_api.ask("GET", "/analytics", Role.VIEWER, params=wanted), 422)
