"""One field of a case as each side has it: what was stated, who changed it, and whether the statement is of any age.

What belongs here: facts about a field. What does not: what follows from them (`domain.conflicts`, `domain.conflict_rules`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import JsonValue

from cmms_pipelines.domain.comparing import Kind, compared_form, kind_of, stored_form
from cmms_pipelines.domain.conflict_cases import Base, Case, Decision, Verdict
from cmms_pipelines.domain.conflict_policy import ConflictPolicy
from cmms_pipelines.domain.conflict_rules import Choice, Contest
from cmms_pipelines.domain.merging_lists import Contested, append_notes, merge_readings


@dataclass(frozen=True)
class View:
    """A field of a case. `theirs` is in our units and words; what the source does not state is as it was agreed."""

    name: str
    kind: Kind
    base: JsonValue
    ours: JsonValue
    theirs: JsonValue
    written: JsonValue
    """`theirs` as the source wrote it."""
    is_stated: bool
    ours_changed: bool
    theirs_changed: bool
    differ: bool
    is_safety: bool
    ours_at: datetime | None
    theirs_at: datetime | None
    contest: Contest
    why_stale: str = ""
    is_first_contact: bool = False
    has_source_gone_on: bool = False
    """The source stated our value after the base and another one since."""

    @property
    def is_stale(self) -> bool:
        """Whether the source had said something newer before."""
        return bool(self.why_stale)

    def decision(self, choice: Choice, *, is_conflict: bool) -> Decision:
        """Return the decision that a choice makes of this field; what stays ours stays as we spell it."""
        stays = choice.verdict in {Verdict.KEPT, Verdict.ESCALATED, Verdict.IGNORED, Verdict.CONVERGED}
        return Decision(
            field=self.name,
            verdict=choice.verdict,
            value=self.ours if stays else choice.value,
            rule=choice.rule,
            reason=choice.reason,
            base=self.base,
            ours=self.ours,
            theirs=self.theirs,
            severity=choice.severity,
            is_conflict=is_conflict,
            ours_at=self.ours_at,
            theirs_at=self.theirs_at,
        )


class Views:
    """The fields of a case, by name."""

    def __init__(self, case: Case, policy: ConflictPolicy) -> None:
        self._case, self._policy = case, policy
        self._base = case.base or Base({})
        names = self._base.values.keys() | case.ours.values.keys() | case.theirs.values.keys()
        self._views = {name: self._view(name) for name in sorted(names)}

    def __iter__(self) -> Iterator[View]:
        return iter(self._views.values())

    def get(self, name: str) -> View | None:
        """Return a field, None if no side knows it."""
        return self._views.get(name)

    def of_deletion(self, name: str, deleted: JsonValue) -> View:
        """Return the field that says that the entity is gone, as if the source had stated just that."""
        view = self._view(name)
        return replace(view, theirs=deleted, is_stated=True, theirs_changed=True, contest=replace(view.contest, theirs=deleted))

    def _view(self, name: str) -> View:
        case, policy, base = self._case, self._policy, self._base
        kind = kind_of(name)
        agreed = base.values.get(name)
        mine = case.ours.values.get(name, agreed)
        is_stated = name in case.theirs.values
        other = case.theirs.values[name] if is_stated else agreed
        ours_zone, theirs_zone = case.ours.time_zone, case.theirs.time_zone
        if theirs_zone == "UTC":
            theirs_zone = policy.time_zone
        stated = _with_what_was_stated(kind, agreed, stored_form(kind, other, theirs_zone)) if is_stated else other
        ours_changed = _differ(kind, agreed, mine, ours_zone)
        theirs_changed = is_stated and _differ(kind, agreed, stated, "UTC")
        differ = _differ(kind, stated, mine, ours_zone)
        ours_at, theirs_at = case.ours.times.get(name), case.theirs.times.get(name)
        return View(
            name=name,
            kind=kind,
            base=agreed,
            ours=mine,
            theirs=stated,
            written=other,
            is_stated=is_stated,
            ours_changed=ours_changed,
            theirs_changed=theirs_changed,
            differ=differ,
            is_safety=policy.is_safety(name),
            ours_at=ours_at,
            theirs_at=theirs_at,
            contest=self._contest(name, kind, agreed, stored_form(kind, mine, ours_zone), stated),
            why_stale=self._why_stale(name, theirs_at) if theirs_changed else "",
            is_first_contact=self._is_first_contact(name),
            has_source_gone_on=ours_changed and differ and self._has_gone_on(name, kind, mine),
        )

    def _contest(self, name: str, kind: Kind, agreed: JsonValue, mine: JsonValue, stated: JsonValue) -> Contest:
        case, policy = self._case, self._policy
        skew = timedelta(seconds=policy.allowed_skew_s)
        ours_at, theirs_at = case.ours.times.get(name), case.theirs.times.get(name)
        received_at = case.delivery.received_at
        is_ahead = theirs_at is not None and received_at is not None and theirs_at > received_at + skew
        is_reading = kind in {Kind.HOURS, Kind.READINGS}  # times of readings say when a counter was read, not who wrote last
        are_trusted = case.ours.clock_is_trusted and case.theirs.clock_is_trusted and policy.clock_is_trusted and not is_ahead
        has_times = are_trusted or is_reading
        return Contest(
            name=name,
            kind=kind,
            rule=policy.rule_of(case.entity_type, name),
            base=agreed,
            ours=mine,
            theirs=stated,
            ours_at=ours_at if has_times else None,
            theirs_at=theirs_at if has_times else None,
            base_at=self._base.times.get(name),
            is_first_contact=self._is_first_contact(name),
            skew=skew,
            counter=case.counter,
        )

    def _why_stale(self, name: str, theirs_at: datetime | None) -> str:
        known, sequence = self._base.sequences.get(name), self._case.delivery.sequence
        if known is not None and sequence is not None:
            return f"its number {sequence} is before {known}, which the source has stated" if sequence < known else ""
        known_at = self._base.times.get(name)
        if known_at is not None and theirs_at is not None and theirs_at < known_at:
            return f"older than what the source said at {known_at.isoformat()}"
        return ""

    def _is_first_contact(self, name: str) -> bool:
        return self._case.base is None or name in self._base.never_agreed

    def _has_gone_on(self, name: str, kind: Kind, mine: JsonValue) -> bool:
        told = [(at, compared_form(kind, value)) for at, value in self._case.theirs.history.get(name, ())]
        since = self._base.since.get(name) or self._base.times.get(name)
        if since is None and told:
            agreed = compared_form(kind, self._base.values.get(name))
            since = max((at for at, form in told if form == agreed), default=None)
        form = compared_form(kind, mine)
        return since is not None and any(at > since and one == form for at, one in told)


def _with_what_was_stated(kind: Kind, agreed: JsonValue, stated: JsonValue) -> JsonValue:
    """Return a statement with all that was stated before it, of a list that is only ever added to."""
    if kind is Kind.NOTES:
        return append_notes([], agreed, stated)
    if kind is Kind.READINGS:
        joined = merge_readings(agreed, stated)
        return stated if isinstance(joined, Contested) else joined
    return stated


def _differ(kind: Kind, one: JsonValue, other: JsonValue, time_zone: str) -> bool:
    if one == other and type(one) is type(other):
        return False
    return compared_form(kind, one) != compared_form(kind, other, time_zone)
