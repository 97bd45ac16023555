"""Signatures: the vectors that senders publish, and every way in which a signature can be wrong."""

import base64
import datetime as dt
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.signatures import (
    _BURNED_KEY,
    SCHEMES,
    RefusalReason,
    Refused,
    SchemeName,
    Verified,
    key_of,
    sign,
    verify,
)

NOW = dt.datetime.fromtimestamp(1614265330, dt.UTC)
BODY = b'{"test": 2432232314}'
SIGNING = sorted(SCHEMES)
TIMED = [SchemeName.STANDARD_WEBHOOKS, SchemeName.MAINTAINX]
STANDARD_KEY = key_of(SchemeName.STANDARD_WEBHOOKS, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
STANDARD = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def reason_of(answer: Verified | Refused) -> RefusalReason | None:
    return answer.reason if isinstance(answer, Refused) else None


def key_for(scheme: SchemeName, secret: str) -> bytes:
    encoded = base64.b64encode(secret.encode()).decode()
    if scheme is SchemeName.BEARER:
        return key_of(scheme, f"token-{secret.replace(' ', '-')}-of-this-test")
    return key_of(scheme, f"whsec_{encoded}" if SCHEMES[scheme].has_encoded_secret else secret)


@pytest.mark.parametrize("prefix", ["webhook-", "svix-"])
def test_the_published_vector_of_standard_webhooks_verifies_under_both_header_names(prefix: str) -> None:
    headers = {name.replace("webhook-", prefix): value for name, value in STANDARD.items()}
    answer = verify(SchemeName.STANDARD_WEBHOOKS, headers, BODY, [STANDARD_KEY], now=NOW)
    assert answer == Verified(0, STANDARD["webhook-signature"], STANDARD["webhook-id"], NOW)


def test_the_published_vector_of_github_verifies() -> None:
    headers = {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    key = key_of(SchemeName.GITHUB, "It's a Secret to Everybody")
    assert isinstance(verify(SchemeName.GITHUB, headers, b"Hello, World!", [key], now=NOW), Verified)


def test_the_hmac_of_rfc_4231_verifies_with_and_without_its_prefix() -> None:
    digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    for value in (digest, f"sha256={digest}", digest.upper()):
        answer = verify(SchemeName.HMAC_HEX, {"x-hmac-signature": value}, b"what do ya want for nothing?", [b"Jefe"], now=NOW)
        assert isinstance(answer, Verified)


def test_one_valid_signature_among_several_is_enough_and_other_versions_do_not_count() -> None:
    wrong = "v1," + base64.b64encode(b"x" * 32).decode()
    both = STANDARD | {"webhook-signature": f"{wrong} v1a,AAAA {STANDARD['webhook-signature']}"}
    downgraded = STANDARD | {"webhook-signature": STANDARD["webhook-signature"].replace("v1,", "v0,")}
    assert isinstance(verify(SchemeName.STANDARD_WEBHOOKS, both, BODY, [STANDARD_KEY], now=NOW), Verified)
    refused = verify(SchemeName.STANDARD_WEBHOOKS, downgraded, BODY, [STANDARD_KEY], now=NOW)
    assert reason_of(refused) is RefusalReason.MALFORMED_SIGNATURE


@pytest.mark.parametrize(
    "timestamp",
    [" 1614265330", "1_614265330", "+1614265330", "1614265330.0", "١٦١٤٢٦٥٣٣٠", "161426533", "1614265330\n", "", "now"],
)
def test_a_timestamp_is_ten_ascii_digits_and_nothing_else(timestamp: str) -> None:
    headers = STANDARD | {"webhook-timestamp": timestamp}
    answer = verify(SchemeName.STANDARD_WEBHOOKS, headers, BODY, [STANDARD_KEY], now=NOW)
    assert reason_of(answer) is RefusalReason.MALFORMED_TIMESTAMP


@pytest.mark.parametrize("scheme", TIMED)
@pytest.mark.parametrize(
    ("seconds", "reason"),
    [(300, None), (-300, None), (301, RefusalReason.EXPIRED), (-301, RefusalReason.FROM_THE_FUTURE)],
)
def test_a_signed_time_is_believed_within_five_minutes(scheme: SchemeName, seconds: int, reason: RefusalReason | None) -> None:
    key = key_for(scheme, "a secret")
    headers = sign(scheme, key, BODY, NOW, "msg_1")
    assert reason_of(verify(scheme, headers, BODY, [key], now=NOW + dt.timedelta(seconds=seconds))) is reason


def test_a_time_in_milliseconds_is_understood_where_the_sender_may_send_it() -> None:
    digest = hmac.new(b"k", b"1614265330000." + BODY, hashlib.sha256).hexdigest()
    headers = {"x-maintainx-webhook-body-signature": f"t=1614265330000,v1={digest}"}
    assert isinstance(verify(SchemeName.MAINTAINX, headers, BODY, [b"k"], now=NOW), Verified)


@pytest.mark.parametrize("scheme", SIGNING)
class TestEveryScheme:
    def test_accepts_what_it_signs(self, scheme: SchemeName) -> None:
        key = key_for(scheme, "a secret")
        assert isinstance(verify(scheme, sign(scheme, key, BODY, NOW, "msg_1"), BODY, [key], now=NOW), Verified)

    def test_accepts_either_secret_during_a_rotation(self, scheme: SchemeName) -> None:
        old, new = key_for(scheme, "old"), key_for(scheme, "new")
        answer = verify(scheme, sign(scheme, old, BODY, NOW, "msg_1"), BODY, [new, old], now=NOW)
        assert isinstance(answer, Verified)
        assert answer.secret_index == 1

    def test_refuses_another_secret(self, scheme: SchemeName) -> None:
        headers = sign(scheme, key_for(scheme, "theirs"), BODY, NOW, "msg_1")
        assert reason_of(verify(scheme, headers, BODY, [key_for(scheme, "ours")], now=NOW)) is RefusalReason.WRONG_SIGNATURE

    def test_refuses_one_flipped_bit_of_the_body(self, scheme: SchemeName) -> None:
        key = key_for(scheme, "a secret")
        flipped = BODY[:-1] + bytes([BODY[-1] ^ 1])
        headers = sign(scheme, key, BODY, NOW, "msg_1")
        expected = None if scheme is SchemeName.BEARER else RefusalReason.WRONG_SIGNATURE  # a token says nothing about a body
        assert reason_of(verify(scheme, headers, flipped, [key], now=NOW)) is expected

    def test_refuses_without_headers(self, scheme: SchemeName) -> None:
        assert reason_of(verify(scheme, {}, BODY, [b"k"], now=NOW)) is RefusalReason.MISSING_HEADER

    def test_refuses_each_header_missing_empty_or_of_another_length(self, scheme: SchemeName) -> None:
        key = key_for(scheme, "a secret")
        headers = sign(scheme, key, BODY, NOW, "msg_1")
        for name, value in headers.items():
            rest = {other: text for other, text in headers.items() if other != name}
            for broken in (rest, rest | {name: ""}, rest | {name: value[:-1]}, rest | {name: value + "0"}):
                assert isinstance(verify(scheme, broken, BODY, [key], now=NOW), Refused)

    def test_refuses_when_no_secret_is_in_force(self, scheme: SchemeName) -> None:
        headers = sign(scheme, key_for(scheme, "a secret"), BODY, NOW, "msg_1")
        assert reason_of(verify(scheme, headers, BODY, [], now=NOW)) is RefusalReason.NO_KEY

    def test_does_not_take_the_key_that_only_burns_time(self, scheme: SchemeName) -> None:
        headers = sign(scheme, _BURNED_KEY, BODY, NOW, "msg_1")
        assert isinstance(verify(scheme, headers, BODY, [], now=NOW), Refused)
        assert isinstance(verify(scheme, headers, BODY, [b"k"], now=NOW), Refused)


@given(scheme=st.sampled_from(SIGNING), data=st.data())
def test_no_header_value_raises_or_passes(scheme: SchemeName, data: st.DataObject) -> None:
    key = key_for(scheme, "a secret")
    headers = sign(scheme, key, BODY, NOW, "msg_1")
    name = data.draw(st.sampled_from(sorted(headers)))
    value = data.draw(st.text(st.characters(max_codepoint=255)) | st.text(st.sampled_from("tv1=, 0aA+/sh256")))
    if value not in (headers[name], headers[name].removeprefix("sha256=")) and name not in SCHEMES[scheme].required:
        assert isinstance(verify(scheme, headers | {name: value}, BODY, [key], now=NOW), Refused)


def test_more_signatures_than_a_rotation_needs_are_refused() -> None:
    many = STANDARD | {"webhook-signature": " ".join([STANDARD["webhook-signature"]] * 17)}
    answer = verify(SchemeName.STANDARD_WEBHOOKS, many, BODY, [STANDARD_KEY], now=NOW)
    assert reason_of(answer) is RefusalReason.MALFORMED_SIGNATURE


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64", "whsec_ä"])
def test_a_secret_that_cannot_be_a_key_is_refused_without_being_repeated(secret: str) -> None:
    with pytest.raises(PermanentError) as raised:
        key_of(SchemeName.STANDARD_WEBHOOKS, secret)
    assert "not base64" not in str(raised.value)


def test_an_unsigned_scheme_verifies_nothing() -> None:
    assert reason_of(verify(SchemeName.UNSIGNED, {}, BODY, [b"k"], now=NOW)) is RefusalReason.UNSIGNED_SOURCE
