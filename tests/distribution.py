"""How pytest-xdist deals the tests out: a file goes to one worker, so that what its tests share is made once.

What belongs here: which files share what is expensive (a demo, one build of the marts, an emulator), and what starts first. The
marks of pytest-xdist for groups are not used: version 3.8 writes them into a node's id, which pytest 9.2 no longer lets it do,
and without a word every worker then starts a demo of its own.
"""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

SHARED_BY_FOLDER = ("tests/demo", "tests/reporting")
LONGEST_FIRST = ("tests/demo", "tests/endurance", "tests/reporting", "tests/sync", "tests/defs", "tests/storage")


class ByFile(LoadScopeScheduling):
    """Deals out whole files, and the folders of `SHARED_BY_FOLDER` whole."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", 1)[0]
        return next((folder for folder in SHARED_BY_FOLDER if path.startswith(f"{folder}/")), path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Take the scheduler above, whatever `--dist` says; files keep the order of the collection."""
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker ends with it alone."""
    items.sort(key=lambda item: next((place for place, folder in enumerate(LONGEST_FIRST) if item.nodeid.startswith(folder)), 99))
