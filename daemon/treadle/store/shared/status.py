"""What the process that follows a shared log knows of it, for all processes of the machine: the content of its lock."""

from pathlib import Path

import msgspec
from msgspec import Struct

FOLLOWING = "following.lock"


class MachineLease(Struct, frozen=True, rename="camel"):
    """A machine of a log. actor: its login. applied: how far its replica is. seen: when it said that it is there.

    away: seconds since its lease ended, by the clock of the server; 0 while it holds.
    """

    machine_id: str
    actor: str
    applied: int
    seen: str
    away: float

    @property
    def is_there(self) -> bool:
        return self.away == 0


class LogStatus(Struct, frozen=True, rename="camel"):
    """problem: why the log is not followed, None if it is. since: when that began, as a time of events.

    head: the highest sequence of the log that is known. machines: those of the log; none while there is a problem, so
    that nobody is taken for gone then.
    """

    problem: str | None
    since: str
    head: int
    machines: list[MachineLease] = []


def read_status(data_dir: Path) -> LogStatus | None:
    """None if no process has followed the log yet."""
    try:
        return msgspec.json.decode((data_dir / FOLLOWING).read_bytes(), type=LogStatus)
    except (OSError, msgspec.MsgspecError):
        return None
