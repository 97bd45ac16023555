"""The API of one source of events over HTTP: one entity, and what changed.

What belongs here: requests within the source's budget, and what a reply is. What does not: addresses and fields
(`domain.source_api`), what becomes of an entity (`sync.thin_events`, `sync.reconciliation`).

Nothing but `http` and `https` to the host of `base_url` is asked: addresses with another one are refused, also those that a reply
names for its next page, and redirects are not followed.
"""

import datetime as dt
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from cmms_pipelines.clients.authentication import Credentials
from cmms_pipelines.clients.envelope import Json, records_and_next
from cmms_pipelines.clients.replies import RefusedError
from cmms_pipelines.clients.transport import Retries, Timeouts, Transport
from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.domain.senders.reading import text, value_at
from cmms_pipelines.domain.source_api import Changes, EntityKind, SourceApi, records_at

_GONE = (404, 410)
_RETRY_AFTER_MAX_S = 20.0
_OUR_NAMES = {  # the transport speaks of the one external API, whose settings these are
    "CMMS_API_TOKEN": "the API token of the source",
    "CMMS_API_AUTH": "api.auth",
    "CMMS_API_URL": "api.base_url",
    "CMMS_API_DIALECT": "api.entities",
}


class SourceClient:
    """A client of one source's API; safe to share between threads."""

    def __init__(self, cmms_system_id: str, api: SourceApi, token: SecretStr) -> None:
        """Makes no request. Raises `PermanentError` for a token that cannot be sent."""
        self._system, self._api = cmms_system_id, api
        with self._errors():
            self._transport = Transport(
                api.base_url,
                Credentials(token.get_secret_value(), api.auth.value),
                timeouts=Timeouts(connect_s=api.timeout_s, read_s=api.timeout_s),
                retries=Retries(
                    attempts=api.attempts,
                    within_s=None,
                    wait_initial_s=0.2,
                    wait_max_s=2.0,
                    wait_jitter_s=0.2,
                    retry_after_max_s=_RETRY_AFTER_MAX_S,
                ),
                max_in_flight=api.max_in_flight,
                requests_per_s=api.requests_per_s,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End what is in flight."""
        self._transport.close()

    def entity(self, kind: EntityKind, number: str) -> dict[str, Any] | None:
        """Return what the source says of one entity, in the fields of a payload; None where it knows no such entity.

        Raises:
            TransientError: no usable answer within the attempts.
            PermanentError: the source refuses us, or answers with something else.
        """
        entity = self._api.entities[kind]
        address = entity.address(number)
        if address is None:
            raise PermanentError(f"The API of {self._system} cannot be asked for {kind} {number!r}.")
        try:
            body = self._get(address)
        except RefusedError as error:
            if error.status in _GONE:
                return None
            raise
        record = value_at(body, entity.record) if entity.record else body
        if not isinstance(record, dict):
            where = f"at {entity.record}" if entity.record else "in the reply"
            raise PermanentError(f"The API of {self._system}: there is no object {where} for {kind} {number}.")
        return entity.payload_of(record)

    def changes(self, kind: EntityKind, changes: Changes, since: dt.datetime, until: dt.datetime) -> Iterator[list[Any]]:
        """Yield pages of entities, as they came, that the source says changed from `since` on.

        Raises:
            TransientError: no usable answer within the attempts.
            PermanentError: the source refuses us, answers with something else, or its pages have no end.
        """
        address: str | None = changes.address(since, until)
        seen: set[str] = set()
        while address is not None:
            if address in seen or len(seen) >= changes.max_pages:
                raise PermanentError(f"The API of {self._system}: the pages of changed {kind}s have no end.")
            seen.add(address)
            page, address = self._page(self._get(address), changes)
            yield page

    def _page(self, body: Json, changes: Changes) -> tuple[list[Any], str | None]:
        if not changes.records and changes.next is None:
            with self._errors():
                return records_and_next(body)
        records = records_at(body, changes.records)
        if records is None:
            raise PermanentError(
                f"The API of {self._system}: there is no list at {changes.records or 'the root'} of what changed."
            )
        return records, text(value_at(body, changes.next)) if changes.next else None

    def _get(self, address: str) -> Json:
        with self._errors():
            return self._transport.get(address)

    def _errors(self) -> "_Renamed":
        return _Renamed(self._system)


class _Renamed:
    """Says which source an error is about, and the names that its settings have here."""

    def __init__(self, system: str) -> None:
        self._system = system

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not isinstance(error, PermanentError | TransientError):
            return
        said = str(error)
        for name, ours in _OUR_NAMES.items():
            said = said.replace(name, ours)
        said = f"The API of {self._system}: {said}"
        if isinstance(error, RefusedError):
            raise RefusedError(said, error.status) from error
        raise (TransientError if isinstance(error, TransientError) else PermanentError)(said) from error
