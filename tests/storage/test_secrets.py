"""Secrets at rest, and sources as configuration with a history."""

import datetime as dt
import stat
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from pydantic import SecretStr, ValidationError

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.signatures import SchemeName
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.configurations import (
    WEBHOOK,
    read_configurations,
    read_source,
    register_source,
    write_configuration,
)
from cmms_pipelines.storage.secrets import active_secrets, add_secret, mark_used, revoke, secret_box
from cmms_pipelines.storage.tables import audit_log, sync_configuration_versions, sync_configurations, webhook_secrets
from tests.conftest import Database

CANARY = "canary-7f3a91-secret"
NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def count(database: Database, table: sa.Table) -> int:
    with database.engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_the_key_is_made_once_readable_by_its_owner_alone(settings: Settings) -> None:
    with ThreadPoolExecutor(16) as threads:
        boxes = list(threads.map(lambda _: secret_box(settings), range(16)))
    token = boxes[0].encrypt(b"x")
    assert all(box.decrypt(token) == b"x" for box in boxes)
    key_file = settings.home / "secret.key"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert [path.name for path in settings.home.iterdir()] == ["secret.key"]


def test_a_key_of_the_environment_is_used_and_may_be_rotated(tmp_path: Path) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    token = secret_box(Settings(home=tmp_path, secret_key=SecretStr(old))).encrypt(b"x")
    assert secret_box(Settings(home=tmp_path, secret_key=SecretStr(f"{new},{old}"))).decrypt(token) == b"x"
    assert list(tmp_path.iterdir()) == []


def test_an_unusable_key_is_one_clear_sentence_without_the_key(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="CMMS_SECRET_KEY is no usable key") as raised:
        secret_box(Settings(home=tmp_path, secret_key=SecretStr(CANARY)))
    assert CANARY not in str(raised.value)


def test_secrets_are_ciphertext_in_the_table_and_in_no_audit_row(database: Database, settings: Settings) -> None:
    register_source(database.engine, settings, "plant-cmms", WebhookSource(), secret=SecretStr(CANARY), actor="tests")
    with database.engine.connect() as connection:
        tables = (webhook_secrets, sync_configurations, sync_configuration_versions, audit_log)
        dump = "".join(str(connection.execute(sa.select(table)).all()) for table in tables)
        ciphertext = bytes(connection.execute(sa.select(webhook_secrets.c.ciphertext)).scalar_one())
    assert CANARY not in dump
    assert CANARY.encode().hex() not in dump
    assert secret_box(settings).decrypt(ciphertext) == CANARY.encode()


def test_only_secrets_in_force_are_active_newest_first(database: Database, settings: Settings) -> None:
    box = secret_box(settings)
    ids: dict[str, uuid.UUID] = {}
    for name, expires_at in (("old", None), ("expired", NOW), ("rotating", NOW + dt.timedelta(days=1)), ("revoked", None)):
        with database.engine.begin() as connection:
            ids[name] = add_secret(connection, box, "plant-cmms", SecretStr(name), actor="tests", expires_at=expires_at)
    with database.engine.begin() as connection:
        add_secret(connection, box, "other", SecretStr("theirs"), actor="tests")
        assert revoke(connection, ids["revoked"], "tests", NOW)
        assert not revoke(connection, ids["revoked"], "tests", NOW)
        active = active_secrets(connection, box, NOW, "plant-cmms")
        assert [secret.value for secret in active] == [SecretStr("rotating"), SecretStr("old")]
        assert len(active_secrets(connection, box, NOW)) == 3
        actions = [row.action for row in connection.execute(sa.select(audit_log.c.action))]
    assert sorted(actions) == ["secret.added"] * 5 + ["secret.revoked"]


def test_a_secret_stored_under_another_key_is_reported_as_unreadable(database: Database, tmp_path: Path) -> None:
    one, other = (secret_box(Settings(home=tmp_path / name)) for name in ("one", "other"))
    with database.engine.begin() as connection:
        add_secret(connection, one, "plant-cmms", SecretStr("x"), actor="tests")
        assert [secret.value for secret in active_secrets(connection, other, NOW)] == [None]


def test_the_last_use_of_a_secret_never_goes_back(database: Database, settings: Settings) -> None:
    with database.engine.begin() as connection:
        secret_id = add_secret(connection, secret_box(settings), "plant-cmms", SecretStr("x"), actor="tests")
        mark_used(connection, {secret_id: NOW})
        mark_used(connection, {secret_id: NOW - dt.timedelta(hours=1)})
        assert connection.execute(sa.select(webhook_secrets.c.last_used_at)).scalar_one() == NOW


def test_registering_a_source_again_changes_nothing(database: Database, settings: Settings) -> None:
    tables = (audit_log, webhook_secrets, sync_configuration_versions)
    seen = []
    for _ in range(3):
        stored = register_source(database.engine, settings, "plant-cmms", WebhookSource(), secret=SecretStr("x"), actor="tests")
        seen.append((stored.version, *[count(database, table) for table in tables]))
    assert seen == [(1, 2, 1, 1)] * 3


def test_registering_at_the_same_time_makes_one_source(database: Database, settings: Settings) -> None:
    def register(_: int) -> int:
        return register_source(
            database.engine, settings, "plant-cmms", WebhookSource(), secret=SecretStr("x"), actor="tests"
        ).version

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(register, range(16))) == [1] * 16
    assert count(database, webhook_secrets) == 1


def test_every_change_of_a_configuration_leaves_a_version_and_an_audit_row(database: Database, settings: Settings) -> None:
    secret = SecretStr("x")
    register_source(database.engine, settings, "plant-cmms", WebhookSource(), secret=secret, actor="ann")
    changed = WebhookSource(scheme=SchemeName.GITHUB, may_shed=True)
    stored = register_source(database.engine, settings, "plant-cmms", changed, secret=secret, actor="bob")
    assert stored.version == 2
    assert read_source(stored.configuration) == changed
    versions = sync_configuration_versions.c
    with database.engine.connect() as connection:
        history = connection.execute(
            sa.select(versions.version, versions.changed_by, versions.configuration).order_by(versions.version)
        ).all()
        audit = connection.execute(sa.select(audit_log).where(audit_log.c.action == "configuration.changed")).mappings().one()
    assert [(row.version, row.changed_by, row.configuration["scheme"]) for row in history] == [
        (1, "ann", "hmac_hex"),
        (2, "bob", "github"),
    ]
    assert audit["actor"] == "bob"
    assert audit["before"]["configuration"]["scheme"] == "hmac_hex"
    assert audit["after"]["configuration"]["scheme"] == "github"


def test_configurations_of_other_sync_types_live_beside(database: Database) -> None:
    with database.engine.begin() as connection:
        write_configuration(connection, "plant-cmms", "equipment", {"a": 1}, actor="tests")
        write_configuration(connection, "plant-cmms", WEBHOOK, {"b": 2}, actor="tests", is_active=False)
        (found,) = read_configurations(connection, WEBHOOK)
    assert (found.configuration, found.is_active) == ({"b": 2}, False)


def test_a_source_has_a_name_that_fits_a_path(database: Database, settings: Settings) -> None:
    for name in ("", "a b", "a/b", "x" * 101, "ä", "-a", "a\n"):
        with pytest.raises(PermanentError, match="no name of a system"):
            register_source(database.engine, settings, name, WebhookSource(), secret=SecretStr("x"), actor="tests")


def test_unsigned_sources_need_explicit_consent() -> None:
    with pytest.raises(ValidationError, match="go together"):
        WebhookSource(scheme=SchemeName.UNSIGNED)
    with pytest.raises(ValidationError, match="go together"):
        WebhookSource(allow_unsigned=True)
    assert WebhookSource(scheme=SchemeName.UNSIGNED, allow_unsigned=True)


def test_a_secret_that_does_not_fit_the_scheme_is_refused_before_it_is_stored(database: Database, settings: Settings) -> None:
    source = WebhookSource(scheme=SchemeName.STANDARD_WEBHOOKS)
    for secret in (SecretStr("whsec_not base64"), None):
        with pytest.raises(PermanentError):
            register_source(database.engine, settings, "plant-cmms", source, secret=secret, actor="tests")
    assert count(database, webhook_secrets) == 0


def test_a_configuration_changed_by_hand_is_named() -> None:
    with pytest.raises(PermanentError, match="tolerance_s"):
        read_source({"scheme": "hmac_hex", "tolerance_s": "soon"})
