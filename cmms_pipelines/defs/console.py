"""What a run of the command line says on its standard error.

What belongs here: how lines look to whoever typed the command. What does not: what is logged, and the whole story of a failure,
which the run's page in the Dagster UI has.
"""

import logging

import dagster as dg

COMMAND_LINE_LOGGER = "command_line"
_TRACE = "\n\nStack Trace:"


class _WithoutTrace(logging.Formatter):
    """Lines that end where the stack of an error begins: it says nothing to whoever typed the command."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).split(_TRACE, 1)[0]


@dg.logger(
    {"log_level": dg.Field(str, is_required=False, default_value="INFO", description="From this level on.")},
    description="For runs of the command line: everything but the stacks of errors.",
)
def command_line_logger(context: dg.InitLoggerContext) -> logging.Logger:
    """Return a logger that writes to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_WithoutTrace("%(asctime)s - %(levelname)s - %(message)s"))
    logger = logging.Logger("cmms", context.logger_config["log_level"])
    logger.addHandler(handler)
    return logger
