"""Many numbers as one parameter of a statement.

What belongs here: the text of an array. What does not: rows (`storage.bulk`).
"""

from collections.abc import Sequence


def array_of(numbers: Sequence[int]) -> str:
    """Return whole numbers as PostgreSQL writes an array of them, for `CAST(:ids AS bigint[])`.

    psycopg takes a list of thousands apart number by number, which costs a sync several times what the text does.
    """
    return f"{{{','.join(map(str, numbers))}}}"
