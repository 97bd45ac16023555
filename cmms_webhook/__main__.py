"""`python -m cmms_webhook`: the sidecar on its own, configured by the environment."""

import sys

from cmms_pipelines.domain.errors import CmmsError
from cmms_pipelines.settings import read_settings
from cmms_webhook.server import serve


def main() -> int:
    """Serve; 1 with one sentence on standard error when that is not possible."""
    try:
        serve(read_settings())
    except CmmsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
