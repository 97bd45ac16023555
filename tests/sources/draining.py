"""A drain that fetches what is thin, in a process of its own, to be killed at any moment.

python -m tests.sources.draining URL HOME
"""

import sys
from pathlib import Path

from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.drain import drain
from cmms_pipelines.storage.engine import make_engine
from cmms_pipelines.sync.thin_events import ThinEventFetcher

if __name__ == "__main__":
    url, home = sys.argv[1:]
    fetcher = lambda: ThinEventFetcher(make_engine(url), Settings(home=Path(home)), "a-run")  # noqa: E731
    drain(url, run_id="a-run", idle_s=600, max_s=600, make_fetcher=fetcher)
