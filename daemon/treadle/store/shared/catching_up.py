"""Brings a replica up to date for a command that only reads, where no daemon of the machine follows the log."""

import contextlib
import logging
from functools import cache
from pathlib import Path

from treadle.store.errors import StorageError, UserError, translated
from treadle.store.shared.config import read_config
from treadle.store.shared.replica import apply, place_of
from treadle.store.shared.status import FOLLOWING
from treadle.store.sqlite.database import FILE_NAME, FileLock, configure_writer, connect, inode, require_in_place

log = logging.getLogger(__name__)

CONNECT = 2  # seconds until there has to be a connection: somebody waits, and may be on a train


@cache
def catch_up(data_dir: Path) -> None:
    """Pull what other machines have appended, once in a process: a command may open the database several times.

    Where that fails, a warning says why what is here may be old.
    """
    following = FileLock(data_dir / FOLLOWING)
    try:
        if following.acquire():
            _pull_all(data_dir)
    except (StorageError, UserError, OSError) as error:
        log.warning("what other machines wrote lately may be missing: %s", error)
    finally:
        following.release()


def _pull_all(data_dir: Path) -> None:
    from treadle.store.shared.remote import RemoteLog  # here, where a missing psycopg is one more reason

    path, config = data_dir / FILE_NAME, read_config(data_dir)
    file, pages = inode(path), 0
    with (
        RemoteLog(config.service, connect_timeout=CONNECT) as remote,
        translated(),
        contextlib.closing(connect(path, lambda db: configure_writer(db, path))) as db,
    ):
        place = place_of(db)
        while place.rewound is None and (page := remote.pull(config.log_id, place.sequence, place.mark)):
            pages += 1
            if pages == 2:
                log.warning("pulling what other machines wrote: this may take a while")
            place = apply(db, lambda: require_in_place(path, file), page)
