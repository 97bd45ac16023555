"""What a demo came to, as figures that are checked against one another.

What belongs here: the figures and what must hold between them. What does not: where they come from (`operate.figures`) and how
they look (`operate.report`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class SyncFigures:
    """One sync: what the source has when it is asked directly, what the sync's log says, and what the quarantine holds of it."""

    sync_type: str
    status: str
    run_id: str
    in_source: int
    received: int
    stored: int
    refused: int
    inserted: int
    updated: int
    unchanged: int
    merged: int
    warned: int
    refused_by_rule: Mapping[str, int]

    def problems(self) -> list[str]:
        """Return what does not add up, each as a sentence."""
        name = self.sync_type
        parts = self.inserted + self.updated + self.unchanged + self.merged
        quarantined = sum(self.refused_by_rule.values())
        claims = {
            f"{name}: the sync ended as {self.status}": self.status in {"success", "partial"},
            f"{name}: received {self.received}, but stored {self.stored} + refused {self.refused}": (
                self.received == self.stored + self.refused
            ),
            f"{name}: received {self.received}, but the source has {self.in_source}": self.received == self.in_source,
            f"{name}: stored {self.stored}, but inserted, updated, unchanged and merged are {parts}": self.stored == parts,
            f"{name}: refused {self.refused}, but the quarantine holds {quarantined} of this sync": self.refused == quarantined,
            f"{name}: nothing was received": self.received > 0,
        }
        return [sentence for sentence, holds in claims.items() if not holds]


@dataclass(frozen=True)
class EventFigures:
    """The events of the demo: what the receiver answered, and what the inbox says of them; latencies from acceptance on."""

    sent: int
    known_before: int
    waiting_expected: int
    accepted: int
    duplicate: int
    refused: int
    unsigned_refused: bool
    applied: int
    ignored: int
    held: int
    unfinished: int
    failed: int
    without_run: int
    runs: tuple[str, ...]
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_max_s: float | None

    def problems(self) -> list[str]:
        """Return what does not add up, each as a sentence."""
        done = self.applied + self.ignored + self.held
        claims = {
            f"events: sent {self.sent}, but accepted {self.accepted} + duplicate {self.duplicate}": (
                self.sent == self.accepted + self.duplicate
            ),
            f"events: {self.known_before} were known before, but {self.duplicate} were taken for duplicates": (
                self.known_before == self.duplicate
            ),
            f"events: sent {self.sent}, but applied {self.applied} + ignored {self.ignored} + held {self.held}": self.sent
            == done,
            f"events: {self.waiting_expected} are about unknown machines, but {self.held} are held": self.held
            == self.waiting_expected,
            f"events: {self.failed} could not be applied": self.failed == 0,
            f"events: {self.unfinished} are still waiting": self.unfinished == 0,
            f"events: {self.without_run} were applied by no run": self.without_run == 0,
            "events: a wrong signature was let in": self.unsigned_refused,
            "events: no run applied them": bool(self.runs),
        }
        return [sentence for sentence, holds in claims.items() if not holds]


@dataclass(frozen=True)
class ConflictFigures:
    """What became of the orders that were edited here and contradicted by the CMMS, as the management API tells it.

    `edited` is 0 where an earlier demo of the day made the edits; `open_in_queue` counts the conflicts of all days.
    """

    contested: int
    edited: int
    stale_refused: bool
    waiting: int
    decided_by_rule: int
    decided_by_hand: int
    open_in_queue: int

    def problems(self) -> list[str]:
        """Return what does not add up, each as a sentence."""
        found = self.waiting + self.decided_by_rule + self.decided_by_hand
        is_first = self.edited == self.contested  # afterwards anybody may have worked the queue
        claims = {
            f"conflicts: {self.contested} orders were contested, but {found} conflicts are told of": (
                found == self.contested if is_first else found >= self.contested
            ),
            f"conflicts: {self.waiting} wait instead of 1": self.waiting == 1 or not is_first,
            f"conflicts: {self.decided_by_rule} were decided by a rule instead of 1": self.decided_by_rule == 1 or not is_first,
            f"conflicts: {self.decided_by_hand} were decided by hand instead of 1": self.decided_by_hand == 1 or not is_first,
            f"conflicts: {self.waiting} wait, but the queue has {self.open_in_queue}": self.open_in_queue >= self.waiting,
            "conflicts: an edit of a version that nobody had seen was let in": self.stale_refused,
        }
        return [sentence for sentence, holds in claims.items() if not holds]


@dataclass(frozen=True)
class Summary:
    """All figures of a demo; `maintenance`: how many machines have a rule, then how many of them are told with each status."""

    days: Mapping[str, str]
    syncs: tuple[SyncFigures, ...]
    events: EventFigures
    contradictions: EventFigures
    conflicts: ConflictFigures
    tables: Mapping[str, int]
    marts: Mapping[str, int]
    seconds: Mapping[str, float]
    addresses: Mapping[str, str]
    maintenance: Mapping[str, int] = field(default_factory=dict)
    other_problems: tuple[str, ...] = field(default=())

    @property
    def problems(self) -> list[str]:
        """What is wrong, each as a sentence; empty when every figure is right."""
        found = [problem for sync in self.syncs for problem in sync.problems()] + self.events.problems()
        found += [f"contradicting {problem}" for problem in self.contradictions.problems()] + self.conflicts.problems()
        if self.marts.get("equipment_status") != self.tables.get("equipment"):
            rows = self.marts.get("equipment_status"), self.tables.get("equipment")
            found.append(f"marts: equipment_status has {rows[0]} rows, cmms.equipment {rows[1]}")
        wanted, *told = self.maintenance.values() or (0,)
        if wanted != sum(told):
            found.append(f"marts: maintenance_due has {sum(told)} rows, but {wanted} active machines have a rule")
        found += [f"marts: {name} is empty" for name, rows in self.marts.items() if rows == 0]
        return [*found, *self.other_problems]

    @property
    def is_right(self) -> bool:
        """Whether every figure is right."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """Return everything, with what is wrong, as plain values."""
        return {"is_right": self.is_right, "problems": self.problems, **asdict(self)}
