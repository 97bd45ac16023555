"""Fields that only make sense together: an amount with its currency, an order's status with the times of its life.

What belongs here: deciding such fields as one. What does not: the rule that decides the field that leads
(`domain.conflict_rules`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from cmms_pipelines.domain.conflict_cases import Decision, Rule, Verdict
from cmms_pipelines.domain.conflict_rules import Choice, choose
from cmms_pipelines.domain.conflict_views import View, Views

_ONE_VALUE = {"cost": ("currency",)}
_ONE_VALUE_OF = {"work_order": _ONE_VALUE | {"equipment_number": ("plant_code",)}}
_FOLLOWERS = {"work_order": {"status": ("started_at", "completed_at", "closed_at")}}


def decide_groups(entity_type: str, views: Views, decisions: Mapping[str, Decision]) -> dict[str, Decision]:
    """Return the decisions that change because their fields hang together.

    - Fields that are one value: if each side changed any of them, all go to the side that the leading field's rule names.
    - Fields that follow another: where that one was contested, they go to the side that won it, or wait with it; where they are
      contested themselves, they go to the side that changed it.
    """
    decided: dict[str, Decision] = {}
    for leader, others in _ONE_VALUE_OF.get(entity_type, _ONE_VALUE).items():
        decided |= _as_one(leader, _known(views, (leader, *others)), decisions)
    for leader, followers in _FOLLOWERS.get(entity_type, {}).items():
        led = decisions.get(leader)
        if led is not None:
            decided |= _following(led, _known(views, followers), decisions)
    return decided


def waiting_together(entity_type: str, names: Iterable[str]) -> frozenset[str]:
    """Return `names` with all fields that are one value with one of them."""
    waiting = set(names)
    for leader, others in _ONE_VALUE_OF.get(entity_type, _ONE_VALUE).items():
        members = {leader, *others}
        if members & waiting:
            waiting |= members
    return frozenset(waiting)


def _known(views: Views, names: Iterable[str]) -> list[View]:
    return [view for name in names if (view := views.get(name)) is not None]


def _as_one(leader: str, members: list[View], decisions: Mapping[str, Decision]) -> dict[str, Decision]:
    silent = {name for name, decision in decisions.items() if decision.verdict is Verdict.IGNORED}
    is_ours = any(view.ours_changed for view in members)
    is_theirs = any(view.theirs_changed and view.name not in silent for view in members)
    apart = [view for view in members if view.differ and view.name not in silent and (view.is_stated or view.base is not None)]
    if not (is_ours and is_theirs and apart) or members[0].name != leader:
        return {}
    waiting = next((decision for view in members if (decision := _escalated(decisions, view)) is not None), None)
    if waiting is not None:
        choice = Choice(Verdict.ESCALATED, None, waiting.rule, waiting.reason, waiting.severity)
    else:
        choice = choose(members[0].contest)
    return {view.name: _on_the_side_of(choice, view, leader, choice.rule, is_conflict=True) for view in apart}


def _following(led: Decision, followers: list[View], decisions: Mapping[str, Decision]) -> dict[str, Decision]:
    decided: dict[str, Decision] = {}
    for view in followers:
        own = decisions.get(view.name)
        if own is None or own.verdict is Verdict.IGNORED or not view.differ:
            continue
        if led.is_conflict and (led.verdict is Verdict.TAKEN or view.theirs_changed):
            rule = led.rule if led.verdict is Verdict.ESCALATED else Rule.FOLLOWS
        elif own.is_conflict and led.verdict in {Verdict.TAKEN, Verdict.KEPT}:
            rule = Rule.FOLLOWS
        else:
            continue
        reason = f"{view.name} goes with {led.field}: {led.reason}"
        choice = Choice(led.verdict, view.theirs, rule, reason, led.severity)
        decided[view.name] = _on_the_side_of(choice, view, led.field, rule, is_conflict=own.is_conflict)
    return decided


def _on_the_side_of(choice: Choice, view: View, leader: str, rule: Rule, *, is_conflict: bool) -> Decision:
    decision = view.decision(replace(choice, value=view.theirs, rule=rule), is_conflict=is_conflict)
    return decision if view.name == leader else replace(decision, leader=leader)


def _escalated(decisions: Mapping[str, Decision], view: View) -> Decision | None:
    decision = decisions.get(view.name)
    return decision if decision is not None and decision.verdict is Verdict.ESCALATED else None
