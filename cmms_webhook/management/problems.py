"""Answers of the management API that say no: RFC 9457 problem details.

What belongs here: the shape, and one function for each refusal. What does not: the receiver's refusals
(`cmms_webhook.problems`), and whom to refuse (`access`). 401 and 403 are given before anything is looked up, and say nothing
about what exists.
"""

from typing import Any

import orjson
from pydantic import BaseModel, Field
from starlette.responses import Response

from cmms_pipelines.domain.roles import Role
from cmms_webhook.problems import MEDIA_TYPE


class ManagementProblem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = Field(description="what went wrong, as an id that stays the same", examples=["urn:cmms:problem:forbidden"])
    title: str = Field(description="the same for people")
    status: int = Field(description="the HTTP status again")
    detail: str = Field(description="what to do about it")
    current_version: int | None = Field(default=None, description="409 and 412: the version that is in force now")
    errors: list[dict[str, str]] | None = Field(
        default=None,
        description="422: what is wrong (`message`) with which field (`where`); values are not repeated",
        examples=[[{"where": "body.configuration.scheme", "message": "Input should be 'hmac_hex', ..."}]],
    )


class RefusedError(Exception):
    """A request that is answered with a problem."""

    def __init__(
        self, status: int, code: str, title: str, detail: str, *, headers: dict[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(code)
        self.status, self.headers = status, headers or {}
        self.body: dict[str, Any] = {"type": f"urn:cmms:problem:{code}", "title": title, "status": status, "detail": detail}
        self.body |= {name: value for name, value in more.items() if value is not None}

    def response(self) -> Response:
        return Response(orjson.dumps(self.body), self.status, headers=self.headers, media_type=MEDIA_TYPE)


def unauthenticated() -> RefusedError:
    return RefusedError(
        401,
        "unauthenticated",
        "Not authenticated",
        "Send a token that is in force: Authorization: Bearer <token>. `cmms tokens create` makes one.",
        headers={"WWW-Authenticate": 'Bearer realm="cmms"'},
    )


def forbidden(needed: Role) -> RefusedError:
    detail = f"This needs a token of role {needed}."
    challenge = {"WWW-Authenticate": 'Bearer realm="cmms", error="insufficient_scope"'}
    return RefusedError(403, "forbidden", "Not allowed", detail, headers=challenge)


def not_found(detail: str) -> RefusedError:
    return RefusedError(404, "not-found", "Not found", detail)


def conflict(detail: str, current_version: int | None = None) -> RefusedError:
    return RefusedError(409, "conflict", "Conflict", detail, current_version=current_version)


def version_has_changed(current_version: int) -> RefusedError:
    detail = f"It is at version {current_version} by now: read it again, and send that version in If-Match."
    return RefusedError(
        412,
        "version-has-changed",
        "Changed by somebody else",
        detail,
        headers={"ETag": f'"{current_version}"'},
        current_version=current_version,
    )


def version_required() -> RefusedError:
    detail = 'Send the version that you have seen, as If-Match: "<version>"; reading it gives it as ETag.'
    return RefusedError(428, "version-required", "Which version", detail)


def unusable(detail: str, errors: list[dict[str, str]] | None = None) -> RefusedError:
    return RefusedError(422, "unusable-request", "Request not usable", detail, errors=errors)


def body_too_large() -> RefusedError:
    return RefusedError(413, "body-too-large", "Body too large", "The body is larger than this endpoint takes.")


def unreadable_body() -> RefusedError:
    return RefusedError(400, "unreadable-body", "Body not readable", "The body must be JSON in UTF-8 and arrive whole.")


def unavailable(detail: str = "The database does not answer in time. Try again later.") -> RefusedError:
    return RefusedError(503, "unavailable", "Not available", detail, headers={"Retry-After": "5"})


_COMMON = {
    401: "No token, or none that is in force.",
    403: "The token's role is not enough.",
    422: "Something in the request does not fit; `errors` names it.",
    503: "The database does not answer in time.",
}


def responses(**more: str) -> dict[int | str, dict[str, Any]]:
    """Return the refusals of an endpoint for its description: the common ones, and those given as `s404="..."`."""
    texts = _COMMON | {int(status.removeprefix("s")): text for status, text in more.items()}
    schema = {"$ref": "#/components/schemas/ManagementProblem"}
    return {status: {"description": text, "content": {MEDIA_TYPE: {"schema": schema}}} for status, text in sorted(texts.items())}
