"""What an error of the database means: whether a new transaction may cure it, and which record it was about."""

from psycopg import Error, errors
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)

_LONGEST = 500
_RACES = (errors.UniqueViolation, errors.ForeignKeyViolation, errors.ExclusionViolation)


def is_passing(error: Exception) -> bool:
    """Tell what a new transaction may cure: two writers of one row, a deadlock, a lost connection."""
    if isinstance(error, IntegrityError):
        return isinstance(error.orig, _RACES)
    return isinstance(error, OperationalError | InterfaceError)


def is_worth_judging_again(error: Exception) -> bool:
    """Tell what may be cured by judging anew beside what others have written meanwhile: also a rule of a table.

    Two plants' hours of one machine and day may each be possible, and together be too many.
    """
    return is_passing(error) or (isinstance(error, IntegrityError) and isinstance(error.orig, errors.CheckViolation))


def is_permanent(error: DBAPIError) -> bool:
    """Tell what fails again however often one tries: a value that no column can hold, a rule of a table, a missing table."""
    if isinstance(error, IntegrityError):
        return not isinstance(error.orig, _RACES)
    return isinstance(error, DataError | ProgrammingError | NotSupportedError)


def reason_of(error: DBAPIError) -> str:
    """Return one line: what the server said, and the record that it said it about, if it named one."""
    if not isinstance(error.orig, Error):
        return str(error.orig).strip().splitlines()[0]
    diagnosis = error.orig.diag
    first = (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]
    where = [(text or "").splitlines()[0] for text in (diagnosis.message_detail, diagnosis.context) if text]
    return " ".join([diagnosis.message_primary or first, *(f"({text[:_LONGEST]})" for text in where)])
