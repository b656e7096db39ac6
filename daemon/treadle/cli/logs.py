"""Sets up logging: where the log of a command goes and how its lines look."""

import contextlib
import logging
import traceback
from pathlib import Path
from typing import Any


def set_up_logging(level: str, file: Path | None) -> None:
    """Log to a file or to stderr. Raises OSError if the file cannot be written."""
    handler: logging.Handler = logging.StreamHandler()
    if file is not None:
        from treadle.store.sqlite.database import make_private_file

        with contextlib.suppress(FileExistsError):
            make_private_file(file)
        handler = logging.FileHandler(file, encoding="utf-8")
    kind = logging.Formatter if level == "debug" else RedactingFormatter
    handler.setFormatter(kind("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for name in ("pygls", "aiosqlite", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


class RedactingFormatter(logging.Formatter):
    """Logs the type and the traceback of an exception but not its message, which may contain a client's text."""

    def formatException(self, ei: Any) -> str:  # noqa: N802
        error, parts = ei[1], []
        while error is not None:
            where = "".join(traceback.format_tb(error.__traceback__))
            parts.append(f"Traceback (most recent call last):\n{where}{type(error).__qualname__}")
            error = error.__cause__ or error.__context__
        return "\n".join(parts)
