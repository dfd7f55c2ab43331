"""What a process says while a case runs: log records and warnings, kept so that secrets can be looked for in them."""

from __future__ import annotations

import logging
import warnings
from typing import Any

_LOGGERS = ("datajoint", "datajoint_file", "s3fs", "fsspec", "asyncio", "botocore.credentials")


class Overheard(logging.Handler):
    """Keeps all log records and warnings of its ``with`` block as texts, and off the terminal.

    Attributes
    ----------
    texts : list of str
        What was said.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []
        self._warnings: Any = warnings.catch_warnings(record=True)

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def __enter__(self) -> Overheard:
        loggers = map(logging.getLogger, _LOGGERS)
        self._before = [(logger, logger.handlers, logger.propagate, logger.level) for logger in loggers]
        for logger, *_ in self._before:
            logger.handlers, logger.propagate = [self], False
            logger.setLevel(logging.DEBUG)
        self._caught = self._warnings.__enter__()
        warnings.simplefilter("always")
        return self

    def __exit__(self, *exception: object) -> None:
        self._warnings.__exit__(*exception)
        self.texts += [str(warning.message) for warning in self._caught]
        for logger, handlers, propagate, level in self._before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
