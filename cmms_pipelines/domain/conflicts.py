"""Decide what becomes of an entity that two sides have changed: a three-way merge, field by field, with a reason for each.

What belongs here: the order of the rules, and rules 1 to 5. What does not: the vocabulary (`domain.conflict_cases`), rules 6 to 9
(`domain.conflict_rules`), fields that hang together (`domain.conflict_groups`), what can be configured
(`domain.conflict_policy`), comparing values (`domain.comparing`), and everything that stores, logs or reads a clock.
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime

from pydantic import JsonValue

from cmms_pipelines.domain.comparing import Kind, compared_form, kind_of
from cmms_pipelines.domain.conflict_cases import (
    Base,
    Case,
    Decision,
    Delivery,
    Merge,
    Operation,
    Rule,
    Severity,
    Values,
    Verdict,
)
from cmms_pipelines.domain.conflict_groups import decide_groups, waiting_together
from cmms_pipelines.domain.conflict_policy import ConflictPolicy, Strategy
from cmms_pipelines.domain.conflict_rules import Choice, appended, choose, escalated, rising, series
from cmms_pipelines.domain.conflict_views import View, Views
from cmms_pipelines.domain.status_lattice import OVER

_ADDED_TO = frozenset((Kind.NOTES, Kind.READINGS))
_DELETED = {"equipment": ("is_active", False)}
_ANY_DELETED: tuple[str, JsonValue] = ("is_deleted", True)


def merge(case: Case, policy: ConflictPolicy) -> Merge:
    """Return the merged entity with a decision for every field that a side changed.

    Merging again what came out changes nothing. Nothing of either side is lost: each value that differs is in the result or in
    a decision.
    """
    base = case.base or Base({})
    views = Views(case, policy)
    dropped = _dropped(case.delivery)
    if dropped is not None:
        ignored = tuple(
            _decision(view, Choice(Verdict.IGNORED, view.ours, *dropped), is_conflict=False)
            for view in views
            if view.is_stated and view.differ
        )
        return Merge(dict(case.ours.values), ignored, base, is_dropped=True)
    decided = ((view.name, _decide(view, case)) for view in views)
    decisions = {name: decision for name, decision in decided if decision is not None}
    decisions |= decide_groups(case.entity_type, views, decisions)
    deletion = _deletion(case, views, decisions.get("status"))
    if deletion is not None:
        decisions[deletion.field] = deletion
    values = {view.name: view.ours for view in views if view.name in case.ours.values or view.is_stated}
    values |= {name: decision.value for name, decision in decisions.items()}
    return Merge(
        values=values,
        decisions=tuple(decisions[name] for name in sorted(decisions)),
        base=_next_base(base, case, views, decisions),
        is_tombstone=deletion is not None and deletion.rule is Rule.TOMBSTONE,
    )


def undo(values: Values, decisions: Iterable[Decision]) -> dict[str, JsonValue]:
    """Return `values` with each decided field as our side had it before.

    Raises:
        ValueError: a field has been changed since its decision; names the fields.
    """
    undone = dict(values)
    since: list[str] = []
    for decision in decisions:
        kind = kind_of(decision.field)
        if compared_form(kind, undone.get(decision.field)) != compared_form(kind, decision.value):
            since.append(decision.field)
        elif decision.changes_ours:
            undone[decision.field] = decision.ours
    if since:
        raise ValueError(f"changed since the decision, so it cannot be undone any more: {', '.join(sorted(since))}")
    return undone


def fingerprint(entity_type: str, values: Values, stated_at: datetime | None = None) -> str:
    """Return what tells a statement again under another id, whatever its spelling and the order of its fields.

    Give the statement alone, with the source's own time: without one, two edits to the same values look the same.
    """
    said = {name: compared_form(kind_of(name), value) for name, value in values.items()}
    return _hash([entity_type, said, stated_at.isoformat() if stated_at else None])


def fingerprint_of_field(entity_type: str, name: str, value: JsonValue) -> str:
    """Return what tells a value of a field again when it comes back from the system that we wrote it to."""
    return _hash([entity_type, name, compared_form(kind_of(name), value)])


def _hash(value: JsonValue) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _dropped(delivery: Delivery) -> tuple[Rule, str] | None:
    """Rule 1 for the case as a whole."""
    if delivery.id is not None and delivery.id in delivery.own_ids:
        return Rule.ECHO, "it is a write of ours that comes back"
    if delivery.id is not None and delivery.id in delivery.seen_ids:
        return Rule.DUPLICATE, f"the source's statement {delivery.id} has taken effect already"
    if delivery.fingerprint is not None and delivery.fingerprint in delivery.seen_fingerprints:
        return Rule.DUPLICATE, "the same statement has taken effect already under another id"
    return None


def _decide(view: View, case: Case) -> Decision | None:
    """Rules 1 to 9 for one field; None where neither side changed it."""
    if not (view.ours_changed or view.theirs_changed):
        return None
    return _unheard(view, case) or _uncontested(view) or _contested(view, case)


def _unheard(view: View, case: Case) -> Decision | None:
    """Rules 1 and 2: a statement that says nothing, because it is ours or because the source has said something newer."""
    if not view.theirs_changed:
        return None
    own_writes = case.delivery.own_writes
    if own_writes and fingerprint_of_field(case.entity_type, view.name, view.theirs) in own_writes:
        return _quiet(view, Verdict.IGNORED, Rule.ECHO, "it is a value of ours that comes back")
    if view.is_stale and view.kind not in _ADDED_TO and view.contest.rule.strategy is not Strategy.COUNTER:
        return _quiet(view, Verdict.IGNORED, Rule.STALE, view.why_stale)
    return None


def _uncontested(view: View) -> Decision | None:
    """Rules 3 to 5 where they leave our value as it is, or find that the source has seen it."""
    if not view.differ:
        rule = Rule.SAME if view.ours == view.written else Rule.SPELLING
        return _quiet(view, Verdict.CONVERGED, rule, "both sides say the same")
    if view.ours_changed and view.has_source_gone_on and not view.is_safety:
        choice = Choice(Verdict.TAKEN, view.theirs, Rule.FAST_FORWARD, "the source had come to our value and has gone on since")
        return _decision(view, choice, is_conflict=False)
    if not view.theirs_changed:
        if view.is_first_contact:
            return _quiet(view, Verdict.KEPT, Rule.FIRST_CONTACT, "only our side has a value")
        return _quiet(view, Verdict.KEPT, Rule.ONE_SIDE, "only our side changed it")
    return None


def _contested(view: View, case: Case) -> Decision:
    """Rule 9 before all strategies, for what none of them may decide; then rule 4 for the source's side, and rules 6 to 9."""
    contested_by = _claimant(view, case)
    if contested_by is not None:
        reason = f"{contested_by} and {case.theirs.writer or 'this source'} both claim this {case.entity_type}, and differ"
        return _decision(view, escalated(view.contest, Rule.TWO_SYSTEMS, reason, "error"), is_conflict=True)
    if not view.ours_changed:
        return _decision(view, _one_sided(view), is_conflict=False)
    if view.is_safety:
        reason = f"{view.name} is about safety, and the sides differ: no rule decides that"
        return _decision(view, escalated(view.contest, Rule.SAFETY, reason, "critical"), is_conflict=True)
    return _decision(view, choose(view.contest), is_conflict=True)


def _one_sided(view: View) -> Choice:
    """Rule 4 where only the other side changed: its value, unless the field only grows or is about safety."""
    if view.is_safety and view.theirs is None:
        return escalated(view.contest, Rule.SAFETY, f"the source cleared {view.name}, which is about safety", "critical")
    strategy = view.contest.rule.strategy
    if view.kind is Kind.NOTES:
        return appended(view.contest)
    if strategy is Strategy.READINGS:
        return series(view.contest)
    if strategy is Strategy.COUNTER and view.ours is not None and view.theirs is not None:
        choice = rising(view.contest)
        if choice.rule in {Rule.COUNTER_FELL, Rule.ROLLOVER}:
            return choice
    if view.is_first_contact:
        return Choice(Verdict.TAKEN, view.theirs, Rule.FIRST_CONTACT, "only the source has a value")
    severity: Severity = "warning" if view.is_safety else "info"
    return Choice(Verdict.TAKEN, view.theirs, Rule.ONE_SIDE, "only the source changed it", severity)


def _claimant(view: View, case: Case) -> str | None:
    """Return the system that contests what this source states of the field, None if nobody does."""
    is_new_claim = case.operation is Operation.CREATE or view.is_first_contact
    for system, stated in sorted(case.claims.items()):
        said = compared_form(view.kind, stated.get(view.name))
        if is_new_claim or (said is not None and said != compared_form(view.kind, view.theirs)):
            return system
    return None


def _deletion(case: Case, views: Views, status: Decision | None) -> Decision | None:
    """What becomes of the entity as a whole when the source has deleted it; None if it has not, or it is deleted here too.

    `status` is what became of the order's status in the same case, None if nothing did.
    """
    if case.operation is not Operation.DELETE:
        return None
    name, deleted = _DELETED.get(case.entity_type, _ANY_DELETED)
    view = views.of_deletion(name, deleted)
    if view.ours == deleted:
        return None
    edited = sorted(one.name for one in views if one.ours_changed and one.differ)
    stands = status.value if status is not None else case.ours.values.get("status")
    is_open = case.has_open_work if case.has_open_work is not None else stands not in OVER
    contested_by = next((system for system, stated in sorted(case.claims.items()) if stated), None)
    if contested_by is not None:
        choice = escalated(view.contest, Rule.TWO_SYSTEMS, f"deleted at the source, and {contested_by} still has it", "error")
    elif is_open and (edited or case.base is None):
        what = f"edited here ({', '.join(edited)})" if case.base is not None else "never agreed with this source"
        choice = escalated(view.contest, Rule.DELETED, f"deleted at the source, but {what} and still open", "error")
    else:
        why = "nothing was edited here" if not edited else "the work is over; the row keeps what was edited here"
        choice = Choice(Verdict.TAKEN, deleted, Rule.TOMBSTONE, f"deleted at the source: {why}")
    return _decision(view, choice, is_conflict=bool(edited))


def _next_base(base: Base, case: Case, views: Views, decisions: dict[str, Decision]) -> Base:
    values, times = dict(base.values), dict(base.times)
    sequences, since = dict(base.sequences), dict(base.since)
    never_agreed = set(base.never_agreed)
    escalated_fields = (name for name, decision in decisions.items() if decision.verdict is Verdict.ESCALATED)
    waiting = waiting_together(case.entity_type, escalated_fields)
    for view in views:
        decision = decisions.get(view.name)
        if not view.is_stated or (decision is not None and decision.rule is Rule.STALE):
            continue
        stated_at, sequence = case.theirs.times.get(view.name), case.delivery.sequence
        known_at, known = times.get(view.name), sequences.get(view.name)
        if stated_at is not None:
            times[view.name] = stated_at if known_at is None else max(stated_at, known_at)
        if sequence is not None:
            sequences[view.name] = sequence if known is None else max(sequence, known)
        if view.name in waiting:
            if known_at is not None:
                since.setdefault(view.name, known_at)
            if view.is_first_contact:
                never_agreed.add(view.name)
            continue
        never_agreed.discard(view.name)
        if view.theirs_changed or view.name not in values:
            if stated_at is not None:
                since[view.name] = stated_at
        elif known_at is not None:
            since.setdefault(view.name, known_at)
        values[view.name] = view.theirs
    deletion = next((decision for decision in decisions.values() if decision.rule is Rule.TOMBSTONE), None)
    if deletion is not None:
        values[deletion.field] = deletion.value
    return Base(values, times, sequences, frozenset(never_agreed), since)


def _quiet(view: View, verdict: Verdict, rule: Rule, reason: str) -> Decision:
    return _decision(view, Choice(verdict, view.ours, rule, reason), is_conflict=False)


def _decision(view: View, choice: Choice, *, is_conflict: bool) -> Decision:
    return view.decision(choice, is_conflict=is_conflict)
