"""What ought to become of the adversarial classes: written after the engine and before they were ever run.

What belongs here: labels, as in `conflicting.labels`, and read by the scorer alone. All weigh the same: nobody knows how often
the world is as unkind as this.
"""

from conflicting.labels import Label, Outcome

ADVERSARIAL_LABELS: dict[str, Label] = {
    "cost_here_currency_there": Label(
        Outcome.SOURCE, 1, "an amount and its currency are one value, whichever side changed which"
    ),
    "reopened_there_before_closed_here": Label(Outcome.ESCALATE, 1, "the closing is the later act, and its author did not know"),
    "reopened_there_without_a_clock": Label(Outcome.SOURCE, 1, "authority, never last writer"),
    "cancelled_with_the_whole_state": Label(Outcome.ESCALATE, 1, "the times of the order's life must not move while it waits"),
    "lockout_tag_taken_away": Label(Outcome.ESCALATE, 1, "a tag that protects people is no ordinary element of a set"),
    "later_text_without_our_warning": Label(Outcome.ESCALATE, 1, "a text that warns of a danger is not low-risk any more"),
    "safety_field_cleared_there": Label(Outcome.ESCALATE, 1, "clearing may be an omission of the sender; nobody may bet on it"),
    "safety_field_at_first_contact": Label(Outcome.ESCALATE, 1, "without a base the two still differ about safety"),
    "rollover_that_cannot_fit": Label(Outcome.ESCALATE, 1, "the hours across the limit do not fit between the readings"),
    "two_readings_of_one_moment": Label(Outcome.ESCALATE, 1, "one counter shows one number at a time"),
    "exactly_the_skew_apart": Label(Outcome.ESCALATE, 1, "the gap must exceed the skew"),
    "part_removed_here_recounted_there": Label(Outcome.ESCALATE, 1, "no rule of sets says whether the part is needed"),
    "version_1_10_against_1_1": Label(Outcome.ESCALATE, 1, "a text that looks like a number is not one: these differ"),
    "leading_zeros_of_an_attribute": Label(Outcome.ESCALATE, 1, "007 and 7 differ until somebody says that they do not"),
    "other_system_deletes_a_machine": Label(Outcome.ESCALATE, 1, "the system that still has it contradicts"),
    "two_statements_newest_first": Label(Outcome.SOURCE, 1, "the newest statement counts, whatever arrives first"),
    "three_seals_and_a_bolt": Label(Outcome.UNION, 1, "equal elements are counted"),
    "note_rewritten_there": Label(Outcome.APPENDED, 1, "notes are never replaced"),
    "both_removed_the_same_part": Label(Outcome.UNCHANGED, 0, "they agree"),
    "cleared_by_null_and_by_nothing": Label(Outcome.UNCHANGED, 0, "an empty text is no value"),
    "same_text_in_other_bytes": Label(Outcome.UNCHANGED, 0, "line ends, composed letters and spaces at the end"),
    "naive_time_in_the_sources_zone": Label(Outcome.UNCHANGED, 0, "one moment, read in the zone of the source"),
    "deleted_there_edit_taken_back_here": Label(Outcome.DELETED, 0, "nothing of ours is left to lose"),
}
