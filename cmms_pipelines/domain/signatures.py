"""Who signed this body: webhook signature schemes as data, and one way to check all of them.

What belongs here: the presets (one entry per kind of sender), `verify` and its counterpart `sign`, over raw bytes.
What does not: where secrets are kept (`storage.secrets`), which source uses which scheme (`storage.configurations`),
what the body says (`domain.events`). The clock is an argument. Source of the presets: each sender's published format.
"""

import base64
import binascii
import datetime as dt
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from cmms_pipelines.domain.errors import PermanentError

TOLERANCE = dt.timedelta(minutes=5)
MAX_SIGNATURES = 16
_MESSAGE_ID = re.compile(r"[!-~]{1,200}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,4096}=*")
_HEX_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_BASE64_DIGEST = re.compile(r"[A-Za-z0-9+/]{43}=")
_KEYS_TRIED = 2  # a source with one secret, one with two in rotation, and none at all cost the same time
_BURNED_KEY = b"no source has this key; it only keeps the time of a refusal equal"


class SchemeName(StrEnum):
    """The signature schemes that a source can be configured with."""

    HMAC_HEX = "hmac_hex"
    HMAC_BASE64 = "hmac_base64"
    GITHUB = "github"
    STANDARD_WEBHOOKS = "standard_webhooks"
    ATLAS = "atlas"
    FRAPPE = "frappe"
    MAINTAINX = "maintainx"
    SERVICECHANNEL = "servicechannel"
    FIELD_NATION = "field_nation"
    BEARER = "bearer"
    UNSIGNED = "unsigned"


class Encoding(StrEnum):
    """How a digest is written."""

    HEX = "hex"
    BASE64 = "base64"


class Layout(StrEnum):
    """How the signature header is laid out.

    `single`: one digest. `versioned_list`: `v1,<digest>` several times, separated by spaces. `fields`: `t=<time>,v1=<digest>`.
    `token`: no digest, the secret itself after `Bearer`; it proves who sends, not what was sent.
    """

    SINGLE = "single"
    VERSIONED_LIST = "versioned_list"
    FIELDS = "fields"
    TOKEN = "token"  # noqa: S105 - a layout, not a secret


class RefusalReason(StrEnum):
    """Why a signature was refused: for the audit, never for the sender."""

    UNSIGNED_SOURCE = "unsigned_source"
    NO_KEY = "no_key"
    MISSING_HEADER = "missing_header"
    MALFORMED_SIGNATURE = "malformed_signature"
    MALFORMED_TIMESTAMP = "malformed_timestamp"
    MALFORMED_ID = "malformed_id"
    WRONG_SIGNATURE = "wrong_signature"
    EXPIRED = "expired"
    FROM_THE_FUTURE = "from_the_future"


@dataclass(frozen=True)
class Scheme:
    """One kind of sender.

    `headers` has one lower-case name per part (`signature`, and where the scheme signs them `timestamp` and `id`);
    `families` are prefixes that those names may carry, the first family with a signature counts. `required` are headers
    with a fixed value. `signed` names the parts that the digest covers, joined by dots, the body always last.
    """

    headers: Mapping[str, str]
    encoding: Encoding = Encoding.HEX
    layout: Layout = Layout.SINGLE
    prefix: str = ""
    is_prefix_required: bool = False
    signed: tuple[str, ...] = ("body",)
    timestamp_pattern: str = r"[0-9]{10}"
    families: tuple[str, ...] = ("",)
    required: Mapping[str, str] = field(default_factory=dict)
    has_encoded_secret: bool = False

    @cached_property
    def named(self) -> tuple[Mapping[str, str], ...]:
        """The headers' whole names, one mapping for each family."""
        return tuple({part: family + name for part, name in self.headers.items()} for family in self.families)

    @cached_property
    def timestamps(self) -> re.Pattern[str]:
        """What a timestamp looks like."""
        return re.compile(self.timestamp_pattern)


SCHEMES: Mapping[SchemeName, Scheme] = {
    SchemeName.HMAC_HEX: Scheme({"signature": "x-hmac-signature"}, prefix="sha256="),
    SchemeName.HMAC_BASE64: Scheme({"signature": "x-hmac-signature"}, Encoding.BASE64),
    SchemeName.GITHUB: Scheme({"signature": "x-hub-signature-256"}, prefix="sha256=", is_prefix_required=True),
    SchemeName.STANDARD_WEBHOOKS: Scheme(
        {"signature": "signature", "timestamp": "timestamp", "id": "id"},
        Encoding.BASE64,
        Layout.VERSIONED_LIST,
        signed=("id", "timestamp", "body"),
        families=("webhook-", "svix-"),
        has_encoded_secret=True,
    ),
    SchemeName.ATLAS: Scheme({"signature": "x-webhook-signature"}),
    SchemeName.FRAPPE: Scheme({"signature": "x-frappe-webhook-signature"}, Encoding.BASE64),
    SchemeName.MAINTAINX: Scheme(
        {"signature": "x-maintainx-webhook-body-signature"},
        layout=Layout.FIELDS,
        signed=("timestamp", "body"),
        timestamp_pattern=r"[0-9]{10}|[0-9]{13}",
    ),
    SchemeName.SERVICECHANNEL: Scheme({"signature": "sign-data"}, Encoding.BASE64, required={"sign-type": "HMACSHA256"}),
    SchemeName.FIELD_NATION: Scheme({"signature": "x-fn-signature"}, prefix="sha256=", is_prefix_required=True),
    SchemeName.BEARER: Scheme({"signature": "authorization"}, layout=Layout.TOKEN),
}


@dataclass(frozen=True)
class Verified:
    """The body is from somebody who holds a secret of the source.

    `secret_index` is the position of the secret that matched; `signature` the header as it came, empty for a bearer token,
    which is a secret; `message_id` and `signed_at` are there only where the signature covers them.
    """

    secret_index: int
    signature: str
    message_id: str | None = None
    signed_at: dt.datetime | None = None


@dataclass(frozen=True)
class Refused:
    """The body is not accepted; the reason is for the audit."""

    reason: RefusalReason


@dataclass(frozen=True)
class _Claim:
    """What the headers say, before anything is believed."""

    signature: str
    digests: tuple[bytes, ...]
    timestamp: str | None
    message_id: str | None


def key_of(scheme: SchemeName, secret: str) -> bytes:
    """Return the HMAC key of a secret as its owner wrote it (`whsec_<base64>` for Standard Webhooks, else the text itself).

    Raises:
        PermanentError: the secret cannot be a key of this scheme; the message does not repeat it.
    """
    if not secret:
        raise PermanentError("A webhook secret must not be empty.")
    if scheme is SchemeName.BEARER and not _TOKEN.fullmatch(secret):
        raise PermanentError("A bearer token is made of letters, digits and '-._~+/', at least 16 of them.")
    if not SCHEMES[scheme].has_encoded_secret:
        return secret.encode("utf-8")
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PermanentError(f"A secret of scheme {scheme} is base64, usually after 'whsec_'; this one is not.") from error
    if not key:
        raise PermanentError(f"A secret of scheme {scheme} must hold at least one byte after 'whsec_'.")
    return key


def verify(
    scheme: SchemeName,
    headers: Mapping[str, str],
    body: bytes,
    keys: Sequence[bytes],
    *,
    now: dt.datetime,
    tolerance: dt.timedelta = TOLERANCE,
) -> Verified | Refused:
    """Check that `body`, byte for byte, was signed with one of `keys` (see `key_of`), in time independent of the contents.

    `headers` has lower-case names; `now` is aware; `tolerance` applies both ways where the scheme signs a time. Whatever
    the headers hold, the answer is a value: this raises nothing. Every refusal costs as many HMACs as any other; a success,
    which only the holder of a secret sees, ends with the secret that fits.
    """
    if scheme is SchemeName.UNSIGNED:
        return Refused(RefusalReason.UNSIGNED_SOURCE)
    preset = SCHEMES[scheme]
    try:
        claim: _Claim | Refused = _read_claim(preset, headers)
    except _MalformedError as malformed:
        claim = Refused(malformed.reason)
    content = _content(preset, claim, body) if isinstance(claim, _Claim) else body
    match = _matching_token if preset.layout is Layout.TOKEN else _matching_key
    index = match(preset, content, claim.digests if isinstance(claim, _Claim) else (), keys)
    if isinstance(claim, Refused):
        return claim
    if index is None:
        return Refused(RefusalReason.WRONG_SIGNATURE if keys else RefusalReason.NO_KEY)
    signed_at = _time_of(claim.timestamp)
    if signed_at is not None and abs(signed_at - now) > tolerance:
        return Refused(RefusalReason.EXPIRED if signed_at < now else RefusalReason.FROM_THE_FUTURE)
    return Verified(index, "" if preset.layout is Layout.TOKEN else claim.signature, claim.message_id, signed_at)


def sign(scheme: SchemeName, key: bytes, body: bytes, now: dt.datetime, message_id: str = "") -> dict[str, str]:
    """Return the headers that a sender of this scheme adds to `body`; `message_id` is needed where the scheme signs one."""
    if scheme is SchemeName.UNSIGNED:
        return {}
    preset = SCHEMES[scheme]
    if preset.layout is Layout.TOKEN:
        return {preset.headers["signature"]: f"Bearer {key.decode('utf-8')}"}
    claim = _Claim("", (), str(int(now.timestamp())), message_id)
    digest = _encode(preset.encoding, hmac.digest(key, _content(preset, claim, body), "sha256")).decode("ascii")
    laid_out = {
        Layout.SINGLE: preset.prefix + digest,
        Layout.VERSIONED_LIST: f"v1,{digest}",
        Layout.FIELDS: f"t={claim.timestamp},v1={digest}",
    }[preset.layout]
    parts = {"signature": laid_out, "timestamp": claim.timestamp or "", "id": message_id}
    family = preset.families[0]
    return {family + name: parts[part] for part, name in preset.headers.items()} | dict(preset.required)


class _MalformedError(ValueError):
    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def _matching_key(preset: Scheme, content: bytes, digests: Sequence[bytes], keys: Sequence[bytes]) -> int | None:
    """Return the position of the first key that one of `digests` comes from; where none is, all were tried with all."""
    for index, key in enumerate(keys):
        expected = _encode(preset.encoding, hmac.digest(key, content, "sha256"))
        for digest in digests:
            if hmac.compare_digest(expected, digest):
                return index
    for _ in range(_KEYS_TRIED - len(keys)):
        expected = _encode(preset.encoding, hmac.digest(_BURNED_KEY, content, "sha256"))
        for digest in digests:
            hmac.compare_digest(expected, digest)
    return None


def _matching_token(_preset: Scheme, content: bytes, tokens: Sequence[bytes], keys: Sequence[bytes]) -> int | None:
    """Return the position of the key that the token is, compared by digests, so that not even its length shows in the time."""
    digests = [hmac.digest(_BURNED_KEY, token, "sha256") for token in tokens]
    matching = None
    for index, key in enumerate([*keys, *[_BURNED_KEY] * (_KEYS_TRIED - len(keys))]):
        hmac.digest(key, content, "sha256")  # as much work as a signature over the body
        expected = hmac.digest(_BURNED_KEY, key, "sha256")
        for digest in digests:
            is_equal = hmac.compare_digest(expected, digest)
            if is_equal and matching is None and index < len(keys):
                matching = index
    return matching


def _read_claim(preset: Scheme, headers: Mapping[str, str]) -> _Claim:
    named = next((names for names in preset.named if names["signature"] in headers), preset.named[0])
    for name in named.values():
        if name not in headers:
            raise _MalformedError(RefusalReason.MISSING_HEADER)
    for name, value in preset.required.items():
        if headers.get(name, "").upper() != value.upper():
            raise _MalformedError(RefusalReason.MISSING_HEADER)
    signature = headers[named["signature"]]
    timestamp = headers[named["timestamp"]] if "timestamp" in named else None
    message_id = headers[named["id"]] if "id" in named else None
    if preset.layout is Layout.FIELDS:
        timestamp = next(_fields(signature, "t"), "")
    if timestamp is not None and not preset.timestamps.fullmatch(timestamp):
        raise _MalformedError(RefusalReason.MALFORMED_TIMESTAMP)
    if message_id is not None and not _MESSAGE_ID.fullmatch(message_id):
        raise _MalformedError(RefusalReason.MALFORMED_ID)
    digests = tuple(_digests(preset, signature))
    if not 0 < len(digests) <= MAX_SIGNATURES:
        raise _MalformedError(RefusalReason.MALFORMED_SIGNATURE)
    return _Claim(signature, digests, timestamp, message_id)


def _digests(preset: Scheme, signature: str) -> Iterator[bytes]:
    if preset.layout is Layout.VERSIONED_LIST:
        candidates = [part.removeprefix("v1,") for part in signature.split(" ") if part.startswith("v1,")]
    elif preset.layout is Layout.FIELDS:
        candidates = list(_fields(signature, "v1"))
    elif preset.layout is Layout.TOKEN:
        kind, _, token = signature.partition(" ")
        if kind.lower() == "bearer" and _TOKEN.fullmatch(token):
            yield token.encode("ascii")
        return
    elif preset.is_prefix_required and not signature.startswith(preset.prefix):
        candidates = []
    else:
        candidates = [signature.removeprefix(preset.prefix)]
    pattern = _HEX_DIGEST if preset.encoding is Encoding.HEX else _BASE64_DIGEST
    for candidate in candidates:
        if pattern.fullmatch(candidate):
            yield (candidate.lower() if preset.encoding is Encoding.HEX else candidate).encode("ascii")


def _fields(signature: str, name: str) -> Iterator[str]:
    for part in signature.split(","):
        key, _, value = part.strip(" ").partition("=")
        if key == name:
            yield value


def _content(preset: Scheme, claim: _Claim, body: bytes) -> bytes:
    parts = {"id": claim.message_id or "", "timestamp": claim.timestamp or ""}
    return b".".join(body if part == "body" else parts[part].encode("ascii") for part in preset.signed)


def _encode(encoding: Encoding, digest: bytes) -> bytes:
    return binascii.hexlify(digest) if encoding is Encoding.HEX else base64.b64encode(digest)


def _time_of(timestamp: str | None) -> dt.datetime | None:
    if timestamp is None:
        return None
    milliseconds = int(timestamp) if len(timestamp) == 13 else int(timestamp) * 1000
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=milliseconds)
