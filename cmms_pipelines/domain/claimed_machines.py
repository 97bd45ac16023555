"""A machine of which more than its master record speaks: several systems, and people here.

What belongs here: the order in which the sides are merged, so that the outcome does not depend on the order of arrival, and what
is settled afterwards. What does not: the rules of one merge (`domain.conflicts`), loading and writing (`storage.machine_merges`).

Of two systems that state a field the one that spoke of the machine first holds it, and the other contests it. The external API
holds nothing: what it said is the base that the others started from.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import JsonValue

from cmms_pipelines.domain.conflict_cases import Operation, Side
from cmms_pipelines.domain.conflict_policy import ConflictPolicy
from cmms_pipelines.domain.local_edits import EQUIPMENT, LocalEdit, Settled, Statement, Waiting, settle
from cmms_pipelines.domain.registers import STAGES, Registers

EXTERNAL_API = "external_api"
"""The source whose snapshot is the master record, whatever system the external API belongs to."""

PolicyOf = Callable[[str], ConflictPolicy]


@dataclass
class Claim:
    """What one system has stated of a machine, since when it speaks of it, and what of it was settled.

    `received_at` is when its newest statement came in, by our clock, if that is what is being merged.
    """

    registers: Registers
    claimed_at: datetime | None
    agreed: dict[str, JsonValue] = field(default_factory=dict)
    received_at: datetime | None = None

    def unsettled(self) -> dict[str, JsonValue]:
        """Return the statements that nobody has decided about since they were made."""
        return {
            name: value for name, value in self.registers.values.items() if name not in self.agreed or self.agreed[name] != value
        }

    @property
    def is_deletion(self) -> bool:
        """Whether the system has deleted the machine, and that is not settled."""
        stated_at = self.registers.times.get("is_active")
        is_last_stage = stated_at is not None and stated_at.microsecond % 1000 == STAGES["deleted"]
        return is_last_stage and self.unsettled().get("is_active") is False


@dataclass
class ClaimedMachine:
    """A machine with everything that is said of it; `values` is the row, attributes as fields of their own."""

    equipment_number: str
    values: dict[str, JsonValue]
    edits: dict[str, LocalEdit]
    claims: dict[str, Claim]
    waiting: Mapping[str, Mapping[str, Waiting]] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """What the merge with one system's statement came to, with what was there before."""

    system: str
    settled: Settled
    edits: Mapping[str, LocalEdit]
    agreed: Mapping[str, JsonValue]
    stated_at: Mapping[str, datetime | None]


def merge_claims(machine: ClaimedMachine, policy_of: PolicyOf) -> list[Judged]:
    """Bring the machine to what its systems state by now and what was edited here; return one judgement for each system."""
    machine.values.update({name: edit.value for name, edit in machine.edits.items()})
    judged: list[Judged] = []
    earlier: dict[str, dict[str, JsonValue]] = {}
    for system in _in_order(machine.claims):
        claim = machine.claims[system]
        said = claim.registers.values
        claims = {other: shared for other, values in earlier.items() if (shared := _restricted(values, said))}
        contested = {name for values in claims.values() for name in values} - machine.edits.keys()
        for values in reversed(list(claims.values())):
            machine.values.update(_restricted(values, contested))
        judged.append(
            _judge(
                machine,
                system,
                claim,
                Side(said, dict(claim.registers.times), writer=system),
                policy_of(system),
                claims=claims,
                contested=frozenset(contested - claim.agreed.keys()),
                operation=Operation.DELETE if claim.is_deletion else Operation.CHANGE,
            )
        )
        earlier[system] = claim.unsettled()
    master = machine.claims.get(EXTERNAL_API)
    if master is not None and (machine.edits or machine.waiting):
        for system in sorted(machine.waiting.keys() - earlier.keys()) or [EXTERNAL_API]:
            names = {*machine.edits, *machine.waiting.get(system, {})}
            judged.append(_judge_master(machine, master, _restricted(master.registers.values, names), system, policy_of))
    _settle_the_rest(machine, judged)
    return judged


def merge_master(
    machine: ClaimedMachine, stated: Mapping[str, JsonValue], system: str, now: datetime, policy_of: PolicyOf
) -> Judged:
    """Bring the machine to what the external API states now; `system` is the one that it belongs to.

    The API does not say when it changed a field, so its clock decides nothing. What it states as before is nothing new. Where
    `system` also sends events, both are one source: a value that the API has changed is the newer one.
    """
    master = machine.claims.setdefault(EXTERNAL_API, Claim(Registers({}, {}), None))
    before = master.registers.values
    said = {name: stated.get(name) for name in {*stated, *before}}
    own = machine.claims.get(system)
    held_by_it = own.registers.values.keys() - machine.edits.keys() if own else set()
    said = {name: value for name, value in said.items() if not (name in held_by_it and before.get(name) == value)}
    held = {name: machine.values.get(name) for name in before if name in held_by_it}
    changed = {name for name, value in said.items() if value != {**before, **held, **master.agreed}.get(name)}
    claims = {
        other: shared
        for other in _in_order(machine.claims)
        if other != system and (shared := _restricted(machine.claims[other].unsettled(), changed))
    }
    judged = _judge_master(machine, master, said, system, policy_of, base={**before, **held}, claims=claims)
    for name in {*stated, *before}:
        if name not in before or before[name] != stated.get(name):
            master.registers.values[name], master.registers.times[name] = stated.get(name), now
    _forget_what_is_said(master)
    _settle_the_rest(machine, [judged])
    return replace(judged, stated_at=dict.fromkeys(changed, now))


def _judge_master(
    machine: ClaimedMachine,
    master: Claim,
    said: Mapping[str, JsonValue],
    system: str,
    policy_of: PolicyOf,
    *,
    base: Mapping[str, JsonValue] | None = None,
    claims: Mapping[str, Mapping[str, JsonValue]] | None = None,
) -> Judged:
    """Judge what the external API says; what it has said before is agreed unless it waits for somebody."""
    times = {name: at for other in _in_order(machine.claims) for name, at in machine.claims[other].registers.times.items()}
    known = Claim(master.registers, None, {**(said if base is None else base), **master.agreed})
    theirs = Side(said, clock_is_trusted=False, writer=system)
    judged = _judge(machine, system, known, theirs, policy_of(system), claims=claims, times=times)
    master.agreed = {**known.agreed, **{one.field: one.base for one in judged.settled.escalated}}
    if base is None:
        _forget_what_is_said(master)
    return judged


def _forget_what_is_said(master: Claim) -> None:
    master.agreed = {name: value for name, value in master.agreed.items() if value != master.registers.values.get(name)}


def _judge(
    machine: ClaimedMachine,
    system: str,
    claim: Claim,
    theirs: Side,
    policy: ConflictPolicy,
    *,
    claims: Mapping[str, Mapping[str, JsonValue]] | None = None,
    contested: frozenset[str] = frozenset(),
    operation: Operation = Operation.CHANGE,
    times: Mapping[str, datetime | None] | None = None,
) -> Judged:
    edits, agreed = dict(machine.edits), dict(claim.agreed)
    settled = settle(
        Statement(
            entity_type=EQUIPMENT,
            row=machine.values,
            edits=edits,
            theirs=theirs,
            agreed=agreed,
            waiting=machine.waiting.get(system, {}),
            claims=claims or {},
            contested=contested,
            operation=operation,
            received_at=claim.received_at,
            times=times or {},
        ),
        policy,
    )
    machine.values, machine.edits, claim.agreed = dict(settled.values), dict(settled.edits), dict(settled.agreed)
    return Judged(system, settled, edits, agreed, dict(theirs.times))


def _settle_the_rest(machine: ClaimedMachine, judged: list[Judged]) -> None:
    """Note that what the row does not take over of a system's statements is settled, unless it waits for somebody."""
    waiting = {decision.field for one in judged for decision in one.settled.escalated}
    for system, claim in machine.claims.items():
        for name, value in claim.registers.values.items() if system != EXTERNAL_API else ():
            if name not in waiting and machine.values.get(name) != value:
                claim.agreed[name] = value


def _in_order(claims: Mapping[str, Claim]) -> list[str]:
    """Return the systems beside the external API, the one that spoke of the machine first at the front."""
    known = [(claim.claimed_at.isoformat() if claim.claimed_at else "", system) for system, claim in claims.items()]
    return [system for _, system in sorted(known) if system != EXTERNAL_API]


def _restricted(values: Mapping[str, JsonValue], names: "Mapping[str, object] | set[str]") -> dict[str, JsonValue]:
    return {name: value for name, value in values.items() if name in names}
