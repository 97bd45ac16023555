"""What people do in the demo: they edit orders, the CMMS contradicts them, and one conflict of three is decided by hand.

What belongs here: the edits, the events that contradict them, and how the queue stands afterwards, all over the management API as
an operator's tool would do it. What does not: sending the events (`operate.demo`), and what must hold (`operate.summary`).

Everything is the same for the same day, and done once: an edit is made only while the event that contradicts it is not known.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.roles import Role
from cmms_pipelines.operate import figures
from cmms_pipelines.operate.demo_events import ORDERS, SYSTEM, DemoEvent, contradiction, order_name
from cmms_pipelines.operate.summary import ConflictFigures
from cmms_pipelines.storage.tokens import create_token, revoke_token

_TOKEN = "demo"  # noqa: S105 - its name
_REASON = "the work was done before the cancellation reached us"


@dataclass(frozen=True)
class Contested:
    """An order that both sides change: what is edited here, and what the CMMS then says."""

    number: str
    edit: Mapping[str, str]
    event: DemoEvent


def contested_orders(day: dt.date) -> tuple[Contested, Contested, Contested]:
    """Return three orders in progress: one that waits for a person, one that a person decides, one that a rule decides."""
    done, cancelled = {"status": "completed"}, {"status": "cancelled"}
    waits, by_hand, by_rule = (order_name(day, ORDERS - number) for number in (3, 2, 1))
    return (
        Contested(waits, done, contradiction(day, waits, cancelled)),
        Contested(by_hand, done, contradiction(day, by_hand, cancelled)),
        Contested(by_rule, {"assignee": "the night shift"}, contradiction(day, by_rule, {"assigned_to": "crew-9"})),
    )


@contextmanager
def operator(engine: sa.Engine, address: str, tries: Callable[[], Iterator[None]]) -> Iterator[httpx.Client]:
    """Return a client of the management API with a token of the role operator, which is taken back at the end."""
    with engine.begin() as connection:
        revoke_token(connection, _TOKEN, actor=_TOKEN)  # of a demo that was killed
        _, token = create_token(connection, _TOKEN, Role.OPERATOR, actor=_TOKEN)
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
    try:
        with httpx.Client(base_url=f"{address}/api/v1/cmms", headers=headers, timeout=30, trust_env=False) as client:
            for _ in tries():
                if client.get("/conflicts/status").status_code != httpx.codes.UNAUTHORIZED:  # new tokens take a second
                    break
            yield client
    finally:
        with engine.begin() as connection:
            revoke_token(connection, _TOKEN, actor=_TOKEN)


def edit_orders(engine: sa.Engine, client: httpx.Client, contested: Sequence[Contested]) -> tuple[int, bool]:
    """Edit the orders whose events are not known yet; return how many, and whether an edit of a version not seen was refused."""
    edited = 0
    for one in contested:
        order = _answer(client.get("/work-orders", params={"number": one.number, "source": SYSTEM}))["work_orders"][0]
        body = {"version": order["version"], "changes": one.edit, "reason": "the demo's edit"}
        stale = client.patch(f"/work-orders/{order['id']}", json={**body, "version": order["version"] + 1})
        if not figures.known_events(engine, [one.event.event_id]):
            _answer(client.patch(f"/work-orders/{order['id']}", json=body))
            edited += 1
    return edited, stale.status_code == httpx.codes.CONFLICT


def decide(client: httpx.Client, contested: Contested) -> None:
    """Decide an order's conflict for our side, as the person who was at the machine would; once."""
    for conflict in _conflicts(client, [contested], "open"):
        body = {"choice": "ours", "reason": _REASON, "version": conflict["version"]}
        _answer(client.post(f"/conflicts/{conflict['id']}/resolve", json=body))


def queue_figures(
    client: httpx.Client, contested: Sequence[Contested], *, edited: int, is_stale_refused: bool
) -> ConflictFigures:
    """Return how the queue stands: what became of these orders, and how many conflicts wait in all."""
    decided = _conflicts(client, contested, "resolved")
    return ConflictFigures(
        contested=len(contested),
        edited=edited,
        stale_refused=is_stale_refused,
        waiting=len(_conflicts(client, contested, "open")),
        decided_by_rule=sum(one["is_automatic"] for one in decided),
        decided_by_hand=sum(not one["is_automatic"] for one in decided),
        open_in_queue=int(_answer(client.get("/conflicts/status"))["open"]),
    )


def _conflicts(client: httpx.Client, contested: Sequence[Contested], status: str) -> list[dict[str, Any]]:
    params = {"entity": [one.number for one in contested], "status": status}
    found: list[dict[str, Any]] = _answer(client.get("/conflicts", params=params))["conflicts"]
    return found


def _answer(reply: httpx.Response) -> dict[str, Any]:
    if not reply.is_success:
        raise PermanentError(f"{reply.request.method} {reply.request.url} was answered {reply.status_code}: {reply.text}")
    answer: dict[str, Any] = reply.json()
    return answer
