"""What ought to become of each class of scenario: written from the case table, without the engine, and read by the scorer alone.

What belongs here: per class the expected outcome, how often it occurs among true conflicts, and why. What does not: scenarios
(`conflicting.scenarios`), which never see this module, and anything of the engine: the few sums that labels need are done here.

`Outcome` says what a contested field must end as. `weight` is the class's share in a thousand true conflicts of a maintenance
department (the reasons are in docs/conflicts.md); 0 where nothing is contested, so that the class is a check only.
"""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What the value of a contested field must be afterwards."""

    SOURCE = "the source's value"
    LOCAL = "our value"
    FURTHER = "the further state"
    LATER = "the later edit"
    UNION = "both sides' changes of the list"
    APPENDED = "our notes and theirs"
    BOTH_READINGS = "both readings, by their time"
    ESCALATE = "a person decides; our value stands until then"
    UNCHANGED = "nothing changes here"
    AS_STATED = "what each side stated alone"
    DELETED = "deleted, with a tombstone"


@dataclass(frozen=True)
class Label:
    """The expected outcome of a class. `weight` counts among true conflicts, in thousandths before they are scaled to 1."""

    outcome: Outcome
    weight: float
    why: str

    @property
    def must_escalate(self) -> bool:
        """Whether only a person may decide."""
        return self.outcome is Outcome.ESCALATE


S, L, E = Outcome.SOURCE, Outcome.LOCAL, Outcome.ESCALATE

LABELS: dict[str, Label] = {
    # --- statuses -------------------------------------------------------------------------------------------------------
    "status_forward_on_both": Label(Outcome.FURTHER, 240, "work only goes on: the further state includes the other"),
    "status_side_by_side": Label(
        S, 40, "on hold against in progress, planned against cancelled: no order; the CMMS owns the status"
    ),
    "cancelled_there_completed_here": Label(E, 4, "work that was done cannot be cancelled by a status; somebody has to look"),
    "cancelled_there_started_here": Label(E, 3, "somebody stands at the machine: hours and parts are booked already"),
    "completed_there_cancelled_here": Label(E, 2, "the same contradiction from the other side"),
    "reopened_there_closed_here": Label(S, 10, "both knew of the completion; the source, newer, says that it was not the end"),
    "replanned_there_completed_here": Label(E, 4, "the source plans again what is done here, without having heard of it"),
    "completion_times_differ": Label(S, 20, "both completed it; the time belongs to the status, and the status to the CMMS"),
    # --- fields with an authority -------------------------------------------------------------------------------------
    "assignee_on_both": Label(S, 90, "the CMMS assigns people"),
    "cost_on_both": Label(S, 50, "the CMMS keeps the books"),
    "cost_there_currency_here": Label(S, 5, "an amount and its currency are one value: mixing them would invent a third"),
    "priority_on_both": Label(S, 60, "case table: authority, and priorities are the CMMS's"),
    "due_date_against_reschedule": Label(S, 80, "case table: authority; deadlines are promised by the CMMS"),
    "planned_start_on_both": Label(S, 30, "planning is the CMMS's, as the due date"),
    "order_type_on_both": Label(S, 4, "a code of the CMMS's own catalogue"),
    "assignee_cleared_there": Label(S, 10, "null is a statement: the CMMS took the person off while another was put on here"),
    "running_hours_on_both": Label(L, 20, "running hours are measured here"),
    "sensor_value_on_both": Label(L, 10, "sensors are read here"),
    # --- texts ------------------------------------------------------------------------------------------------------------
    "description_apart_in_time": Label(Outcome.LATER, 45, "low risk, both clocks good, and the gap is beyond the skew"),
    "title_apart_in_time": Label(Outcome.LATER, 10, "as the description"),
    "description_cleared_apart_in_time": Label(Outcome.LATER, 3, "clearing a text is an edit as any other"),
    "machine_description_apart_in_time": Label(Outcome.LATER, 8, "as the description of an order"),
    "description_at_the_same_time": Label(E, 4, "within the skew nobody knows who was later"),
    "description_without_a_clock": Label(S, 8, "case table: authority, never last writer"),
    "description_with_a_clock_ahead": Label(S, 4, "the statement is dated after its arrival: its clock decides nothing"),
    "description_with_a_clock_behind": Label(S, 4, "the system's clock is marked as not to be trusted"),
    "priority_with_our_later_edit": Label(S, 6, "a later time never beats an authority"),
    # --- lists ------------------------------------------------------------------------------------------------------------
    "notes_on_both": Label(Outcome.APPENDED, 120, "notes are only ever added"),
    "parts_added_on_both": Label(Outcome.UNION, 45, "each side added its parts"),
    "parts_added_and_removed": Label(Outcome.UNION, 20, "one added, the other took away: both happened"),
    "part_quantity_on_both": Label(E, 4, "three against four of the same part: no set rule says which"),
    "tags_on_both": Label(Outcome.UNION, 25, "tags are a set"),
    # --- meters -----------------------------------------------------------------------------------------------------------
    "meter_rising_on_both": Label(Outcome.BOTH_READINGS, 40, "two readings at two times are two facts"),
    "meter_lower_with_limit": Label(Outcome.BOTH_READINGS, 3, "the counter passed its limit: a rollover, both readings stand"),
    "meter_lower_without_limit": Label(E, 3, "reset, replacement or typing error: nobody knows"),
    # --- entities as a whole ----------------------------------------------------------------------------------------------
    "deleted_there_edited_here_open": Label(E, 4, "open work with an edit of ours does not vanish by itself"),
    "deleted_there_edited_here_done": Label(Outcome.DELETED, 2, "the work is over: the tombstone keeps the row with our edit"),
    "two_systems_claim_a_machine": Label(E, 3, "only a person knows which of the two means this machine"),
    "safety_field_on_both": Label(E, 3, "never decided by any strategy"),
    "other_machine_on_both": Label(E, 3, "the order was moved to two different machines: the wrong one would be worked on"),
    "unknown_attribute_on_both": Label(E, 5, "nobody has said who decides it"),
    # --- first contact ----------------------------------------------------------------------------------------------------
    "first_contact_owned_field_differs": Label(S, 10, "authority needs no history"),
    "first_contact_status_differs": Label(Outcome.FURTHER, 6, "the type rule needs no history either"),
    "first_contact_text_differs": Label(E, 3, "without an agreed state a later time does not say that an edit was meant"),
    # --- several at once --------------------------------------------------------------------------------------------------
    "several_fields_in_one_event": Label(Outcome.AS_STATED, 30, "each field by its own rule (see `MIXED`)"),
    # --- nothing is contested: checks only ----------------------------------------------------------------------------------
    "disjoint_fields": Label(Outcome.AS_STATED, 0, "each side's change stands"),
    "same_value_on_both": Label(Outcome.UNCHANGED, 0, "they agree"),
    "unit_differs_only": Label(Outcome.UNCHANGED, 0, "minutes and hours of the same length"),
    "zone_differs_only": Label(Outcome.UNCHANGED, 0, "one moment in two zones"),
    "spelling_differs_only": Label(Outcome.UNCHANGED, 0, "TECO is completed, 1 is critical"),
    "number_form_differs_only": Label(Outcome.UNCHANGED, 0, "1,250.50 is 1250.5"),
    "list_order_differs_only": Label(Outcome.UNCHANGED, 0, "parts and tags have no order"),
    "echo_of_our_write": Label(L, 0, "we said it ourselves"),
    "echo_after_our_next_edit": Label(L, 0, "what comes back is our own older value"),
    "redelivery_with_the_same_id": Label(L, 0, "it has taken effect already"),
    "redelivery_under_another_id": Label(L, 0, "it has taken effect already, whatever its name"),
    "late_older_event": Label(L, 0, "the source itself has said something newer since"),
    "late_event_by_sequence": Label(L, 0, "the source's numbers go before its times"),
    "late_event_old_and_new_fields": Label(Outcome.AS_STATED, 0, "field by field: what nobody stated since is taken"),
    "created_after_updated": Label(Outcome.AS_STATED, 0, "the creation fills what the update left open"),
    "partial_payload": Label(Outcome.AS_STATED, 0, "what is not stated is not changed"),
    "cleared_there_untouched_here": Label(S, 0, "null is a statement"),
    "update_that_says_nothing_new": Label(L, 0, "our edits stay"),
    "reopened_there_untouched_here": Label(S, 0, "the newer statement of the source"),
    "one_edit_as_three_events": Label(S, 0, "one change, in whatever order its events come"),
    "deleted_there_untouched_here": Label(Outcome.DELETED, 0, "nothing here speaks against it"),
    "first_contact_equal": Label(Outcome.UNCHANGED, 0, "equal values converge"),
    "first_contact_one_side_absent": Label(Outcome.AS_STATED, 0, "an absent value contests nothing"),
}

MIXED: dict[str, Outcome] = {
    "status": Outcome.FURTHER,
    "assignee": S,
    "due_at": S,
    "notes": Outcome.APPENDED,
    "tags": Outcome.UNION,
    "description": Outcome.LATER,
    "equipment_number": E,
}
"""Expected of each field of `several_fields_in_one_event`; the last only where the event has it."""
