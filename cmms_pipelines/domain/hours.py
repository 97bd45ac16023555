"""Units of running hours: what senders write, as hours.

What belongs here: reading an amount in a unit. What does not: counters from one reading to the next (`domain.counters`).
"""

from decimal import Decimal

UNITS = {
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), Decimal(1)),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), Decimal(60)),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), Decimal(3600)),
}
"""How many of each unit make an hour."""


def hours_of(amount: Decimal, unit: str) -> Decimal:
    """Return an amount in hours, to four places.

    Raises:
        ValueError: nobody knows the unit.
    """
    spelling = unit.strip().lower()
    if spelling not in UNITS:
        raise ValueError("the unit of running hours is h, min or s")
    return (amount / UNITS[spelling]).quantize(Decimal("0.0001"))
