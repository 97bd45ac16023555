from collections.abc import Iterator

import pytest

from tests.clients.scripted_source import scripted_server


@pytest.fixture(scope="session", autouse=True)
def _scripted_server() -> Iterator[None]:
    with scripted_server():
        yield
