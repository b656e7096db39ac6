"""`log.json` in a data directory: which shared log it is a replica of. It holds no secret."""

from pathlib import Path
from uuid import UUID

import msgspec
from msgspec import Struct

from treadle.store.errors import Refused, UserError, explained
from treadle.store.shared.transport import check_service
from treadle.store.sqlite.database import SHARED_LOG


class SharedLogConfig(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """service: of ~/.pg_service.conf. log_id: of the log on that server."""

    service: str
    log_id: UUID


def read_config(data_dir: Path) -> SharedLogConfig:
    """Raises Refused."""
    path = data_dir / SHARED_LOG
    try:
        config = msgspec.json.decode(path.read_bytes(), type=SharedLogConfig)
        check_service(config.service)
    except OSError as error:
        why = explained(error)
        raise Refused(f"the data directory has a shared log, but {why}", why.kind) from error
    except (msgspec.MsgspecError, UserError) as error:
        raise Refused(f"{path}: {error}. `treadle clone` writes this file") from None
    return config


def write_config(data_dir: Path, config: SharedLogConfig) -> None:
    """Make the data directory a replica. It has no database yet. Raises OSError."""
    path = data_dir / SHARED_LOG
    path.write_bytes(msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")
    path.chmod(0o600)
