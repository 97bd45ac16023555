"""Where the databases are: what the environment gives is taken, and only what it leaves out is started."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import embedded
from cmms_pipelines.storage.engine import cmms_address


def test_a_given_database_starts_no_server(server_url: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", database_url=SecretStr(server_url))
    assert cmms_address(settings) == server_url
    assert embedded.find_running(settings.home) is None
    assert not settings.home.exists()


def test_an_address_of_another_database_is_refused_by_the_name_of_its_variable(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url=SecretStr("mysql://user:hidden@host/cmms"))
    with pytest.raises(PermanentError, match="CMMS_DATABASE_URL must name a PostgreSQL database") as caught:
        cmms_address(settings)
    assert "hidden" not in str(caught.value)
