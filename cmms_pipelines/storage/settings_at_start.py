"""The settings that a process starts with, where the database may not be there yet.

What belongs here: reading what is stored without starting a server, and without waiting for one for long. What does not: the
precedence (`storage.settings_in_force`). Code locations of Dagster load with it, and so does whatever must also say something
sensible before there is a database.
"""

from collections.abc import Callable, Sequence

from sqlalchemy.exc import DBAPIError

from cmms_pipelines.domain.errors import CmmsError
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import embedded
from cmms_pipelines.storage.engine import CMMS_DATABASE, cmms_address, make_engine
from cmms_pipelines.storage.refusals import reason_of
from cmms_pipelines.storage.settings_in_force import FIELDS, settings_in_force

WAIT_S = 5.0


def settings_at_start(environment: Settings, tell: Callable[[str], None], kinds: Sequence[str] = tuple(FIELDS)) -> Settings:
    """Return the settings in force, or the environment alone where the database or its tables are not there."""
    address = _address(environment)
    if address is None:
        return environment
    engine = make_engine(address, pool_size=1)
    try:
        return settings_in_force(engine, environment, tell, kinds, wait_s=WAIT_S)
    except CmmsError as error:
        tell(f"What is configured in the database is not known, the environment and the defaults hold. {error}")
    except DBAPIError as error:  # the tables are not there: nobody has migrated yet
        tell(f"What is configured in the database is not known, the environment and the defaults hold: {reason_of(error)}")
    finally:
        engine.dispose()
    return environment


def _address(environment: Settings) -> str | None:
    if environment.database_url is not None:
        return cmms_address(environment)
    running = embedded.find_running(environment.home)
    return running.url(CMMS_DATABASE) if running else None
