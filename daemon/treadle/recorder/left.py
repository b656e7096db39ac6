"""Imports recordings that were left because the database could not be written while they were made."""

import logging
from pathlib import Path

from treadle.core.engine import Engine, Overloaded
from treadle.recorder.recorder import Recorder
from treadle.recorder.spool import SpoolReader, left_recordings
from treadle.store.errors import StorageError
from treadle.store.ports import DataDirectory

log = logging.getLogger(__name__)


async def import_left(store: DataDirectory, engine: Engine, folder: Path) -> None:
    """Import the recordings in a folder that no process works on, and delete them."""
    with left_recordings(folder) as left:
        for path in left:
            spool = SpoolReader(path)
            try:
                await Recorder(store, engine, spool, _no_more, live=False).run()
            except (StorageError, Overloaded) as error:
                log.warning("the recording %s was not imported, the next daemon will retry: %s", path.name, error)
                return
            except Exception:
                log.exception("the recording %s cannot be imported and is kept", path.name)
                continue
            spool.delete()


async def _no_more() -> bool:
    return False
