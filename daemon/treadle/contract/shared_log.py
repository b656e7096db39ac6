"""The state of a shared log, as `daemon/status` gives it."""

from typing import Annotated

from msgspec import Struct

from treadle.domain.ids import GivenId, Timestamp, note


class MachineLease(Struct, frozen=True, rename="camel"):
    machine_id: GivenId
    login: Annotated[str, note("As which it last said that it is there")]
    applied: Annotated[int, note("The sequence up to which it had the events then")]
    seen: Annotated[str, note("When it said so, by the clock of the server")]
    away_seconds: Annotated[float, note("Seconds since its lease ended, by the clock of the server; 0 while it holds")]

    @property
    def is_there(self) -> bool:
        """Whether its lease holds."""
        return self.away_seconds == 0


class SharedLogStatus(Struct, frozen=True, rename="camel"):
    service: Annotated[str, note("The service of `~/.pg_service.conf` that leads to it")]
    log_id: Annotated[str, note("The id of the shared log, the same for all machines")]
    problem: Annotated[
        str | None, note("Why what other machines append does not arrive. Null if it does. Reads are of what is here")
    ]
    since: Annotated[Timestamp | None, note("Since when that is so; null if it is not known yet")]
    head: Annotated[int, note("The highest sequence of the log that is known here")]
    machines: Annotated[
        list[MachineLease], note("The machines of the log, as of the last look; none while there is a problem")
    ] = []
