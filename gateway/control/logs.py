"""Python's logging sent to the gateway's error log."""

from __future__ import annotations

import logging

from gateway.logs import NOTICE, ErrorLog

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": NOTICE,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "crit": logging.CRITICAL,
    "alert": logging.CRITICAL,
    "emerg": logging.CRITICAL,
}
_NAMES = {level: name for name, level in reversed(_LEVELS.items())}


class ErrorLogHandler(logging.Handler):
    """Writes each record as one line of the error log; a traceback is part of the line."""

    def __init__(self, error_log: ErrorLog) -> None:
        super().__init__()
        self.error_log = error_log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + (self.formatter or logging.Formatter()).formatException(record.exc_info)
        self.error_log.write(_NAMES.get(record.levelno, "error"), f"control: {text}")


def configure_logging(descriptor: int, level: str) -> ErrorLogHandler:
    """Send everything that this process logs to `descriptor`."""
    handler = ErrorLogHandler(ErrorLog(descriptor, "debug"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)
    # Libraries talk about themselves at INFO.
    for name in ("asyncio", "_granian", "python_multipart"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return handler


def set_level(level: str) -> None:
    """Log at and above this level of nginx's from now on."""
    logging.getLogger().setLevel(_LEVELS[level])
