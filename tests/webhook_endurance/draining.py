"""A drain in a process of its own, as the run has it, to be killed at any moment.

python -m tests.webhook_endurance.draining URL
"""

import sys

from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.storage.drain import drain

if __name__ == "__main__":
    try:
        drain(sys.argv[1], run_id="a-run", idle_s=600, max_s=600, batch_size=50)
    except TransientError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
