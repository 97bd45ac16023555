"""A source's configuration: defaults by kind of sender, and errors that say what to write instead."""

import pytest
from pydantic import ValidationError

from cmms_pipelines.domain.events import CanonicalEvent
from cmms_pipelines.domain.presets import PRESETS
from cmms_pipelines.domain.signatures import SchemeName
from cmms_pipelines.domain.webhook_source import RateLimit, WebhookSource

EVENT = CanonicalEvent("work_order_created", None, {}, event_id="e1")


@pytest.mark.parametrize("name", PRESETS)
def test_every_kind_of_sender_is_a_configuration_that_survives_being_stored(name: str) -> None:
    consent = {"allow_unsigned": True} if name == "unsigned" else {}
    source = WebhookSource.of_preset(name, **consent)
    assert (source.scheme, source.format) == (PRESETS[name].scheme, PRESETS[name].body_format)
    assert WebhookSource.model_validate(source.model_dump(mode="json")) == source
    assert bool(source.warnings) is (name == "unsigned")


def test_every_scheme_has_a_kind_of_sender() -> None:
    assert {preset.scheme for preset in PRESETS.values()} == set(SchemeName)


def test_only_senders_that_try_again_are_limited_and_shed_unless_it_is_asked_for() -> None:
    for name, preset in PRESETS.items():
        source = WebhookSource.of_preset(name, **({"allow_unsigned": True} if name == "unsigned" else {}))
        is_limited = (source.may_shed, source.rate_limit is not None, source.address_rate_limit is not None)
        assert is_limited == (preset.is_retrying,) * 3
    assert WebhookSource(scheme=SchemeName.ATLAS, rate_limit=RateLimit(per_s=5, burst=10)).rate_limit is not None
    assert WebhookSource.model_validate({"scheme": "standard_webhooks", "rate_limit": None}).rate_limit is None


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ({"scheme": "md5"}, "'hmac_hex'"),
        ({"scheme": "unsigned"}, "allow_unsigned=true go together"),
        ({"allow_unsigned": True}, "allow_unsigned=true go together"),
        ({"format": "mapped"}, "needs fields.event_type"),
        ({"fields": {"title": "title"}}, "write it as '/asset/customId'"),
        ({"fields": {"Title": "/title"}}, "no field of an event"),
        ({"fields": {"title": []}}, "at least 1 item"),
        ({"dedup_key": "id"}, "a JSON pointer such as"),
        ({"dedup_key": "header:authorization"}, "stored in the clear"),
        ({"dedup_key": "header:x-hub-signature-256"}, "stored in the clear"),
        ({"time_zone": "Mars/Olympus"}, "example: Europe/Berlin"),
        ({"time_zone": "../../etc/passwd"}, "example: Europe/Berlin"),
        ({"event_types": {"X": "no_such_type"}}, "'work_order_created'"),
        ({"tolerance_s": 0}, "greater than or equal to 1"),
        ({"rate_limit": {"per_s": 0, "burst": 1}}, "greater than 0"),
        ({"shed": True}, "Extra inputs are not permitted"),
    ],
)
def test_a_configuration_that_cannot_be_meant_says_what_to_write_instead(configuration: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match="(?s)" + said.replace("(", r"\(")):
        WebhookSource.model_validate(configuration)


def test_an_unknown_kind_of_sender_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match="take one of standard_webhooks"):
        WebhookSource.of_preset("hooky")


@pytest.mark.parametrize(
    ("dedup_key", "expected"),
    [
        ("auto", "id:msg_1"),
        ("body", "sha256:" + b"h".hex()),
        ("/delivery/id", "id:77"),
        ("/nothing/here", "id:msg_1"),
        ("header:x-request-id", "id:r1"),
        ("header:x-missing", "id:msg_1"),
    ],
)
def test_duplicates_are_told_by_what_the_source_says(dedup_key: str, expected: str) -> None:
    source = WebhookSource(dedup_key=dedup_key)
    assert source.dedup_key_of(EVENT, b'{"delivery": {"id": 77}}', b"h", {"x-request-id": "r1"}, "msg_1") == expected
