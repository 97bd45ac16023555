"""Exceptions for when the world is wrong; a wrong record is a value (see `domain.rejections`), never an exception."""


class CmmsError(Exception):
    """Base of every error that this project raises on purpose; its message is fit for an operator to read."""


class TransientError(CmmsError):
    """The same attempt may succeed later: time-outs, throttling, a server that is down or restarting."""


class PermanentError(CmmsError):
    """The same attempt will fail again until somebody changes something: credentials, configuration, a contract."""


class SliceRefusedError(PermanentError):
    """One part of a sync cannot be written until somebody changes something; the other parts go on."""


class NotFoundError(PermanentError):
    """What was asked for does not exist."""


class VersionConflictError(PermanentError):
    """What was to be changed is not what the caller has seen: it was changed, decided or made by somebody else.

    Attributes:
        current_version: the version that is in force now.
    """

    def __init__(self, message: str, current_version: int) -> None:
        super().__init__(message)
        self.current_version = current_version
