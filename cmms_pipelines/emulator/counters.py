"""Counters that do what real ones do: overflow, replacement, reset, counting backwards, cancelled and differential documents.

What belongs here: which machine has which counter, and what a document of it shows. What does not: field names of a dialect.

The hours that a machine really ran stay those of its flights, so that lifetime hours can be held against them. Served on
demand alone (`--counters`); which machine is which follows from its number.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from cmms_pipelines.emulator.flights import Machine, Reading

REVERSED_OFFSET = 5_000  # between a reading's number and that of a cancelled one beside it; no day has that many readings


class CounterKind(StrEnum):
    """What is special about a machine's counter."""

    PLAIN = "plain"
    OVERFLOW = "overflow"
    REPLACED = "replaced"
    RESET = "reset"
    BACKWARDS = "backwards"
    REVERSED = "reversed"
    DIFFERENCE = "difference"
    INACTIVE = "inactive"


SPECIAL = tuple(kind for kind in CounterKind if kind is not CounterKind.PLAIN)
OVERFLOW_MINUTES = 100 * 60
REPLACED_EVERY_MINUTES = 150 * 60
RESET_EVERY_MINUTES = 120 * 60
BACKWARDS_FROM_MINUTES = 1_000_000 * 60
_EVERY = 20  # of so many machines in a row, one has each special kind


class Document(NamedTuple):
    """A measurement document: a reading with what its counter shows."""

    number: int
    reading: Reading
    counter_minutes: int
    difference_minutes: int
    is_replaced: bool = False
    is_reversed: bool = False
    is_difference: bool = False


def kind_of(machine: Machine) -> CounterKind:
    """The kind of a machine's counter where special ones are served."""
    place = machine.number % _EVERY
    return SPECIAL[place] if place < len(SPECIAL) else CounterKind.PLAIN


def plain_document(reading: Reading) -> Document:
    return Document(reading.number, reading, reading.counter_minutes, reading.running_minutes)


def documents(reading: Reading) -> Iterator[Document]:
    """The documents of a reading: one, and before it a cancelled one on some days of some machines."""
    plain = plain_document(reading)
    total, before = reading.counter_minutes, reading.counter_minutes - reading.running_minutes
    match kind_of(reading.machine):
        case CounterKind.OVERFLOW:
            yield plain._replace(counter_minutes=total % OVERFLOW_MINUTES)
        case CounterKind.REPLACED:
            is_new = total // REPLACED_EVERY_MINUTES > before // REPLACED_EVERY_MINUTES
            yield plain._replace(counter_minutes=total % REPLACED_EVERY_MINUTES, is_replaced=is_new)
        case CounterKind.RESET:
            shown = total % RESET_EVERY_MINUTES
            yield plain._replace(counter_minutes=shown, difference_minutes=shown - before % RESET_EVERY_MINUTES)
        case CounterKind.BACKWARDS:
            yield plain._replace(counter_minutes=BACKWARDS_FROM_MINUTES - total, difference_minutes=-reading.running_minutes)
        case CounterKind.REVERSED:
            if reading.date.day % 5 == 0:  # a slip of the keyboard, cancelled and entered again
                yield plain._replace(
                    number=reading.number + REVERSED_OFFSET,
                    counter_minutes=total * 10,
                    difference_minutes=total * 10 - before,
                    is_reversed=True,
                )
            yield plain
        case CounterKind.DIFFERENCE:
            yield plain._replace(is_difference=True)
        case _:
            yield plain
