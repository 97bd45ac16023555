"""The vocabulary of conflicts: what the engine is asked, and what it answers; frozen values without behaviour of their own.

What belongs here: `Case` and its parts, `Merge` and its decisions. What does not: deciding (`domain.conflicts`), what may be
configured (`domain.conflict_policy`), and storing any of it (`storage`).

Null and absent are one thing here: a field without a value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import JsonValue

from cmms_pipelines.domain.comparing import text_of
from cmms_pipelines.domain.counters import NOTHING_KNOWN, CounterFacts

Severity = Literal["critical", "error", "warning", "info"]
Values = Mapping[str, JsonValue]
Statement = tuple[datetime, JsonValue]


class Operation(StrEnum):
    """What the other side says happened to the entity as a whole."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"


class Verdict(StrEnum):
    """What became of a field that a side changed."""

    TAKEN = "taken"
    """The value of the other side stands now."""
    KEPT = "kept"
    """Our value stands; the other side's, where it differs, is in the decision."""
    MERGED = "merged"
    """Both changes are in the value."""
    CONVERGED = "converged"
    """Both sides say the same by now, if not in the same spelling: nothing to do, and a waiting conflict on the field is over."""
    IGNORED = "ignored"
    """The statement is a duplicate, an echo of ours, or older than what is known: it says nothing."""
    ESCALATED = "escalated"
    """Somebody has to decide; until then our value stands, and both are in the decision."""


class Rule(StrEnum):
    """Which of the nine rules decided; the number is its place in the order."""

    DUPLICATE = "1_duplicate"
    ECHO = "1_echo"
    STALE = "2_stale"
    SPELLING = "3_same_in_another_spelling"
    ONE_SIDE = "4_one_side_changed"
    FIRST_CONTACT = "4_first_contact"
    TOMBSTONE = "4_tombstone"
    FAST_FORWARD = "4_source_went_on_from_ours"
    SAME = "5_both_say_the_same"
    AUTHORITY = "6_authority"
    FOLLOWS = "6_follows_its_leader"
    STATUS = "7_status"
    REOPENED = "7_reopened"
    COUNTER = "7_counter"
    ROLLOVER = "7_rollover"
    SET = "7_set"
    APPEND = "7_append"
    LAST_WRITER = "8_last_writer"
    SAFETY = "9_safety"
    TWO_SYSTEMS = "9_two_systems"
    DELETED = "9_deleted_there_edited_here"
    DONE_AND_CANCELLED = "9_work_was_done"
    COUNTER_FELL = "9_counter_fell"
    UNDECIDED = "9_undecided"


@dataclass(frozen=True)
class Side:
    """What one side says of an entity.

    `values` by canonical field (`attributes.KEY` for an attribute of a machine). A field that is not in `values` is not stated:
    it counts as unchanged. A field with None is cleared. Of our own side give all fields of the row.
    """

    values: Values
    times: Mapping[str, datetime | None] = field(default_factory=dict)
    """When each value was set, by this side's clock: the local edit here, the statement there. Missing or None: not known."""
    clock_is_trusted: bool = True
    """False: the times of this side say nothing about whose edit was later (skewed, or an arrival time taken for want of one)."""
    writer: str = ""
    """Who wrote it: a person, or the id of a system."""
    time_zone: str = "UTC"
    """IANA zone of times that are written without an offset."""
    history: Mapping[str, tuple[Statement, ...]] = field(default_factory=dict)
    """Earlier statements of a field with their times, where they are kept (all statements on a status are). A source that
    has come to our value and gone on from there has seen our change: its value is then simply the newer one."""


@dataclass(frozen=True)
class Base:
    """What both sides last agreed on: `Merge.base` of the merge before, or what the source had stated when the edit was made."""

    values: Values
    times: Mapping[str, datetime] = field(default_factory=dict)
    """When the source stated each value; an older statement that arrives later is stale, field by field."""
    sequences: Mapping[str, int] = field(default_factory=dict)
    """The source's own number of the statement behind each field, where it gives one; it goes before the time."""
    never_agreed: frozenset[str] = frozenset()
    """Fields that differed at first contact and still wait: for these it is first contact as before."""
    since: Mapping[str, datetime] = field(default_factory=dict)
    """When the source came to the agreed value, where that is older than `times`: what it stated in between is `Side.history`."""


@dataclass(frozen=True)
class Delivery:
    """How the other side's statement came in, for the rules on duplicates, echoes and order."""

    sequence: int | None = None
    """The source's own number of this change of the entity; a greater one is newer."""
    received_at: datetime | None = None
    """When it came in, by our clock: a statement dated later than that, beyond the skew, comes from a clock that is ahead."""
    id: str | None = None
    """What the source calls this statement."""
    seen_ids: frozenset[str] = frozenset()
    """Statements that have taken effect already; `id` among them: the whole case is dropped."""
    fingerprint: str | None = None
    """`conflicts.fingerprint` of the statement; with `seen_fingerprints` it finds a redelivery under another id."""
    seen_fingerprints: frozenset[str] = frozenset()
    own_ids: frozenset[str] = frozenset()
    """Ids of our own writes to that system: `id` among them is an echo, and the whole case is dropped."""
    own_writes: frozenset[str] = frozenset()
    """`conflicts.fingerprint_of_field` of values that we wrote there and that have not come back yet: such a field is an echo."""


@dataclass(frozen=True)
class Case:
    """One question to the engine: an entity, what was agreed, and what each side says since.

    `base` is None where the two sides have never agreed on anything (first contact). `theirs` may be the whole state of the
    source or only what one event stated.
    """

    entity_type: str
    """`work_order`, `equipment`, `meter`; any other type has no defaults beyond those of its field names."""
    base: Base | None
    ours: Side
    theirs: Side
    operation: Operation = Operation.CHANGE
    delivery: Delivery = field(default_factory=Delivery)
    counter: CounterFacts = NOTHING_KNOWN
    """For counters: the limit at which they start again from 0."""
    claims: Mapping[str, Values] = field(default_factory=dict)
    """What other systems state of the same entity, by system: where they differ, nobody but a person can say who is right."""
    has_open_work: bool | None = None
    """For a deletion: whether work on the entity is open. None: by the status of a work order; a machine counts as open."""


@dataclass(frozen=True)
class Decision:
    """What became of one field that a side changed, and why; together with the row it holds all that undoing needs.

    `base` and `ours` are as they were given, `theirs` is in our units and words. `is_conflict`: both sides had changed the field
    and differed.
    """

    field: str
    verdict: Verdict
    value: JsonValue
    """What stands after the merge."""
    rule: Rule
    reason: str
    """A sentence for a data engineer."""
    base: JsonValue
    ours: JsonValue
    theirs: JsonValue
    severity: Severity = "info"
    is_conflict: bool = False
    ours_at: datetime | None = None
    theirs_at: datetime | None = None
    leader: str | None = None
    """The field that this one is decided with (`closed_at` with `status`, `currency` with `cost`); resolve them together."""

    @property
    def changes_ours(self) -> bool:
        """Whether our value is another one afterwards."""
        return text_of(self.value) != text_of(self.ours)


@dataclass(frozen=True)
class Merge:
    """The answer: the entity after the merge, one decision per field that a side changed (by field name), and the next base.

    `values` has every field of both sides; a field whose meaning did not change keeps our spelling, so that nothing is written
    for it. A field that is escalated keeps our value until somebody decides; other fields go on.
    """

    values: Values
    decisions: tuple[Decision, ...]
    base: Base
    """To be kept for the next merge: what the source states of each settled field, with time and number; of an escalated field
    the base as it was, so that the next merge still sees both changes."""
    is_dropped: bool = False
    """A duplicate or an echo as a whole: nothing of the case counts."""
    is_tombstone: bool = False
    """The entity was deleted there, and nothing here speaks against it."""

    @property
    def escalated(self) -> tuple[Decision, ...]:
        """Return the decisions that wait for somebody."""
        return tuple(decision for decision in self.decisions if decision.verdict is Verdict.ESCALATED)

    @property
    def conflicts(self) -> tuple[Decision, ...]:
        """Return the decisions on fields that both sides had changed and that differed: what an audit should keep."""
        return tuple(decision for decision in self.decisions if decision.is_conflict)

    def decision(self, name: str) -> Decision | None:
        """Return the decision on a field, None where neither side changed it."""
        return next((decision for decision in self.decisions if decision.field == name), None)
