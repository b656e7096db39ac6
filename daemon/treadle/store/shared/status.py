"""What the process that follows a shared log knows of it, for all processes of the machine: the content of its lock."""

import contextlib
from pathlib import Path

import msgspec

from treadle.contract.shared_log import SharedLogStatus
from treadle.store.shared.config import SharedLogConfig

FOLLOWING = "following.lock"


def unknown(config: SharedLogConfig) -> SharedLogStatus:
    """The status before a process has followed the log."""
    return SharedLogStatus(config.service, str(config.log_id), "no process has followed it yet", None, 0)


def read_status(data_dir: Path, config: SharedLogConfig) -> SharedLogStatus:
    """What the process that follows the log has said last."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((data_dir / FOLLOWING).read_bytes(), type=SharedLogStatus)
    return unknown(config)
