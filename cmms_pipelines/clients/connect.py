"""From configuration to a client: the one place that knows which dialects there are."""

import datetime as dt
import time
from collections.abc import Callable

from cmms_pipelines.clients.api import ConnectedApi
from cmms_pipelines.clients.authentication import Credentials
from cmms_pipelines.clients.ims import ImsApi
from cmms_pipelines.clients.odata import VERSIONS, ODataApi
from cmms_pipelines.clients.odata_reference import ReferenceData
from cmms_pipelines.clients.transport import Retries, Timeouts, Transport, forget, utc_now
from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.errors import PermanentError

DIALECTS = ("ims", *VERSIONS)


def connect(
    url: str,
    token: str,
    auth: str = "raw",
    dialect: str = "ims",
    *,
    timeouts: Timeouts = Timeouts(),  # noqa: B008  (frozen)
    retries: Retries = Retries(),  # noqa: B008  (frozen)
    max_in_flight: int = 4,
    requests_per_s: float | None = None,
    on_call: Callable[[ApiCall], None] = forget,
    known: ReferenceData | None = None,
    now: Callable[[], dt.datetime] = utc_now,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> ConnectedApi:
    """A client for the source at `url`; a context manager that closes it. Makes no request.

    Clients of one source that are given the same `known` fetch its reference data once between them.

    Raises `PermanentError` for a dialect, an auth mode, a token or a URL that cannot work.
    """
    if dialect not in DIALECTS:
        raise PermanentError(f"dialect {dialect} is not available: CMMS_API_DIALECT is one of {', '.join(DIALECTS)}")
    transport = Transport(
        url,
        Credentials(token, auth),
        timeouts=timeouts,
        retries=retries,
        max_in_flight=max_in_flight,
        requests_per_s=requests_per_s,
        on_call=on_call,
        now=now,
        clock=clock,
        sleep=sleep,
    )
    if dialect in VERSIONS:
        return ODataApi(transport, VERSIONS[dialect], url, now, known or ReferenceData())
    return ImsApi(transport)
